//! The head of an HTTP/1 request, read by the letter (RFC 9112 sections 2 to 6).
//!
//! Nothing is repaired. What is refused here and allowed by the RFCs (an obsolete fold, a bare LF, a length
//! twice) is what servers are known to read in different ways, and nobody sends by mistake.

use http::Method;

use super::{Refusal, folds_to, host, upgrade};

/// Everything before the body.
pub const HEAD_BYTES: usize = 64 << 10;
pub const TARGET_BYTES: usize = 8 << 10;
pub const FIELDS: usize = 100;
/// A request line besides its target: method, spaces, version.
const REQUEST_LINE_REST: usize = 64;

/// What of a head decides how the bytes after it are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head<'a> {
    pub method: &'a str,
    pub target: &'a str,
    /// In the order they came in, values without the white space around them.
    pub fields: Fields<'a>,
    pub is_http_10: bool,
    pub body: Body,
    /// Whether the connection may become something else than HTTP after it (RFC 9110 section 7.8).
    pub is_upgrade: bool,
}

/// How a request's body ends (RFC 9112 section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    None,
    Length(u64),
    Chunked,
}

/// The field lines of a checked head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    pub fn iter(self) -> impl Iterator<Item = (&'a str, &'a [u8])> {
        self.0.split(|byte| *byte == b'\n').filter_map(|line| {
            let (name, value) = field(line.strip_suffix(b"\r")?).ok()?;
            Some((std::str::from_utf8(name).ok()?, value))
        })
    }
}

/// Where the head at the beginning of `bytes` ends; None where it goes on. `scanned` is where the last look
/// ended, so that a head that comes byte by byte is looked at once.
pub(super) fn end(bytes: &[u8], scanned: &mut usize) -> Result<Option<usize>, Refusal> {
    let skipped = blank_line(bytes);
    let is_in_request_line = |at: usize| !bytes.get(skipped..at).unwrap_or_default().contains(&b'\n');
    let mut at = (*scanned).max(skipped);
    while let Some(found) = memchr::memchr(b'\n', bytes.get(at..).unwrap_or_default()) {
        let line_feed = at + found;
        if line_feed == 0 || bytes.get(line_feed - 1) != Some(&b'\r') {
            return Err(Refusal::BareLineFeed);
        }
        at = line_feed + 1;
        let line = bytes.get(..line_feed - 1).unwrap_or_default();
        if line.ends_with(b"\n") || line.len() == skipped {
            return if at > HEAD_BYTES { Err(Refusal::HeadTooLarge) } else { Ok(Some(at)) };
        }
    }
    *scanned = bytes.len();
    let request_line = TARGET_BYTES + REQUEST_LINE_REST;
    if bytes.len() > request_line && is_in_request_line(request_line) {
        return Err(Refusal::TargetTooLong);
    }
    if bytes.len() > HEAD_BYTES { Err(Refusal::HeadTooLarge) } else { Ok(None) }
}

/// Some clients end a body with a line break too many; RFC 9112 section 2.2 has us pass over it.
fn blank_line(bytes: &[u8]) -> usize {
    if bytes.starts_with(b"\r\n") { 2 } else { 0 }
}

impl<'a> Head<'a> {
    /// `bytes` is a head up to and with its empty line.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Refusal> {
        let bytes = bytes.get(blank_line(bytes)..).unwrap_or_default();
        let end = memchr::memchr(b'\n', bytes).ok_or(Refusal::RequestLine)?;
        let (line, fields) = bytes.split_at_checked(end + 1).ok_or(Refusal::RequestLine)?;
        let (method, target, is_http_10) = request_line(line.strip_suffix(b"\r\n").ok_or(Refusal::BareLineFeed)?)?;

        let mut seen = Seen::default();
        let mut rest = fields;
        loop {
            let end = memchr::memchr(b'\n', rest).ok_or(Refusal::FieldLine)?;
            let line = rest.get(..end).unwrap_or_default().strip_suffix(b"\r").ok_or(Refusal::BareLineFeed)?;
            rest = rest.get(end + 1..).unwrap_or_default();
            if line.is_empty() {
                break;
            }
            let (name, value) = field(line)?;
            seen.field(name, value)?;
        }
        let body = seen.body(method, is_http_10)?;
        let authority = seen.host.ok_or(Refusal::Host)?;
        host(authority)?;
        check_target(target, authority)?;
        Ok(Self {
            method,
            target,
            fields: Fields(fields),
            is_http_10,
            body,
            is_upgrade: seen.is_upgrade.unwrap_or(false) && seen.has_upgrade_option && !is_http_10,
        })
    }
}

/// What the fields before this one have said.
#[derive(Default)]
struct Seen<'a> {
    count: usize,
    host: Option<&'a str>,
    length: Option<u64>,
    is_chunked: bool,
    is_upgrade: Option<bool>,
    has_upgrade_option: bool,
}

impl<'a> Seen<'a> {
    fn field(&mut self, name: &[u8], value: &'a [u8]) -> Result<(), Refusal> {
        self.count += 1;
        if self.count > FIELDS {
            return Err(Refusal::TooManyFields);
        }
        // By length first: most names are none of these.
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => self.host(value),
            6 if name.eq_ignore_ascii_case(b"expect") && !value.eq_ignore_ascii_case(b"100-continue") => {
                Err(Refusal::Expectation)
            }
            7 if name.eq_ignore_ascii_case(b"upgrade") => {
                let is_tunnel = std::str::from_utf8(value).is_ok_and(upgrade::is_tunnel);
                self.is_upgrade = Some(self.is_upgrade.unwrap_or(true) && is_tunnel);
                Ok(())
            }
            10 if name.eq_ignore_ascii_case(b"connection") => self.connection(value),
            14 if folds_to(name, b"content_length") => self.length(name, value),
            17 if folds_to(name, b"transfer_encoding") => self.coding(name, value),
            _ => Ok(()),
        }
    }

    fn host(&mut self, value: &'a [u8]) -> Result<(), Refusal> {
        let value = std::str::from_utf8(value).map_err(|_| Refusal::Host)?;
        if self.host.replace(value).is_some() { Err(Refusal::Host) } else { Ok(()) }
    }

    fn connection(&mut self, value: &[u8]) -> Result<(), Refusal> {
        for option in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            if NOT_PER_HOP.iter().any(|name| option.eq_ignore_ascii_case(name)) {
                return Err(Refusal::Connection);
            }
            self.has_upgrade_option |= option.eq_ignore_ascii_case(b"upgrade");
        }
        Ok(())
    }

    fn length(&mut self, name: &[u8], value: &[u8]) -> Result<(), Refusal> {
        let is_again = self.length.replace(number(value)?).is_some();
        let is_itself = name.eq_ignore_ascii_case(b"content-length");
        if is_again || !is_itself { Err(Refusal::ContentLength) } else { Ok(()) }
    }

    fn coding(&mut self, name: &[u8], value: &[u8]) -> Result<(), Refusal> {
        let is_again = std::mem::replace(&mut self.is_chunked, true);
        let is_chunked = value.eq_ignore_ascii_case(b"chunked");
        let is_itself = name.eq_ignore_ascii_case(b"transfer-encoding");
        if is_again || !is_itself || !is_chunked { Err(Refusal::TransferEncoding) } else { Ok(()) }
    }

    fn body(&self, method: &str, is_http_10: bool) -> Result<Body, Refusal> {
        match (self.is_chunked, self.length) {
            (true, Some(_)) => Err(Refusal::TransferEncoding),
            (true, None) if is_http_10 => Err(Refusal::TransferEncoding),
            (true, None) => Ok(Body::Chunked),
            (false, Some(0)) => Ok(Body::None),
            (false, Some(length)) => Ok(Body::Length(length)),
            // There the end of the connection used to end a body (RFC 1945 section 7.2.2).
            (false, None) if is_http_10 && matches!(method, "POST" | "PUT" | "PATCH") => Err(Refusal::LengthRequired),
            (false, None) => Ok(Body::None),
        }
    }
}

/// What would change how the message is read, or where it goes, if it were dropped on the way.
const NOT_PER_HOP: &[&[u8]] = &[b"content-length", b"transfer-encoding", b"host"];

fn request_line(line: &[u8]) -> Result<(&str, &str, bool), Refusal> {
    let line = std::str::from_utf8(line).map_err(|_| Refusal::PathCharacter)?;
    let word = |rest: &str| memchr::memchr(b' ', rest.as_bytes()).ok_or(Refusal::RequestLine);
    let (method, rest) = line.split_at_checked(word(line)?).unwrap_or_default();
    let rest = rest.get(1..).unwrap_or_default();
    let (target, version) = rest.split_at_checked(word(rest)?).unwrap_or_default();
    let version = version.get(1..).unwrap_or_default();
    let is_http_10 = match version {
        "HTTP/1.1" => false,
        "HTTP/1.0" => true,
        _ if version.starts_with("HTTP/") && version.len() == 8 && !version.contains(' ') => {
            return Err(Refusal::Version);
        }
        _ => return Err(Refusal::RequestLine),
    };
    // Methods are case-sensitive, which not every server knows.
    let is_method = !method.is_empty() && method.bytes().all(|byte| is_token(byte) && !byte.is_ascii_lowercase());
    if !is_method {
        return Err(Refusal::RequestLine);
    }
    if method == Method::CONNECT || method == Method::TRACE {
        return Err(Refusal::Method);
    }
    if target.len() > TARGET_BYTES {
        return Err(Refusal::TargetTooLong);
    }
    let path_end = memchr::memchr(b'?', target.as_bytes()).unwrap_or(target.len());
    let (path, query) = target.split_at_checked(path_end).unwrap_or_default();
    if !all(path.as_bytes(), is_in_path) || !all(query.as_bytes(), is_in_query) {
        return Err(Refusal::PathCharacter);
    }
    Ok((method, target, is_http_10))
}

/// Origin form, or absolute form that says what Host says (RFC 9112 section 3.2).
fn check_target(target: &str, host: &str) -> Result<(), Refusal> {
    if target.starts_with('/') {
        return Ok(());
    }
    let scheme_end = target.find("://").ok_or(Refusal::Target)?;
    let scheme = target.get(..scheme_end).unwrap_or_default();
    let rest = target.get(scheme_end + 3..).unwrap_or_default();
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let is_http = scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https");
    if !is_http || !authority.eq_ignore_ascii_case(host) {
        return Err(Refusal::Target);
    }
    Ok(())
}

/// A field line without its line break (RFC 9112 section 5).
fn field(line: &[u8]) -> Result<(&[u8], &[u8]), Refusal> {
    let colon = memchr::memchr(b':', line).ok_or(Refusal::FieldLine)?;
    let (name, value) = (line.get(..colon).unwrap_or_default(), line.get(colon + 1..).unwrap_or_default());
    // A line that begins with white space would be a fold of the one before it.
    if name.is_empty() || !name.iter().all(|byte| is_token(*byte)) {
        return Err(Refusal::FieldLine);
    }
    if !all(value, is_in_value) {
        return Err(Refusal::FieldLine);
    }
    Ok((name, value.trim_ascii()))
}

/// Digits only, and no more than fit.
fn number(value: &[u8]) -> Result<u64, Refusal> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(Refusal::ContentLength);
    }
    let text = std::str::from_utf8(value).map_err(|_| Refusal::ContentLength)?;
    text.parse().map_err(|_| Refusal::ContentLength)
}

/// A name that some servers take for one that says where the body ends, and others do not.
pub(super) fn check_alias(name: &[u8]) -> Result<(), Refusal> {
    match name.len() {
        14 if folds_to(name, b"content_length") && name != b"content-length" => Err(Refusal::ContentLength),
        17 if folds_to(name, b"transfer_encoding") && name != b"transfer-encoding" => Err(Refusal::TransferEncoding),
        _ => Ok(()),
    }
}

/// Of what is hardly ever wrong, many bytes are looked at as fast as the first one.
fn all(bytes: &[u8], is_right: impl Fn(u8) -> bool) -> bool {
    bytes.iter().fold(true, |all, byte| all & is_right(*byte))
}

/// RFC 9110 section 5.6.2.
pub(super) fn is_token(byte: u8) -> bool {
    TOKEN.get(usize::from(byte)).is_some_and(|it| *it)
}

static TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = matches!(
            byte as u8,
            b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+'
                | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
        );
        byte += 1;
    }
    table
};

/// What RFC 3986 allows in a path, and of the rest what servers take as it is. `http::Uri` takes no more than that.
fn is_in_path(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'#' | b'\\' | b'<' | b'>' | b'`')
}

fn is_in_query(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'#' | b'\\' | b'<' | b'>' | b'"')
}

/// RFC 9110 section 5.5, with the obsolete text beyond ASCII that servers do send.
pub(super) fn is_in_value(byte: u8) -> bool {
    byte >= b' ' && byte != 0x7f || byte == b'\t'
}
