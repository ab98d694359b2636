//! How a node comes to its account, without which it has no machine.

use crate::{
    chain::ChainView,
    ids::{AccountId, BlockNumber, Blocks, NodeId},
};

/// Blocks between two tries to register: gas may come later.
const RETRY_AFTER: Blocks = Blocks(10);

/// What is to be done about a node's account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enrol {
    /// The chain knows it: the machine can start.
    Start(AccountId),
    /// The node has none, and asks for one.
    Register,
    /// Its registration is under way, or was refused a short while ago.
    Wait,
}

/// Looks for a node's account, and registers it once.
#[derive(Debug)]
pub struct Enrolment {
    node: NodeId,
    asked_at: Option<BlockNumber>,
    is_pending: bool,
}

impl Enrolment {
    /// For a node that may have an account already.
    pub const fn new(node: NodeId) -> Self {
        Self { node, asked_at: None, is_pending: false }
    }

    /// What to do at a block. **Ask only at the chain's newest**: the account of a node that starts
    /// again is in a block that it may not have read yet, and it must not make a second one.
    pub fn on_block(&mut self, chain: &ChainView) -> Enrol {
        if let Some(account) = chain.account_of(&self.node) {
            return Enrol::Start(account);
        }
        let Some(now) = chain.head().map(|head| head.number) else { return Enrol::Wait };
        let is_early = |asked: BlockNumber| now < asked.after(RETRY_AFTER);
        if self.is_pending || self.asked_at.is_some_and(is_early) {
            return Enrol::Wait;
        }
        self.asked_at = Some(now);
        self.is_pending = true;
        Enrol::Register
    }

    /// Blocks were replaced, and the account's may be among them. The chain takes such a registration
    /// up again by itself, so it is asked for anew only after a while.
    pub fn on_replaced(&mut self, chain: &ChainView) {
        self.asked_at = chain.head().map(|head| head.number);
        self.is_pending = false;
    }

    /// The registration was refused for certain. One whose fate is unknown may still be mined.
    pub const fn on_refused(&mut self) {
        self.is_pending = false;
    }
}
