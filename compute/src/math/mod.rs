//! Numbers that are the same bits on every machine.
//!
//! Random choices come from [`Stream`], whose every output is specified; random checks are made in
//! the residues of `field`; losses leave this crate as integers ([`micro_nats`]).
//!
//! Not here: the integer rules that nodes decide by (`protocol::math`), and floats whose rounding
//! depends on a device.

pub(crate) mod field;
mod random;

pub use random::Stream;

/// A loss in nats as an integer number of millionths; what is negative or no number is zero.
pub fn micro_nats(loss: f64) -> u64 {
    (loss.max(0.0) * 1.0e6).round() as u64
}
