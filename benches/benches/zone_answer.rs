//! A query's answer: the lookup alone, and from the query's bytes to the response's.

use benches::names::{KINDS, Questions};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

criterion_group!(benches, lookup, answer);
criterion_main!(benches);

fn lookup(criterion: &mut Criterion) {
    sizes(criterion, "zone_lookup", &[1_000, 10_000, 100_000], Questions::look_up);
}

fn answer(criterion: &mut Criterion) {
    sizes(criterion, "wire_answer", &[1_000, 10_000], Questions::answer);
    sizes(criterion, "reference_respond", &[1_000], Questions::answer_by_reference);
}

fn sizes(criterion: &mut Criterion, name: &str, sizes: &[usize], ask: fn(&Questions) -> usize) {
    let mut group = criterion.benchmark_group(name);
    for n_names in sizes {
        for (kind, questions) in KINDS {
            let questions = questions(*n_names);
            group.throughput(Throughput::Elements(questions.len() as u64));
            group.bench_function(BenchmarkId::new(kind, n_names), |bencher| bencher.iter(|| ask(&questions)));
        }
    }
}
