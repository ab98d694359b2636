//! A model with its evidence: answers, and where each answer came from.

use std::sync::Arc;

use compute::attribute::{
    AssembleError, Capturer, Preconditioner, Query, Scope, SketchPart, SketchSet, SketchSpec,
};
use compute::device::Engine;
use compute::formats::Checkpoint;
use compute::model::Trace;
use compute::run::sketch_spec;
use compute::serve::{Generator, Sampling};
use compute::spans::{Attributed, SpanIndex, SpanParams, SpanUnit, Spans};
use protocol::Hash;
use protocol::attribution::{UnitEvidence, WeighParams, Weights, weigh};
use protocol::node::Failure;

use super::run_data::RunData;
use super::transcript::{Transcript, pairs};

/// Least cosine between the published query and the auditor's own, in ppm.
const MIN_QUERY_COSINE: i32 = 995_000;

/// Everything that answers and attributes with one checkpoint. Sketches and spans are of the canonical
/// units alone: the preconditioner, the counts of spans and the scores are what they would be
/// without copies.
pub(crate) struct Attributor {
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

/// The evidence for one output.
pub(crate) struct Evidence {
    pub(crate) units: Vec<UnitEvidence>,
    pub(crate) spans: Attributed,
    pub(crate) weights: Weights,
}

fn invalid(error: &dyn std::fmt::Display) -> Failure {
    tracing::warn!(%error, "attribution refused");
    Failure::Invalid
}

impl Attributor {
    /// Loads a checkpoint with its sketches.
    pub(crate) fn load(
        engine: &Engine,
        run: Arc<RunData>,
        checkpoint: &Checkpoint,
        parts: &[bytes::Bytes],
    ) -> Result<Self, Failure> {
        let spec = sketch_spec(checkpoint);
        let parts = parts
            .iter()
            .map(|bytes| SketchPart::decode(bytes, &spec))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| invalid(&error))?;
        let shape: Vec<(Hash, u32)> = run
            .units
            .iter()
            .map(|unit| (unit.hash, u32::try_from(unit.tokens.len()).unwrap_or(u32::MAX)))
            .collect();
        let sketches = SketchSet::assemble(spec.clone(), &shape, parts).map_err(|e| invalid(&e))?;
        let canonical: Vec<u32> = run.clusters.canonical().collect();
        let sketches = subset(&sketches, &shape, &canonical).map_err(|error| invalid(&error))?;
        let preconditioner = Preconditioner::fit(&sketches, Preconditioner::DAMPING_PPM)
            .map_err(|error| invalid(&error))?;
        let as_span = |rank: &u32| run.units.get(*rank as usize);
        let units: Vec<_> = canonical
            .iter()
            .filter_map(as_span)
            .map(|u| SpanUnit { hash: u.hash, tokens: &u.tokens })
            .collect();
        let spans = SpanIndex::build(run.tokenizer.hash(), run.tokenizer.vocab(), &units)
            .map_err(|error| invalid(&error))?;
        Ok(Self {
            generator: Generator::new(engine, checkpoint).map_err(|error| invalid(&error))?,
            capturer: Capturer::new(engine, checkpoint, &spec).map_err(|e| invalid(&e))?,
            spec,
            sketches,
            preconditioner,
            spans,
            canonical,
            run,
        })
    }

    pub(crate) fn run(&self) -> &RunData {
        &self.run
    }

    /// Generates, and attributes what was generated.
    pub(crate) fn answer(
        &self,
        prompt: &[u32],
        sampling: &Sampling,
    ) -> Result<(Transcript, Evidence), Failure> {
        let layer = self.capturer.traced_layer();
        let (output, trace) = self
            .generator
            .generate_traced(prompt, sampling, layer)
            .map_err(|error| invalid(&error))?;
        let query = self.query(prompt, &output, trace.as_ref())?;
        let evidence = self.evidence(prompt, &output, &query)?;
        let transcript = Transcript {
            prompt: prompt.to_vec(),
            output,
            query: query.encode(),
            shares: pairs(&evidence.weights.shares),
        };
        Ok((transcript, evidence))
    }

    /// The evidence for a text that anyone may have written.
    pub(crate) fn attribute(&self, prompt: &[u32], output: &[u32]) -> Result<Evidence, Failure> {
        self.evidence(prompt, output, &self.query(prompt, output, None)?)
    }

    /// Binds the units that the evidence is drawn from, and their order.
    pub(crate) fn snapshot(&self) -> Hash {
        self.spans.snapshot()
    }

    /// Whether a published attribution is what this node finds: the query up to the arithmetic of
    /// other hardware, everything after it exactly.
    pub(crate) fn confirms(&self, transcript: &Transcript) -> Result<bool, Failure> {
        let published =
            Query::decode(&transcript.query, &self.spec).map_err(|error| invalid(&error))?;
        let own = self.query(&transcript.prompt, &transcript.output, None)?;
        let is_same_query =
            own.cosine_ppm(&published).is_some_and(|cosine| cosine >= MIN_QUERY_COSINE);
        let evidence = self.evidence(&transcript.prompt, &transcript.output, &published)?;
        Ok(is_same_query && pairs(&evidence.weights.shares) == transcript.shares)
    }

    fn query(
        &self,
        prompt: &[u32],
        output: &[u32],
        trace: Option<&Trace>,
    ) -> Result<Query, Failure> {
        let novel = self.spans.without_echo(prompt, output, SpanParams::DEFAULT);
        let sketch = self
            .capturer
            .output_traced(prompt, &novel, Scope::default(), trace)
            .map_err(|error| invalid(&error))?;
        self.preconditioner.query(&sketch).map_err(|error| invalid(&error))
    }

    fn evidence(&self, prompt: &[u32], output: &[u32], query: &Query) -> Result<Evidence, Failure> {
        let scores = self.sketches.scores(query).map_err(|error| invalid(&error))?;
        let tokenizer = self.run.tokenizer.hash();
        let mut spans = self
            .spans
            .attribute(tokenizer, prompt, output, SpanParams::DEFAULT)
            .map_err(|error| invalid(&error))?;
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
                tokens: u32::try_from(unit.tokens.len()).unwrap_or(u32::MAX),
                score: 0,
                span_millibits,
            })
            .collect();
        for (rank, score) in self.canonical.iter().zip(scores) {
            if let Some(unit) = units.get_mut(*rank as usize) {
                unit.score = score;
            }
        }
        let weights = weigh_units(&units, spans.output_millibits)?;
        Ok(Evidence { units, spans, weights })
    }
}

/// The sketches of the canonical units.
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

/// The money rule with the constants of this version.
pub(crate) fn weigh_units(
    units: &[UnitEvidence],
    output_millibits: u64,
) -> Result<Weights, Failure> {
    weigh(units, output_millibits, WeighParams::DEFAULT).map_err(|error| invalid(&error))
}
