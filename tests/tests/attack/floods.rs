//! HTTP/2 that costs its sender next to nothing (RFC 9113 section 10.5): the connection ends after some hundred
//! frames, memory stays, and the others are served.

use std::iter;

use tests::{
    Program,
    floods::floods,
    frames::{END_HEADERS, END_STREAM, HEADERS, frame, head, text},
};

use crate::{Besieged, bystander::served_meanwhile, frames::Http2};

/// How often each attack is repeated, each time on a new connection.
const TIMES: usize = 20;
/// What the router grows by meanwhile at most, in KiB; twice that is allowed to an allocator that is busy with others.
const GROWTH: u64 = 8 << 10;

/// What memory has grown by at most while `attack` ran, in KiB.
pub(crate) fn growth(router: &Program, attack: impl FnOnce()) -> u64 {
    router.forget_peak_memory();
    let before = router.memory();
    attack();
    router.peak_memory().saturating_sub(before)
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
    // A line for each would be a flood, too.
    assert!(!besieged.router.log().contains("h2::"), "{}", besieged.router.log());
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
            let end = connection.end_after(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &bomb));
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
