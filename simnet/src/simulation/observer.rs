//! Who looks on: the trace, and one node under watch.

use protocol::Hash;

use super::number;
use crate::{
    kernel::{Actor, Time},
    trace::Trace,
};

/// Something that a watched machine was given or gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// When the machine was given it or gave it.
    pub time: Time,
    /// Whether the machine gave it.
    pub is_output: bool,
    /// The input or output in its debug form.
    pub what: String,
}

/// What is noted of machines; nothing changes by it.
#[derive(Default)]
pub(super) struct Observer {
    trace: Trace,
    watched: Option<usize>,
    /// What was seen of the watched node and not taken yet.
    seen: Vec<Seen>,
    /// How often a machine was given a record.
    delivered: u64,
}

impl Observer {
    /// From now on keeps what goes into and out of a node's machine.
    pub(super) const fn watch(&mut self, node: u32) {
        self.watched = Some(node as usize);
    }

    pub(super) const fn watched(&self) -> Option<usize> {
        self.watched
    }

    /// What was seen since the last call.
    pub(super) fn take_seen(&mut self) -> Vec<Seen> {
        std::mem::take(&mut self.seen)
    }

    pub(super) const fn note_delivery(&mut self) {
        self.delivered += 1;
    }

    pub(super) const fn delivered(&self) -> u64 {
        self.delivered
    }

    /// A watched machine was given an input.
    pub(super) fn see_input(&mut self, time: Time, what: String) {
        self.seen.push(Seen { time, is_output: false, what });
    }

    /// A machine gave an output, by its text for the trace.
    pub(super) fn see_output(&mut self, time: Time, index: usize, text: &str) {
        self.trace.add(time, Actor::node(number(index)), text);
        if self.watched == Some(index) {
            let what = text.trim_end_matches('\n').to_owned();
            self.seen.push(Seen { time, is_output: true, what });
        }
    }

    /// The hash over every output of every node so far, and how many there were.
    pub(super) fn trace(&self) -> (Hash, u64) {
        (self.trace.hash(), self.trace.outputs())
    }
}
