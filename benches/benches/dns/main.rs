//! `gateway` beside other DNS servers, and alone for a long time: what `benches/dns` runs.

#![allow(clippy::print_stdout, reason = "printing is what it is for")]

mod load;
mod peers;
mod plain_hickory;
mod zone;

use std::time::Duration;

use benches::{
    program,
    rounds::{figure, median, microseconds},
    usage,
};

use crate::{
    load::{Client, Outcome, Pace},
    peers::{Kind, Peer, Place},
    zone::Query,
};

/// The servers take turns, so that what disturbs the machine disturbs all of them alike.
const ROUNDS: usize = 21;
const BUSY: (usize, Pace) = (50_000, Pace::Window(96));
/// Far less than any of them can take.
const CALM: (usize, Pace) = (2_500, Pace::Every(Duration::from_micros(100)));
const MEBIBYTE: f64 = (1 << 20) as f64;

fn main() {
    // cargo says `--bench`.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|it| it != "--bench").collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["peers", gateway, coredns, given @ ..] => compare(gateway, coredns, given),
        ["plain-hickory", address] => plain_hickory::serve(address.parse().expect("an address")),
        ["soak", gateway, millions] => soak(gateway, millions.parse().expect("a number of millions")),
        _ => panic!("run benches/dns"),
    }
}

/// What one round says of a server, for one query unless it says otherwise.
struct Round {
    queries_per_second: f64,
    processor: f64,
    /// In all.
    user: Duration,
    busy: Outcome,
    calm: Outcome,
}

fn compare(gateway: &str, coredns: &str, given: &[&str]) {
    program::pin_the_load();
    let directory = tempfile::tempdir().expect("a place for temporary files");
    let place = Place { directory: directory.path(), gateway, coredns };
    let queries = zone::queries();
    let mut peers: Vec<Peer> = Kind::ALL.iter().map(|kind| kind.start(&place, &queries)).collect();
    peers.extend(given.iter().map(|text| Peer::given(text, &queries).expect("NAME=ADDRESS:PORT,PID")));

    let mut rounds: Vec<Vec<Round>> = peers.iter().map(|_| Vec::new()).collect();
    for number in 0..=ROUNDS {
        for turn in 0..peers.len() {
            let index = (turn + number) % peers.len();
            let round = round(&peers[index], &queries);
            // The first one is for warming up.
            if number > 0 {
                rounds[index].push(round);
            }
        }
    }

    println!(
        "1000 names over UDP, one core for the server, one for the load; the median of {ROUNDS} rounds of {} queries,\n\
         96 at a time, and of {} at 10000 a second for the latency\n",
        BUSY.0, CALM.0
    );
    println!(
        "{:<22} {:>9} {:>11} {:>6} {:>8} {:>8} {:>7} {:>7} {:>6} {:>6}",
        "", "queries/s", "CPU, us", "user", "of Knot", "RSS, MB", "p50, us", "p99, us", "lost", "wrong"
    );
    let knot = index_of(Kind::Knot);
    for (peer, its) in peers.iter().zip(&rounds) {
        let median = |of: fn(&Round) -> f64| median(its.iter().map(of));
        println!(
            "{:<22} {:>9.0} {:>11.2} {:>6.2} {:>8.2} {:>8.1} {:>7.0} {:>7.0} {:>6} {:>6}",
            peer.name,
            median(|round| round.queries_per_second),
            median(|round| round.processor),
            user(its),
            ratio(its, &rounds[knot]),
            usage::resident(&peer.family) as f64 / MEBIBYTE,
            median(|round| microseconds(round.calm.latency(0.5))),
            median(|round| microseconds(round.calm.latency(0.99))),
            its.iter().map(|round| round.busy.lost + round.calm.lost).sum::<usize>(),
            its.iter().map(|round| round.busy.wrong + round.calm.wrong).sum::<usize>(),
        );
    }

    println!();
    let own = index_of(Kind::Gateway);
    for (kind, goal) in
        [(Kind::Knot, Some(1.0)), (Kind::PlainHickory, Some(0.75)), (Kind::Nsd, None), (Kind::CoreDns, None)]
    {
        let ratio = ratio(&rounds[own], &rounds[index_of(kind)]);
        println!("{}", figure(&format!("CPU per query against {}", kind.name()), ratio, "x", goal));
    }
    let resident = usage::resident(&peers[own].family) as f64 / MEBIBYTE;
    println!("{}", figure("RSS with 1000 names", resident, "MB", Some(15.0)));
    let failed = |round: &Round| round.busy.lost + round.busy.wrong + round.calm.lost + round.calm.wrong;
    assert_eq!(rounds[own].iter().map(failed).sum::<usize>(), 0, "gateway answers every query, and rightly");
}

fn round(peer: &Peer, queries: &[Query]) -> Round {
    let mut client = Client::new(peer.address, queries);
    let mut ask = |(count, pace)| client.ask(count, pace).unwrap_or_else(|error| panic!("{}: {error}", peer.name));
    let before = usage::processor(&peer.family);
    let busy = ask(BUSY);
    let after = usage::processor(&peer.family);
    let calm = ask(CALM);
    Round {
        queries_per_second: busy.answered as f64 / busy.took.as_secs_f64(),
        processor: microseconds(after.total - before.total) / busy.answered as f64,
        user: after.user - before.user,
        busy,
        calm,
    }
}

/// For one query. The ticks of one round are too few to tell.
fn user(rounds: &[Round]) -> f64 {
    let time = rounds.iter().map(|round| round.user).sum();
    microseconds(time) / rounds.iter().map(|round| round.busy.answered).sum::<usize>() as f64
}

/// Of the processor's time; each round against the other's of the same number.
fn ratio(these: &[Round], those: &[Round]) -> f64 {
    median(these.iter().zip(those).map(|(this, that)| this.processor / that.processor))
}

/// Asks `gateway` alone, and fails when that makes it grow.
fn soak(gateway: &str, millions: usize) {
    /// What an allocator may keep by chance.
    const SLACK: f64 = 1.0;
    assert!(millions > 1, "growth shows from the second million on");
    program::pin_the_load();
    let directory = tempfile::tempdir().expect("a place for temporary files");
    let queries = zone::queries();
    let place = Place { directory: directory.path(), gateway, coredns: "" };
    let peer = Kind::Gateway.start(&place, &queries);
    let mut client = Client::new(peer.address, &queries);
    let resident = || usage::resident(&peer.family) as f64 / MEBIBYTE;
    println!(
        "{:<10} {:>8} {:>8} {:>6} {:>6}\n{:<10} {:>8.1}",
        "queries",
        "RSS, MB",
        "CPU, us",
        "lost",
        "wrong",
        0,
        resident()
    );
    let (mut sizes, mut n_failed) = (Vec::new(), 0);
    for million in 1..=millions {
        let before = usage::processor(&peer.family);
        let outcome = client.ask(1_000_000, BUSY.1).expect("gateway answers");
        let after = usage::processor(&peer.family);
        sizes.push(resident());
        n_failed += outcome.lost + outcome.wrong;
        let processor = microseconds(after.total - before.total) / outcome.answered as f64;
        println!(
            "{:<10} {:>8.1} {processor:>8.2} {:>6} {:>6}",
            million * 1_000_000,
            resident(),
            outcome.lost,
            outcome.wrong
        );
    }
    println!();
    // What is taken for a while and given back is no growth.
    let least = |sizes: &[f64]| sizes.iter().copied().fold(f64::INFINITY, f64::min);
    let (early, late) = sizes.split_at(millions / 2);
    let growth = least(late) - least(early);
    println!("{}", figure("growth of the least RSS, second half against the first", growth, "MB", Some(SLACK)));
    assert!(growth <= SLACK, "memory grows");
    assert_eq!(n_failed, 0, "gateway answers every query, and rightly");
}

fn index_of(kind: Kind) -> usize {
    Kind::ALL.iter().position(|it| *it == kind).expect("all are there")
}
