//! Bodies of requests and answers: what the API promises to programs, apart from what the node keeps.
//!
//! Amounts are decimal strings of the smallest unit, hashes and addresses hexadecimal strings, ids
//! numbers. Requests are read strictly: an unknown field is an error that names it.

mod attribution;
mod base;
mod data;
mod model;
mod money;
mod node;
mod statement;

pub use self::attribution::{
    AttributeRequest, AttributionReport, ContributorReport, EvidenceKind, MarkedSpan, Place,
    RuleReport, Sources, UnitLine,
};
pub use self::base::{BaseInfo, OfferBase};
pub use self::data::{
    AddReport, Contribute, ContributionInfo, CreateDatanet, DataDeposit, DatanetInfo, Document,
    TakeBack,
};
pub use self::model::{
    AskQuote, Evaluate, Evaluation, Infer, InferReport, ModelInfo, Offer, PricedQuote, Publish,
    RunPrice, SpanReport, Train, TrainAdapter, TrainNumbers, UnitReport,
};
pub use self::money::{
    AccountInfo, Claim, Claimed, Created, ProposedSettlement, Register, RewardLine, SettlementInfo,
    TxReport,
};
pub use self::node::{Closed, Pin, Pinned, RunStatus, StatusReport, Ticket};
pub use self::statement::{StatementGap, StatementLine, StatementPage, StatementSums};
