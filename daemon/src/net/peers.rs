//! Which peers are there, and which of that the consumer has been told.
//!
//! A slow consumer must not lose a `PeerUp` or `PeerDown`, and must not make a queue grow: so what
//! is kept is not a queue of events but the difference between what is and what was told.

use std::collections::BTreeSet;

use protocol::NodeId;

/// The peers that are up, and those that the consumer believes to be up.
#[derive(Debug, Default)]
pub(crate) struct Peers {
    up: BTreeSet<NodeId>,
    told: BTreeSet<NodeId>,
    changed: BTreeSet<NodeId>,
}

impl Peers {
    /// Whether the peer is up.
    pub(crate) fn is_up(&self, node: &NodeId) -> bool {
        self.up.contains(node)
    }

    /// The peers that are up.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &NodeId> {
        self.up.iter()
    }

    /// Notes that the peer is up, or down.
    pub(crate) fn set(&mut self, node: NodeId, up: bool) {
        if up {
            self.up.insert(node);
        } else {
            self.up.remove(&node);
        }
        if self.told.contains(&node) == up {
            self.changed.remove(&node);
        } else {
            self.changed.insert(node);
        }
    }

    /// Whether there is anything to tell.
    pub(crate) fn has_news(&self) -> bool {
        !self.changed.is_empty()
    }

    /// The next thing to tell (the peer, and whether it is up), which counts as told.
    pub(crate) fn tell(&mut self) -> Option<(NodeId, bool)> {
        let node = self.changed.pop_first()?;
        let up = self.up.contains(&node);
        if up {
            self.told.insert(node);
        } else {
            self.told.remove(&node);
        }
        Some((node, up))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coming_and_going_unseen_is_no_news() {
        let mut peers = Peers::default();
        peers.set(NodeId([1; 32]), true);
        peers.set(NodeId([1; 32]), false);
        assert!(!peers.has_news());
    }

    #[test]
    fn each_change_is_told_once() {
        let (mut peers, node) = (Peers::default(), NodeId([1; 32]));
        peers.set(node, true);
        peers.set(node, true);
        assert_eq!(peers.tell(), Some((node, true)));
        assert_eq!(peers.tell(), None);
        peers.set(node, false);
        assert_eq!(peers.tell(), Some((node, false)));
        assert!(!peers.has_news() && !peers.is_up(&node));
    }
}
