//! Windows of events: drawn from the calendar together, done ahead on several threads, followed up
//! in order.

use std::{mem, num::NonZeroUsize};

use rayon::iter::{IntoParallelRefIterator as _, ParallelIterator as _};

use super::{
    Answered, Event, Finished, RunError, Simulation,
    ahead::{self, Act, Common, Item, Stage, What},
    number,
};
use crate::kernel::{Actor, EventQueue as _};

/// Events below which a window is not worth the way to other threads.
const WORTH: usize = 16;
/// Events of a window at most.
const MOST: usize = 1 << 16;
/// Parts of the network for each thread, so that one that has less to do takes from another.
const PARTS: usize = 4;

/// The events of a window that have not followed yet.
#[derive(Default)]
pub(super) struct Window {
    /// The threads beside this one; none where one does everything.
    pool: Option<rayon::ThreadPool>,
    threads: usize,
    /// The events of each part of the nodes, in order.
    parts: Vec<Vec<Item>>,
    /// How many of them have followed.
    next: Vec<usize>,
    /// Which part each event is of, in order.
    order: Vec<u32>,
    taken: usize,
    number: u32,
}

impl Window {
    /// Whether several threads work on it.
    pub(super) const fn is_shared(&self) -> bool {
        self.pool.is_some()
    }

    /// What a pure function gives for each of some things, on all threads.
    pub(super) fn map<T: Sync, R: Send>(
        &self,
        of: &[T],
        what: impl Fn(&T) -> R + Sync + Send,
    ) -> Vec<R> {
        match &self.pool {
            Some(pool) => pool.install(|| of.par_iter().map(what).collect()),
            None => of.iter().map(what).collect(),
        }
    }

    pub(super) const fn left(&self) -> usize {
        self.order.len() - self.taken
    }

    fn peek(&self) -> Option<&Item> {
        let part = *self.order.get(self.taken)? as usize;
        self.parts[part].get(self.next[part])
    }

    fn pop(&mut self) -> Option<Item> {
        let part = *self.order.get(self.taken)? as usize;
        let item = self.parts[part].get_mut(self.next[part])?;
        let (finished, stage) = (item.finished.take(), mem::replace(&mut item.stage, Stage::Past));
        let item = Item { place: item.place, finished, stage };
        self.next[part] += 1;
        self.taken += 1;
        Some(item)
    }

    fn clear(&mut self, parts: usize) {
        self.parts.resize_with(parts, Vec::new);
        self.parts.iter_mut().for_each(Vec::clear);
        self.next.clear();
        self.next.resize(parts, 0);
        self.order.clear();
        self.taken = 0;
        self.number = self.number.wrapping_add(1);
    }
}

impl Simulation {
    /// From now on works on some threads; the results are the same for any number.
    ///
    /// # Errors
    /// [`RunError::Threads`] when the system gives none.
    pub fn set_threads(&mut self, threads: NonZeroUsize) -> Result<(), RunError> {
        let threads = threads.get();
        let build = || rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        self.window.pool = (threads > 1).then(build).transpose().map_err(RunError::Threads)?;
        self.window.threads = threads;
        Ok(())
    }

    /// The next event of all.
    pub(super) fn next_event(&mut self) -> Option<Item> {
        if self.window.left() == 0 && self.window.pool.is_some() {
            self.look_ahead();
        }
        let is_first = match (self.window.peek(), self.queue.peek()) {
            (Some(item), Some(other)) => item.place < other,
            (item, _) => item.is_some(),
        };
        if is_first {
            return self.window.pop();
        }
        let place = self.queue.pop()?;
        Some(Item { place, finished: None, stage: Stage::Open })
    }

    /// Draws the events in which nodes cannot know of each other, up to the next block or fault.
    fn look_ahead(&mut self) {
        let parts = self.window.threads * PARTS;
        let share = self.nodes.len().div_ceil(parts).max(1);
        self.window.clear(parts);
        let Some(first) = self.queue.peek() else { return };
        let end = ahead::end(first.at, self.network.least_delay());
        while let Some(place) = self.queue.peek().filter(|next| next.at < end) {
            let event = Event::from_bits(place.event);
            let is_global = matches!(event, Event::Mine | Event::Fault(_));
            if is_global || self.window.order.len() == MOST {
                break;
            }
            self.queue.pop();
            let part = place.to.index().map_or(0, |index| index / share);
            let finished = match event {
                Event::Done(number) => self.finished.take(number).map(Box::new),
                _ => None,
            };
            self.window.parts[part].push(Item { place, finished, stage: Stage::Open });
            self.window.order.push(number(part));
        }
        if self.window.order.len() >= WORTH {
            self.take_ahead(share);
        }
    }

    /// Has the threads take what can be taken.
    fn take_ahead(&mut self, share: usize) {
        let Self { chain, records, blobs, signer, nodes, window, watch, scenario, head, .. } = self;
        let view = chain.view();
        let common = Common {
            view,
            hosts: super::jobs::Hosts { view, records, blobs, signer },
            head: head.0,
            tells_all: scenario.net.deliver_all,
            watched: watch.as_ref().map(super::watch::Watch::node),
        };
        let Window { pool: Some(pool), parts, number, .. } = window else { return };
        let mut delivered = vec![0; parts.len()];
        pool.scope(|scope| {
            let of = nodes.chunks_mut(share).zip(parts).zip(&mut delivered);
            for (place, ((nodes, items), delivered)) in of.enumerate() {
                let (number, first) = (*number, place * share);
                if !items.is_empty() {
                    scope.spawn(move |_| {
                        *delivered = ahead::take(nodes, first, items, common, number);
                    });
                }
            }
        });
        self.tally.delivered += delivered.iter().sum::<u64>();
    }

    /// What follows from an event that a machine has taken.
    pub(super) fn follow(&mut self, index: usize, finished: Option<Box<Finished>>, acts: Vec<Act>) {
        if let Some(hash) = finished.and_then(|finished| finished.gains) {
            self.blobs.hold(number(index), hash);
        }
        let mut answered = Answered::new();
        for Act { text, what } in acts {
            self.trace.add(self.now, Actor::node(number(index)), &text);
            match what {
                What::Plain(output) => self.carry_out(index, *output, &mut answered),
                What::Signed(record, verdict) => {
                    if let Some(verdict) = verdict {
                        self.judged.entry(record.id()).or_insert(verdict);
                    }
                    self.keep_record(index, *record, 0);
                }
                What::Committed(op, committed) => {
                    let answer = self.committed(index, committed);
                    self.answer_later(index, op, answer, &mut answered);
                }
                What::Opened(op, opened) => {
                    let answer = self.opened(index, opened);
                    self.answer_later(index, op, answer, &mut answered);
                }
            }
        }
        self.go_on(index, answered);
    }
}
