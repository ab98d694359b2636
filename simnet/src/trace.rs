//! The trace hash: BLAKE3 over every output of every node, in order, each with its time.
//!
//! An output is hashed in its debug form, which contains every field. Traces are comparable between
//! runs of one build.

use protocol::{Hash, node::Output};

use crate::kernel::{Actor, Time};

/// The running hash.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    hasher: blake3::Hasher,
    outputs: u64,
}

/// An output as it is hashed.
pub(crate) fn text(output: &Output) -> String {
    format!("{output:?}\n")
}

impl Trace {
    /// Adds one output by its text.
    pub(crate) fn add(&mut self, at: Time, node: Actor, text: &str) {
        self.hasher.update(&at.0.to_be_bytes());
        self.hasher.update(&node.0.to_be_bytes());
        self.hasher.update(text.as_bytes());
        self.outputs += 1;
    }

    /// The hash so far.
    pub(crate) fn hash(&self) -> Hash {
        Hash(*self.hasher.finalize().as_bytes())
    }

    /// Outputs so far.
    pub(crate) const fn outputs(&self) -> u64 {
        self.outputs
    }
}
