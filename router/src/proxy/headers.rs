//! Header fields on their way to the backend and back.
//!
//! Work is done on plain heads: pingora's own remember how each name was spelt, which is looked up, copied and
//! kept in step with every change. Names reach HTTP/1 as they reach HTTP/2: in lower case, or as is usual.

mod to_backend;

use std::mem;

use bytes::BytesMut;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header, request, response};
use k8s::model::{Filter, HeaderEdits};
use pingora_core::{Error, ErrorType, OrErr, Result};
use pingora_http::{RequestHeader, ResponseHeader};

pub(super) use self::to_backend::{to_http1, to_upstream};
use super::context::Context;
use crate::{filter, framing};

pub(super) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// To be called before pingora copies the head for each try.
pub(super) fn forget_spelling(head: &mut RequestHeader) -> Result<()> {
    let parts = take_request(head)?;
    *head = parts.into();
    Ok(())
}

pub(super) fn edit_request(head: &mut RequestHeader, edit: impl FnOnce(&mut HeaderMap)) -> Result<()> {
    let mut parts = take_request(head)?;
    edit(&mut parts.headers);
    *head = parts.into();
    Ok(())
}

fn take_request(head: &mut RequestHeader) -> Result<request::Parts> {
    Ok(mem::replace(head, RequestHeader::build_no_case("GET", b"/", Some(0))?).into())
}

/// The reason stays, where it is not the usual one.
pub(super) fn edit_response(
    head: &mut ResponseHeader,
    edit: impl FnOnce(&mut response::Parts) -> Result<()>,
) -> Result<()> {
    let reason = head.get_reason_phrase().filter(|reason| head.status.canonical_reason() != Some(reason));
    let reason = reason.map(str::to_owned);
    let mut parts: response::Parts = mem::replace(head, ResponseHeader::build_no_case(200, Some(0))?).into();
    let edited = edit(&mut parts);
    *head = parts.into();
    if let Some(reason) = reason {
        head.set_reason_phrase(Some(&reason))?;
    }
    edited
}

/// HTTP/2 clients send cookies as several fields, and what is not HTTP/2 knows one (RFC 9113 section 8.2.3).
pub(super) fn join_cookies(request: &mut RequestHeader) -> Result<()> {
    if !framing::has(&request.headers, &header::COOKIE) {
        return Ok(());
    }
    let cookies = request.headers.get_all(header::COOKIE);
    if cookies.iter().nth(1).is_some() {
        let cookies: Vec<&[u8]> = cookies.iter().map(HeaderValue::as_bytes).collect();
        let joined = HeaderValue::from_bytes(&cookies.join(&b"; "[..]));
        request
            .insert_header(header::COOKIE, joined.or_err(ErrorType::InvalidHTTPHeader, "cookies that do not join")?)?;
    }
    Ok(())
}

/// What routes and backends would believe, and only the router may say.
pub(super) fn remove_asserted(head: &mut RequestHeader, is_trusted: bool) {
    let is_asserted = |name: &&HeaderName| framing::is_asserted(name.as_str(), is_trusted);
    while let Some(name) = head.headers.keys().find(is_asserted).cloned() {
        head.remove_header(&name);
    }
}

fn remove_all(headers: &mut HeaderMap, is_removed: impl Fn(&str) -> bool) {
    while let Some(name) = headers.keys().find(|name| is_removed(name.as_str())).cloned() {
        headers.remove(name);
    }
}

/// What pingora would pass on: a change of the protocol that nobody has asked for, and a body of which nobody can be sure
/// where it ends (RFC 9112 section 6.3).
pub(super) fn check_answer(response: &response::Parts, may_change: bool) -> Result<()> {
    let refused = |why| Err(Error::explain(ErrorType::InvalidHTTPHeader, why).into_up());
    if response.status == StatusCode::SWITCHING_PROTOCOLS && !may_change {
        return refused("a 101 that nobody has asked for");
    }
    if !framing::has(&response.headers, &header::TRANSFER_ENCODING) {
        return Ok(());
    }
    let mut codings = response.headers.get_all(header::TRANSFER_ENCODING).iter();
    let is_chunked = codings.next().is_none_or(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked"));
    if !is_chunked || codings.next().is_some() {
        return refused("a transfer coding other than chunked");
    }
    Ok(())
}

pub(super) fn to_client(asked: &RequestHeader, parts: &mut response::Parts, context: &Context) -> Result<()> {
    let headers = &mut parts.headers;
    if parts.status != StatusCode::SWITCHING_PROTOCOLS {
        remove_hop_by_hop(headers, parts.status);
    }
    // It would send browsers to a port or a protocol that only the backend has.
    remove_all(headers, |name| name == "alt-svc");
    // The client's connection is ours: an HTTP/1.0 backend must not end it.
    if parts.version == http::Version::HTTP_10 {
        parts.version = http::Version::HTTP_11;
    }
    headers.entry(header::SERVER).or_insert(HeaderValue::from_static(super::respond::SERVER));
    headers.insert(X_REQUEST_ID, context.request_id.clone());
    filter::check::put(&context.for_client, headers);
    share(asked, headers, context);
    for filter in context.routed.iter().flat_map(|routed| routed.filters()) {
        if let Filter::ResponseHeaders(edits) = filter {
            edit(headers, edits)?;
        }
    }
    if asked.version == http::Version::HTTP_2 {
        own(headers);
    }
    Ok(())
}

/// Moves all values into memory of their own. Those that h2 compresses by reference (RFC 7541 section 2.3.2) are kept
/// with the client's connection, and each that is a part of what was read from a backend would keep all of that.
pub(super) fn own(headers: &mut HeaderMap) {
    let mut all = BytesMut::with_capacity(headers.values().map(HeaderValue::len).sum());
    for value in headers.values_mut() {
        all.extend_from_slice(value.as_bytes());
        let Ok(mut owned) = HeaderValue::from_maybe_shared(all.split().freeze()) else { continue };
        owned.set_sensitive(value.is_sensitive());
        *value = owned;
    }
}

/// Says to browsers whose pages may use the answer, where the rule or the backend has said it.
pub(super) fn share(asked: &RequestHeader, answer: &mut HeaderMap, context: &Context) {
    if let Some(cors) = filter::cors(context.routed.iter().flat_map(|routed| routed.filters())) {
        filter::share(cors, asked.headers.get(header::ORIGIN), answer);
    }
}

/// What speaks of the connection to the backend and not of the answer (RFC 9110 section 7.6.1). pingora
/// sets Connection and Transfer-Encoding for the client's own.
fn remove_hop_by_hop(headers: &mut HeaderMap, status: StatusCode) {
    remove_nominated(headers);
    // 426 says by it what to upgrade to.
    let is_upgrade = |name: &str| name == "upgrade" && status != StatusCode::UPGRADE_REQUIRED;
    remove_all(headers, |name| matches!(name, "keep-alive" | "proxy-connection") || is_upgrade(name));
}

fn remove_nominated(headers: &mut HeaderMap) {
    let nominated: Vec<String> = nominated(headers).map(str::to_owned).collect();
    for name in nominated {
        headers.remove(name);
    }
}

fn nominated(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let is_there = framing::has(headers, &header::CONNECTION);
    let said = is_there.then(|| headers.get_all(header::CONNECTION)).into_iter().flatten();
    let said = said.filter_map(|value| value.to_str().ok());
    let is_ours = |name: &&str| OUR_OWN.iter().any(|it| it.eq_ignore_ascii_case(name));
    said.flat_map(|value| value.split(',')).map(str::trim).filter(move |name| !is_ours(name))
}

/// What Connection may name without it being removed: options of its own, and how the body is framed.
const OUR_OWN: &[&str] = &["", "close", "keep-alive", "upgrade", "content-length", "transfer-encoding"];

fn edit(headers: &mut HeaderMap, edits: &HeaderEdits) -> Result<()> {
    let parsed = |name: &str, value: &str| {
        let name = HeaderName::from_bytes(name.as_bytes()).ok();
        let missing = || Error::explain(ErrorType::InternalError, "an edited header is none");
        name.zip(HeaderValue::from_str(value).ok()).ok_or_else(missing)
    };
    for (name, value) in &edits.set {
        let (name, value) = parsed(name, value)?;
        headers.insert(name, value);
    }
    for (name, value) in &edits.add {
        let (name, value) = parsed(name, value)?;
        headers.append(name, value);
    }
    for name in &edits.remove {
        headers.remove(&**name);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use pingora_proxy::{ProxyHttp, Session};
    use tokio::io::{AsyncWriteExt, duplex};

    use super::*;
    use crate::{dataplane::SharedDataplane, listen::Requests, proxy::Proxy};

    #[tokio::test]
    async fn trailers_that_are_kept_keep_nothing_of_what_was_read_with_them() {
        let requests = Arc::new(Requests::for_process(1));
        let proxy = Proxy { dataplane: SharedDataplane::default(), log: None, requests };
        let (mut client, server) = duplex(64);
        client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("sent");
        let mut session = Session::new_h1(Box::new(server));
        session.read_request().await.expect("a request");
        session.req_header_mut().set_version(http::Version::HTTP_2);
        let read = Bytes::from(b"grpc-status0".to_vec());
        let mut trailers = HeaderMap::new();
        let status = HeaderValue::from_maybe_shared(read.slice(11..)).expect("a value");
        trailers.insert(HeaderName::from_static("grpc-status"), status);
        proxy.upstream_response_trailer_filter(&mut session, &mut trailers, &mut Context::new()).expect("passed on");
        assert!(read.is_unique());
        assert_eq!(trailers["grpc-status"], "0");
    }

    #[test]
    fn values_that_are_kept_keep_nothing_of_what_was_read_with_them() {
        let read = Bytes::from(b"HTTP/1.1 200 OK\r\nserver: one\r\nvia: \r\n\r\n".to_vec());
        let mut headers = HeaderMap::new();
        for (name, at) in [(header::SERVER, 25..28), (header::VIA, 34..34)] {
            headers.insert(name, HeaderValue::from_maybe_shared(read.slice(at)).expect("a value"));
        }
        let mut secret = HeaderValue::from_maybe_shared(read.slice(9..12)).expect("a value");
        secret.set_sensitive(true);
        headers.append(header::SERVER, secret);
        let before = headers.clone();
        assert!(!read.is_unique());
        own(&mut headers);
        assert_eq!(headers, before);
        assert_eq!(headers.values().map(HeaderValue::is_sensitive).collect::<Vec<_>>(), [false, true, false]);
        drop(before);
        assert!(read.is_unique());
    }
}
