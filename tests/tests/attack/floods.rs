//! HTTP/2 that costs its sender next to nothing (RFC 9113 section 10.5): the connection ends after some hundred
//! frames, memory stays, and the others are served.

use std::iter;

use tests::Program;

use crate::{
    Besieged,
    bystander::served_meanwhile,
    frames::{
        CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, Http2, PING, PRIORITY, RST_STREAM, SETTINGS,
        WINDOW_UPDATE, frame, head, request, text,
    },
};

/// After so many frames nobody is served any more. What each kind takes is counted in router/src/framing/h2.rs.
const FRAMES: u32 = 500;
/// How often each attack is repeated, each time on a new connection.
const TIMES: usize = 20;
/// What the router grows by meanwhile at most, in KiB; twice that is allowed to an allocator that is busy with others.
const GROWTH: u64 = 8 << 10;
const WHOLE: u8 = END_HEADERS | END_STREAM;

/// The streams of a client.
fn streams() -> impl Iterator<Item = u32> {
    (1..).step_by(2)
}

/// What memory has grown by at most while `attack` ran, in KiB.
pub(crate) fn growth(router: &Program, attack: impl FnOnce()) -> u64 {
    router.forget_peak_memory();
    let before = router.memory();
    attack();
    router.peak_memory().saturating_sub(before)
}

/// Each as one connection's bytes, of so many frames or less.
fn floods() -> Vec<(&'static str, Vec<u8>)> {
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

#[test]
fn floods_are_cut_after_some_hundred_frames() {
    let mut besieged = Besieged::start();
    for (name, flood) in floods() {
        let cut = |connection: Http2| assert!(connection.end_after(&flood).is_some(), "{name}: still open");
        // Its requests may be real ones, a hundred at once, which take what requests take.
        let first = growth(&besieged.router, || cut(Http2::h2c(&besieged, &[])));
        served_meanwhile(&besieged, name, || {
            let more = growth(&besieged.router, || {
                cut(Http2::over_tls(&besieged, &[]));
                (0..TIMES).for_each(|_| cut(Http2::h2c(&besieged, &[])));
            });
            println!("FIGURE {name}: memory has grown by {first} KiB for one, and by {more} KiB for {TIMES} more");
            assert!(first < 2 * GROWTH && more < 2 * GROWTH, "{name}: {first} KiB, and {more} KiB");
        });
    }
    let counted = besieged.metric("doorward_connections_refused_total", &["http2_flood"]);
    assert!(counted > 0, "none was counted");
    besieged.assert_unharmed();
}

#[test]
fn a_head_that_is_small_on_the_wire_and_large_when_read_is_not_kept() {
    let mut besieged = Besieged::start();
    // Four thousand bytes go into the table (RFC 7541 section 6.2.1), and come out of it by one byte each.
    let value = "v".repeat(4000);
    let mut bomb = head("GET", "/", &[]);
    bomb.push(0x40);
    bomb.extend([text("x"), text(&value)].concat());
    bomb.extend(iter::repeat_n(0x80 | 62, 12_000));
    let grown = growth(&besieged.router, || {
        for _ in 0..TIMES {
            let mut connection = Http2::h2c(&besieged, &[]);
            connection.settle();
            let end = connection.end_after(&frame(HEADERS, WHOLE, 1, &bomb));
            assert!(end.is_some(), "it is read on");
        }
    });
    println!(
        "FIGURE {TIMES} heads of {} KB that would be 48 MB each: memory has grown by {grown} KiB",
        bomb.len() / 1000
    );
    assert!(grown < GROWTH, "{grown} KiB");
    besieged.assert_unharmed();
}
