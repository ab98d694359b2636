//! What a node does by itself, done ahead of the rest on several threads.
//!
//! Within a window shorter than the least delay between nodes nobody can learn what another does, so
//! each machine may take its events of the window before the others take theirs. What it asks for
//! that is expensive and depends on nothing that others change (signatures, rows, openings, their
//! judgement) is made at once. Whatever changes something that is shared happens afterwards, event
//! by event, in the one order that there is: equal for any number of threads.

use protocol::{
    chain::ChainView,
    node::{Input, Job, OpId, Output},
    record::{Body, Verdict, VerifiedRecord},
};

use super::{
    Event, Finished,
    jobs::{Committed, Hosts, Opened},
    low, number,
};
use crate::{
    kernel::{Scheduled, Time},
    nodes::SimNode,
};

/// An event of a window, and how far it came.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) place: Scheduled<u32>,
    /// What a job gave, if it's that that happens.
    pub(super) finished: Option<Box<Finished>>,
    pub(super) stage: Stage,
}

/// How far an event came.
#[derive(Debug)]
pub(super) enum Stage {
    /// It has yet to happen.
    Open,
    /// It has happened, and nothing follows from it.
    Past,
    /// The machine has taken it, and this has to follow.
    Taken(Vec<Act>),
}

/// What a machine wants, with its text for the trace.
#[derive(Debug)]
pub(super) struct Act {
    pub(super) text: String,
    pub(super) what: What,
}

/// An output, done as far as it goes without the others.
#[derive(Debug)]
pub(super) enum What {
    Plain(Box<Output>),
    /// A signed record, and the verdict on it if it is a storage proof.
    Signed(Box<VerifiedRecord>, Option<Verdict>),
    Committed(OpId, Option<Committed>),
    Opened(OpId, Option<Opened>),
}

/// What all nodes see in a window.
#[derive(Clone, Copy)]
pub(super) struct Common<'a> {
    pub(super) view: &'a ChainView,
    pub(super) hosts: Hosts<'a>,
    /// The number of the newest block.
    pub(super) head: u32,
    /// Whether blocks reach everybody, so that nobody needs to be woken.
    pub(super) tells_all: bool,
    /// A node whose inputs and outputs somebody watches, one after the other.
    pub(super) watched: Option<usize>,
}

/// Lets the nodes from number `first` on take their events, each up to the first one that others have
/// to see; gives how many records they were handed.
pub(super) fn take(
    nodes: &mut [SimNode],
    first: usize,
    items: &mut [Item],
    common: Common<'_>,
    window: u32,
) -> u64 {
    let mut delivered = 0;
    for item in items {
        let Some(index) = item.place.to.index() else { continue };
        let node = &mut nodes[index - first];
        if node.halted != window && !common.take(node, index, item, &mut delivered) {
            node.halted = window;
        }
    }
    delivered
}

impl Common<'_> {
    /// Lets a node take an event; whether it may go on to the next one.
    fn take(self, node: &mut SimNode, index: usize, item: &mut Item, delivered: &mut u64) -> bool {
        let event = Event::from_bits(item.place.event);
        if node.coalition().is_some() || self.watched == Some(index) {
            return false;
        }
        let (session, identity) = (node.session, node.identity);
        let Some(machine) = node.machine.as_mut() else { return false };
        let mut gains = false;
        let input = match event {
            Event::Block => Input::Block,
            Event::Record(record) => match self.hosts.records.get(record) {
                Some(entry) if entry.sent.is_some() => {
                    *delivered += 1;
                    Input::Record(entry.record.clone())
                }
                // Its author sends it now.
                Some(_) => return false,
                None => {
                    item.stage = Stage::Past;
                    return true;
                }
            },
            Event::Done(_) => match &item.finished {
                Some(finished) if finished.session == session => {
                    gains = finished.gains.is_some();
                    Input::Done(finished.op, finished.done.clone())
                }
                _ => {
                    item.stage = Stage::Past;
                    return true;
                }
            },
            _ => return false,
        };
        machine.handle(self.view, input);
        let mut acts = Vec::new();
        while let Some(output) = machine.poll_output() {
            acts.push(self.act(index, identity, output));
        }
        if !acts.is_empty() || gains {
            item.stage = Stage::Taken(acts);
            return false;
        }
        if !self.tells_all {
            let next = machine.next_block(self.view).map_or(super::ASLEEP, low);
            node.wake = next;
            if next <= self.head.saturating_add(1) && node.told != self.head {
                item.stage = Stage::Taken(acts);
                return false;
            }
        }
        item.stage = Stage::Past;
        true
    }

    fn act(self, index: usize, identity: u32, output: Output) -> Act {
        let text = crate::trace::text(&output);
        let me = number(index);
        let what = match output {
            Output::Sign(record) => {
                let signed = self.hosts.signer.sign(identity, record, &self.view.domain);
                let verdict = self.verdict(&signed);
                What::Signed(Box::new(signed), verdict)
            }
            Output::Job(op, Job::Commit { account, packs, s1 }) => {
                What::Committed(op, self.hosts.commit(me, account, &packs, &s1))
            }
            Output::Job(op, Job::Open { account, packs, commit, s1, s2 }) => {
                What::Opened(op, self.hosts.open(me, account, &packs, &commit, (s1, s2)))
            }
            output => What::Plain(Box::new(output)),
        };
        Act { text, what }
    }

    fn verdict(self, signed: &VerifiedRecord) -> Option<Verdict> {
        let Body::StorageProof(shown) = &signed.record().body else { return None };
        let commit = self.hosts.records.get(self.hosts.records.find(&shown.commit)?)?;
        self.hosts.judge(&commit.record, signed)
    }
}

/// The end of a window: nothing that a node does reaches another one earlier.
pub(super) fn end(start: Time, least_delay: u64) -> Time {
    start.after(least_delay.min(crate::network::FSYNC_MICROS))
}
