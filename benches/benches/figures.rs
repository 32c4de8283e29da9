//! The figures that matter, each against its peer in the same run, as a table: what `benches/run` prints.

#![allow(clippy::print_stdout, reason = "printing is what it is for")]

use std::alloc::System;

use benches::{
    objects::{configuration, snapshot},
    requests::Requests,
    rounds::{Contender, Timing, compare},
    routes::{self, Peer},
};
use k8s::{model::Model, snapshot::Snapshot, translate::translate};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const ROUNDS: usize = 31;

fn main() {
    finding_against_the_peer();
    finding_what_the_peer_cannot();
    naming();
    rebuilding();
}

fn finding_against_the_peer() {
    heading("RouteTable::find, hosts x 3 routes, against a map of hosts to matchit routers", "ns", "of the peer");
    for n_hosts in [1_000, 10_000, 100_000] {
        let table = routes::compile(&routes::three_prefixes(n_hosts));
        let peer = Peer::three_prefixes(n_hosts);
        let requests = routes::requests(n_hosts);
        assert_eq!(requests.ask(&table), requests.len(), "every request has a route");
        assert_eq!(requests.ask_peer(&peer), requests.len(), "every request has a route");
        let timings = compare(
            ROUNDS,
            &mut [
                Contender::new("peer", requests.len(), || requests.ask_peer(&peer)),
                Contender::new("find", requests.len(), || requests.ask(&table)),
            ],
        );
        print(&format!("{n_hosts} hosts, peer"), &timings[0], allocations(&requests, |it| it.ask_peer(&peer)));
        print(&format!("{n_hosts} hosts"), &timings[1], allocations(&requests, |it| it.ask(&table)));
    }
}

fn finding_what_the_peer_cannot() {
    heading("RouteTable::find at 10000 hosts, against plain prefixes", "ns", "of plain");
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
    let mut contenders: Vec<_> = cases
        .iter()
        .map(|(name, table, requests)| Contender::new(name, requests.len(), || requests.ask(table)))
        .collect();
    let timings = compare(ROUNDS, &mut contenders);
    for ((name, table, requests), timing) in cases.iter().zip(&timings) {
        print(name, timing, allocations(requests, |it| it.ask(table)));
    }
}

fn naming() {
    heading("Zones::lookup, against the time at 1000 names", "ns", "of 1000");
    let zones = [1_000, 10_000, 100_000].map(benches::names::zones);
    let mut contenders: Vec<_> =
        zones.iter().map(|(zones, names)| Contender::new("lookup", names.len(), || names.look_up(zones))).collect();
    let timings = compare(ROUNDS, &mut contenders);
    for ((zones, names), timing) in zones.iter().zip(&timings) {
        let region = Region::new(ALLOCATOR);
        names.look_up(zones);
        let allocations = region.change().allocations as f64 / names.len() as f64;
        print(&format!("{} names", names.n_served), timing, allocations);
    }
}

fn rebuilding() {
    heading("Rebuilding all at once, for each host", "ns", "of the smallest");
    let listeners = [1_000, 10_000, 100_000].map(|n_hosts| (n_hosts, routes::three_prefixes(n_hosts)));
    let mut contenders: Vec<_> = listeners
        .iter()
        .map(|(n_hosts, listener)| {
            Contender::new("compile", *n_hosts, || std::hint::black_box(routes::compile(listener)).values().len())
        })
        .collect();
    for ((n_hosts, _), timing) in listeners.iter().zip(compare(5, &mut contenders)) {
        print_rebuild(&format!("model to RouteTable, {n_hosts} hosts"), &timing, *n_hosts);
    }

    let config = configuration();
    let snapshots = [1_000, 10_000].map(|n_ingresses| (n_ingresses, snapshot(n_ingresses)));
    let model = |snapshot: &Snapshot| -> Model {
        let translation = translate(snapshot, &config);
        assert!(translation.problems.is_empty(), "{:?}", translation.problems.first());
        assert_eq!(translation.model.backends.len(), snapshot.services.len(), "every Ingress has its backend");
        translation.model
    };
    let mut contenders: Vec<_> = snapshots
        .iter()
        .map(|(n_ingresses, snapshot)| {
            Contender::new("translate", *n_ingresses, || std::hint::black_box(model(snapshot)).backends.len())
        })
        .collect();
    for ((n_ingresses, _), timing) in snapshots.iter().zip(compare(5, &mut contenders)) {
        print_rebuild(&format!("snapshot to model, {n_ingresses} Ingresses"), &timing, *n_ingresses);
    }
}

fn heading(title: &str, unit: &str, ratio: &str) {
    println!("\n{title}");
    println!("{:<40} {unit:>9} {ratio:>16} {:>7} {:>12}", "", "noise", "allocations");
}

fn print(name: &str, timing: &Timing, allocations: f64) {
    let Timing { nanoseconds, noise, ratio, .. } = timing;
    println!("{name:<40} {nanoseconds:>9.1} {ratio:>16.2} {:>6.0}% {allocations:>12.2}", noise * 100.0);
}

fn print_rebuild(name: &str, timing: &Timing, count: usize) {
    let Timing { nanoseconds, noise, ratio, .. } = timing;
    let milliseconds = nanoseconds * count as f64 / 1e6;
    println!("{name:<40} {nanoseconds:>9.0} {ratio:>16.2} {:>6.0}% {milliseconds:>8.1} ms in all", noise * 100.0);
}

/// For each request.
fn allocations(requests: &Requests, ask: impl Fn(&Requests) -> usize) -> f64 {
    let region = Region::new(ALLOCATOR);
    std::hint::black_box(ask(requests));
    region.change().allocations as f64 / requests.len() as f64
}
