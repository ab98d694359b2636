//! Tiny contracts, assembled by hand, so that tests of the chain need no compiler.

use alloy::primitives::Bytes;

/// Logs one topic, its first word of call data: `LOG1(0, 0, calldata[0])`.
pub(crate) const LOGGER: &[u8] = &[0x5f, 0x35, 0x5f, 0x5f, 0xa1, 0x00];

/// Reverts with its call data.
pub(crate) const ECHO_REVERT: &[u8] = &[0x36, 0x5f, 0x5f, 0x37, 0x36, 0x5f, 0xfd];

/// Returns `BLOCKHASH(calldata[0])`.
pub(crate) const BLOCK_HASH: &[u8] = &[0x5f, 0x35, 0x40, 0x5f, 0x52, 0x60, 0x20, 0x5f, 0xf3];

/// Adds its first word of call data to storage slot 0.
pub(crate) const ADDER: &[u8] = &[0x5f, 0x35, 0x5f, 0x54, 0x01, 0x5f, 0x55, 0x00];

/// Never ends: `JUMPDEST; JUMP(0)`.
pub(crate) const ENDLESS: &[u8] = &[0x5b, 0x5f, 0x56];

/// Init code that deploys a short runtime code.
pub(crate) fn init_code(runtime: &[u8]) -> Bytes {
    let length = u8::try_from(runtime.len()).expect("test contracts are short");
    let head = [0x60, length, 0x60, 0x0a, 0x5f, 0x39, 0x60, length, 0x5f, 0xf3];
    [head.as_slice(), runtime].concat().into()
}
