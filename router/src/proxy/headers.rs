//! Header fields on their way to the backend and back.

use http::{HeaderValue, StatusCode, header};
use k8s::model::{Filter, HeaderEdits};
use pingora_core::{Error, ErrorType, OrErr, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::Session;

use super::context::Context;
use crate::{
    dataplane::Edge,
    framing::{self, Client},
};

/// HTTP/2 clients send cookies as several fields, and what is not HTTP/2 knows one (RFC 9113 section 8.2.3).
pub(super) fn join_cookies(request: &mut RequestHeader) -> Result<()> {
    let cookies = request.headers.get_all(header::COOKIE);
    if cookies.iter().nth(1).is_some() {
        let cookies: Vec<&[u8]> = cookies.iter().map(HeaderValue::as_bytes).collect();
        let joined = HeaderValue::from_bytes(&cookies.join(&b"; "[..]));
        request
            .insert_header(header::COOKIE, joined.or_err(ErrorType::InvalidHTTPHeader, "cookies that do not join")?)?;
    }
    Ok(())
}

/// Whether a client asks for a WebSocket (RFC 6455 section 4.1), the one upgrade that is passed on.
pub(super) fn is_websocket(request: &RequestHeader) -> bool {
    let has = |name, token: &str| {
        let values = request.headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).any(|value| value.trim().eq_ignore_ascii_case(token))
    };
    request.version == http::Version::HTTP_11 && has(header::CONNECTION, "upgrade") && has(header::UPGRADE, "websocket")
}

/// Runs once for each try, each time on a fresh copy of the client's request.
pub(super) fn to_upstream(session: &Session, request: &mut RequestHeader, context: &Context) -> Result<()> {
    let forward = context.routed.as_ref().and_then(|routed| Some((routed, routed.forward.as_ref()?)));
    let (Some((routed, forward)), Some(client), Some(edge)) = (forward, &context.client, &context.edge) else {
        return Err(Error::explain(ErrorType::InternalError, "a request without a route on its way to a backend"));
    };
    let asserted: Vec<header::HeaderName> =
        request.headers.keys().filter(|name| framing::is_asserted(name.as_str(), client.is_trusted)).cloned().collect();
    for name in asserted {
        request.remove_header(&name);
    }
    let host = session.req_header().headers.get(header::HOST).cloned();
    let host = host.or_else(|| HeaderValue::from_str(session.req_header().uri.authority()?.as_str()).ok());
    let address = client.address.to_string();
    request.insert_header("x-forwarded-for", &address)?;
    request.insert_header("x-real-ip", &address)?;
    request.insert_header("x-forwarded-proto", if client.is_https { "https" } else { "http" })?;
    request.insert_header("x-forwarded-port", client_port(edge, client).to_string())?;
    request.insert_header("x-request-id", context.request_id())?;
    if let Some(host) = &host {
        request.insert_header("x-forwarded-host", host)?;
    }

    request.set_uri(forward.target.path.parse().or_err(ErrorType::InternalError, "a rewritten path is no target")?);
    if let Some(host) = forward.target.host.as_deref().map(HeaderValue::from_str) {
        request.insert_header(header::HOST, host.or_err(ErrorType::InternalError, "a rewritten host is no host")?)?;
    } else if let Some(host) = host {
        request.insert_header(header::HOST, host)?;
    }
    for filter in routed.filters() {
        if let Filter::RequestHeaders(edits) = filter {
            edit_request(request, edits)?;
        }
    }
    Ok(())
}

/// The port that belongs to the scheme: who speaks for a client by another scheme came in by a port of its own.
fn client_port(edge: &Edge, client: &Client) -> u16 {
    match (client.is_https, edge.is_tls) {
        (true, false) => 443,
        (false, true) => 80,
        (true, true) | (false, false) => edge.port,
    }
}

pub(super) fn to_client(response: &mut ResponseHeader, context: &Context) -> Result<()> {
    if response.status != StatusCode::SWITCHING_PROTOCOLS {
        remove_hop_by_hop(response);
    }
    // It would send browsers to a port or a protocol that only the backend has.
    response.remove_header("alt-svc");
    // The client's connection is ours: an HTTP/1.0 backend must not end it.
    if response.version == http::Version::HTTP_10 {
        response.set_version(http::Version::HTTP_11);
    }
    if !response.headers.contains_key(header::SERVER) {
        response.insert_header(header::SERVER, super::respond::SERVER)?;
    }
    response.insert_header("x-request-id", context.request_id())?;
    let Some(routed) = &context.routed else { return Ok(()) };
    for filter in routed.filters() {
        if let Filter::ResponseHeaders(edits) = filter {
            edit_response(response, edits)?;
        }
    }
    Ok(())
}

/// What speaks of the connection to the backend and not of the answer (RFC 9110 section 7.6.1). pingora
/// sets Connection and Transfer-Encoding for the client's own.
fn remove_hop_by_hop(response: &mut ResponseHeader) {
    let said = response.headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let is_ours = |name: &str| OUR_OWN.iter().any(|it| it.eq_ignore_ascii_case(name));
    let names = said.flat_map(|value| value.split(',')).map(str::trim).filter(|name| !is_ours(name));
    let nominated: Vec<String> = names.map(str::to_owned).collect();
    for name in nominated.iter().map(String::as_str).chain(["keep-alive", "proxy-connection"]) {
        response.remove_header(name);
    }
    // 426 says by it what to upgrade to.
    if response.status != StatusCode::UPGRADE_REQUIRED {
        response.remove_header(&header::UPGRADE);
    }
}

/// What Connection may name without it being removed: options of its own, and how the body is framed.
const OUR_OWN: &[&str] = &["", "close", "keep-alive", "upgrade", "content-length", "transfer-encoding"];

// pingora's two kinds of head have the same methods and no trait for them.

fn edit_request(head: &mut RequestHeader, edits: &HeaderEdits) -> Result<()> {
    for (name, value) in &edits.set {
        head.insert_header(name.to_string(), &**value)?;
    }
    for (name, value) in &edits.add {
        head.append_header(name.to_string(), &**value)?;
    }
    for name in &edits.remove {
        head.remove_header(&**name);
    }
    Ok(())
}

fn edit_response(head: &mut ResponseHeader, edits: &HeaderEdits) -> Result<()> {
    for (name, value) in &edits.set {
        head.insert_header(name.to_string(), &**value)?;
    }
    for (name, value) in &edits.add {
        head.append_header(name.to_string(), &**value)?;
    }
    for name in &edits.remove {
        head.remove_header(&**name);
    }
    Ok(())
}
