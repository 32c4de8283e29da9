//! Checks on a request before anything else is done with it, and the one form of its host and path. Pure.
//!
//! What two parsers could read differently is refused, never repaired: the backend parses it again.

pub mod answer;
pub mod chunked;
mod forwarded;
pub mod h1;
pub mod h2;
pub mod head;
mod path;
pub mod upgrade;

use std::borrow::Cow;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Version, header, request, uri::PathAndQuery};

pub use self::{
    forwarded::{Client, client, is_asserted},
    path::normalise as path,
};

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("a line ends with a line feed alone")]
    BareLineFeed,
    #[error("the chunked body is not well formed")]
    Chunk,
    #[error("Connection names a field that is not for the connection alone")]
    Connection,
    #[error("the request has Content-Length more than once, or one that is no number")]
    ContentLength,
    #[error("the only expectation that is known is 100-continue")]
    Expectation,
    #[error("a header line has no valid name, a control character, or is folded")]
    FieldLine,
    #[error("the request line and header fields are more than 64 KiB")]
    HeadTooLarge,
    #[error("the request line and header fields did not come in time")]
    HeadTooSlow,
    #[error("the Host is missing, there more than once, or is no host name")]
    Host,
    #[error("a request of HTTP/1.0 with a body needs Content-Length")]
    LengthRequired,
    #[error("the methods CONNECT and TRACE are not served")]
    Method,
    #[error("the path or the query has a character that is to be percent-encoded, or a backslash")]
    PathCharacter,
    #[error("the path has a dot segment")]
    PathDotSegment,
    #[error(
        "the path has a percent sign that does not begin a percent-encoding, or an encoded NUL, control character or backslash"
    )]
    PathEncoding,
    #[error("the request line is not METHOD TARGET HTTP/1.1, or the method is not in upper case")]
    RequestLine,
    #[error("the request target neither begins with / nor names the Host's own URL")]
    Target,
    #[error("the request target is longer than 8 KiB")]
    TargetTooLong,
    #[error("the request has more than 100 header fields")]
    TooManyFields,
    #[error("the request has a Transfer-Encoding other than chunked, or beside Content-Length")]
    TransferEncoding,
    #[error("a request to change the protocol has a body")]
    Upgrade,
    #[error("only HTTP/1.0, HTTP/1.1 and HTTP/2 are served")]
    Version,
}

impl Refusal {
    pub fn status(self) -> u16 {
        match self {
            Self::Method => 405,
            Self::HeadTooSlow => 408,
            Self::LengthRequired => 411,
            Self::TargetTooLong => 414,
            Self::Expectation => 417,
            Self::HeadTooLarge | Self::TooManyFields => 431,
            Self::Version => 505,
            _ => 400,
        }
    }
}

/// What [`head`] sees to in the bytes of HTTP/1, in a parsed head: HTTP/2 has no such bytes, and may be passed on as
/// HTTP/1 (RFC 9113 section 10.3).
pub fn check(head: &request::Parts) -> Result<(), Refusal> {
    let request::Parts { method, uri, version, headers, .. } = head;
    if *method == Method::TRACE || *method == Method::CONNECT {
        return Err(Refusal::Method);
    }
    if method.as_str().bytes().any(|byte| byte.is_ascii_lowercase()) {
        return Err(Refusal::RequestLine);
    }
    let target = uri.path_and_query().map_or("", PathAndQuery::as_str);
    if target.len() > head::TARGET_BYTES {
        return Err(Refusal::TargetTooLong);
    }
    // HTTP/2's `:path` may be a query alone, or `*` (RFC 9113 section 8.3.1).
    if !target.starts_with('/') {
        return Err(Refusal::Target);
    }
    if headers.len() > head::FIELDS {
        return Err(Refusal::TooManyFields);
    }
    let mut says_more = false;
    for name in headers.keys() {
        head::check_alias(name.as_str().as_bytes())?;
        says_more |= matches!(*name, header::EXPECT | header::CONTENT_LENGTH | header::TRANSFER_ENCODING);
    }
    if says_more { check_fields(*version, headers) } else { Ok(()) }
}

fn check_fields(version: Version, headers: &HeaderMap) -> Result<(), Refusal> {
    if headers.get_all(header::EXPECT).iter().any(|value| !value.as_bytes().eq_ignore_ascii_case(b"100-continue")) {
        return Err(Refusal::Expectation);
    }
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    let length = lengths.next();
    let is_number = |value: &HeaderValue| !value.is_empty() && value.as_bytes().iter().all(u8::is_ascii_digit);
    if lengths.next().is_some() || length.is_some_and(|length| !is_number(length)) {
        return Err(Refusal::ContentLength);
    }
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    if let Some(coding) = codings.next() {
        let is_chunked = coding.as_bytes().eq_ignore_ascii_case(b"chunked") && codings.next().is_none();
        if !is_chunked || length.is_some() || version != Version::HTTP_11 {
            return Err(Refusal::TransferEncoding);
        }
    }
    Ok(())
}

/// Whether there is such a field. Among as few as most messages have, to compare names is faster than to hash one.
pub fn has(headers: &HeaderMap, name: &HeaderName) -> bool {
    headers.keys().any(|it| it == name)
}

/// Whether a name is `folded` once every character that is no letter or digit is `_`: a CGI-style server cannot tell
/// `Content_Length` and `Content.Length` from the real one.
fn folds_to(name: &[u8], folded: &[u8]) -> bool {
    name.iter().map(fold).eq(folded.iter().copied())
}

/// Whether such a server cannot tell two names apart.
pub fn read_alike(one: &str, other: &str) -> bool {
    one.bytes().map(|byte| fold(&byte)).eq(other.bytes().map(|byte| fold(&byte)))
}

fn fold(byte: &u8) -> u8 {
    if byte.is_ascii_alphanumeric() { byte.to_ascii_lowercase() } else { b'_' }
}

/// Host or `:authority` as the route table wants it: lower case, no port, no trailing dot. Copies only what is not so already.
pub fn host(text: &str) -> Result<Cow<'_, str>, Refusal> {
    let name = match text.strip_prefix('[') {
        // An IPv6 literal keeps its brackets; no hostname equals it.
        Some(rest) => {
            let end = rest.find(']').ok_or(Refusal::Host)?;
            let is_address = rest.get(..end).is_some_and(|address| address.parse::<std::net::Ipv6Addr>().is_ok());
            let port = rest.get(end + 1..).unwrap_or_default();
            let is_port =
                port.is_empty() || (port.starts_with(':') && port.bytes().skip(1).all(|byte| byte.is_ascii_digit()));
            if !is_address || !is_port {
                return Err(Refusal::Host);
            }
            return Ok(Cow::Borrowed(text.get(..end + 2).unwrap_or_default()));
        }
        None => text,
    };
    let (name, port) =
        name.split_at_checked(memchr::memchr(b':', name.as_bytes()).unwrap_or(name.len())).unwrap_or_default();
    // With the colon.
    if port.len() > 6 || !port.bytes().skip(1).all(|byte| byte.is_ascii_digit()) {
        return Err(Refusal::Host);
    }
    let name = name.strip_suffix('.').unwrap_or(name);
    // RFC 1035 section 2.3.4; what is longer would only be looked up for nothing, label by label.
    if name.is_empty() || name.len() > 253 {
        return Err(Refusal::Host);
    }
    match name.bytes().map(letter).max() {
        Some(Letter::Lower) => Ok(Cow::Borrowed(name)),
        Some(Letter::Upper) => Ok(Cow::Owned(name.to_ascii_lowercase())),
        Some(Letter::Illegal) | None => Err(Refusal::Host),
    }
}

/// What a byte of a name makes of it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Letter {
    Lower,
    Upper,
    Illegal,
}

fn letter(byte: u8) -> Letter {
    LETTERS.get(usize::from(byte)).copied().unwrap_or(Letter::Illegal)
}

static LETTERS: [Letter; 256] = {
    let mut table = [Letter::Illegal; 256];
    let mut byte = 0;
    while byte < 256 {
        match byte as u8 {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' => table[byte] = Letter::Lower,
            b'A'..=b'Z' => table[byte] = Letter::Upper,
            _ => {}
        }
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests;
