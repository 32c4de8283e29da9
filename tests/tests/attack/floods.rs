//! HTTP/2 that costs its sender next to nothing (RFC 9113 section 10.5): the connection ends after some hundred
//! frames, memory stays, and the others are served.

use std::{io::Write, iter};

use tests::{
    Program,
    floods::floods,
    frames::{END_HEADERS, END_STREAM, HEADERS, frame, head, text},
    raw,
};

use crate::{Besieged, bystander::served_meanwhile, frames::Http2};

/// How often each attack is repeated, each time on a new connection.
const TIMES: usize = 20;
/// What the router grows by meanwhile at most, in KiB; twice that is allowed to an allocator that is busy with others.
const GROWTH: u64 = 8 << 10;
/// Floods and requests in a round, and rounds, of which the median counts.
const COUNTED: usize = 40;
const ROUNDS: usize = 3;
/// The requests that a flood may cost. It has five hundred frames, or a hundred requests and more, and on some machines
/// these cost twice of what they do on others.
const SOME: f64 = 32.0;

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

/// Time on a processor, and not that of a clock: whoever else is busy here takes away the one, and little of the other.
#[test]
fn a_flood_costs_the_router_what_some_requests_cost() {
    let mut besieged = Besieged::start();
    let cost = |once: &dyn Fn()| {
        let before = besieged.router.processor_time();
        (0..COUNTED).for_each(|_| once());
        (besieged.router.processor_time() - before).as_secs_f64()
    };
    let ask = || {
        let mut stream = besieged.connect(1);
        stream.write_all(b"GET / HTTP/1.1\r\nHost: app.home.example\r\nConnection: close\r\n\r\n").expect("sent");
        assert!(raw::read_all(&mut stream).starts_with("HTTP/1.1 200"));
    };
    // For warming up.
    cost(&ask);
    for (name, flood) in floods() {
        let flooded = || assert!(Http2::h2c(&besieged, &[]).end_after(&flood).is_some(), "{name}: still open");
        let mut rounds: Vec<f64> = (0..ROUNDS).map(|_| cost(&flooded) / cost(&ask)).collect();
        rounds.sort_by(f64::total_cmp);
        let median = rounds[ROUNDS / 2];
        println!("FIGURE {name}: costs {median:.1} connections with a request each");
        assert!(median < SOME, "{name}: {rounds:?}");
    }
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
