//! What speaks to a network from outside a node: a reader of the chain, and a consumer who pays.

mod chain;
mod consumer;
mod counters;

pub(crate) use self::chain::{ChainReader, Judged};
pub(crate) use self::consumer::{Consumer, Question};
pub(crate) use self::counters::{Claim, CountError, Counters};
