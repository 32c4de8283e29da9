//! HTTP/2 by the frame (RFC 9113 section 4), for what no client library would send.

pub const DATA: u8 = 0x0;
pub const HEADERS: u8 = 0x1;
pub const PRIORITY: u8 = 0x2;
pub const RST_STREAM: u8 = 0x3;
pub const SETTINGS: u8 = 0x4;
pub const PING: u8 = 0x6;
pub const GOAWAY: u8 = 0x7;
pub const WINDOW_UPDATE: u8 = 0x8;
pub const CONTINUATION: u8 = 0x9;

pub const END_STREAM: u8 = 0x1;
pub const ACK: u8 = 0x1;
pub const END_HEADERS: u8 = 0x4;

/// SETTINGS_INITIAL_WINDOW_SIZE.
pub const INITIAL_WINDOW: u16 = 0x4;

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// # Panics
/// When the payload is longer than a frame can be.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A request for `path` of app.home.example, with fields of its own.
pub fn request(flags: u8, stream: u32, method: &str, path: &str, fields: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, flags, stream, &head(method, path, fields))
}

/// HPACK without its tables of what was said before (RFC 7541 section 6.2.2).
pub fn head(method: &str, path: &str, fields: &[(&str, &str)]) -> Vec<u8> {
    // `:scheme: http` is the static table's sixth; the other three are named by a place in it.
    let pseudo = [(0x02, method), (0x04, path), (0x01, "app.home.example")];
    let pseudo = pseudo.iter().flat_map(|(place, value)| [vec![*place], text(value)].concat());
    let fields = fields.iter().flat_map(|(name, value)| [vec![0], text(name), text(value)].concat());
    [0x86].into_iter().chain(pseudo).chain(fields).collect()
}

/// A string without Huffman coding, its length a number of seven bits and more (RFC 7541 sections 5.1 and 5.2).
pub fn text(value: &str) -> Vec<u8> {
    let mut coded = Vec::new();
    match value.len() {
        short @ 0..127 => coded.push(short as u8),
        long => {
            coded.push(127);
            let mut rest = long - 127;
            while rest >= 128 {
                coded.push((rest % 128) as u8 | 128);
                rest /= 128;
            }
            coded.push(rest as u8);
        }
    }
    coded.extend_from_slice(value.as_bytes());
    coded
}
