//! What a change of routes costs: snapshot to model, model to table, claims to zones.

use benches::{
    names,
    objects::{configuration, snapshot},
    routes,
};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use gateway::zone::Zones;
use k8s::translate::translate;

criterion_group!(benches, compile, zones, translation);
criterion_main!(benches);

fn compile(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("model_to_table");
    group.sample_size(10);
    for n_hosts in [1_000, 10_000, 100_000] {
        let listener = routes::three_prefixes(n_hosts);
        group.bench_function(BenchmarkId::from_parameter(n_hosts), |bencher| {
            bencher.iter_with_large_drop(|| routes::compile(&listener));
        });
    }
}

fn zones(criterion: &mut Criterion) {
    let config = configuration();
    let mut group = criterion.benchmark_group("claims_to_zones");
    group.sample_size(10);
    for n_names in [1_000, 10_000, 100_000] {
        let claims = names::claims(n_names, routes::host);
        group.bench_function(BenchmarkId::from_parameter(n_names), |bencher| {
            bencher.iter_with_large_drop(|| Zones::build(&claims, &config, None, 1));
        });
    }
}

fn translation(criterion: &mut Criterion) {
    let config = configuration();
    let mut group = criterion.benchmark_group("snapshot_to_model");
    group.sample_size(10);
    for n_ingresses in [1_000, 10_000] {
        let snapshot = snapshot(n_ingresses);
        group.bench_function(BenchmarkId::from_parameter(n_ingresses), |bencher| {
            bencher.iter_with_large_drop(|| translate(&snapshot, &config));
        });
    }
}
