//! Settlement: the pure function from the chain to payouts.
//!
//! The chain has the records of the epoch, and the verdicts of the auditors among them. So anyone who has
//! the chain gets the same roots, to the last unit. Emission that nobody earned stays in the vault, as does
//! what was paid for runs and not worked for; every fee that an output accounts for is split without
//! remainder. A rule here never asks who proposes.

mod emission;
mod fees;
mod invariant;
mod ledger;
mod range;
mod refute;
mod shards;
mod statement;
mod verify;
mod works;

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};
use core::fmt;

pub use invariant::Invariant;
use ledger::Ledger;
pub use refute::refute;
pub use statement::{Entry, Statement, trained_on};
pub use verify::{VerifyError, verify};
pub use works::{Division, Output, Work};

use crate::{
    balance::Balance,
    chain::{ChainView, DatanetUse, Settlement, Transaction},
    codec::{DecodeError, Reader, Wire as _, encode_list},
    ids::{AccountId, Amount, Digest, Epoch},
    limits::MAX_BALANCES,
    merkle::SumTree,
};

/// What an account earned by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// Proven replicas, and the storers' part of fees.
    Storage,
    /// Shards of training rounds that passed their audit.
    Shards,
    /// Audits that hold.
    Audits,
    /// Units that outputs were attributed to.
    Attribution,
    /// A model that was used.
    Model,
    /// Serving a model, and the work of attributing its outputs.
    Serving,
    /// A part of fees for what is staked.
    Stake,
    /// The platform's share.
    Treasury,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Storage => "storage",
            Self::Shards => "shards",
            Self::Audits => "audits",
            Self::Attribution => "attribution",
            Self::Model => "a model",
            Self::Serving => "serving",
            Self::Stake => "stake",
            Self::Treasury => "the treasury",
        })
    }
}

/// One reason why an account is paid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line {
    /// The account that it pays.
    pub account: AccountId,
    /// The work or the right that earned it.
    pub source: Source,
    /// Smallest units of OPEN; never zero.
    pub amount: Amount,
    /// Whether it was earned in the newcomers' lane, and so is held ([`Balance::lane`]).
    pub is_held: bool,
    /// The record behind it; zero where there is none.
    pub record: Digest,
}

impl Line {
    /// What it adds to an account's balance.
    pub const fn balance(&self) -> Balance {
        match self.is_held {
            true => Balance { free: Amount::ZERO, lane: self.amount },
            false => Balance { free: self.amount, lane: Amount::ZERO },
        }
    }
}

/// Why work earned nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unpaid {
    /// No commitment was included in time.
    #[error("no storage commitment was included before the deadline")]
    NotCommitted,
    /// A commitment, but no proof.
    #[error("the sampled cells were not opened")]
    NotOpened,
    /// The proof is wrong: a fault.
    #[error("the storage proof is wrong: a cell that was claimed could not be shown")]
    WrongProof,
    /// A cell that was committed to was not shown to whoever disputed it: a fault.
    #[error("a disputed cell of what was claimed was not shown in time")]
    NotShown,
    /// No more auditors saw the proof in time than missed it.
    #[error("no more of the drawn auditors saw the proof in time than missed it")]
    NoQuorum,
    /// The replay rejected the shard: a fault.
    #[error("the replay of the shard did not give what was claimed")]
    ShardRejected,
    /// The same part of the round was done before, or its worker claimed it in an earlier epoch.
    #[error("the same part of the round was done before, or claimed in an earlier epoch")]
    DoneBefore,
    /// The shard is not of a part of a run that was its worker's to do.
    #[error("it is of no part of a run that was this account's to do")]
    NotDue,
    /// No close of the run names the checkpoint that the shard starts from.
    #[error("it starts from a checkpoint that no close of its run names")]
    UnknownBase,
    /// No consumer had paid for the output when the epoch ended.
    #[error("the receipt behind the output was not redeemed before the epoch ended")]
    NotRedeemed,
    /// No more than half of the drawn auditors passed the work in time.
    #[error("no more than half of the drawn auditors passed the work in time")]
    NotAudited,
    /// The fee of an output went to others. Only [`Outcome::statement`] says so, of those whose data the
    /// model was trained on.
    #[error(
        "the output is others' work: of its fee this account has no share, or less than a unit"
    )]
    NoShare,
    /// The fee of an output stays in the vault, since its attribution is false: a fault. Said as above.
    #[error(
        "most of the drawn auditors found the attribution false, so its fee stays in the vault"
    )]
    FoundFalse,
    /// The fee of an output stays in the vault, since its shares are not a whole. Said as above.
    #[error("the shares of the attribution are not a whole, so its fee stays in the vault")]
    NotWhole,
}

/// Work that earned nothing, with the reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Zero {
    /// The account whose work earned nothing.
    pub account: AccountId,
    /// Of what kind.
    pub source: Source,
    /// The record behind it; zero where there is none.
    pub record: Digest,
    /// The rule that the work did not meet.
    pub reason: Unpaid,
}

/// An audit that holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Credit {
    /// Who is paid for it.
    auditor: AccountId,
    /// The record that gives the verdict.
    audit: Digest,
    /// For how many seats it speaks.
    seats: u64,
}

/// The result of an epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// What is proposed on chain.
    pub settlement: Settlement,
    /// Everything each account has earned so far, by account.
    pub leaves: Vec<(AccountId, Balance)>,
    /// Why, for this epoch.
    pub lines: Vec<Line>,
    /// Why not, for this epoch.
    pub zeros: Vec<Zero>,
    /// Use of each Datanet.
    pub uses: Vec<DatanetUse>,
    /// What the records behind lines and zeros are about, where that is a model, and every output whose fee
    /// was divided or stays in the vault.
    pub works: BTreeMap<Digest, Work>,
}

impl Outcome {
    /// What an account has earned so far.
    pub fn earned(&self, account: AccountId) -> Balance {
        let leaf = self.leaves.iter().find(|(id, _)| *id == account);
        leaf.map_or(Balance::ZERO, |(_, balance)| *balance)
    }

    /// The transaction that claims for an account; `None` where it would pay nothing.
    pub fn claim(&self, chain: &ChainView, account: AccountId) -> Option<Transaction> {
        let index = self.leaves.iter().position(|(id, _)| *id == account)?;
        let (_, balance) = *self.leaves.get(index)?;
        if chain.claimable(account, balance).is_nothing() {
            return None;
        }
        let (index, count) = (u64::try_from(index).ok()?, self.leaves.len() as u64);
        let path = payout_tree(&self.leaves).prove(index)?;
        Some(Transaction::Claim { account, balance, index, count, path })
    }
}

/// The payout tree: leaf payload u64 account ‖ u128 free ‖ u128 lane, sum = free + lane.
pub fn payout_tree(leaves: &[(AccountId, Balance)]) -> SumTree {
    let leaves: Vec<_> = leaves.iter().map(|leaf| (leaf.to_bytes(), leaf.1.total().0)).collect();
    SumTree::new(&leaves)
}

/// Why an epoch is not settled here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SettleError {
    /// The epoch is not over, or its beacon was missed.
    #[error("epoch {0} is not over yet")]
    NotOver(Epoch),
    /// The epoch was settled so long ago that its records are not kept any more.
    #[error("epoch {0} was settled long ago: read the chain up to its settlement to do it again")]
    Forgotten(Epoch),
    /// The leaves are not those of the final settlement before.
    #[error("the balances before epoch {0} are not those of the final settlement before it")]
    WrongParent(Epoch),
    /// The final settlement before names an account twice, so it was false, and whoever let it become
    /// final has to replace it: nobody can say what the account had.
    #[error(
        "the final settlement before epoch {epoch} names account {account} twice: it was false, and \
         nothing can be settled after it"
    )]
    FalseParent {
        /// The epoch that cannot be settled.
        epoch: Epoch,
        /// Whom the settlement before names twice.
        account: AccountId,
    },
    /// Something that cannot happen: this program is wrong, and pays nobody rather than wrongly. It
    /// says nothing about whoever made the records or the log.
    #[error("epoch {epoch} is not settled by this node, whose program is wrong: {invariant}")]
    Invariant {
        /// The epoch whose settlement stopped.
        epoch: Epoch,
        /// What should have held.
        invariant: Invariant,
    },
}

/// The canonical list of balances, as a blob that its hash names.
pub fn encode_balances(balances: &[(AccountId, Balance)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_list(balances, &mut bytes);
    bytes
}

/// Reads a list of balances.
///
/// # Errors
/// [`DecodeError`] where the bytes are none.
pub fn decode_balances(bytes: &[u8]) -> Result<Vec<(AccountId, Balance)>, DecodeError> {
    let mut input = Reader::new(bytes);
    let balances = input.list(MAX_BALANCES)?;
    input.finish()?;
    Ok(balances)
}

/// Settles an epoch.
///
/// # Errors
/// [`SettleError`] when the epoch is not over, `parent` is not the final balance before it, or an
/// [`Invariant`] does not hold.
pub fn settle(
    chain: &ChainView,
    epoch: Epoch,
    parent: &[(AccountId, Balance)],
) -> Result<Outcome, SettleError> {
    let parent_id = check_parent(chain, epoch, parent)?;
    if chain.head().is_none_or(|head| head.number < chain.schedule.cutoff(epoch)) {
        return Err(SettleError::NotOver(epoch));
    }
    if !chain.has_records(epoch) {
        return Err(SettleError::Forgotten(epoch));
    }
    let mut ledger = Ledger::new(chain, epoch);
    let settled = ledger.pay_all().and_then(|()| ledger.finish(parent_id, parent));
    settled.map_err(|invariant| SettleError::Invariant { epoch, invariant })
}

fn check_parent(
    chain: &ChainView,
    epoch: Epoch,
    parent: &[(AccountId, Balance)],
) -> Result<Digest, SettleError> {
    let before = epoch.0.checked_sub(1).and_then(|e| chain.settlement(Epoch(e)));
    let (id, root) = match before.filter(|state| state.is_final) {
        Some(state) => (state.id, state.settlement.payout_root),
        None if epoch.0 == 0 => (Digest::ZERO, Digest::ZERO),
        None => return Err(SettleError::WrongParent(epoch)),
    };
    if payout_tree(parent).root() != root {
        return Err(SettleError::WrongParent(epoch));
    }
    // What became final need not be what honest nodes would have proposed. Another order of the same
    // balances is no reason to stop.
    let mut seen = BTreeSet::new();
    match parent.iter().find(|(account, _)| !seen.insert(*account)) {
        Some((account, _)) => Err(SettleError::FalseParent { epoch, account: *account }),
        None => Ok(id),
    }
}
