//! An account's statement, page by page.

use protocol::{AccountId, Amount, DatanetId, Digest, ModelId};
use serde::{Deserialize, Serialize};

/// A part of an account's statement: the lines of some epochs, and where the account stands in all.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StatementPage {
    /// Whose it is.
    pub account: AccountId,
    /// By epoch, in the order of the settlements.
    pub lines: Vec<StatementLine>,
    /// Epochs whose lines this node does not know.
    pub gaps: Vec<StatementGap>,
    /// What the account had earned before the first epoch of the page; none where this node does not know.
    pub before: Option<Amount>,
    /// Whether a settlement of the page names the record that was asked for.
    pub is_named: bool,
    /// What the chain says of the account as a whole.
    pub sums: StatementSums,
    /// The epoch where the next page begins (`since`); none on the last.
    pub next: Option<u64>,
}

/// One line of a statement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatementLine {
    /// The epoch that was settled.
    pub epoch: u64,
    /// The kind of work: `storage`, `shards`, `audits`, `attribution`, `model`, `serving`, `stake` or
    /// `treasury`.
    pub source: String,
    /// The record behind it; zero where there is none.
    pub record: Digest,
    /// The model that the record is about.
    pub model: Option<ModelId>,
    /// The Datanet that the model was trained on.
    pub datanet: Option<DatanetId>,
    /// What it earned, in the smallest unit; where a unit is asked about, that unit's part.
    pub amount: Amount,
    /// What of `amount` was claimed.
    pub claimed: Amount,
    /// Where a unit is asked about: what the record earned the account by all its units.
    pub whole: Option<Amount>,
    /// `paid`, `staked`, `claimable`, `held`, `pending`, `zero` or, of a unit, `unknown`.
    pub standing: String,
    /// Why it earned nothing, or why this node cannot say which part is the unit's.
    pub note: Option<String>,
}

/// An epoch whose lines are not known.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StatementGap {
    /// The epoch whose settlement was not recomputed.
    pub epoch: u64,
    /// Why this node cannot recompute its settlement now.
    pub reason: String,
}

/// An account as the last final settlement and the vault have it.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct StatementSums {
    /// The epoch now.
    pub now: u64,
    /// The last epoch whose settlement is final.
    pub final_epoch: Option<u64>,
    /// The account's cumulative amount in that settlement's payout tree; none where this node cannot
    /// recompute it now.
    pub earned: Option<Amount>,
    /// What the vault has paid, or made stake.
    pub claimed: Amount,
    /// What a claim would pay now.
    pub claimable: Amount,
    /// What a claim would make stake now.
    pub becomes_stake: Amount,
    /// What is held until it, with what is staked, is the least stake that counts.
    pub held: Amount,
}
