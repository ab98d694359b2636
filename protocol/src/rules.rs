//! The rules that more than one part must apply alike: what the machine does, what `settle()` pays and
//! what a node asks of its peers all follow from them, so each is written once and lies below all three.
//!
//! A rule is a pure function of the chain and of signed records. It never asks who asks.

mod authority;
mod inclusion;
mod label;
mod output;
mod standing;
mod storage;
pub mod verdict;

pub(crate) use authority::has_authority;
pub use authority::is_by_operator;
pub use inclusion::included_in;
pub(crate) use inclusion::{after_inclusion, of_use_until};
pub(crate) use label::work_epoch;
pub use output::{attribution_auditors, follows_transcript, price, tokens_paid};
pub(crate) use output::{is_attributed, shares_are_whole};
pub use standing::{Standing, standings};
pub(crate) use storage::{
    cell_to_show, commits_to_assigned, committed_in_time, passes_storage, shown_in_time,
};
pub use storage::{judge_storage, unshown_cell};
