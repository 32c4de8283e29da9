//! Answers of the router itself: small, clear, and without closing the connection.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode, header, response};
use pingora_core::{Result, protocols::http::ServerSession};
use pingora_http::ResponseHeader;
use pingora_proxy::Session;

use super::{
    Reply, affinity,
    context::Context,
    headers::{self, X_REQUEST_ID},
};
use crate::listen::phase;

pub(super) const SERVER: &str = "doorward";
const TEXT: &str = "text/plain; charset=utf-8";
/// How long a client may go on to send what nobody wants.
const LINGER: Duration = Duration::from_secs(2);

/// 100 Continue and its kin are not the answer; the one that switches protocols is.
pub(super) fn is_final(status: StatusCode) -> bool {
    !status.is_informational() || status == StatusCode::SWITCHING_PROTOCOLS
}

/// Whether the client has been sent the head of an answer.
pub(super) fn has_answered(session: &Session) -> bool {
    session.response_written().is_some_and(|head| is_final(head.status))
}

fn reason(status: u16) -> &'static str {
    StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or_default()
}

/// What a person sees.
fn page(status: u16, why: &str, id: &str) -> String {
    format!("{status} {}\n{why}\nrequest {id}\n", reason(status))
}

/// An answer of HTTP/1.1 after which the connection ends.
pub(super) fn last(status: u16, why: &str, id: &str) -> Vec<u8> {
    let page = page(status, why, id);
    let (reason, length) = (reason(status), page.len());
    let head = format!(
        "HTTP/1.1 {status} {reason}\r\nserver: {SERVER}\r\nx-request-id: {id}\r\ncontent-type: {TEXT}\r\n\
         content-length: {length}\r\nconnection: close\r\n\r\n"
    );
    [head, page].concat().into_bytes()
}

/// Makes the head of a backend's answer what the client is to get.
///
/// # Errors
/// When nobody can be sure what the answer is.
pub(super) fn pass_on(session: &mut Session, response: &mut response::Parts, context: &Context) -> Result<()> {
    headers::check_answer(response, context.upgrade.is_some())?;
    if response.status == StatusCode::SWITCHING_PROTOCOLS {
        phase::upgraded();
    }
    if session.is_body_done() {
        // With a 100 Continue pingora has given it up, as the body was still to come.
        session.set_keepalive(context.keepalive);
    }
    if phase::is_last_answer() {
        session.set_keepalive(None);
    }
    let knows_chunks = session.req_header().version != http::Version::HTTP_10;
    if !knows_chunks && !response.headers.contains_key(header::CONTENT_LENGTH) {
        session.set_keepalive(None);
    }
    headers::to_client(session.req_header(), response, context)?;
    affinity::to_client(&mut response.headers, context)
}

/// pingora's own error answers close the connection, which costs the next request a TLS handshake.
pub(super) async fn send(session: &mut Session, context: &mut Context, reply: Reply) -> Result<()> {
    let Reply { status, why, mut headers, body } = reply;
    if phase::is_last_answer() {
        session.set_keepalive(None);
    }
    let id = context.request_id.clone();
    let is_page = body.is_none() && why.is_some();
    let own = || why.as_ref().map(|why| page(status, why, context.request_id())).unwrap_or_default().into();
    let body: Bytes = body.unwrap_or_else(own);
    // A preflight has said it already.
    if status != 204 {
        headers::share(session.req_header(), &mut headers, context);
    }
    if context.error.is_none() {
        context.error = why.map(Into::into);
    }
    let mut head = ResponseHeader::build_no_case(status, Some(6))?;
    for (name, value) in &*headers {
        head.append_header(name.clone(), value.clone())?;
    }
    head.insert_header(header::SERVER, SERVER)?;
    head.insert_header(X_REQUEST_ID, id)?;
    // RFC 9110 section 8.6.
    if status != 204 {
        head.insert_header(header::CONTENT_LENGTH, body.len())?;
    }
    if is_page {
        head.insert_header(header::CONTENT_TYPE, TEXT)?;
    }
    let has_body = !body.is_empty() && session.req_header().method != Method::HEAD;
    session.write_response_header(Box::new(head), !has_body).await?;
    if has_body {
        session.write_response_body(Some(body), true).await?;
    }
    session.as_downstream_mut().finish_body().await?;
    pass_over_body(session).await;
    Ok(())
}

/// To be called when an answer was passed on to its end, perhaps before the end of the request. pingora drops the
/// connection where the backend wanted no more of the request, be the answer sent or not.
pub(super) async fn finish(session: &mut Session) {
    let ServerSession::H1(http1) = session.as_downstream_mut() else { return pass_over_body(session).await };
    if http1.is_body_done() || http1.finish_body().await.is_err() {
        return;
    }
    // Reads on for a while.
    http1.shutdown().await;
}

/// To be called when the answer is at its end. To close on a client that still sends is to reset it, and with that takes
/// its answer away (RFC 9112 section 9.6); some drop it for a reset of an HTTP/2 stream that came with no error, too.
async fn pass_over_body(session: &mut Session) {
    let downstream = session.as_downstream_mut();
    if !downstream.is_body_done() {
        let _ = tokio::time::timeout(LINGER, downstream.drain_request_body()).await;
    }
}
