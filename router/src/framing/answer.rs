//! The head and the body of an HTTP/1 backend's answer. Pure.
//!
//! Backends are read leniently where nobody can be hurt by it; where an answer ends must be beyond doubt, as another
//! one follows on the same connection.

use std::{mem::MaybeUninit, str};

use bytes::{Bytes, BytesMut};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Version,
    header::{self, InvalidHeaderValue},
    response,
};
use httparse::{ParserConfig, Status, parse_chunk_size};

use super::has;

/// Of one answer.
const FIELDS: usize = 256;
/// Of a line that a body is framed by.
const LINE: usize = 8 << 10;

/// Why an answer goes no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("the answer's head is not HTTP/1")]
    Head,
    #[error("the answer has several Content-Lengths, or one that is no number")]
    ContentLength,
    #[error("a chunk of the answer is not well formed")]
    Chunk,
}

/// A head, with the reason where it is not the usual one.
#[derive(Debug)]
pub struct Head {
    /// In bytes.
    pub length: usize,
    pub parts: response::Parts,
    pub reason: Option<String>,
}

/// The head that `bytes` begin with; None where they end within it. Values are pieces of `bytes`.
///
/// # Errors
/// When it is none.
pub fn head(bytes: &Bytes) -> Result<Option<Head>, Malformed> {
    let mut fields = [MaybeUninit::uninit(); FIELDS];
    let mut parsed = httparse::Response::new(&mut []);
    let mut config = ParserConfig::default();
    config.allow_spaces_after_header_name_in_responses(true).allow_obsolete_multiline_headers_in_responses(true);
    let status = config.parse_response_with_uninit_headers(&mut parsed, bytes, &mut fields);
    let Status::Complete(length) = status.map_err(|_| Malformed::Head)? else { return Ok(None) };
    let (mut parts, ()) = Response::new(()).into_parts();
    parts.status = parsed.code.and_then(|code| StatusCode::from_u16(code).ok()).ok_or(Malformed::Head)?;
    parts.version = if parsed.version == Some(0) { Version::HTTP_10 } else { Version::HTTP_11 };
    // And those that the router adds.
    parts.headers.reserve(parsed.headers.len() + 4);
    for field in &*parsed.headers {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| Malformed::Head)?;
        let value = HeaderValue::from_maybe_shared(bytes.slice_ref(field.value)).or_else(|_| unfolded(field.value));
        parts.headers.append(name, value.map_err(|_| Malformed::Head)?);
    }
    let usual = parts.status.canonical_reason();
    let reason = parsed.reason.filter(|reason| usual != Some(reason) && !reason.is_empty()).map(str::to_owned);
    Ok(Some(Head { length, parts, reason }))
}

/// A value on several lines is one on one line (RFC 9112 section 5.2).
fn unfolded(value: &[u8]) -> Result<HeaderValue, InvalidHeaderValue> {
    let space = |byte: &u8| if matches!(byte, b'\r' | b'\n') { b' ' } else { *byte };
    HeaderValue::from_bytes(&value.iter().map(space).collect::<Vec<u8>>())
}

/// Follows a body to its end (RFC 9112 section 6.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body(At);

#[derive(Clone, Debug, PartialEq, Eq)]
enum At {
    Length { left: u64 },
    Size,
    Data { left: u64 },
    DataEnd,
    Trailers,
    UntilClose,
    Done,
}

impl Body {
    /// Leaves no doubt in `headers`, which others will read as well: what is chunked has no length, and a length is said
    /// once. `method` is the request's.
    ///
    /// # Errors
    /// When it says several lengths, or one that is none.
    pub fn new(method: &Method, status: StatusCode, headers: &mut HeaderMap) -> Result<Self, Malformed> {
        let is_chunked = has(headers, &header::TRANSFER_ENCODING);
        if is_chunked {
            headers.remove(header::CONTENT_LENGTH);
        }
        let length = match content_length(headers)? {
            Some((length, is_said_once)) => {
                if !is_said_once {
                    headers.insert(header::CONTENT_LENGTH, length.into());
                }
                Some(length)
            }
            None => None,
        };
        let has_none = *method == Method::HEAD
            || status.is_informational()
            || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        Ok(Self(match length {
            _ if has_none => At::Done,
            _ if is_chunked => At::Size,
            Some(0) => At::Done,
            Some(left) => At::Length { left },
            None => At::UntilClose,
        }))
    }

    pub fn is_done(&self) -> bool {
        self.0 == At::Done
    }

    /// Whether nothing but the end of the connection ends it.
    pub fn is_until_close(&self) -> bool {
        self.0 == At::UntilClose
    }

    /// How many bytes are certainly still to come.
    pub fn left(&self) -> u64 {
        match self.0 {
            At::Length { left } | At::Data { left } => left,
            _ => 0,
        }
    }

    /// Takes the next piece of the body out of what was received. None where there is no more in it: what is left in it
    /// then is to be given again, with more behind it, or is not of this answer.
    ///
    /// # Errors
    /// When chunks are not.
    fn next(&mut self, received: &mut Bytes) -> Result<Option<Bytes>, Malformed> {
        while !received.is_empty() {
            match &mut self.0 {
                At::Done => break,
                At::UntilClose => return Ok(Some(std::mem::take(received))),
                At::Length { left } | At::Data { left } => {
                    let there = usize::try_from(*left).unwrap_or(usize::MAX).min(received.len());
                    *left -= there as u64;
                    if *left == 0 {
                        self.0 = if matches!(self.0, At::Data { .. }) { At::DataEnd } else { At::Done };
                    }
                    return Ok(Some(received.split_to(there)));
                }
                // Where no digit is, the parser reads a 0, and that would be the end.
                At::Size if !received.first().is_some_and(u8::is_ascii_hexdigit) => return Err(Malformed::Chunk),
                At::Size => match parse_chunk_size(received).map_err(|_| Malformed::Chunk)? {
                    Status::Complete((length, size)) => {
                        let _ = received.split_to(length);
                        self.0 = if size == 0 { At::Trailers } else { At::Data { left: size } };
                    }
                    Status::Partial if received.len() > LINE => return Err(Malformed::Chunk),
                    Status::Partial => break,
                },
                At::DataEnd => match received.get(..2) {
                    Some(b"\r\n") => {
                        let _ = received.split_to(2);
                        self.0 = At::Size;
                    }
                    Some(_) => return Err(Malformed::Chunk),
                    None => break,
                },
                // They are dropped: HTTP/1 clients would have to ask for them.
                At::Trailers => match memchr::memchr(b'\n', received) {
                    Some(end) => {
                        let line = received.split_to(end + 1);
                        if line == b"\r\n"[..] {
                            self.0 = At::Done;
                        }
                    }
                    None if received.len() > LINE => return Err(Malformed::Chunk),
                    None => break,
                },
            }
        }
        Ok(None)
    }

    /// The same with all pieces that are there in one. Whoever gets the last one can see that it is.
    ///
    /// # Errors
    /// When chunks are not, and nothing is before that.
    pub fn all(&mut self, received: &mut Bytes) -> Result<Option<Bytes>, Malformed> {
        let Some(first) = self.next(received)? else { return Ok(None) };
        // The end of a chunk belongs to the body, though there is nothing in it. What is wrong behind a piece is found
        // again once that has gone its way.
        let Ok(Some(second)) = self.next(received) else { return Ok(Some(first)) };
        let mut all = BytesMut::with_capacity(first.len() + second.len() + received.len());
        all.extend_from_slice(&first);
        all.extend_from_slice(&second);
        while let Ok(Some(more)) = self.next(received) {
            all.extend_from_slice(&more);
        }
        Ok(Some(all.freeze()))
    }
}

/// With whether it is said once. What is said several times must be the same each time.
fn content_length(headers: &HeaderMap) -> Result<Option<(u64, bool)>, Malformed> {
    let mut length = None;
    for value in headers.get_all(header::CONTENT_LENGTH) {
        for said in value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            let is_number = !said.is_empty() && said.iter().all(u8::is_ascii_digit);
            let number = str::from_utf8(said).ok().filter(|_| is_number).and_then(|said| said.parse().ok());
            let number = number.ok_or(Malformed::ContentLength)?;
            length = match length {
                None => Some((number, true)),
                Some((same, _)) if same == number => Some((number, false)),
                Some(_) => return Err(Malformed::ContentLength),
            };
        }
    }
    Ok(length)
}

/// Whether the connection may carry another request after this answer (RFC 9112 section 9.3).
pub fn is_kept(version: Version, headers: &HeaderMap) -> bool {
    if !has(headers, &header::CONNECTION) {
        return version != Version::HTTP_10;
    }
    let said = headers.get_all(header::CONNECTION).iter().filter_map(|value: &HeaderValue| value.to_str().ok());
    let mut options = said.flat_map(|value| value.split(',')).map(str::trim);
    if version == Version::HTTP_10 {
        let is_chunked = headers.contains_key(header::TRANSFER_ENCODING);
        return !is_chunked && options.any(|option| option.eq_ignore_ascii_case("keep-alive"));
    }
    !options.any(|option| option.eq_ignore_ascii_case("close"))
}

#[cfg(test)]
mod tests;
