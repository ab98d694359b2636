//! The calendar queue against the heap, in the hold model: each event that is taken gives one anew.
#![allow(missing_docs)]

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use simnet::kernel::{Actor, CalendarQueue, EventQueue, HeapQueue, Time};

const NODES: u32 = 1_000_000;
const HOLDS: u64 = 1_000_000;

/// SplitMix64, so that the draws cost nothing beside the queue.
fn draw(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Delays of 20 to 220 ms, as between peers.
fn push(queue: &mut impl EventQueue<u32>, now: Time, state: &mut u64) {
    let word = draw(state);
    let node = |bits: u64| Actor(u32::try_from(bits % u64::from(NODES)).expect("a node"));
    let at = now.after(20_000 + (word >> 44) % 200_000);
    queue.push(at, node(word & 0x3f_ffff), node((word >> 22) & 0x3f_ffff), 0);
}

fn filled<Q: EventQueue<u32>>(mut queue: Q, pending: u64) -> (Q, u64) {
    let mut state = 1;
    (0..pending).for_each(|_| push(&mut queue, Time(0), &mut state));
    (queue, state)
}

fn hold<Q: EventQueue<u32>>(queue: &mut Q, state: &mut u64) {
    for _ in 0..HOLDS {
        let next = queue.pop().expect("as many come as go");
        push(queue, next.at, state);
    }
}

fn queues(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("hold");
    group.throughput(Throughput::Elements(HOLDS)).sample_size(10);
    for pending in [100_000, 1_000_000] {
        group.bench_function(BenchmarkId::new("calendar", pending), |bencher| {
            let (mut queue, mut state) = filled(CalendarQueue::new(NODES), pending);
            bencher.iter_batched(|| (), |()| hold(&mut queue, &mut state), BatchSize::PerIteration);
        });
        group.bench_function(BenchmarkId::new("heap", pending), |bencher| {
            let (mut queue, mut state) = filled(HeapQueue::new(NODES), pending);
            bencher.iter_batched(|| (), |()| hold(&mut queue, &mut state), BatchSize::PerIteration);
        });
    }
    group.finish();
}

criterion_group!(benches, queues);
criterion_main!(benches);
