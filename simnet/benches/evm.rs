//! Transactions per second of the real contracts on the embedded EVM: anchors, as every holder sends
//! one per epoch.
#![allow(missing_docs)]

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use protocol::{Epoch, chain::Transaction, hash::keccak};
use simnet::{
    Scenario,
    chain::{Chain, named_address},
    kernel::Time,
};

const TRANSACTIONS: u32 = 10_000;

fn anchors(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("evm");
    group.throughput(Throughput::Elements(TRANSACTIONS.into())).sample_size(10);
    group.bench_function("anchors", |bencher| {
        let mut chain = Chain::deploy(&Scenario::default(), 0).expect("the contracts deploy");
        let mut round = 0u32;
        let mut queue = || {
            round += 1;
            (0..TRANSACTIONS)
                .map(|number| {
                    let root = keccak(&[&round.to_be_bytes(), &number.to_be_bytes()]);
                    let anchor = Transaction::Anchor { epoch: Epoch(0), root };
                    (named_address(b"anchoring", number), anchor)
                })
                .collect::<Vec<_>>()
        };
        let mut blocks = 1u64;
        bencher.iter_batched(
            &mut queue,
            |transactions| {
                for (from, anchor) in &transactions {
                    chain.submit(*from, anchor);
                }
                blocks += 1;
                let mined = chain.mine(Time::from_millis(blocks * 2_000));
                assert_eq!((mined.transactions, mined.reverted), (TRANSACTIONS.into(), 0));
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

criterion_group!(benches, anchors);
criterion_main!(benches);
