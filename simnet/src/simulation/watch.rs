//! One node under watch: everything that goes into its machine and comes out.

use protocol::node::{Input, Output};

use super::Simulation;
use crate::kernel::Time;

/// Something that a watched machine was given or gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// When.
    pub time: Time,
    /// Whether it came out.
    pub is_output: bool,
    /// What, in its debug form.
    pub what: String,
}

/// What was seen of one node and not taken yet.
#[derive(Debug)]
pub(super) struct Watch {
    node: usize,
    seen: Vec<Seen>,
}

impl Watch {
    pub(super) const fn node(&self) -> usize {
        self.node
    }
}

impl Simulation {
    /// From now on keeps what goes into and out of a node's machine; nothing else changes.
    pub fn watch(&mut self, node: u32) {
        self.watch = Some(Watch { node: node as usize, seen: Vec::new() });
    }

    /// What was seen since the last call.
    pub fn seen(&mut self) -> Vec<Seen> {
        self.watch.as_mut().map_or(Vec::new(), |watch| std::mem::take(&mut watch.seen))
    }

    pub(super) fn see_input(&mut self, index: usize, input: &Input) {
        self.see(index, false, || format!("{input:?}"));
    }

    pub(super) fn see_output(&mut self, index: usize, output: &Output) {
        self.see(index, true, || format!("{output:?}"));
    }

    fn see(&mut self, index: usize, is_output: bool, what: impl FnOnce() -> String) {
        let time = self.now;
        if let Some(watch) = self.watch.as_mut().filter(|watch| watch.node == index) {
            watch.seen.push(Seen { time, is_output, what: what() });
        }
    }
}
