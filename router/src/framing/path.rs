//! The one form of a path: what is matched, authorised and forwarded are the same bytes.

use std::borrow::Cow;

use super::Refusal;

/// Decodes percent-encoded unreserved characters (RFC 3986 section 6.2.2.2) and refuses what backends
/// are known to read in different ways. An encoded slash stays encoded and is no separator; empty
/// segments stay. Copies only where something was encoded needlessly.
pub fn normalise(path: &str) -> Result<Cow<'_, str>, Refusal> {
    let bytes = path.as_bytes();
    if bytes.first() != Some(&b'/') {
        return Err(Refusal::Target);
    }
    let mut decoded: Option<String> = None;
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let mut taken = 1;
        let mut plain = byte;
        match byte {
            b'%' => {
                let code = bytes.get(at + 1..at + 3).and_then(|hex| std::str::from_utf8(hex).ok());
                let code = code.filter(|hex| hex.bytes().all(|digit| digit.is_ascii_hexdigit()));
                let code = code.and_then(|hex| u8::from_str_radix(hex, 16).ok()).ok_or(Refusal::PathEncoding)?;
                if code < b' ' || code == 0x7f || code == b'\\' {
                    return Err(Refusal::PathEncoding);
                }
                if is_unreserved(code) {
                    decoded.get_or_insert_with(|| path.get(..at).unwrap_or_default().to_owned());
                    plain = code;
                    taken = 3;
                }
            }
            b'\\' | b'#' | 0..=b' ' | 0x7f.. => return Err(Refusal::PathCharacter),
            _ => {}
        }
        if let Some(decoded) = &mut decoded {
            decoded.push(plain as char);
        }
        at += taken;
    }
    let normal = decoded.map_or(Cow::Borrowed(path), Cow::Owned);
    // A parameter (`/..;a`) hides a dot segment from some readers and not from others.
    let is_dots = |segment: &str| matches!(segment.split(';').next(), Some("." | ".."));
    // Each segment begins behind a slash.
    if normal.as_bytes().windows(2).any(|pair| pair == b"/.") && normal.split('/').any(is_dots) {
        return Err(Refusal::PathDotSegment);
    }
    Ok(normal)
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}
