//! HTTP/2 that costs its sender next to nothing (RFC 9113 section 10.5).

use crate::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, PING, PRIORITY, RST_STREAM, SETTINGS, WINDOW_UPDATE, frame, request,
};

/// After so many frames nobody is served any more. What each kind takes is counted in router/src/framing/h2.rs.
const FRAMES: u32 = 500;
const WHOLE: u8 = END_HEADERS | END_STREAM;

/// Each as one connection's bytes, of so many frames or less.
pub fn floods() -> Vec<(&'static str, Vec<u8>)> {
    let pairs = |of: &dyn Fn(u32) -> Vec<u8>| streams().take(FRAMES as usize / 2).flat_map(of).collect::<Vec<u8>>();
    let same = |frame: Vec<u8>| frame.repeat(FRAMES as usize);
    let open = |stream| request(END_HEADERS, stream, "POST", "/count", &[]);
    let unfinished = request(END_STREAM, 1, "GET", "/", &[]);
    let continued = |length: usize| {
        // Fields of which none is ever complete would be refused as what they are.
        let field = [&[0, 1, b'x', 100][..], &[b'y'; 100]].concat();
        let payload: Vec<u8> = field.iter().copied().cycle().take(length / 104 * 104).collect();
        [unfinished.clone(), frame(CONTINUATION, 0, 1, &payload).repeat(40)].concat()
    };
    vec![
        (
            "rapid reset (CVE-2023-44487)",
            pairs(&|stream| {
                [request(WHOLE, stream, "GET", "/", &[]), frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())].concat()
            }),
        ),
        (
            "a reset by a window update of nothing (CVE-2025-8671)",
            pairs(&|stream| [open(stream), frame(WINDOW_UPDATE, 0, stream, &[0; 4])].concat()),
        ),
        (
            "a reset by data after the end (CVE-2025-8671)",
            pairs(&|stream| [request(WHOLE, stream, "GET", "/slow/60000", &[]), frame(DATA, 0, stream, b"x")].concat()),
        ),
        (
            "a reset by a window too large (CVE-2025-8671)",
            pairs(&|stream| [open(stream), frame(WINDOW_UPDATE, 0, stream, &i32::MAX.to_be_bytes())].concat()),
        ),
        (
            "a reset by a body that is too short (CVE-2025-8671)",
            pairs(&|stream| {
                let open = request(END_HEADERS, stream, "POST", "/count", &[("content-length", "5")]);
                [open, frame(DATA, END_STREAM, stream, b"x")].concat()
            }),
        ),
        ("continuations of 0.9 KB (CVE-2024-27316)", continued(900)),
        ("empty continuations", continued(0)),
        ("pings (CVE-2019-9512)", same(frame(PING, 0, 0, &[0; 8]))),
        ("settings (CVE-2019-9515)", same(frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 255, 255]))),
        ("empty data (CVE-2019-9518)", [open(1), same(frame(DATA, 0, 1, &[]))].concat()),
        ("priorities (CVE-2019-9513)", same(frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 7]))),
        ("window updates of the connection", same(frame(WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes()))),
        ("window updates of a stream", [open(1), same(frame(WINDOW_UPDATE, 0, 1, &1_u32.to_be_bytes()))].concat()),
        ("frames of a kind that nobody knows", same(frame(0xbe, 0, 0, b"?"))),
    ]
}

/// The streams of a client.
fn streams() -> impl Iterator<Item = u32> {
    (1..).step_by(2)
}
