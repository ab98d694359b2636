//! The calendar queue against the heap, in the hold model: each event that is taken gives one anew.
//!
//! Time is that of the thread, and the two take turns, so that what else the machine does counts as
//! little as it can: `cargo bench -p openledger-simnet --bench kernel`.
#![allow(missing_docs)]

mod measure;

use measure::{Hold, median};
use simnet::kernel::{CalendarQueue, HeapQueue};

const HOLDS: u64 = 1_000_000;
const ROUNDS: usize = 15;

fn main() {
    for pending in [100_000, 1_000_000] {
        let mut calendar = Hold::new(CalendarQueue::default(), pending);
        let mut heap = Hold::new(HeapQueue::default(), pending);
        let (mut fast, mut slow, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let (one, other) = (calendar.rate(HOLDS), heap.rate(HOLDS / 4));
            fast.push(one);
            slow.push(other);
            ratios.push(one / other);
        }
        println!(
            "{pending} pending: {:.2} M events/s, a heap {:.2}, ratio {:.1} (medians of {ROUNDS})",
            median(fast),
            median(slow),
            median(ratios)
        );
    }
}
