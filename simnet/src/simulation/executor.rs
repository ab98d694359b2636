//! Which events are drawn together, and which threads take their turns.
//!
//! Within a window shorter than the least delay between nodes nobody can learn what another does, so
//! each machine may take its events of the window before the others take theirs. With one thread a
//! window is one event, taken at its time; with several the same turns are taken ahead.

use std::{mem, num::NonZeroUsize};

use rayon::{ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder};

use super::{
    Event,
    machine::{Common, Item, Stage},
    number,
    schedule::Schedule,
};
use crate::{kernel::Time, network::FSYNC_MICROS, nodes::SimNode};

/// Events below which a window is not worth the way to other threads.
const WORTH: usize = 16;
/// Events of a window at most.
const MOST: usize = 1 << 16;
/// Parts of the network for each thread, so that one that has less to do takes from another.
const PARTS: usize = 4;

/// The threads, and the window that they work on.
#[derive(Default)]
pub(super) struct Executor {
    /// The threads beside this one; none where one does everything.
    pool: Option<ThreadPool>,
    window: Window,
}

/// The events of a window that have not begun yet.
#[derive(Default)]
struct Window {
    /// The events of each part of the nodes, in order.
    parts: Vec<Vec<Item>>,
    /// How many of them have begun.
    next: Vec<usize>,
    /// Which part each event is of, in order.
    order: Vec<u32>,
    begun: usize,
    /// Nodes of a part.
    share: usize,
    number: u32,
}

impl Window {
    fn peek(&self) -> Option<&Item> {
        let part = *self.order.get(self.begun)? as usize;
        self.parts[part].get(self.next[part])
    }

    fn pop(&mut self) -> Option<Item> {
        let part = *self.order.get(self.begun)? as usize;
        let item = self.parts[part].get_mut(self.next[part])?;
        let (finished, stage) = (item.finished.take(), mem::replace(&mut item.stage, Stage::Past));
        let item = Item { place: item.place, finished, stage };
        self.next[part] += 1;
        self.begun += 1;
        Some(item)
    }

    fn clear(&mut self, parts: usize, nodes: usize) {
        self.parts.resize_with(parts, Vec::new);
        self.parts.iter_mut().for_each(Vec::clear);
        self.next.clear();
        self.next.resize(parts, 0);
        self.order.clear();
        self.begun = 0;
        self.share = nodes.div_ceil(parts).max(1);
        self.number = self.number.wrapping_add(1);
    }

    fn push(&mut self, item: Item) {
        let part = item.place.to.index().map_or(0, |index| index / self.share);
        self.parts[part].push(item);
        self.order.push(number(part));
    }
}

impl Executor {
    /// From now on works on some threads.
    pub(super) fn set_threads(
        &mut self,
        threads: NonZeroUsize,
    ) -> Result<(), ThreadPoolBuildError> {
        let build = || ThreadPoolBuilder::new().num_threads(threads.get()).build();
        self.pool = (threads.get() > 1).then(build).transpose()?;
        Ok(())
    }

    /// Whether a new window has to be drawn before the next event: with one thread there are none.
    pub(super) fn needs_window(&self) -> bool {
        self.pool.is_some() && self.window.peek().is_none()
    }

    /// The next event of all: of the window, or one that was put before the rest of it meanwhile.
    pub(super) fn next(&mut self, schedule: &mut Schedule) -> Option<Item> {
        // What a turn pushed for its own node may come before the rest of the window.
        let is_of_window = match (self.window.peek(), schedule.peek()) {
            (Some(item), Some(other)) => item.place < other,
            (item, _) => item.is_some(),
        };
        if is_of_window { self.window.pop() } else { draw(schedule) }
    }

    /// Draws the events in which `nodes` nodes cannot know of each other, up to the next block or
    /// fault; whether they are worth the other threads.
    pub(super) fn draw_window(
        &mut self,
        schedule: &mut Schedule,
        nodes: usize,
        least_delay: u64,
    ) -> bool {
        let Some(pool) = &self.pool else { return false };
        self.window.clear(pool.current_num_threads() * PARTS, nodes);
        let Some(first) = schedule.peek() else { return false };
        let end = end(first.at, least_delay);
        while let Some(place) = schedule.peek().filter(|next| next.at < end) {
            // They change what all machines see.
            let is_global = matches!(Event::from_bits(place.event), Event::Mine | Event::Fault(_));
            if is_global || self.window.order.len() == MOST {
                break;
            }
            if let Some(item) = draw(schedule) {
                self.window.push(item);
            }
        }
        self.window.order.len() >= WORTH
    }

    /// Has the threads take what can be taken of the window.
    pub(super) fn take_ahead(&mut self, nodes: &mut [SimNode], common: Common<'_>) {
        let Self { pool: Some(pool), window: Window { parts, share, number, .. } } = self else {
            return;
        };
        let (number, share) = (*number, *share);
        pool.scope(|scope| {
            // Each part is one range of nodes with their events, so no two threads share a node.
            for (place, (nodes, items)) in nodes.chunks_mut(share).zip(parts).enumerate() {
                if !items.is_empty() {
                    scope.spawn(move |_| {
                        common.take_ahead(nodes, place * share, items, number);
                    });
                }
            }
        });
    }
}

fn draw(schedule: &mut Schedule) -> Option<Item> {
    let (place, finished) = schedule.draw()?;
    Some(Item { place, finished, stage: Stage::Open })
}

/// The end of a window: nothing that a node does reaches another one earlier, since a record is durable
/// before it is sent.
fn end(start: Time, least_delay: u64) -> Time {
    start.after(least_delay.min(FSYNC_MICROS))
}
