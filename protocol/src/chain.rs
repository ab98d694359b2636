//! What the chain says, and what may be said to it.
//!
//! [`ChainEvent`]s are decoded logs; [`ChainView`] folds them into the state on which every node and
//! every verifier agrees. The view belongs to the driver and is lent to the machine, so that a
//! simulator shares one among a million nodes. Nothing here knows an ABI.

mod challenge;
mod deposits;
mod disputes;
mod drawn;
mod draws;
mod event;
mod fold;
mod inclusions;
mod recent;
mod runs;
mod shards;
mod state;
mod transaction;
mod view;

pub use challenge::{Challenge, PayoutLeaf};
pub use deposits::Deposit;
pub use disputes::Dispute;
pub use drawn::Duties;
pub use event::{
    BlockHeader, ChainEvent, Contribution, DatanetUse, Model, ModelPublication, Registration,
    Settlement,
};
pub use recent::Recent;
pub use shards::ShardFault;
pub use state::{Account, Pack, Purpose, Redemption, SettlementState};
pub use transaction::{DisputeAnswer, ProposalAct, Transaction};
pub use view::ChainView;
