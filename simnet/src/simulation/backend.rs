//! What work on models gives: stand-ins of a cost model, or what the real small model computes.
//!
//! Either way work takes the time of the cost model, and equal inputs give equal bytes: who does the
//! work gets the same as who repeats it, and who makes something up does not.

use protocol::{
    AccountId, Digest, Hash, ModelId, Round,
    codec::Wire as _,
    hash::{blake3, keccak},
    model::RunModel,
    node::Failure,
    record::{ReplayReport, ShardBody},
    training::{Contributions, RunConfig, ShardTask},
};

use crate::{nodes::SharedBlobs, scenario::Training};

/// What a replay says of a shard that is what it claims.
pub(super) const SAME: ReplayReport =
    ReplayReport { overlap: 1_000_000, cosine: 1_000_000, norm: 1_000_000 };
/// … of one that was trained on other data: 128 steps of a small network gave this.
const OTHER: ReplayReport = ReplayReport { overlap: 40_000, cosine: 198_000, norm: 1_000_000 };

/// The inputs of a shard or of sketches.
#[derive(Debug, Clone, Copy)]
pub(super) struct Inputs<'a> {
    pub(super) model: ModelId,
    pub(super) round: Round,
    pub(super) slot: u32,
    pub(super) base: Hash,
    pub(super) units: &'a [u32],
    pub(super) seed: u64,
    pub(super) task: ShardTask,
}

impl Inputs<'_> {
    /// Names the inputs.
    pub(super) fn digest(&self) -> Digest {
        let mut bytes = b"payload".to_vec();
        self.model.encode(&mut bytes);
        self.round.encode(&mut bytes);
        self.slot.encode(&mut bytes);
        self.base.encode(&mut bytes);
        self.units.iter().for_each(|unit| unit.encode(&mut bytes));
        self.seed.encode(&mut bytes);
        keccak(&[&bytes])
    }
}

/// What a worker publishes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Made {
    pub(super) payload: Hash,
    pub(super) length: u32,
    /// In millionths of a nat per token.
    pub(super) loss_first: u32,
    pub(super) loss_last: u32,
    pub(super) tokens: u32,
}

impl Made {
    /// What another worker published.
    pub(super) const fn of(shard: &ShardBody) -> Self {
        let ShardBody { payload, length, loss_first, loss_last, tokens, .. } = *shard;
        Self { payload, length, loss_first, loss_last, tokens }
    }

    /// The claim of a shard.
    pub(super) const fn claim(self, inputs: &Inputs<'_>) -> ShardBody {
        let Inputs { model, round, slot, base, .. } = *inputs;
        let Self { payload, length, loss_first, loss_last, tokens } = self;
        ShardBody { model, round, slot, base, payload, length, loss_first, loss_last, tokens }
    }
}

/// A node's blobs.
pub(super) struct Disk<'a> {
    pub(super) blobs: &'a mut SharedBlobs,
    pub(super) node: u32,
}

impl Disk<'_> {
    pub(super) fn put(&mut self, bytes: Vec<u8>) -> Result<Hash, Failure> {
        self.blobs.put(self.node, bytes).map_err(|_| Failure::Local)
    }
}

/// Does what jobs on models ask for.
pub(super) trait Backend: Send {
    /// The order of a run, as its developer puts it on chain.
    fn order(&self, run: u32, training: &Training) -> RunConfig;

    /// Makes a node ready for a run; the first checkpoint.
    fn prepare(&mut self, disk: Disk<'_>, model: ModelId, order: &[u8]) -> Result<Hash, Failure>;

    /// Computes a shard, or captures sketches.
    fn compute(&mut self, disk: Disk<'_>, inputs: &Inputs<'_>) -> Result<Made, Failure>;

    /// Something of the form of a shard that nobody computed.
    fn forge(
        &mut self,
        disk: Disk<'_>,
        inputs: &Inputs<'_>,
        worker: AccountId,
    ) -> Result<Made, Failure>;

    /// Computes a shard again and compares it with what was claimed.
    fn replay(
        &mut self,
        disk: Disk<'_>,
        inputs: &Inputs<'_>,
        claimed: Hash,
    ) -> Result<ReplayReport, Failure>;

    /// Adds the payloads of a round to a checkpoint; the next one.
    fn step(
        &mut self,
        disk: Disk<'_>,
        model: ModelId,
        base: Hash,
        payloads: &[Hash],
    ) -> Result<Hash, Failure>;

    /// Bytes of a checkpoint.
    fn checkpoint_bytes(&self) -> u64;

    /// Mean losses of a run's first checkpoint and of another, in nats per token; of stand-ins none.
    fn losses(&self, _: &SharedBlobs, _: ModelId, _: Hash) -> Option<(f64, f64)> {
        None
    }
}

/// The cost model: blobs stand for their bytes, and transfers take as long as the scenario says.
pub(super) struct StandIns(pub(super) Training);

impl StandIns {
    fn made(&self, payload: Hash, task: ShardTask) -> Made {
        let bytes = match task {
            ShardTask::Train => self.0.payload.0,
            ShardTask::Sketch => self.0.sketches.0,
        };
        let length = u32::try_from(bytes).expect("a payload that was checked is small");
        Made { payload, length, loss_first: 9_000_000, loss_last: 8_000_000, tokens: 2_048 }
    }
}

impl Backend for StandIns {
    fn order(&self, run: u32, training: &Training) -> RunConfig {
        RunConfig {
            model: RunModel::Preset(0),
            tokenizer: blake3(b"tokenizer"),
            tokenizer_length: 1,
            seed: u64::from(run),
            rounds: training.rounds,
            units_per_shard: training.units,
            steps: 8,
            batch: 4,
            context: 64,
            warmup: 1,
            learning_rate: 1_000_000,
            final_rate: 100_000,
            top_k: 64,
            alpha: 1_000_000,
            data: vec![Contributions::ALL],
        }
    }

    fn prepare(&mut self, mut disk: Disk<'_>, model: ModelId, _: &[u8]) -> Result<Hash, Failure> {
        disk.put(keccak(&[b"initial", &model.0.to_be_bytes()]).to_bytes())
    }

    fn compute(&mut self, mut disk: Disk<'_>, inputs: &Inputs<'_>) -> Result<Made, Failure> {
        Ok(self.made(disk.put(inputs.digest().to_bytes())?, inputs.task))
    }

    fn forge(
        &mut self,
        mut disk: Disk<'_>,
        inputs: &Inputs<'_>,
        worker: AccountId,
    ) -> Result<Made, Failure> {
        let made_up = keccak(&[b"forged", &worker.0.to_be_bytes(), &inputs.digest().0]);
        Ok(self.made(disk.put(made_up.to_bytes())?, inputs.task))
    }

    fn replay(
        &mut self,
        _: Disk<'_>,
        inputs: &Inputs<'_>,
        claimed: Hash,
    ) -> Result<ReplayReport, Failure> {
        let is_same = blake3(&inputs.digest().0) == claimed;
        Ok(if is_same { SAME } else { OTHER })
    }

    fn step(
        &mut self,
        mut disk: Disk<'_>,
        _: ModelId,
        base: Hash,
        payloads: &[Hash],
    ) -> Result<Hash, Failure> {
        let mut bytes = base.to_bytes();
        payloads.iter().for_each(|payload| payload.encode(&mut bytes));
        disk.put(keccak(&[&bytes]).to_bytes())
    }

    fn checkpoint_bytes(&self) -> u64 {
        self.0.checkpoint.0
    }
}
