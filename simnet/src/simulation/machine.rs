//! What a machine takes and wants, as far as it depends on nothing that others change.
//!
//! A machine is given an event, and what it asks for that is expensive and pure (signatures, rows,
//! openings, their judgement) is made with it: that is a [`Turn`], which any thread can take. Whatever
//! changes something that is shared follows afterwards, event by event, in the one order that there
//! is. Where a turn is taken, at its time or ahead of it, changes nothing.

use protocol::{
    chain::ChainView,
    node::{Input, Job, OpId, Output},
    record::{Body, Verdict, VerifiedRecord},
};

use super::{
    Event,
    env::note_wake,
    gossip::Gossip,
    hosts::{Committed, Hosts, Opened},
    ledger::Ledger,
    number,
    schedule::Finished,
    store::Store,
};
use crate::{kernel::Scheduled, nodes::SimNode, trace};

/// An event that was drawn, and how far it came.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) place: Scheduled<u32>,
    /// The job, if its end is what happens.
    pub(super) finished: Option<Box<Finished>>,
    pub(super) stage: Stage,
}

/// How far an event came.
#[derive(Debug)]
pub(super) enum Stage {
    /// It has yet to happen.
    Open,
    /// The machine has taken it, and this has to follow.
    Taken(Turn),
    /// It has happened, and nothing follows from it.
    Past,
}

/// An input that a machine was given, and what it wants.
#[derive(Debug, Default)]
pub(super) struct Turn {
    /// The input in its debug form, where somebody watches the node.
    pub(super) input: Option<String>,
    pub(super) acts: Vec<Act>,
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

/// What all machines see between two blocks.
#[derive(Clone, Copy)]
pub(super) struct Common<'a> {
    pub(super) view: &'a ChainView,
    pub(super) hosts: Hosts<'a>,
    /// The number of the newest block.
    pub(super) head: u32,
    /// Whether blocks reach everybody, so that nobody needs to be woken.
    pub(super) tells_all: bool,
    /// A node whose inputs and outputs somebody watches.
    pub(super) watched: Option<usize>,
}

impl<'a> Common<'a> {
    pub(super) const fn new(
        (ledger, tells_all): (&'a Ledger, bool),
        (gossip, store): (&'a Gossip, &'a Store),
        watched: Option<usize>,
    ) -> Self {
        let (view, head) = (ledger.view(), ledger.head_number());
        Self { view, hosts: gossip.hosts(view, store), head, tells_all, watched }
    }
}

impl Common<'_> {
    /// What an event gives to the machine of a node; `None` for what is gone by now, and for what
    /// happens to the node and not to its machine.
    pub(super) fn input(
        self,
        node: &SimNode,
        event: Event,
        finished: Option<&Finished>,
    ) -> Option<Input> {
        match event {
            Event::Block => Some(Input::Block),
            Event::Arrival(record) | Event::Durable(record) => {
                let entry = self.hosts.records.get(record)?;
                Some(Input::Record(entry.record.clone()))
            }
            Event::Done(_) => {
                let finished = finished.filter(|finished| finished.session == node.session)?;
                Some(Input::Done(finished.op, finished.done.clone()))
            }
            _ => None,
        }
    }

    /// Gives a machine an input. `is_late` when something that it may ask for has to happen before:
    /// then nothing is made ahead.
    pub(super) fn take(
        self,
        node: &mut SimNode,
        index: usize,
        input: Input,
        is_late: bool,
    ) -> Option<Turn> {
        let (identity, is_honest) = (node.identity, node.coalition().is_none());
        let machine = node.machine.as_mut()?;
        let seen = (self.watched == Some(index)).then(|| format!("{input:?}"));
        machine.handle(self.view, input);
        let mut acts = Vec::new();
        while let Some(output) = machine.poll_output() {
            let text = trace::text(&output);
            let what = if is_honest && !is_late {
                self.make(index, identity, output)
            } else {
                // What becomes of it is up to its adversary, or to what it gains now.
                What::Plain(Box::new(output))
            };
            acts.push(Act { text, what });
        }
        Some(Turn { input: seen, acts })
    }

    fn make(self, index: usize, identity: u32, output: Output) -> What {
        let me = number(index);
        match output {
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
        }
    }

    fn verdict(self, signed: &VerifiedRecord) -> Option<Verdict> {
        let Body::StorageProof(shown) = &signed.record().body else { return None };
        let commit = self.hosts.records.get(self.hosts.records.find(&shown.commit)?)?;
        self.hosts.judge(&commit.record, signed)
    }

    /// Lets the nodes from number `first` on take their events of a window, each up to the first one
    /// whose consequences others, or its own next events, have to see.
    pub(super) fn take_ahead(
        self,
        nodes: &mut [SimNode],
        first: usize,
        items: &mut [Item],
        window: u32,
    ) {
        for item in items {
            let Some(index) = item.place.to.index() else { continue };
            let node = &mut nodes[index - first];
            if node.halted != window && !self.take_one_ahead(node, index, item) {
                node.halted = window;
            }
        }
    }

    /// Lets a node take an event; whether it may go on to the next one.
    fn take_one_ahead(self, node: &mut SimNode, index: usize, item: &mut Item) -> bool {
        let event = Event::from_bits(item.place.event);
        // A record that is durable goes out first, which pushes events; others start or stop the
        // machine.
        let is_plain = matches!(event, Event::Block | Event::Arrival(_) | Event::Done(_));
        if !is_plain || !node.is_online() {
            return false;
        }
        let finished = item.finished.as_deref();
        let Some(input) = self.input(node, event, finished) else {
            item.stage = Stage::Past;
            return true;
        };
        // The node has what the job gained only once that is written to the shared blobs.
        let gains = finished.is_some_and(|finished| finished.gains.is_some());
        let Some(turn) = self.take(node, index, input, gains) else { return false };
        let is_seen = turn.input.is_some();
        let is_quiet = turn.acts.is_empty() && !gains && !is_seen;
        if is_quiet && (self.tells_all || !note_wake(node, self.view, self.head)) {
            item.stage = Stage::Past;
            return true;
        }
        // What follows may answer a job at once, and that comes before the node's next event.
        item.stage = Stage::Taken(turn);
        false
    }
}
