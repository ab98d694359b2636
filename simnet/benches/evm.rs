//! Transactions per second of the real contracts on the embedded EVM: anchors, as every holder sends
//! one per epoch.
#![allow(missing_docs)]

#[path = "measure/anchors.rs"]
mod anchors;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

use anchors::{ANCHORS, Anchors};

fn mine(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("evm");
    group.throughput(Throughput::Elements(ANCHORS.into())).sample_size(10);
    group.bench_function("anchors", |bencher| {
        let (mut chain, mut block) = (Anchors::new(), 0);
        let mut queue = || {
            block += 1;
            Anchors::of(block)
        };
        bencher.iter_batched(&mut queue, |sent| chain.mine(&sent), BatchSize::PerIteration);
    });
    group.finish();
}

criterion_group!(benches, mine);
criterion_main!(benches);
