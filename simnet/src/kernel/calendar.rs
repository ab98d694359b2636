//! The calendar queue: constant work per event, whatever the number of pending ones.
//!
//! A ring of buckets covers one window of time; what lies beyond is kept by window, unsorted, and
//! dealt out when its window comes. One bucket at a time is sorted: dealt by microsecond, then each of
//! those few by itself. What is pushed into the bucket that is being emptied waits in a small heap
//! beside it (R. Brown, CACM 31(10), 1988, without the resizing: buckets are given).

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
};

use super::{Actor, EventQueue, Scheduled, Time};

/// log₂ of the microseconds of a bucket, where nothing else is asked for: 128 µs.
const BUCKET_BITS: u32 = 7;
/// log₂ of the buckets of a window: 2¹⁷ buckets of 128 µs are 16.8 s.
const RING_BITS: u32 = 17;
/// Events in a bucket from which on dealing them by microsecond is faster than comparing them.
const DEALT: usize = 64;

/// A ring of buckets with a list per later window.
#[derive(Debug)]
pub struct CalendarQueue<E> {
    bucket_bits: u32,
    ring_bits: u32,
    ring: Vec<Vec<Scheduled<E>>>,
    /// One bit per bucket that holds something.
    filled: Vec<u64>,
    window: u64,
    /// The bucket that is being emptied, sorted, its first event last.
    current: Vec<Scheduled<E>>,
    current_bucket: u64,
    /// What came into the current bucket since it was sorted.
    late: BinaryHeap<Reverse<Scheduled<E>>>,
    far: BTreeMap<u64, Vec<Scheduled<E>>>,
    /// Emptied buffers, for the next buckets.
    spare: Vec<Vec<Scheduled<E>>>,
    /// How many events of the bucket lie before each of its microseconds, while it is sorted.
    before: Vec<u32>,
    pushed: u32,
    pending: usize,
}

impl<E: Copy> Default for CalendarQueue<E> {
    fn default() -> Self {
        Self::with_buckets(BUCKET_BITS, RING_BITS)
    }
}

impl<E: Copy> CalendarQueue<E> {
    /// An empty queue with buckets of 2^`bucket_bits` µs, 2^`ring_bits` of them in a window.
    ///
    /// # Panics
    /// When a ring has fewer than 2⁶ buckets or time would not fit.
    pub(crate) fn with_buckets(bucket_bits: u32, ring_bits: u32) -> Self {
        assert!(ring_bits >= 6 && bucket_bits + ring_bits < 64, "buckets of whole words, in time");
        let buckets = 1usize << ring_bits;
        Self {
            bucket_bits,
            ring_bits,
            ring: (0..buckets).map(|_| Vec::new()).collect(),
            filled: vec![0; buckets / 64],
            window: 0,
            current: Vec::new(),
            current_bucket: 0,
            late: BinaryHeap::new(),
            far: BTreeMap::new(),
            spare: Vec::new(),
            before: Vec::new(),
            pushed: 0,
            pending: 0,
        }
    }

    const fn bucket_of(&self, at: Time) -> u64 {
        at.0 >> self.bucket_bits
    }

    fn place(&mut self, scheduled: Scheduled<E>) {
        let bucket = self.bucket_of(scheduled.at);
        if bucket <= self.current_bucket {
            self.late.push(Reverse(scheduled));
        } else if bucket >> self.ring_bits == self.window {
            let slot = self.slot(bucket);
            self.filled[slot / 64] |= 1 << (slot % 64);
            let events = &mut self.ring[slot];
            if events.capacity() == 0
                && let Some(spare) = self.spare.pop()
            {
                *events = spare;
            }
            events.push(scheduled);
        } else {
            self.far.entry(bucket >> self.ring_bits).or_default().push(scheduled);
        }
    }

    fn slot(&self, bucket: u64) -> usize {
        let slot = bucket & ((1 << self.ring_bits) - 1);
        usize::try_from(slot).expect("a ring is in memory")
    }

    /// The first filled slot at or after one.
    fn next_filled(&self, from: usize) -> Option<usize> {
        let mut word = from / 64;
        let mut bits = self.filled.get(word)? & (u64::MAX << (from % 64));
        while bits == 0 {
            word += 1;
            bits = *self.filled.get(word)?;
        }
        Some(word * 64 + bits.trailing_zeros() as usize)
    }

    /// Makes a bucket the current one, sorted backwards: the first event is the last one.
    fn sort(&mut self, mut events: Vec<Scheduled<E>>) {
        if events.len() < DEALT {
            events.sort_unstable_by(|one, other| other.cmp(one));
            let emptied = std::mem::replace(&mut self.current, events);
            self.keep(emptied);
            return;
        }
        let last = (1usize << self.bucket_bits) - 1;
        // Its lowest bits are the microsecond of an event in its bucket.
        let place = |event: &Scheduled<E>| last - (event.at.0 as usize & last);
        self.before.clear();
        self.before.resize(last + 2, 0);
        events.iter().for_each(|event| self.before[place(event) + 1] += 1);
        for at in 1..self.before.len() {
            self.before[at] += self.before[at - 1];
        }
        self.current.clear();
        self.current.resize(events.len(), events[0]);
        for event in &events {
            let next = &mut self.before[place(event)];
            self.current[*next as usize] = *event;
            *next += 1;
        }
        // Where each microsecond's events began, the last one's end now.
        let mut from = 0;
        for end in &self.before[..=last] {
            let to = *end as usize;
            if to > from + 1 {
                self.current[from..to].sort_unstable_by(|one, other| other.cmp(one));
            }
            from = to;
        }
        events.clear();
        self.keep(events);
    }

    fn keep(&mut self, emptied: Vec<Scheduled<E>>) {
        if emptied.capacity() > 0 {
            self.spare.push(emptied);
        }
    }

    /// The next event, which stays.
    pub fn peek(&mut self) -> Option<Scheduled<E>> {
        if self.current.is_empty() && self.late.is_empty() && !self.advance() {
            return None;
        }
        match (self.current.last(), self.late.peek()) {
            (Some(next), Some(Reverse(late))) => Some(*next.min(late)),
            (Some(next), None) => Some(*next),
            (None, late) => late.map(|Reverse(late)| *late),
        }
    }

    /// Goes on to the next bucket that holds something; whether there is one.
    fn advance(&mut self) -> bool {
        loop {
            if let Some(slot) = self.next_filled(self.slot(self.current_bucket)) {
                self.filled[slot / 64] &= !(1 << (slot % 64));
                let next = std::mem::take(&mut self.ring[slot]);
                self.sort(next);
                self.current_bucket = (self.window << self.ring_bits) | slot as u64;
                return true;
            }
            let Some((window, events)) = self.far.pop_first() else { return false };
            self.window = window;
            // One before the window's first bucket, so that this one too is dealt into the ring.
            self.current_bucket = (window << self.ring_bits).saturating_sub(1);
            events.into_iter().for_each(|event| self.place(event));
            self.current_bucket = window << self.ring_bits;
        }
    }
}

impl<E: Copy> EventQueue<E> for CalendarQueue<E> {
    fn push(&mut self, at: Time, to: Actor, from: Actor, event: E) {
        let sequence = self.pushed;
        self.pushed = sequence.wrapping_add(1);
        self.pending += 1;
        self.place(Scheduled { at, to, from, sequence, event });
    }

    fn pop(&mut self) -> Option<Scheduled<E>> {
        if self.current.is_empty() && self.late.is_empty() && !self.advance() {
            return None;
        }
        self.pending -= 1;
        match (self.current.last(), self.late.peek()) {
            (Some(next), Some(Reverse(late))) if late < next => self.late.pop().map(|e| e.0),
            (Some(_), _) => self.current.pop(),
            (None, _) => self.late.pop().map(|e| e.0),
        }
    }

    fn pending(&self) -> usize {
        self.pending
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::kernel::HeapQueue;

    const _: () = assert!(size_of::<Scheduled<u32>>() == 24, "an event is 24 bytes");

    proptest! {
        /// Whatever is pushed and popped in whatever order, the heap says the same.
        #[test]
        fn the_calendar_pops_what_the_heap_pops(
            steps in prop::collection::vec((0u8..4, 0u64..60_000, 0u32..4, 0u32..4), 1..400),
            bucket_bits in 0u32..8,
        ) {
            let mut calendar = CalendarQueue::with_buckets(bucket_bits, 6);
            let mut heap = HeapQueue::default();
            let mut now = Time(0);
            for (event, (what, delay, to, from)) in (0u32..).zip(steps) {
                if what == 0 {
                    let (one, other) = (calendar.pop(), heap.pop());
                    prop_assert_eq!(one.map(|e| e.event), other.map(|e| e.event));
                    now = one.map_or(now, |e| e.at);
                } else {
                    // Some at once, most soon, some in later windows.
                    let at = now.after(if what == 1 { delay / 1_000 } else { delay });
                    calendar.push(at, Actor(to), Actor(from), event);
                    heap.push(at, Actor(to), Actor(from), event);
                }
                prop_assert_eq!(calendar.pending(), heap.pending());
            }
            while let Some(next) = heap.pop() {
                prop_assert_eq!(calendar.pop().map(|e| (e.at, e.event)), Some((next.at, next.event)));
            }
            prop_assert!(calendar.pop().is_none());
        }
    }
}
