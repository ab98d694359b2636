//! The `nano` decoder on real text, as the network uses it: a base model, then a run on the
//! contributors' data that can be unrolled.
//!
//! The base is trained by AdamW shards on text that nobody is paid for; the attributed run goes on
//! from it by stochastic gradient descent.

use compute::attribute::unrolled::{Difference, Run};
use compute::attribute::{Network, TextNetwork};
use compute::device::Engine;
use compute::model::layout::LINEARS_PER_LAYER;
use protocol::attribution::WeighParams;
use serde::Serialize;

use crate::corpus::Corpus;
pub use crate::corpus::{Setting, Source};
use crate::methods::{Lds, Methods, QualityError, Tuning};
use crate::provenance::{self, Continuations, Evidence, Provenance};
use crate::truth::{Truth, draw_masks};

/// Scores of one measurement.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Linear datamodelling scores, by contributor.
    #[serde(flatten)]
    pub lds: Lds,
    /// The score of tier 1 as nodes serve it: the last layer alone, damped by their constant.
    pub t1_served: f64,
    /// Number of contributors.
    pub contributors: usize,
    /// Number of retrainings.
    pub masks: usize,
    /// Mean loss of the queries before and after training, in nats per token.
    pub loss: (f64, f64),
    /// Whose text? Without verbatim overlap.
    pub plain: Provenance,
    /// Whose text? With a quotation.
    pub quoted: Provenance,
}

/// A corpus with everything that is asked about it, as one network.
struct World {
    corpus: Corpus,
    asked: Vec<Vec<u32>>,
    plain: Continuations,
    quoted: Continuations,
    network: TextNetwork,
    /// The base model's parameters.
    start: Vec<f32>,
}

/// What the samples of the network are for.
#[derive(Clone, Copy)]
enum Set {
    Queries,
    Plain,
    Quoted,
}

impl World {
    fn new(setting: &Setting, sources: &[Source]) -> Result<Self, QualityError> {
        let corpus = Corpus::new(setting, sources)?;
        let asked = corpus.queries(setting)?;
        let plain = Continuations::new(&corpus, setting, false)?;
        let quoted = Continuations::new(&corpus, setting, true)?;
        let sequences = [&corpus.training[..], &asked, &plain.units, &quoted.units].concat();
        let network = TextNetwork::new(&Engine::cpu(), &setting.model, sequences)?;
        let start = corpus.base(setting)?;
        Ok(Self { corpus, asked, plain, quoted, network, start })
    }

    /// The samples of a set.
    fn samples(&self, set: Set) -> Vec<usize> {
        let queries = self.corpus.training.len();
        let plain = queries + self.asked.len();
        let quoted = plain + self.plain.units.len();
        match set {
            Set::Queries => queries..plain,
            Set::Plain => plain..quoted,
            Set::Quoted => quoted..quoted + self.quoted.units.len(),
        }
        .collect()
    }

    /// The attributed run, on all data.
    fn train(&self, setting: &Setting) -> Result<Run<'_, TextNetwork>, QualityError> {
        let weights = vec![1.0; self.corpus.owners.len()];
        Ok(Run::record(&self.network, &self.start, setting.recipe, &weights)?)
    }

    /// The methods on such a run, asked about `queries`.
    fn methods<'a>(
        &'a self,
        run: &'a Run<'a, TextNetwork>,
        queries: &'a [usize],
    ) -> Methods<'a, TextNetwork> {
        let (owners, contributors) = (&self.corpus.owners[..], self.corpus.held_out.len());
        Methods { network: &self.network, run, owners, contributors, queries }
    }

    /// The queries' losses after retraining without half of the contributors, many times.
    fn truth(
        &self,
        setting: &Setting,
        progress: &(dyn Fn(&str) + Sync),
    ) -> Result<Truth, QualityError> {
        let (owners, queries) = (&self.corpus.owners, self.samples(Set::Queries));
        let masks = draw_masks(self.corpus.held_out.len(), setting.masks, setting.seed);
        let told = |done: usize| progress(&format!("text: retrained {done}/{}", setting.masks));
        let (network, start, recipe) = (&self.network, &self.start, setting.recipe);
        Ok(Truth::retrain(network, start, recipe, owners, &queries, masks, &told)?)
    }
}

/// Measures all methods against real retraining.
pub fn measure(
    setting: &Setting,
    sources: &[Source],
    progress: &(dyn Fn(&str) + Sync),
) -> Result<Report, QualityError> {
    let world = World::new(setting, sources)?;
    let (run, queries) = (world.train(setting)?, world.samples(Set::Queries));
    let loss = |parameters: &[f32]| -> Result<f64, QualityError> {
        let sum: f64 = world.network.losses(parameters, &queries)?.iter().sum();
        Ok(sum / (queries.len() * setting.unit) as f64)
    };
    let loss = (loss(&world.start)?, loss(run.parameters())?);
    progress(&format!("text: trained, loss {:.3} -> {:.3}", loss.0, loss.1));
    let named = |set: Set, asked: &Continuations| {
        let samples = world.samples(set);
        provenance::measure(&world.methods(&run, &samples), &world.corpus, setting, asked)
    };
    let plain = named(Set::Plain, &world.plain)?;
    let quoted = named(Set::Quoted, &world.quoted)?;
    progress("text: continuations named");
    let truth = world.truth(setting, progress)?;
    let methods = world.methods(&run, &queries);
    let told = |query: usize| progress(&format!("text: unrolled for query {query}"));
    let exact = methods.unrolled(Difference::DEFAULT, &told)?;
    let mut lds = methods.lds(&truth, setting.tuning, &exact, setting.seed)?;
    let words = methods.by_contributor(&world.corpus.bm25(&world.asked)?);
    lds.baselines.insert("bm25", truth.lds(&words));
    let t1_served = truth.lds(&methods.sketches(setting.served())?);
    let (contributors, masks) = (sources.len(), setting.masks);
    Ok(Report { lds, t1_served, contributors, masks, loss, plain, quoted })
}

/// What a damping is worth.
#[derive(Clone, Debug, Serialize)]
pub struct Damped {
    /// The tier, and for tier 1 the first linear map that is sketched.
    pub tier: String,
    /// Damping in parts per million of the mean eigenvalue.
    pub damping_ppm: u32,
    /// Linear datamodelling score.
    pub lds: f64,
}

/// What constants of the rule that pays are worth.
#[derive(Clone, Debug, Serialize)]
pub struct Ruled {
    /// Lower part of the scores that sets the noise floor, in parts per million; all of them for none.
    pub tail_ppm: u32,
    /// Most weight of spans.
    pub lambda_max_ppm: u32,
    /// Linear datamodelling score of the shares.
    pub lds: f64,
    /// Part of the continuations named right, without overlap and with a quotation.
    pub plain: f64,
    /// With a quotation.
    pub quoted: f64,
}

/// Dampings of tiers 1 and 2 and constants of the rule over grids, on queries, masks, continuations and
/// a base model that [`measure`] does not use.
pub fn tune(
    setting: &Setting,
    sources: &[Source],
    progress: &(dyn Fn(&str) + Sync),
) -> Result<(Vec<Damped>, Vec<Ruled>), QualityError> {
    const GRID: [u32; 6] = [1_000, 10_000, 100_000, 300_000, 1_000_000, 10_000_000];
    let setting = Setting { skip: 1, seed: setting.seed + 1000, ..setting.clone() };
    let world = World::new(&setting, sources)?;
    let (run, queries) = (world.train(&setting)?, world.samples(Set::Queries));
    let methods = world.methods(&run, &queries);
    let truth = world.truth(&setting, progress)?;
    let mut dampings = Vec::new();
    let layers = world.network.linears().len() / LINEARS_PER_LAYER;
    for damping_ppm in GRID {
        for skipped in (0..layers).map(|layer| (layer * LINEARS_PER_LAYER) as u16) {
            let tuning = Tuning { sketch_ppm: damping_ppm, skipped, ..setting.tuning };
            let lds = truth.lds(&methods.sketches(tuning)?);
            dampings.push(Damped { tier: format!("t1 from {skipped}"), damping_ppm, lds });
        }
    }
    for (damping_ppm, scores) in GRID.into_iter().zip(methods.ekfac(&GRID)?) {
        dampings.push(Damped { tier: "t2".into(), damping_ppm, lds: truth.lds(&scores) });
    }
    Ok((dampings, tune_rule(&setting, &world, &run, &truth)?))
}

fn tune_rule(
    setting: &Setting,
    world: &World,
    run: &Run<'_, TextNetwork>,
    truth: &Truth,
) -> Result<Vec<Ruled>, QualityError> {
    const TAILS: [u32; 5] = [1_000_000, 250_000, 100_000, 50_000, 10_000];
    const LAMBDAS: [u32; 5] = [0, 250_000, 500_000, 750_000, 1_000_000];
    let evidence = |set: Set, units: &[Vec<u32>]| {
        let samples = world.samples(set);
        Evidence::of(&world.methods(run, &samples), &world.corpus, setting, units)
    };
    let asked = evidence(Set::Queries, &world.asked)?;
    let plain = evidence(Set::Plain, &world.plain.units)?;
    let quoted = evidence(Set::Quoted, &world.quoted.units)?;
    let mut found = Vec::new();
    for (tail_ppm, lambda_max_ppm) in TAILS.iter().flat_map(|&t| LAMBDAS.map(|l| (t, l))) {
        let shares = asked.iter().map(|one| {
            let params = WeighParams { floor_per_token: one.floor(tail_ppm), lambda_max_ppm };
            let mut shares = vec![0.0; world.corpus.held_out.len()];
            for share in one.weigh(params)?.shares {
                shares[share.account.0 as usize - 1] = f64::from(share.ppm);
            }
            Ok(shares)
        });
        found.push(Ruled {
            tail_ppm,
            lambda_max_ppm,
            lds: truth.lds(&shares.collect::<Result<Vec<_>, QualityError>>()?),
            plain: provenance::ruled(&world.plain, &plain, tail_ppm, lambda_max_ppm)?,
            quoted: provenance::ruled(&world.quoted, &quoted, tail_ppm, lambda_max_ppm)?,
        });
    }
    Ok(found)
}
