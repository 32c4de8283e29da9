//! A query's answer: the lookup alone, and from query to response as messages.

use benches::names;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use gateway::reference;
use hickory_proto::{
    op::{Message, MessageType, OpCode, Query},
    rr::{Name, RecordType},
};

criterion_group!(benches, lookup, answer);
criterion_main!(benches);

fn lookup(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("zone_lookup");
    for n_names in [1_000, 10_000, 100_000] {
        let (zones, names) = names::zones(n_names);
        group.throughput(Throughput::Elements(names.len() as u64));
        group.bench_function(BenchmarkId::from_parameter(n_names), |bencher| bencher.iter(|| names.look_up(&zones)));
    }
}

fn answer(criterion: &mut Criterion) {
    let (zones, _) = names::zones(10_000);
    let mut query = Message::new(7, MessageType::Query, OpCode::Query);
    let name: Name = benches::routes::host(17).parse().expect("a name");
    query.add_query(Query::query(name, RecordType::A));
    let query = query.to_vec().expect("a query");
    criterion.bench_function("reference_answer", |bencher| {
        bencher.iter(|| {
            let query = Message::from_vec(&query).expect("a query");
            reference::answer(Some(&zones), &query).map(|answer| answer.to_vec().expect("a response").len())
        });
    });
}
