//! Header fields on their way to the backend.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue, header, uri::PathAndQuery};
use k8s::model::Filter;
use pingora_core::{Error, ErrorType, OrErr, Result};
use pingora_http::RequestHeader;
use pingora_proxy::Session;

use super::{
    super::context::{Context, Routed},
    X_REQUEST_ID, edit, nominated, remove_all, remove_nominated, take_request,
};
use crate::{dataplane::Edge, framing::Client};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
/// In bytes: of most requests as they go to backends.
const HEAD: usize = 1 << 10;

/// Runs once for each try, each time on a fresh copy of the client's request.
pub(in crate::proxy) fn to_upstream(session: &Session, head: &mut RequestHeader, context: &Context) -> Result<()> {
    let asked = session.req_header();
    let (said, routed, target) = for_backend(asked, context)?;
    let mut parts = take_request(head)?;
    say(&said, routed.filters(), &mut parts.headers)?;
    // pingora has taken it out, but for WebSocket.
    if let Some(protocols) = &context.upgrade {
        parts.headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        parts.headers.insert(header::UPGRADE, protocols.clone());
    }
    if let Some(target) = target {
        parts.uri = target.into();
    }
    *head = parts.into();
    Ok(())
}

/// The whole head of a request without a body, in HTTP/1.1.
pub(in crate::proxy) fn to_http1(asked: &RequestHeader, context: &Context) -> Result<Vec<u8>> {
    let (said, routed, target) = for_backend(asked, context)?;
    let target = target.as_ref().or_else(|| asked.uri.path_and_query()).map_or("/", PathAndQuery::as_str);
    let is_edited = routed.filters().any(|filter| matches!(filter, Filter::RequestHeaders(_)));
    if is_edited || nominated(&asked.headers).next().is_some() {
        edited(asked, &said, routed.filters(), target)
    } else {
        Ok(unedited(asked, &said, target))
    }
}

/// What most requests come to, without a map in between.
fn unedited(asked: &RequestHeader, said: &Said<'_>, target: &str) -> Vec<u8> {
    let mut head = begin_http1(asked, said.host.unwrap_or_default(), target);
    for (name, value) in &asked.headers {
        match name.as_str() {
            "content-length" => push_field(&mut head, name, b"0"),
            name if is_of_connection(name) || is_said(name) => {}
            _ => push_field(&mut head, name, value.as_bytes()),
        }
    }
    for (name, value) in said.fields() {
        push_field(&mut head, &name, value);
    }
    head.extend_from_slice(b"\r\n");
    head
}

/// The same with whatever the rule's filters ask for.
fn edited<'f>(
    asked: &RequestHeader,
    said: &Said<'_>,
    filters: impl Iterator<Item = &'f Filter>,
    target: &str,
) -> Result<Vec<u8>> {
    let mut headers = asked.headers.clone();
    // Connection names nothing that is not for the connection alone: `framing` has seen to it.
    remove_nominated(&mut headers);
    remove_all(&mut headers, |name| is_of_connection(name) || is_said(name));
    say(said, filters, &mut headers)?;
    // Whatever the rule sets: the backend would wait for a body, and take the next request for it.
    headers.remove(header::TRANSFER_ENCODING);
    headers.remove(header::CONTENT_LENGTH);
    if asked.headers.contains_key(header::CONTENT_LENGTH) {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
    let host = headers.remove(header::HOST);
    let mut head = begin_http1(asked, host.as_ref().map(HeaderValue::as_bytes).unwrap_or_default(), target);
    for (name, value) in &headers {
        push_field(&mut head, name, value.as_bytes());
    }
    head.extend_from_slice(b"\r\n");
    Ok(head)
}

/// Host is first, as RFC 9110 section 7.2 has it, and there once. Some small servers know it by this spelling alone.
fn begin_http1(asked: &RequestHeader, host: &[u8], target: &str) -> Vec<u8> {
    let mut head = Vec::with_capacity(HEAD);
    for piece in [asked.method.as_str(), " ", target, " HTTP/1.1\r\nHost: "] {
        head.extend_from_slice(piece.as_bytes());
    }
    head.extend_from_slice(host);
    head.extend_from_slice(b"\r\n");
    head
}

fn push_field(head: &mut Vec<u8>, name: &HeaderName, value: &[u8]) {
    let name = name.as_str().as_bytes();
    for piece in [name, b": ", value, b"\r\n"] {
        head.extend_from_slice(piece);
    }
}

/// What the router itself says to a backend of a request.
struct Said<'a> {
    /// What the client has asked for.
    asked_host: Option<&'a [u8]>,
    /// What the backend is asked for.
    host: Option<&'a [u8]>,
    address: Text,
    scheme: &'static str,
    port: Text,
    request_id: &'a HeaderValue,
}

impl Said<'_> {
    /// Without Host.
    fn fields(&self) -> impl Iterator<Item = (HeaderName, &[u8])> {
        let fields = [
            (X_REAL_IP, self.address.as_bytes()),
            (X_FORWARDED_FOR, self.address.as_bytes()),
            (X_FORWARDED_PROTO, self.scheme.as_bytes()),
            (X_FORWARDED_PORT, self.port.as_bytes()),
            (X_REQUEST_ID, self.request_id.as_bytes()),
        ];
        fields.into_iter().chain(self.asked_host.map(|host| (X_FORWARDED_HOST, host)))
    }
}

/// Whether the router says it, whoever else does.
fn is_said(name: &str) -> bool {
    matches!(
        name,
        "host"
            | "x-forwarded-for"
            | "x-forwarded-host"
            | "x-forwarded-port"
            | "x-forwarded-proto"
            | "x-real-ip"
            | "x-request-id"
    )
}

/// What the router says of the client, and what the backend is asked for, where that is not what the client has asked
/// for.
fn for_backend<'a>(
    asked: &'a RequestHeader,
    context: &'a Context,
) -> Result<(Said<'a>, &'a Routed, Option<PathAndQuery>)> {
    let forward = context.routed.as_ref().and_then(|routed| Some((routed, routed.forward.as_ref()?)));
    let (Some((routed, forward)), Some(client), Some(edge)) = (forward, &context.client, &context.edge) else {
        return Err(Error::explain(ErrorType::InternalError, "a request without a route on its way to a backend"));
    };
    let asked_host = asked.headers.get(header::HOST).map(HeaderValue::as_bytes);
    let asked_host = asked_host.or_else(|| Some(asked.uri.authority()?.as_str().as_bytes()));
    let rewritten = forward.target.host.as_deref();
    rewritten.map(HeaderValue::from_str).transpose().or_err(ErrorType::InternalError, "a rewritten host is no host")?;
    let said = Said {
        asked_host,
        host: rewritten.map(str::as_bytes).or(asked_host),
        address: Text::new().address(client.address),
        scheme: if client.is_https { "https" } else { "http" },
        port: Text::new().number(client_port(edge, client)),
        request_id: &context.request_id,
    };
    let target = forward.target.path.as_deref().map(str::parse).transpose();
    Ok((said, routed, target.or_err(ErrorType::InternalError, "a rewritten path is no target")?))
}

/// Says it, and does what the rule's filters ask for.
fn say<'f>(said: &Said<'_>, filters: impl Iterator<Item = &'f Filter>, headers: &mut HeaderMap) -> Result<()> {
    let value = |value| HeaderValue::from_bytes(value).or_err(ErrorType::InternalError, "what is said is no value");
    for (name, said) in said.fields() {
        headers.insert(name, value(said)?);
    }
    // As it is, which HPACK puts into no table.
    headers.insert(X_REQUEST_ID, said.request_id.clone());
    let host = said.host.map(value).transpose()?;
    if let Some(host) = &host {
        headers.insert(header::HOST, host.clone());
    }
    for filter in filters {
        if let Filter::RequestHeaders(edits) = filter {
            edit(headers, edits)?;
        }
    }
    // No request is without it (RFC 9112 section 3.2).
    if let Some(host) = host {
        headers.entry(header::HOST).or_insert(host);
    }
    Ok(())
}

/// A short text without memory of its own.
struct Text {
    bytes: [u8; "ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255".len()],
    length: usize,
}

impl Text {
    fn new() -> Self {
        Self { bytes: [0; _], length: 0 }
    }

    fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    fn number(mut self, number: u16) -> Self {
        for unit in [10_000, 1_000, 100, 10, 1] {
            if number >= unit || unit == 1 {
                self.push((number / unit % 10) as u8 + b'0');
            }
        }
        self
    }

    fn push(&mut self, byte: u8) {
        if let Some(place) = self.bytes.get_mut(self.length) {
            *place = byte;
            self.length += 1;
        }
    }

    /// As `Display` has it, which for IPv4, as most are, takes ten times as long.
    fn address(mut self, address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => {
                let [first, rest @ ..] = address.octets();
                rest.into_iter().fold(self.number(first.into()), |mut text, octet| {
                    text.push(b'.');
                    text.number(octet.into())
                })
            }
            IpAddr::V6(address) => {
                address.to_string().bytes().for_each(|byte| self.push(byte));
                self
            }
        }
    }
}

/// The port that belongs to the scheme: who speaks for a client by another scheme came in by a port of its own.
fn client_port(edge: &Edge, client: &Client) -> u16 {
    match (client.is_https, edge.is_tls) {
        (true, false) => 443,
        (false, true) => 80,
        (true, true) | (false, false) => edge.port,
    }
}

/// Whether it speaks of the client's connection and not of the request (RFC 9110 section 7.6.1).
fn is_of_connection(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "http2-settings"
            | "keep-alive"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "proxy-connection"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn an_address_and_a_port_are_written_as_display_has_them() {
        let is_the_same = |text: Text, displayed: String| assert_eq!(text.as_bytes(), displayed.as_bytes());
        for octet in 0..=255 {
            for address in [[octet, 0, 10, 99], [100, 1, octet, 255]] {
                is_the_same(Text::new().address(address.into()), IpAddr::from(address).to_string());
            }
        }
        for address in ["2001:db8::1", "1234:5678:9abc:def0:1234:5678:9abc:def0"] {
            is_the_same(Text::new().address(address.parse().expect("an address")), address.to_owned());
        }
        for port in [0, 1, 9, 10, 80, 443, 999, 1_000, 8_443, 10_000, u16::MAX] {
            is_the_same(Text::new().number(port), port.to_string());
        }
    }

    #[test]
    fn what_no_filter_edits_is_written_as_if_one_had() {
        let id = HeaderValue::from_static("0123456789abcdef");
        for (fields, asked_host, host) in [
            (&[("host", "a.home.example"), ("accept", "*/*")][..], Some("a.home.example"), Some("a.home.example")),
            (&[("Host", "a:8080"), ("accept", "a"), ("ACCEPT", "b"), ("x-b", "")], Some("a:8080"), Some("b")),
            (&[("connection", "keep-alive, close"), ("keep-alive", "1"), ("te", "trailers")], Some("a"), Some("a")),
            (&[("content-length", "00"), ("x-real-ip", "1.1.1.1"), ("x-forwarded-proto", "gopher")], Some("a"), None),
            (
                &[("upgrade", "h2c"), ("http2-settings", "x"), ("proxy-connection", "close"), ("trailer", "x")],
                None,
                None,
            ),
            (&[("proxy-authorization", "x"), ("proxy-authenticate", "x"), ("authorization", "x")], None, Some("a")),
        ] {
            let mut asked = RequestHeader::build("GET", b"/a?b", None).expect("a request");
            for (name, value) in fields {
                asked.append_header((*name).to_owned(), *value).expect("a field");
            }
            let said = Said {
                asked_host: asked_host.map(str::as_bytes),
                host: host.map(str::as_bytes),
                address: Text::new().address([127, 0, 0, 1].into()),
                scheme: "https",
                port: Text::new().number(443),
                request_id: &id,
            };
            let lines = |head: Vec<u8>| {
                let text = String::from_utf8(head).expect("it is text");
                assert!(text.starts_with("GET /c HTTP/1.1\r\nHost: ") && text.ends_with("\r\n\r\n"), "{text}");
                let lines: Vec<String> = text.split("\r\n").map(str::to_owned).collect();
                (lines.len(), BTreeSet::from_iter(lines))
            };
            let edited = edited(&asked, &said, [].iter(), "/c").expect("a head");
            assert_eq!(lines(unedited(&asked, &said, "/c")), lines(edited));
        }
    }
}
