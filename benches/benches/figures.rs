//! The figures that matter, each against its peer in the same run, as a table: what `benches/run` prints.

#![allow(clippy::print_stdout, reason = "printing is what it is for")]

use std::{
    alloc::System,
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use benches::{
    names::{self, KINDS, Questions},
    objects::{configuration, snapshot},
    rounds::{Contender, Timing, compare},
    routes::{self, Peer},
};
use gateway::{view::Views, zone::Zones};
use k8s::translate::translate;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const ROUNDS: usize = 31;
/// Of what is rebuilt, which takes longer.
const FEW_ROUNDS: usize = 5;

fn main() {
    finding_against_the_peer();
    finding_what_the_peer_cannot();
    finding_while_tables_change();
    looking_up();
    answering();
    answering_while_zones_change();
    rebuilding();
}

fn finding_against_the_peer() {
    heading(
        "RouteTable::find, hosts x 3 routes, against a map of hosts to matchit routers",
        "of the peer",
        "allocations",
    );
    for n_hosts in [1_000, 10_000, 100_000] {
        let table = routes::compile(&routes::three_prefixes(n_hosts));
        let peer = Peer::three_prefixes(n_hosts);
        let requests = routes::requests(n_hosts);
        assert_eq!(requests.ask(&table), requests.len(), "every request has a route");
        assert_eq!(requests.ask_peer(&peer), requests.len(), "every request has a route");
        rows(&[
            Row::new(format!("{n_hosts} hosts, peer"), requests.len(), || requests.ask_peer(&peer)),
            Row::new(format!("{n_hosts} hosts"), requests.len(), || requests.ask(&table)),
        ]);
    }
}

fn finding_what_the_peer_cannot() {
    heading("RouteTable::find at 10000 hosts, against plain prefixes", "of plain", "allocations");
    let n_hosts = 10_000;
    let plain = (routes::three_prefixes(n_hosts), routes::requests(n_hosts));
    let unknown = (plain.0.clone(), routes::unknown_hosts(n_hosts));
    let cases: [(&str, _); 5] = [
        ("plain prefixes", plain),
        ("unknown host", unknown),
        ("wildcard two labels above", routes::wildcards(n_hosts)),
        ("method, headers, query", routes::predicates(n_hosts)),
        ("300 deep paths (100 hosts)", routes::deep_paths(100)),
    ];
    let cases = cases.map(|(name, (listener, requests))| (name, routes::compile(&listener), requests));
    rows(&cases.each_ref().map(|(name, table, requests)| Row::new(*name, requests.len(), || requests.ask(table))));
}

fn looking_up() {
    heading("Zones::lookup, against a name that is served", "of served", "allocations");
    for n_names in [1_000, 10_000, 100_000] {
        naming(n_names, Questions::look_up);
    }
}

fn answering() {
    heading("A query's bytes to the response's, by wire::answer", "of served", "allocations");
    for n_names in [1_000, 10_000] {
        naming(n_names, Questions::answer);
    }
    heading("The same by reference::respond", "of served", "allocations");
    naming(1_000, Questions::answer_by_reference);
}

/// Each time with zones built anew.
fn answering_while_zones_change() {
    println!("\nwire::answer at 1000 names, while the zones are replaced 100 times a second");
    let (config, claims, questions) = (configuration(), names::claims(1_000, routes::host), KINDS[0].1(1_000));
    let shared = ArcSwap::from_pointee(Views::build(claims.clone(), &config, 1));
    let change = |_| shared.store(Arc::new(Views::build(claims.clone(), &config, 1)));
    while_it_changes("zones", &|| questions.answer_shared(&shared), change, Duration::from_millis(10));
}

/// One of two, as building one takes longer than it stays.
fn finding_while_tables_change() {
    println!("\nRouteTable::find at 1000 hosts x 3 routes, while the table is replaced 1000 times a second");
    let requests = routes::requests(1_000);
    let tables = [(); 2].map(|()| Arc::new(routes::compile(&routes::three_prefixes(1_000))));
    let shared = ArcSwap::new(Arc::clone(&tables[0]));
    let change = |number: usize| shared.store(Arc::clone(&tables[number % 2]));
    while_it_changes("tables", &|| requests.ask_shared(&shared), change, Duration::from_millis(1));
}

/// `ask` gives the nanoseconds of each of many requests, sorted; the clock is read for each of them.
fn while_it_changes(what: &str, ask: &dyn Fn() -> Vec<u64>, change: impl Fn(usize) + Sync, every: Duration) {
    println!("{:<40} {:>9} {:>9}", "", "median ns", "p99 ns");
    let is_done = AtomicBool::new(false);
    let rounds = || (0..50).map(|_| ask()).collect::<Vec<_>>();
    let at = |rounds: &[Vec<u64>], share: f64| {
        let mut each: Vec<u64> = rounds.iter().map(|took| took[(took.len() as f64 * share) as usize]).collect();
        each.sort_unstable();
        each[each.len() / 2]
    };
    let still = rounds();
    let changing = std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0.. {
                if is_done.load(Ordering::Relaxed) {
                    break;
                }
                change(number);
                std::thread::sleep(every);
            }
        });
        let changing = rounds();
        is_done.store(true, Ordering::Relaxed);
        changing
    });
    for (how, rounds) in [("stay", &still), ("change", &changing)] {
        println!("{:<40} {:>9} {:>9}", format!("{what} that {how}"), at(rounds, 0.5), at(rounds, 0.99));
    }
    println!("{:<40} {:>9} {:>8.2}x", "ratio", "", at(&changing, 0.99) as f64 / at(&still, 0.99) as f64);
}

fn naming(n_names: usize, ask: fn(&Questions) -> usize) {
    let cases = KINDS.map(|(kind, questions)| (kind, questions(n_names)));
    rows(
        &cases
            .each_ref()
            .map(|(kind, questions)| Row::new(format!("{n_names} names, {kind}"), questions.len(), || ask(questions))),
    );
}

fn rebuilding() {
    heading("Rebuilding all at once, for each host or Ingress", "of the smallest", "in all");
    let listeners = [1_000, 10_000, 100_000].map(|n_hosts| (n_hosts, routes::three_prefixes(n_hosts)));
    rebuild("model to RouteTable, hosts:", &listeners, routes::compile);

    let config = configuration();
    let claims = [1_000, 10_000, 100_000].map(|n_names| (n_names, names::claims(n_names, routes::host)));
    rebuild("claims to Zones, names:", &claims, |claims| Zones::build(claims, &config, None, 1));

    let snapshots = [1_000, 10_000].map(|n_ingresses| (n_ingresses, snapshot(n_ingresses)));
    for (_, snapshot) in &snapshots {
        let translation = translate(snapshot, &config);
        assert!(translation.problems.is_empty(), "{:?}", translation.problems.first());
        assert_eq!(translation.model.backends.len(), snapshot.services.len(), "every Ingress has its backend");
    }
    rebuild("snapshot to model, Ingresses:", &snapshots, |snapshot| translate(snapshot, &config));
}

/// One line for each size, the first one being what the ratios are to.
fn rebuild<I, T: 'static>(what: &str, inputs: &[(usize, I)], build: impl Fn(&I) -> T) {
    let build = &build;
    let mut contenders: Vec<_> =
        inputs.iter().map(|(size, input)| Contender::new(*size, move || build(input))).collect();
    for ((size, _), timing) in inputs.iter().zip(compare(FEW_ROUNDS, &mut contenders)) {
        let milliseconds = timing.nanoseconds * *size as f64 / 1e6;
        line(&format!("{what} {size}"), &timing, &format!("{milliseconds:.1} ms"));
    }
}

/// What is asked in one line, and how often.
struct Row<'a> {
    name: String,
    count: usize,
    ask: Box<dyn Fn() -> usize + 'a>,
}

impl<'a> Row<'a> {
    fn new(name: impl Into<String>, count: usize, ask: impl Fn() -> usize + 'a) -> Self {
        Self { name: name.into(), count, ask: Box::new(ask) }
    }
}

/// One line for each, the first one being what the ratios are to.
fn rows(rows: &[Row<'_>]) {
    let mut contenders: Vec<_> = rows.iter().map(|row| Contender::new(row.count, &row.ask)).collect();
    for (row, timing) in rows.iter().zip(compare(ROUNDS, &mut contenders)) {
        let region = Region::new(ALLOCATOR);
        black_box((row.ask)());
        let allocations = region.change().allocations as f64 / row.count as f64;
        line(&row.name, &timing, &format!("{allocations:.2}"));
    }
}

fn heading(title: &str, ratio: &str, last: &str) {
    println!("\n{title}");
    println!("{:<40} {:>9} {ratio:>16} {:>7} {last:>12}", "", "ns", "noise");
}

fn line(name: &str, timing: &Timing, last: &str) {
    let Timing { nanoseconds, noise, ratio } = timing;
    println!("{name:<40} {nanoseconds:>9.1} {ratio:>16.2} {:>6.0}% {last:>12}", noise * 100.0);
}
