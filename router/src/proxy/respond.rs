//! Answers of the router itself: small, clear, and without closing the connection.

use bytes::Bytes;
use http::{Method, StatusCode, header};
use pingora_core::Result;
use pingora_http::ResponseHeader;
use pingora_proxy::Session;

use super::{Reply, context::Context};

pub(super) const SERVER: &str = "doorward";

/// pingora's own error answers close the connection, which costs the next request a TLS handshake.
pub(super) async fn send(session: &mut Session, context: &mut Context, reply: Reply) -> Result<()> {
    let Reply { status, why, location } = reply;
    let id = context.request_id();
    let reason = StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or_default();
    let body = why.map(|why| format!("{status} {reason}\n{why}\nrequest {id}\n")).unwrap_or_default();
    let mut head = ResponseHeader::build(status, Some(6))?;
    head.insert_header(header::SERVER, SERVER)?;
    head.insert_header("x-request-id", id)?;
    head.insert_header(header::CONTENT_LENGTH, body.len())?;
    if !body.is_empty() {
        head.insert_header(header::CONTENT_TYPE, "text/plain; charset=utf-8")?;
    }
    if let Some(location) = location {
        head.insert_header(header::LOCATION, location)?;
    }
    let has_body = !body.is_empty() && session.req_header().method != Method::HEAD;
    session.write_response_header(Box::new(head), !has_body).await?;
    if has_body {
        session.write_response_body(Some(Bytes::from(body)), true).await?;
    }
    Ok(())
}
