//! The calendar of a run: what happens when, and the payloads of what is to happen.

use protocol::{
    Hash,
    chain::Transaction,
    node::{Done, OpId},
};

use super::{Event, number};
use crate::kernel::{Actor, CalendarQueue, EventQueue as _, Scheduled, Slab, Time};

/// A finished job, and the blob that the node then has.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) op: OpId,
    pub(super) done: Done,
    pub(super) gains: Option<Hash>,
    /// The session in which it was started: a node that restarted has forgotten it.
    pub(super) session: u32,
}

/// What was counted of events.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counts {
    pub(super) events: u64,
    /// The most events that ever waited at once.
    pub(super) most_pending: usize,
    /// What rounding times up to the quantum added, in microseconds, over all events.
    pub(super) shifted: u64,
    /// Over how many events.
    pub(super) pushed: u64,
}

/// Virtual time, and the events that wait for theirs.
pub(super) struct Schedule {
    now: Time,
    /// Times are multiples of it, in microseconds.
    quantum: u64,
    queue: CalendarQueue<u32>,
    /// Events that were drawn and have not begun.
    drawn: usize,
    is_over: bool,
    /// Transactions on their way to the chain, with the identities that send them.
    transactions: Slab<(u32, Transaction)>,
    finished: Slab<Finished>,
    counts: Counts,
}

impl Schedule {
    pub(super) fn new(now: Time, quantum: u64) -> Self {
        Self {
            now,
            quantum: quantum.max(1),
            queue: CalendarQueue::default(),
            drawn: 0,
            is_over: false,
            transactions: Slab::default(),
            finished: Slab::default(),
            counts: Counts::default(),
        }
    }

    /// Virtual time: that of the event that happens.
    pub(super) const fn now(&self) -> Time {
        self.now
    }

    /// Whether nothing happens any more: the run has ended.
    pub(super) const fn is_over(&self) -> bool {
        self.is_over
    }

    pub(super) const fn set_over(&mut self, is_over: bool) {
        self.is_over = is_over;
    }

    pub(super) const fn counts(&self) -> Counts {
        self.counts
    }

    /// How many events wait, drawn ones among them.
    pub(super) fn pending(&self) -> usize {
        self.queue.pending() + self.drawn
    }

    /// Puts an event on the calendar, at a multiple of the quantum.
    pub(super) fn push(&mut self, at: Time, to: Actor, from: Actor, event: Event) {
        let rounded = Time(at.0.div_ceil(self.quantum).saturating_mul(self.quantum));
        self.counts.shifted += rounded.0.saturating_sub(at.0);
        self.counts.pushed += 1;
        self.queue.push(rounded, to, from, event.bits());
        self.counts.most_pending = self.counts.most_pending.max(self.pending());
    }

    /// An event of a node for itself.
    pub(super) fn push_own(&mut self, at: Time, index: usize, event: Event) {
        let me = Actor::node(number(index));
        self.push(at, me, me, event);
    }

    /// An event of no node.
    pub(super) fn push_global(&mut self, at: Time, event: Event) {
        self.push(at, Actor::CHAIN, Actor::CHAIN, event);
    }

    /// Has a transaction of a node reach the chain.
    pub(super) fn submit(&mut self, at: Time, node: u32, identity: u32, transaction: Transaction) {
        let number = self.transactions.put((identity, transaction));
        self.push(at, Actor::CHAIN, Actor::node(node), Event::Submit(number));
    }

    /// A transaction that reaches the chain, with who sends it.
    pub(super) fn take_transaction(&mut self, number: u32) -> Option<(u32, Transaction)> {
        self.transactions.take(number)
    }

    /// Has a job of a node finish after some microseconds.
    pub(super) fn finish(&mut self, after: u64, index: usize, finished: Finished) {
        let number = self.finished.put(finished);
        self.push_own(self.now.after(after), index, Event::Done(number));
    }

    /// The next event, which stays.
    pub(super) fn peek(&mut self) -> Option<Scheduled<u32>> {
        self.queue.peek()
    }

    /// Takes the next event off the calendar; a finished job comes with it.
    pub(super) fn draw(&mut self) -> Option<(Scheduled<u32>, Option<Box<Finished>>)> {
        let next = self.queue.pop()?;
        self.drawn += 1;
        let finished = match Event::from_bits(next.event) {
            Event::Done(number) => self.finished.take(number).map(Box::new),
            _ => None,
        };
        Some((next, finished))
    }

    /// A drawn event happens now.
    pub(super) const fn begin(&mut self, event: &Scheduled<u32>) {
        self.drawn -= 1;
        self.now = event.at;
        self.counts.events += 1;
    }
}
