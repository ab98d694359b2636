//! How right the attribution is, measured by really retraining without the data in question.
//!
//! The ground truth is [`Truth`]: the same run, from the same start and in the same order, with some
//! contributors' data left out, and the loss of every query after it. A method's scores are good if
//! the sum over the contributors that stayed predicts that loss: the *linear datamodelling score*
//! (LDS; Park et al., arXiv 2303.14186) is the mean over queries of Spearman's correlation between
//! the two. Everything is by contributor, because nobody is paid by single examples, and because
//! leaving out one example is below the noise of training.
//!
//! Two settings, both real: [`digits`], a small classifier, and [`language`], the `nano` decoder on
//! the texts that the caller brings.

pub mod baselines;
mod corpus;
pub mod digits;
pub mod language;
mod methods;
mod provenance;
mod stats;
mod truth;

pub use methods::{Lds, Methods, QualityError, Scores, Tuning};
pub use provenance::Provenance;
pub use stats::{mean, spearman};
pub use truth::{Truth, draw_masks};
