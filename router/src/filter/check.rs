//! The same by Envoy's protocol: what `envoy.service.auth.v3.Authorization/Check` is called with, and what follows from
//! what it returns.

pub mod message;

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Version, header};
use prost::Message;

use self::message::{
    Address, AttributeContext, CheckRequest, CheckResponse, DeniedHttpResponse, HeaderValueOption, HttpRequest,
    HttpResponse, OkHttpResponse, Peer, SocketAddress,
};
use super::auth::{HOP_BY_HOP, is_of_message};
use crate::framing::read_alike;

const PATH: &str = "/envoy.service.auth.v3.Authorization/Check";
/// Of a message of gRPC: whether it is compressed, and its length in 32 bits.
const PREFIX: usize = 5;

/// What is told of a client's request.
pub struct Asked<'a> {
    pub id: &'a str,
    pub client: IpAddr,
    pub is_https: bool,
    pub method: &'a str,
    /// Path and query as the client has written them.
    pub target: &'a str,
    pub host: &'a str,
    pub version: Version,
    pub headers: &'a HeaderMap,
    pub body: Bytes,
}

/// What became of the call.
#[derive(Debug)]
pub enum Verdict {
    Admitted(Edits),
    /// With what the client is to get.
    Refused(Response<Bytes>),
}

/// A header, and whether it comes beside what is there, and not in its place.
pub type Put = (HeaderName, HeaderValue, bool);

/// What is to be done with the headers of the request, and later of the backend's answer.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Edits {
    pub put: Vec<Put>,
    /// After that.
    pub remove: Vec<HeaderName>,
    pub answer: Vec<Put>,
}

/// A call of the Service's at `authority`, with the headers that are listed; all of them where none is.
pub fn call(authority: &str, listed: &[Arc<str>], asked: Asked<'_>) -> Request<Bytes> {
    let message = CheckRequest { attributes: Some(attributes(listed, asked)) }.encode_to_vec();
    let mut framed = BytesMut::with_capacity(PREFIX + message.len());
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    framed.extend_from_slice(&message);
    let mut call = Request::new(framed.freeze());
    *call.method_mut() = http::Method::POST;
    *call.uri_mut() = http::Uri::from_static(PATH);
    let headers = call.headers_mut();
    headers.extend(HeaderValue::try_from(authority).ok().map(|authority| (header::HOST, authority)));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(header::TE, HeaderValue::from_static("trailers"));
    call
}

fn attributes(listed: &[Arc<str>], asked: Asked<'_>) -> AttributeContext {
    let Asked { id, client, is_https, method, target, host, version, headers, body } = asked;
    let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    let is_told = |name: &&HeaderName| listed.is_empty() || listed.iter().any(|listed| **listed == *name.as_str());
    // Fields of one name are one (RFC 9110 section 5.3); there is no other text in protobuf than UTF-8.
    let joined = |name: &HeaderName| {
        let values: Vec<_> =
            headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
        (name.as_str().to_owned(), values.join(", "))
    };
    let headers: HashMap<String, String> = headers.keys().filter(is_told).map(joined).collect();
    let (body, raw_body) = match String::from_utf8(body.into()) {
        Ok(text) => (text, Bytes::new()),
        Err(error) => (String::new(), error.into_bytes().into()),
    };
    let http = HttpRequest {
        id: id.to_owned(),
        method: method.to_owned(),
        headers,
        path: target.to_owned(),
        host: host.to_owned(),
        scheme: if is_https { "https" } else { "http" }.to_owned(),
        size: length.unwrap_or(-1),
        protocol: protocol(version).to_owned(),
        body,
        raw_body,
    };
    let address = SocketAddress { address: client.to_string(), port_value: Some(0) };
    AttributeContext {
        source: Some(Peer { address: Some(Address { socket_address: Some(address) }) }),
        request: Some(message::Request { http: Some(http) }),
    }
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2",
        _ => "HTTP/1.1",
    }
}

/// None where the call has failed, has returned what is no message, or what cannot be done: that is no consent.
/// `trailers` are those of the answer, where it has any.
pub fn verdict(answer: &Response<Bytes>, trailers: Option<&HeaderMap>) -> Option<Verdict> {
    let of_call = trailers.and_then(|trailers| trailers.get("grpc-status"));
    let of_call = of_call.or_else(|| answer.headers().get("grpc-status"));
    if answer.status() != StatusCode::OK || of_call.is_none_or(|status| status.as_bytes() != b"0") {
        return None;
    }
    let (prefix, message) = answer.body().split_at_checked(PREFIX)?;
    let (is_compressed, length) = prefix.split_first()?;
    let length = u32::from_be_bytes(length.try_into().ok()?);
    if *is_compressed != 0 || usize::try_from(length).ok() != Some(message.len()) {
        return None;
    }
    let CheckResponse { status, http_response } = CheckResponse::decode(message).ok()?;
    let is_consent = status.is_none_or(|status| status.code == 0);
    match (is_consent, http_response) {
        (true, None) => Some(Verdict::Admitted(Edits::default())),
        (true, Some(HttpResponse::Ok(ok))) => edits(ok).map(Verdict::Admitted),
        (true, Some(HttpResponse::Denied(_))) => None,
        (false, Some(HttpResponse::Denied(denied))) => refused(denied).map(Verdict::Refused),
        (false, _) => refused(DeniedHttpResponse::default()).map(Verdict::Refused),
    }
}

/// None where one of them cannot be done: without it the backend would take the client's own word.
fn edits(ok: OkHttpResponse) -> Option<Edits> {
    if !ok.query_parameters_to_set.is_empty() || !ok.query_parameters_to_remove.is_empty() {
        return None;
    }
    let is_host = |name: &str| matches!(name.to_ascii_lowercase().as_str(), "host" | ":authority");
    let put = ok.headers.into_iter().map(parsed).collect::<Option<Vec<_>>>()?;
    // Nobody may change the host, or remove what every request has.
    let put = put.into_iter().filter(|(name, ..)| !is_host(name));
    let put = put.map(|(name, value, beside)| Some((HeaderName::try_from(name).ok()?, value, beside)));
    let removed = ok.headers_to_remove.into_iter().filter(|name| !is_host(name) && !name.starts_with(':'));
    let remove = removed.map(|name| HeaderName::try_from(name).ok()).collect::<Option<Vec<_>>>()?;
    let answer = for_client(ok.response_headers_to_add);
    let mut edits = Edits { put: put.collect::<Option<Vec<_>>>()?, remove, answer };
    edits.put.retain(|(name, ..)| !is_of_message(name));
    edits.remove.retain(|name| !is_of_message(name));
    Some(edits)
}

fn parsed(option: HeaderValueOption) -> Option<(String, HeaderValue, bool)> {
    let header = option.header?;
    let value = if header.raw_value.is_empty() { Bytes::from(header.value) } else { header.raw_value };
    Some((header.key, HeaderValue::from_maybe_shared(value).ok()?, option.append.unwrap_or(false)))
}

/// 403 where it does not say.
fn refused(denied: DeniedHttpResponse) -> Option<Response<Bytes>> {
    let code =
        denied.status.and_then(|status| u16::try_from(status.code).ok()).filter(|code| (200..600).contains(code));
    let mut answer = Response::new(Bytes::from(denied.body));
    *answer.status_mut() = StatusCode::from_u16(code.unwrap_or(403)).ok()?;
    put(&for_client(denied.headers), answer.headers_mut());
    Some(answer)
}

/// A client gets what it can get. How long the body is, and how it is sent, is the router's to say.
fn for_client(options: Vec<HeaderValueOption>) -> Vec<Put> {
    let one = |option| {
        let (name, value, is_beside) = parsed(option)?;
        Some((HeaderName::try_from(name).ok().filter(|name| !HOP_BY_HOP.contains(name))?, value, is_beside))
    };
    options.into_iter().filter_map(one).collect()
}

/// Does with the request what was said. The client has no word beside it, by no name that the backend may take for the
/// same.
pub fn admit(edits: &Edits, headers: &mut HeaderMap) {
    let told = || edits.put.iter().map(|(name, _, _)| name);
    let is_alike = |name: &&HeaderName| told().any(|it| it != *name && read_alike(it.as_str(), name.as_str()));
    let own: Vec<HeaderName> = headers.keys().filter(is_alike).cloned().collect();
    for name in own {
        headers.remove(name);
    }
    put(&edits.put, headers);
    for name in &edits.remove {
        headers.remove(name);
    }
}

pub fn put(all: &[Put], headers: &mut HeaderMap) {
    for (name, value, is_beside) in all {
        if *is_beside {
            headers.append(name, value.clone());
        } else {
            headers.insert(name, value.clone());
        }
    }
}

#[cfg(test)]
mod tests;
