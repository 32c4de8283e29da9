//! `RouteTable::find`: sizes, kinds of matches, and the peer.

use benches::{
    requests::Requests,
    routes::{self, Peer},
};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use router::table::RouteTable;

criterion_group!(benches, sizes, kinds);
criterion_main!(benches);

fn sizes(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("route_find");
    for n_hosts in [1_000, 10_000, 100_000] {
        let requests = routes::requests(n_hosts);
        group.throughput(Throughput::Elements(requests.len() as u64));
        let table = routes::compile(&routes::three_prefixes(n_hosts));
        group.bench_function(BenchmarkId::new("table", n_hosts), |bencher| bencher.iter(|| requests.ask(&table)));
        let peer = Peer::three_prefixes(n_hosts);
        group.bench_function(BenchmarkId::new("peer", n_hosts), |bencher| bencher.iter(|| requests.ask_peer(&peer)));
    }
}

fn kinds(criterion: &mut Criterion) {
    let n_hosts = 10_000;
    let mut group = criterion.benchmark_group("route_find_kinds");
    let mut kind = |name: &str, table: RouteTable<u32>, requests: &Requests| {
        group.throughput(Throughput::Elements(requests.len() as u64));
        group.bench_function(name, |bencher| bencher.iter(|| requests.ask(&table)));
    };
    let (deep, requests) = routes::deep_paths(100);
    kind("deep_paths", routes::compile(&deep), &requests);
    let (wildcards, requests) = routes::wildcards(n_hosts);
    kind("wildcard", routes::compile(&wildcards), &requests);
    let (predicates, requests) = routes::predicates(n_hosts);
    kind("predicates", routes::compile(&predicates), &requests);
    kind("miss", routes::compile(&routes::three_prefixes(n_hosts)), &routes::unknown_hosts(n_hosts));
}
