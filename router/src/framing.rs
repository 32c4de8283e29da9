//! Checks on a request before anything else is done with it, and the one form of its host and path. Pure.
//!
//! What two parsers could read differently is refused, never repaired: the backend parses it again.

mod forwarded;
mod path;

use std::borrow::Cow;

use http::{HeaderMap, Method, Version, header};

pub use self::{
    forwarded::{Client, client, is_asserted},
    path::normalise as path,
};

/// Why a request is refused with 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRequest {
    #[error("the request has Content-Length more than once, or one that is no number")]
    ContentLength,
    #[error("the path has a control character, a space, a backslash or a character beyond ASCII")]
    PathCharacter,
    #[error("the path has a dot segment")]
    PathDotSegment,
    #[error(
        "the path has a percent sign that does not begin a percent-encoding, or an encoded NUL, control character or backslash"
    )]
    PathEncoding,
    #[error("the request target does not begin with /")]
    Target,
    #[error("the request has a Transfer-Encoding other than chunked, or beside Content-Length")]
    TransferEncoding,
    #[error("the Host is missing or is no host name")]
    Host,
}

/// Framing fields of a parsed head (RFC 9112 section 6).
pub fn check(version: Version, method: &Method, headers: &HeaderMap) -> Result<(), BadRequest> {
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    let length = lengths.next();
    let is_number = |value: &header::HeaderValue| !value.is_empty() && value.as_bytes().iter().all(u8::is_ascii_digit);
    if lengths.next().is_some() || length.is_some_and(|length| !is_number(length)) {
        return Err(BadRequest::ContentLength);
    }
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    if let Some(coding) = codings.next() {
        let is_chunked = coding.as_bytes().eq_ignore_ascii_case(b"chunked") && codings.next().is_none();
        if !is_chunked || length.is_some() || version != Version::HTTP_11 || *method == Method::TRACE {
            return Err(BadRequest::TransferEncoding);
        }
    }
    Ok(())
}

/// Host or `:authority` as the route table wants it: lower case, no port, no trailing dot. Copies only what is not so already.
pub fn host(text: &str) -> Result<Cow<'_, str>, BadRequest> {
    let name = match text.strip_prefix('[') {
        // An IPv6 literal keeps its brackets; no hostname equals it.
        Some(rest) => {
            let end = rest.find(']').ok_or(BadRequest::Host)?;
            let is_address = rest.get(..end).is_some_and(|address| address.parse::<std::net::Ipv6Addr>().is_ok());
            let port = rest.get(end + 1..).unwrap_or_default();
            let is_port =
                port.is_empty() || (port.starts_with(':') && port.bytes().skip(1).all(|byte| byte.is_ascii_digit()));
            if !is_address || !is_port {
                return Err(BadRequest::Host);
            }
            return Ok(Cow::Borrowed(text.get(..end + 2).unwrap_or_default()));
        }
        None => text,
    };
    let name = match name.split_once(':') {
        Some((name, port)) if port.len() <= 5 && port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        Some(_) => return Err(BadRequest::Host),
        None => name,
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    // RFC 1035 section 2.3.4; what is longer would only be looked up for nothing, label by label.
    if name.is_empty() || name.len() > 253 || !name.bytes().all(is_legal) {
        return Err(BadRequest::Host);
    }
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Ok(Cow::Owned(name.to_ascii_lowercase()));
    }
    Ok(Cow::Borrowed(name))
}

#[cfg(test)]
mod tests;
