//! The queue of events.

use std::{
    cmp::{Ordering, Reverse},
    collections::BinaryHeap,
};

use super::{Actor, Time};

/// An event with its place in the total order.
#[derive(Debug)]
pub struct Scheduled<E> {
    /// When.
    pub at: Time,
    /// To whom.
    pub to: Actor,
    /// From whom.
    pub from: Actor,
    /// Which one of the source's events.
    pub sequence: u64,
    /// What.
    pub event: E,
}

impl<E> Scheduled<E> {
    const fn key(&self) -> (Time, Actor, Actor, u64) {
        (self.at, self.to, self.from, self.sequence)
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

/// Events in the order of (time, destination, source, sequence).
pub trait EventQueue<E> {
    /// Adds an event.
    fn push(&mut self, at: Time, to: Actor, from: Actor, event: E);
    /// Takes the next one.
    fn pop(&mut self) -> Option<Scheduled<E>>;
    /// Number of pending events.
    fn pending(&self) -> usize;
}

/// A binary heap.
#[derive(Debug)]
pub struct HeapQueue<E> {
    heap: BinaryHeap<Reverse<Scheduled<E>>>,
    sequences: Vec<u64>,
}

impl<E> HeapQueue<E> {
    /// An empty queue for the chain and a number of nodes.
    pub fn new(nodes: u32) -> Self {
        Self { heap: BinaryHeap::new(), sequences: vec![0; nodes as usize + 1] }
    }
}

impl<E> EventQueue<E> for HeapQueue<E> {
    fn push(&mut self, at: Time, to: Actor, from: Actor, event: E) {
        let next = &mut self.sequences[from.0 as usize];
        let sequence = *next;
        *next += 1;
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
        let mut queue = HeapQueue::new(3);
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
