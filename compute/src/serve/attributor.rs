//! A model with its evidence: answers, and where each answer came from.

use std::sync::Arc;

use protocol::Hash;
use protocol::attribution::{RepeatedUse, UnitEvidence, WeighError};
use protocol::node::Failure;

use super::evidence::Evidence;
use super::generate::{Generation, Generator, InferError};
use super::sampling::Sampling;
use super::transcript::{Transcript, pairs};
use crate::attribute::{
    AdapterCaptureError, AssembleError, CaptureError, Capturer, FitError, PartError,
    Preconditioner, Query, QueryError, Scope, ScoreError, SketchPart, SketchSet, SketchSpec,
};
use crate::device::Engine;
use crate::lora::AdapterError;
use crate::model::Trace;
use crate::run::{RunData, Weights, sketch_spec};
use crate::spans::{self, SpanIndex, SpanParams, SpanUnit, Spans};

/// Everything that answers and attributes with one checkpoint.
///
/// Sketches and spans are of the canonical units alone: the preconditioner, the counts of spans and
/// the scores are what they would be without copies.
pub struct Attributor {
    run: Arc<RunData>,
    generator: Generator,
    capturer: Capturer,
    spec: SketchSpec,
    sketches: SketchSet,
    preconditioner: Preconditioner,
    spans: SpanIndex,
    /// Ranks in the snapshot of the canonical units.
    canonical: Vec<u32>,
}

/// Why a model can't answer, or an output can't be attributed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ServeError {
    /// Sketches are malformed.
    #[error(transparent)]
    Part(#[from] PartError),
    /// The sketches don't make up the snapshot.
    #[error(transparent)]
    Assemble(#[from] AssembleError),
    /// The sketches have no preconditioner.
    #[error(transparent)]
    Fit(#[from] FitError),
    /// The units could not be indexed.
    #[error(transparent)]
    Index(#[from] spans::BuildError),
    /// The model gave no answer.
    #[error(transparent)]
    Infer(#[from] InferError),
    /// The weights are of another base than the run's.
    #[error(transparent)]
    Adapter(#[from] AdapterError),
    /// The adapter could not be loaded for sketching.
    #[error(transparent)]
    AdapterCapture(#[from] AdapterCaptureError),
    /// The output could not be sketched.
    #[error(transparent)]
    Capture(#[from] CaptureError),
    /// The sketch made no query, or a published query is malformed.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// The query belongs to other sketches.
    #[error(transparent)]
    Score(#[from] ScoreError),
    /// The output's spans could not be looked up.
    #[error(transparent)]
    Spans(#[from] spans::QueryError),
    /// The evidence could not be weighed.
    #[error(transparent)]
    Weigh(#[from] WeighError),
}

impl ServeError {
    /// What the machine is told: what was given does not make up an attribution.
    pub const fn failure(&self) -> Failure {
        Failure::Invalid
    }
}

impl Attributor {
    /// Loads a run's weights with their sketches, given as the bytes of parts.
    pub fn load<B: AsRef<[u8]>>(
        engine: &Engine,
        run: Arc<RunData>,
        weights: &Weights,
        parts: &[B],
    ) -> Result<Self, ServeError> {
        let spec = sketch_spec(weights);
        let parts = parts.iter().map(|bytes| SketchPart::decode(bytes.as_ref(), &spec));
        let parts = parts.collect::<Result<Vec<_>, _>>()?;
        Self::assemble(engine, run, weights, spec, parts)
    }

    fn assemble(
        engine: &Engine,
        run: Arc<RunData>,
        weights: &Weights,
        spec: SketchSpec,
        parts: Vec<SketchPart>,
    ) -> Result<Self, ServeError> {
        let shape: Vec<(Hash, u32)> =
            run.units.iter().map(|unit| (unit.hash, length(&unit.tokens))).collect();
        let sketches = SketchSet::assemble(spec.clone(), &shape, parts)?;
        let canonical: Vec<u32> = run.clusters.canonical().collect();
        let sketches = subset(&sketches, &shape, &canonical)?;
        let preconditioner = Preconditioner::fit(&sketches, Preconditioner::DAMPING_PPM)?;
        let units: Vec<_> = canonical
            .iter()
            .filter_map(|rank| run.units.get(*rank as usize))
            .map(|unit| SpanUnit { hash: unit.hash, tokens: &unit.tokens })
            .collect();
        let spans = SpanIndex::build(run.tokenizer.hash(), run.tokenizer.vocab(), &units)?;
        Ok(Self {
            generator: Generator::new(engine, &*run.model(weights)?)?,
            capturer: run.capturer(engine, weights, &spec)?,
            spec,
            sketches,
            preconditioner,
            spans,
            canonical,
            run,
        })
    }

    /// The run whose data the model was trained on.
    pub fn run(&self) -> &RunData {
        &self.run
    }

    /// Generates, and attributes what was generated.
    pub fn answer(
        &self,
        prompt: &[u32],
        sampling: &Sampling,
    ) -> Result<(Transcript, Evidence), ServeError> {
        let mut generation = self.begin(prompt, sampling)?;
        self.advance(&mut generation, sampling.tokens, &mut |_| true)?;
        self.finish(generation)
    }

    /// Begins an answer, to be gone on with step by step.
    pub fn begin(&self, prompt: &[u32], sampling: &Sampling) -> Result<Generation, ServeError> {
        Ok(self.generator.begin(prompt, sampling, self.capturer.traced_layer())?)
    }

    /// Goes on with an answer ([`Generator::advance`]).
    pub fn advance(
        &self,
        generation: &mut Generation,
        most: u32,
        keep_going: &mut dyn FnMut(u32) -> bool,
    ) -> Result<(), ServeError> {
        Ok(self.generator.advance(generation, most, keep_going)?)
    }

    /// Attributes what was generated.
    pub fn finish(&self, generation: Generation) -> Result<(Transcript, Evidence), ServeError> {
        let prompt = generation.prompt().to_vec();
        let (sampling, activations) = (generation.sampling().clone(), generation.activations());
        let (prompt, (output, trace)) = (prompt.as_slice(), generation.finish());
        let query = self.query(prompt, &output, trace.as_ref())?;
        let evidence = self.evidence(prompt, &output, &query)?;
        let transcript = Transcript {
            prompt: prompt.to_vec(),
            output,
            sampling,
            activations,
            query: query.encode(),
            shares: pairs(&evidence.weights.shares),
        };
        Ok((transcript, evidence))
    }

    /// The evidence for a text that anyone may have written.
    pub fn attribute(&self, prompt: &[u32], output: &[u32]) -> Result<Evidence, ServeError> {
        self.evidence(prompt, output, &self.query(prompt, output, None)?)
    }

    /// Binds the units that the evidence is drawn from, and their order.
    pub fn snapshot(&self) -> Hash {
        self.spans.snapshot()
    }

    /// Repeats a published use: how far this model is from having given that answer, how far this node's own
    /// query is from the published one, and whether the shares that follow from the **published** query are those
    /// that were published. The protocol's [`RepeatedUse::accepts`] says whether that is the same use.
    pub fn repeat(&self, published: &Transcript) -> Result<RepeatedUse, ServeError> {
        let query = Query::decode(&published.query, &self.spec)?;
        let own = self.query(&published.prompt, &published.output, None)?;
        let evidence = self.evidence(&published.prompt, &published.output, &query)?;
        let reread = self.generator.reread(&published.claimed())?;
        Ok(RepeatedUse {
            token_slack_ppm: reread.slack_ppm,
            activation_distance_ppm: reread.distance_ppm,
            query_cosine_ppm: own.cosine_ppm(&query),
            has_same_shares: pairs(&evidence.weights.shares) == published.shares,
        })
    }

    fn query(
        &self,
        prompt: &[u32],
        output: &[u32],
        trace: Option<&Trace>,
    ) -> Result<Query, ServeError> {
        // What the prompt brought to be repeated would count twice: in the prompt and in the output.
        let novel = self.spans.without_echo(prompt, output, SpanParams::DEFAULT);
        let sketch = self.capturer.output_traced(prompt, &novel, Scope::default(), trace)?;
        Ok(self.preconditioner.query(&sketch)?)
    }

    fn evidence(
        &self,
        prompt: &[u32],
        output: &[u32],
        query: &Query,
    ) -> Result<Evidence, ServeError> {
        let scores = self.sketches.scores(query)?;
        let tokenizer = self.run.tokenizer.hash();
        let mut spans = self.spans.attribute(tokenizer, prompt, output, SpanParams::DEFAULT)?;
        // From places among the canonical units to ranks in the snapshot.
        for span in &mut spans.spans {
            span.unit = self.canonical.get(span.unit as usize).copied().unwrap_or(u32::MAX);
        }
        let by_unit = spans.by_unit(self.run.units.len());
        let mut units: Vec<UnitEvidence> = (0u32..)
            .zip(self.run.units.iter().zip(by_unit))
            .map(|(rank, (unit, span_millibits))| UnitEvidence {
                unit: unit.hash,
                owner: unit.owner,
                cluster: self.run.clusters.of(rank).into(),
                tokens: length(&unit.tokens),
                score: 0,
                span_millibits,
            })
            .collect();
        // Copies keep a score of zero: the sketches are of canonical units alone.
        for (rank, score) in self.canonical.iter().zip(scores) {
            if let Some(unit) = units.get_mut(*rank as usize) {
                unit.score = score;
            }
        }
        Ok(Evidence::weigh(units, spans)?)
    }
}

fn length(tokens: &[u32]) -> u32 {
    u32::try_from(tokens.len()).unwrap_or(u32::MAX)
}

/// The sketches of the canonical units, as a set of their own.
fn subset(
    all: &SketchSet,
    shape: &[(Hash, u32)],
    ranks: &[u32],
) -> Result<SketchSet, AssembleError> {
    let pick = |rank: &u32| all.sketches().get(*rank as usize).cloned();
    let sketches = ranks.iter().filter_map(pick).collect();
    let shape: Vec<_> =
        ranks.iter().filter_map(|rank| shape.get(*rank as usize).copied()).collect();
    let part = SketchPart { spec: all.spec().id(), first: 0, sketches };
    SketchSet::assemble(all.spec().clone(), &shape, vec![part])
}
