//! The units of a snapshot, before a model reads them.
//!
//! [`texts`] cuts units from packs; [`clusters`] says which units repeat earlier ones: they are neither
//! trained on, nor indexed, nor paid. Works on text alone, in integers: no model, no tokenizer, no
//! float.
//!
//! Not here: where the bytes come from (the daemon fetches packs), how text is cut into units
//! (`protocol::manifest`) and the index that finds verbatim runs ([`spans`](crate::spans)).

pub mod clusters;
mod units;

pub use units::{Text, texts};
