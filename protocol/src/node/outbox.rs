//! What was sent to the chain and does not show there yet.
//!
//! A transaction can get lost, or its block can be replaced, and nobody says so: whether it arrived
//! shows only in the chain view. So whoever wants something on the chain looks there first, and as
//! long as it does not show sends it again.

use crate::ids::{BlockNumber, Blocks};

/// How long a transaction may take to show on the chain before it is sent again.
pub(super) const RESEND_AFTER: Blocks = Blocks(4);

/// A transaction on its way: when it was last sent, if it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Outgoing(Option<BlockNumber>);

impl Outgoing {
    /// One that was not sent yet.
    pub(super) const fn new() -> Self {
        Self(None)
    }

    /// One that was sent in this block.
    pub(super) const fn sent(now: BlockNumber) -> Self {
        Self(Some(now))
    }

    /// The first block in which it is to be sent, for the first time or again.
    pub(super) fn due(&self) -> BlockNumber {
        self.0.map_or(BlockNumber(0), |sent| sent.after(RESEND_AFTER))
    }

    /// Whether it is to be sent in this block; if so, that counts as done.
    pub(super) fn send(&mut self, now: BlockNumber) -> bool {
        self.send_within(now, RESEND_AFTER)
    }

    /// The same, sent again after another span.
    pub(super) fn send_within(&mut self, now: BlockNumber, again: Blocks) -> bool {
        let is_due = self.0.is_none_or(|sent| now >= sent.after(again));
        if is_due {
            *self = Self::sent(now);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_sent_at_once_and_again_only_after_a_while() {
        let mut outgoing = Outgoing::new();
        let sent: alloc::vec::Vec<_> =
            (10..20).filter(|block| outgoing.send(BlockNumber(*block))).collect();
        assert_eq!(sent, [10, 14, 18]);
        assert_eq!(outgoing.due(), BlockNumber(22));
    }

    #[test]
    fn blocks_that_nobody_looked_at_do_not_make_it_send_twice() {
        let mut outgoing = Outgoing::sent(BlockNumber(10));
        assert!(!outgoing.send(BlockNumber(13)) && outgoing.send(BlockNumber(100)));
        assert!(!outgoing.send(BlockNumber(100)) && !outgoing.send(BlockNumber(103)));
    }
}
