//! Gradient influence: which units made an output likelier.
//!
//! Of every unit a **sketch** is kept: its gradient at chosen linear maps, randomly projected on both
//! sides and quantised to eight bits ([`Capturer`]). The sketches of a snapshot are committed by a
//! Merkle root that binds checkpoint, projection and layers ([`SketchSet`]). An output is sketched
//! in the same way, multiplied by the inverse of the damped projected Fisher matrix
//! ([`Preconditioner`]) and quantised to a published [`Query`]; from there on everything is
//! integers, so that the scores of all units are equal on every node.
//!
//! Losses are **summed over tokens** and nothing is normalised: cutting a text in two leaves the sum
//! of its scores as it was. Scores are signed; what they pay is decided by
//! [`protocol::attribution`].
//!
//! A sketch is of a model's own linear maps ([`Capturer::new`]) or of the factors of an adapter beside
//! it ([`Capturer::adapter`]); everything after the capture is the same. The offline tiers ask a
//! [`Network`], which [`TextNetwork`] is of a model and [`AdapterNetwork`] of an adapter.
//!
//! Every heavy step is split by ranges of units over nodes that need not be trusted, and each has its
//! check: captured leaves are **recomputed** at random ([`LeafRule`]), Gram matrices and products are
//! checked by **Freivalds** with the verifier's secret ([`GramCheck`], [`ScoreCheck`]), indices match
//! **exactly** ([`check_index`]).
//!
//! ```text
//! units ──Capturer::units──▶ SketchPart (any range, any node)
//! parts ──SketchSet::assemble──▶ SketchSet ──Preconditioner::fit──▶ Preconditioner
//! SketchPart ──GramPart::of──▶ GramPart, any range ──Gram::sum──▶ Gram ──Preconditioner::fit_gram
//! SketchPart, Query ──ScorePart::of──▶ ScorePart, any range ──SketchSet::combine──▶ i64 each
//! output ──Capturer::output──▶ sketch ──Preconditioner::query──▶ Query ──SketchSet::scores──▶ i64 each
//! ```
//!
//! Rooms: what is kept of a unit (`sketch`), how it is taken (`capture`), what runs for every output
//! (`online`), what runs between outputs (`offline`); nothing online waits for anything offline but a
//! fitted [`Preconditioner`]. Not here: verbatim evidence ([`spans`](crate::spans)), the weighing of both
//! ([`serve`](crate::serve)), and the measurements of how right all this is (the package `quality`).

mod capture;
mod offline;
mod online;
mod sketch;

pub use capture::{AdapterCaptureError, CaptureError, CaptureUnit, Capturer, OutputSketch, Scope};
pub use offline::{
    AdapterNetwork, AdapterNetworkError, Direction, EkFac, EkFacError, FitError, Gradient, Network,
    Preconditioner, Targets, TextError, TextNetwork, batches, products, row_sums, sampled,
    unrolled, weighted,
};
pub use online::{
    Aggregate, CheckError, CombineError, GramCheck, IndexMismatch, LeafAuditError, LeafReport,
    LeafRule, LikelihoodError, Query, QueryError, Rows, ScoreCheck, ScoreError, ScorePart,
    ScorePartError, Unigram, check_index, detection,
};
#[cfg(feature = "gpu")]
pub use online::{GpuKernel, GpuRows, KernelError};
pub use sketch::{
    AssembleError, CoverError, Difference, Gram, GramError, GramPart, PartError, Projection,
    Sketch, SketchPart, SketchSet, SketchSpec, SpecError, SumError, projections, verify_leaf,
};

pub use crate::model::Captured;
