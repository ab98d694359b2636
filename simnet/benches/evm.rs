//! Records per second that the real contracts take in on the embedded EVM.
#![allow(missing_docs)]

#[path = "measure/inclusions.rs"]
mod inclusions;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

use inclusions::{Inclusions, RECORDS};

fn mine(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("evm");
    group.throughput(Throughput::Elements(RECORDS.into())).sample_size(10);
    group.bench_function("inclusions", |bencher| {
        let mut chain = Inclusions::new();
        let sent: Vec<_> = (0..64).map(|block| chain.of(block)).collect();
        let mut blocks = sent.iter().cycle();
        let mut queue = || blocks.next().expect("they go round");
        bencher.iter_batched(&mut queue, |sent| chain.mine(sent), BatchSize::PerIteration);
    });
    group.finish();
}

criterion_group!(benches, mine);
criterion_main!(benches);
