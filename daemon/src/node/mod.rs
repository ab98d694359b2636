//! A running node: the machine of [`protocol::node`] with a disk, a device, a chain and a network.
//!
//! One task owns the machine and carries what goes in and what comes out (`run`). The slow work is
//! done by the `worker`, the computing by one thread, and a paid request is owned by the table in
//! `requests` from its receipt to its answer. Everybody else talks to the node through
//! [`NodeHandle`].

mod answer;
mod attribution;
mod base_offers;
mod blobs;
mod chain;
mod compute_thread;
mod failures;
mod generating;
mod handle;
mod health;
mod holders;
mod holding;
mod jobs;
mod marks;
mod models;
mod orders;
mod pool;
mod requests;
mod rewards;
mod run;
mod run_data;
mod settlement;
mod speaker;
mod start;
mod statement;
mod status;
mod steps;
mod stopped;
mod sync;
mod uses;
mod worker;

pub use self::answer::{Answer, AnswerSpan, AnswerUnit};
pub use self::attribution::{AttributeError, AttributeQuery, Attribution};
pub use self::base_offers::BaseOffer;
pub use self::handle::{NodeHandle, TxOutcome};
pub use self::health::Offline;
pub use self::models::{AddRequest, Contributed, DepositQuote, HeldOutLoss, InferRequest, Quote};
pub use self::orders::{AdapterRequest, RunNumbers, RunPrice, TrainRequest};
pub use self::requests::Served;
pub use self::start::RunOptions;
pub use self::statement::{Standing, StatementError, StatementPage, StatementQuery, StatementRow};
pub use self::status::{
    ClosedRound, DeviceStatus, NodeStatus, RunProgress, StatementLine, StoreStatus,
};

pub(crate) use self::attribution::RankedUnit;
pub(crate) use self::holding::rows;
pub(crate) use self::jobs::Jobs;
pub(crate) use self::models::PromptLength;
pub(crate) use self::start::AssignJobs;
pub(crate) use self::worker::Worker;
