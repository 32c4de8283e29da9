//! What a change of routes costs: snapshot to model, model to table.

use benches::{
    objects::{configuration, snapshot},
    routes,
};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use k8s::translate::translate;

criterion_group!(benches, compile, translation);
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
