//! The only place that knows both a protocol type and its ABI counterpart.

mod decode;
mod encode;
mod revert;

pub use revert::RevertReason;

pub(crate) use crate::bindings::address;
pub(crate) use decode::decode_log;
pub(crate) use encode::{Call, encode};
