//! The queue of events: its order, and the heap that is its oracle.

use std::{
    cmp::{Ordering, Reverse},
    collections::BinaryHeap,
};

use super::{Actor, Time};

/// An event with its place in the total order.
#[derive(Debug, Clone, Copy)]
pub struct Scheduled<E> {
    /// When it happens.
    pub at: Time,
    /// To whom it happens.
    pub to: Actor,
    /// Who caused it.
    pub from: Actor,
    /// How many events were pushed before it, which keeps those of one source in order; it may wrap,
    /// since only events of one moment are compared.
    pub sequence: u32,
    /// What happens, in the words of whoever pushed it.
    pub event: E,
}

impl<E> Scheduled<E> {
    pub(super) const fn key(&self) -> (u128, u32) {
        let place = (self.to.0 as u128) << 32 | self.from.0 as u128;
        ((self.at.0 as u128) << 64 | place, self.sequence)
    }
}

impl<E> PartialEq for Scheduled<E> {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl<E> Eq for Scheduled<E> {}

impl<E> PartialOrd for Scheduled<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> Ord for Scheduled<E> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

/// Events in the order of (time, destination, source, sequence of the source).
pub trait EventQueue<E> {
    /// Adds an event, at or after the time of the last one that was taken.
    fn push(&mut self, at: Time, to: Actor, from: Actor, event: E);
    /// Takes the next one.
    fn pop(&mut self) -> Option<Scheduled<E>>;
    /// Number of pending events.
    fn pending(&self) -> usize;
}

/// A binary heap: right at any size, slow beyond some hundred thousand pending events.
#[derive(Debug)]
pub struct HeapQueue<E> {
    heap: BinaryHeap<Reverse<Scheduled<E>>>,
    pushed: u32,
}

impl<E> Default for HeapQueue<E> {
    fn default() -> Self {
        Self { heap: BinaryHeap::new(), pushed: 0 }
    }
}

impl<E> EventQueue<E> for HeapQueue<E> {
    fn push(&mut self, at: Time, to: Actor, from: Actor, event: E) {
        let sequence = self.pushed;
        self.pushed = sequence.wrapping_add(1);
        self.heap.push(Reverse(Scheduled { at, to, from, sequence, event }));
    }

    fn pop(&mut self) -> Option<Scheduled<E>> {
        self.heap.pop().map(|Reverse(scheduled)| scheduled)
    }

    fn pending(&self) -> usize {
        self.heap.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_by_time_destination_source_and_sequence() {
        let mut queue = HeapQueue::default();
        let (a, b, c) = (Actor::node(0), Actor::node(1), Actor::node(2));
        queue.push(Time(5), b, c, "fourth");
        queue.push(Time(5), b, a, "second");
        queue.push(Time(5), b, a, "third");
        queue.push(Time(5), a, c, "first");
        queue.push(Time(4), c, c, "earliest");
        assert_eq!(queue.pending(), 5);
        let order: Vec<_> = std::iter::from_fn(|| queue.pop()).map(|e| e.event).collect();
        assert_eq!(order, ["earliest", "first", "second", "third", "fourth"]);
    }
}
