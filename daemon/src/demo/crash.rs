//! Killing nodes on purpose: what was acknowledged must survive `kill -9` at any instant.

use std::str::FromStr;

use anyhow::{Context, Result};

use super::cluster::{Cluster, NODES};

/// When a node is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// After the contributors have published.
    Publish,
    /// While the first round is computed.
    Train,
    /// When the model is ready.
    Offer,
    /// While the epoch of the fees is settled.
    Settle,
}

/// One kill: which node, counted from 0, and when.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Crash {
    pub(super) node: usize,
    pub(super) phase: Phase,
}

/// Text that names no crash.
#[derive(Debug, thiserror::Error)]
#[error(
    "'{0}' is not NODE@PHASE with a node from 1 to {NODES} and publish, train, offer or settle"
)]
pub(crate) struct BadCrash(String);

impl FromStr for Crash {
    type Err = BadCrash;

    fn from_str(text: &str) -> Result<Self, BadCrash> {
        let bad = || BadCrash(text.to_owned());
        let (node, phase) = text.split_once('@').ok_or_else(bad)?;
        let node = node.parse::<usize>().ok().and_then(|node| node.checked_sub(1));
        let phase = match phase {
            "publish" => Phase::Publish,
            "train" => Phase::Train,
            "offer" => Phase::Offer,
            "settle" => Phase::Settle,
            _ => return Err(bad()),
        };
        Ok(Self { node: node.filter(|node| *node < NODES).ok_or_else(bad)?, phase })
    }
}

impl Cluster {
    /// Kills a node without warning and starts it again over the same directory.
    pub(super) async fn crash(&mut self, index: usize) -> Result<()> {
        let mut bootstrap = Vec::new();
        for (other, member) in self.members.iter().enumerate() {
            if other != index {
                bootstrap.extend(member.status().await?.bootstrap);
            }
        }
        let member = self.members.get_mut(index).context("there is no such node")?;
        member.restart(&bootstrap).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crash_is_read_and_nonsense_refused() {
        let crash: Crash = "5@settle".parse().unwrap();
        assert_eq!((crash.node, crash.phase), (4, Phase::Settle));
        for text in ["0@train", "6@train", "1@never", "1", "@train"] {
            assert!(text.parse::<Crash>().is_err(), "{text}");
        }
    }
}
