//! What is asked: random hosts and routes, each request as HTTP/1.1 and as HTTP/2 spell it.

use benches::{
    random::Random,
    routes::{PATHS, host},
};

pub(crate) const N_HOSTS: usize = 1_000;
/// More than a processor's caches foresee, and few enough to make in no time.
const N_REQUESTS: usize = 20_000;

/// What every request says besides where it goes.
const FIELDS: [(&str, &str); 3] =
    [("user-agent", "Mozilla/5.0 (X11; Linux x86_64)"), ("accept", "*/*"), ("accept-language", "en")];
/// The next entry that an HTTP/2 peer adds to its table of fields (RFC 7541 section 2.3.3).
const FIRST_DYNAMIC: u8 = 62;

#[derive(Debug)]
pub(crate) struct Request {
    /// The rule that should answer: its place in [`PREFIXES`](benches::routes::PREFIXES).
    pub(crate) route: usize,
    pub(crate) http1: Vec<u8>,
    /// The header block, less what [`http2_fields`] gives.
    pub(crate) http2: Vec<u8>,
}

pub(crate) fn requests() -> Vec<Request> {
    let mut random = Random::new(5);
    (0..N_REQUESTS).map(|_| request(&host(random.below(N_HOSTS)), random.below(PATHS.len()))).collect()
}

fn request(host: &str, route: usize) -> Request {
    let path = PATHS[route];
    let fields: String = FIELDS.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    // GET and https are in the static table; authority and path are there without a value.
    let mut http2 = vec![0x82, 0x87, 0x01];
    push_text(&mut http2, host);
    http2.push(0x04);
    push_text(&mut http2, path);
    Request { route, http1: format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n{fields}\r\n").into_bytes(), http2 }
}

/// The end of a header block: as browsers do, the fields are spelled the first time, and are numbers from then on.
pub(crate) fn http2_fields(is_first: bool) -> Vec<u8> {
    let mut block = Vec::new();
    for (number, (name, value)) in (0..).zip(FIELDS) {
        if is_first {
            block.push(0x40);
            push_text(&mut block, name);
            push_text(&mut block, value);
        } else {
            // The last one that was added is the first of the table.
            block.push(0x80 | (FIRST_DYNAMIC + FIELDS.len() as u8 - 1 - number));
        }
    }
    block
}

/// Without Huffman's code.
fn push_text(block: &mut Vec<u8>, text: &str) {
    block.push(u8::try_from(text.len()).ok().filter(|length| *length < 127).expect("a short text"));
    block.extend_from_slice(text.as_bytes());
}
