//! Answers of a model, and where each came from.
//!
//! [`Generator`] samples token by token. [`Attributor`] is a model with all evidence about its data: it
//! answers, weighs the evidence by the rule that pays, and repeats what another node has published
//! ([`Transcript`]): that the answer is the model's ([`Generator::reread`]: each token is what the seed draws, and
//! the digest of what the model computed is close), and that the shares follow. Equal checkpoint, prompt, [`Sampling`] and device give equal tokens; from the
//! published query on everything is integers, so that all nodes find the same shares.
//!
//! Not here: sessions, prices and queues (the daemon's), the rule itself (`protocol::attribution`), and
//! the forward pass ([`model`](crate::model)). [`batch`] serves many at once, with eight-bit weights; units
//! that are retrieved for a prompt belong here.

mod activations;
mod attributor;
pub mod batch;
mod draw;
mod evidence;
mod generate;
mod likeliest;
mod reread;
mod sampling;
mod transcript;

pub use attributor::{Attributor, ServeError};
pub use evidence::Evidence;
pub use generate::{Chosen, Generation, Generator, InferError, Scores};
pub use reread::{Claimed, Reread};
pub use sampling::Sampling;
pub use transcript::{MAX_TRANSCRIPT_BYTES, PublishedUse, Transcript, pairs};
