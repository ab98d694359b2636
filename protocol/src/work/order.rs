//! What the order of a training run asks of whoever works on it, computed from its parameters before
//! anything is fetched or allocated.
//!
//! An order is a transaction that anybody can send, and every member does its jobs. So what they cost
//! at most follows from numbers on chain, by the same integers on every node: beyond the network's
//! bounds an order is no run for anybody.

use crate::{
    codec::Wire as _,
    escrow::Escrow,
    ids::Amount,
    model::{RunModel, Shape},
    params::Training,
    training::RunConfig,
};

/// What the jobs of a run cost a member at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needs {
    /// Bytes of memory of the dearest job, with the data of the run beside it.
    pub memory: u64,
    /// Bytes of memory that the data alone takes, also when the run is over.
    pub data: u64,
    /// Multiplications of a training shard.
    pub work: u64,
    /// Multiplications of the sketch of a unit.
    pub sketch: u64,
}

/// Bytes of memory that a byte of data takes: its text, its tokens, which units repeat others, and the
/// index of spans.
const MEMORY_PER_BYTE: u64 = 24;
/// Bytes of text that a token stands for, as far as prices go.
const BYTES_PER_TOKEN: u64 = 4;
/// Values of four bytes that a parameter takes that is trained: weights, their twin in a step, gradients,
/// two moments of the optimiser, start and change of a shard.
const VALUES_PER_PARAMETER: u64 = 8;
/// The same of a base's parameter, which stays as it is: as it was read, as it is on the device, and once
/// more while either is made.
const VALUES_PER_FROZEN: u64 = 3;

impl Needs {
    /// Of a run over so much data; `None` where they have no 64 bits.
    fn new(config: &RunConfig, shape: &Shape, read: Data) -> Option<Self> {
        let Data { units, bytes } = read;
        let [vocab, width, layers, heads, ffn, context, batch, steps] = [
            shape.vocab,
            shape.width,
            shape.layers,
            shape.heads,
            shape.ffn,
            config.context,
            config.batch,
            config.steps,
        ]
        .map(u64::from);
        let tokens = batch.checked_mul(context)?;
        // What a step keeps of each token for the way back, measured generously: the inputs of every
        // map, the scores of attention against a whole sequence, the logits.
        let attention = heads.checked_mul(context)?.checked_mul(10)?;
        let layer =
            width.checked_mul(40)?.checked_add(ffn.checked_mul(12)?)?.checked_add(attention)?;
        let values = layers.checked_mul(layer)?.checked_add(vocab.checked_mul(10)?)?;
        let step = tokens.checked_mul(values)?;
        // Of a parameter that is trained there is a gradient, which costs a pass of its own.
        let (trained, frozen, passes) = match &config.model {
            RunModel::Preset(_) => (shape.parameters, 0, 3),
            RunModel::Adapter(order) => (order.parameters()?, shape.parameters, 2),
        };
        let state = trained.checked_mul(VALUES_PER_PARAMETER)?;
        let state = state.checked_add(frozen.checked_mul(VALUES_PER_FROZEN)?)?;
        let memory = step.checked_add(state)?.checked_mul(4)?;
        let data = bytes.checked_mul(MEMORY_PER_BYTE)?;
        let tokenizer = u64::from(config.tokenizer_length).checked_mul(MEMORY_PER_BYTE)?;
        // Forward once, back once or twice; a multiplication of each parameter, and of attention.
        let scores = layers.checked_mul(width)?.checked_mul(context)?.checked_mul(2)?;
        let whole = trained.checked_mul(3)?.checked_add(frozen.checked_mul(2)?)?;
        let token = scores.checked_mul(passes)?.checked_add(whole)?;
        // A sketch is made of a unit's gradient, so a token costs what it costs in a shard.
        let of_unit = bytes.checked_div(units.checked_mul(BYTES_PER_TOKEN)?)?.checked_add(1)?;
        Some(Self {
            memory: memory.checked_add(data)?.checked_add(tokenizer)?,
            data,
            work: tokens.checked_mul(steps)?.checked_mul(token)?,
            sketch: of_unit.checked_mul(token)?,
        })
    }
}

/// A run that the network does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// What it trains and how, as the chain has it.
    pub config: RunConfig,
    /// Units of all contributions that it reads.
    pub units: u32,
    /// What it costs a member.
    pub needs: Needs,
    /// What its parts are paid from.
    pub escrow: Escrow,
}

/// Why an order is no run, for anybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OrderFault {
    /// It is not known, or its configuration cannot be read.
    #[error("its configuration is none")]
    Config,
    /// There is no such preset, or what it makes reads shorter sequences.
    #[error("there is no such preset, or what it makes reads no sequences of {0} tokens")]
    Shape(u32),
    /// It reads nothing.
    #[error("it reads no contribution to its Datanet")]
    NoData,
    /// It needs more than can be counted.
    #[error("it needs more than can be counted")]
    Uncountable,
    /// Its jobs need more memory than the network allows.
    #[error("its jobs need {needs} bytes of memory, and the network allows {most}")]
    Memory {
        /// Bytes that it needs.
        needs: u64,
        /// Bytes that a run may need.
        most: u64,
    },
    /// A shard takes more work than the network allows.
    #[error("a shard takes {needs} multiplications, and the network allows {most}")]
    Work {
        /// Multiplications of a shard.
        needs: u64,
        /// Multiplications that a shard may take.
        most: u64,
    },
    /// It pays less than the network's price for its work.
    #[error("it pays {pays} of the smallest units of OPEN, and its work costs at least {least}")]
    Price {
        /// What was paid into its escrow.
        pays: Amount,
        /// What the smallest run of its configuration costs: one with as many slots as a round needs.
        least: Amount,
    },
}

/// What an order reads: units and bytes of all contributions, as the chain has them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Data {
    /// Number of units.
    pub units: u64,
    /// Bytes of all packs.
    pub bytes: u64,
}

impl Order {
    /// Reads an order that pays so much; `data` says what of its Datanet the configuration names.
    ///
    /// # Errors
    /// [`OrderFault`] where it is no run.
    pub fn read(
        config: &[u8],
        pays: Amount,
        bounds: &Training,
        data: impl FnOnce(&RunConfig) -> Data,
    ) -> Result<Self, OrderFault> {
        let order = Self::sized(config, pays, bounds, data)?;
        let slots = order.escrow.slots();
        if slots < bounds.min_shards.max(1) {
            let least = order.escrow.least(bounds.min_shards.max(1));
            let least = least.ok_or(OrderFault::Uncountable)?;
            return Err(OrderFault::Price { pays, least });
        }
        Ok(order)
    }

    /// What an order costs at least whose rounds are to have so many slots.
    ///
    /// # Errors
    /// [`OrderFault`] where it is no run, whatever it pays.
    pub fn cost(
        config: &[u8],
        slots: u32,
        bounds: &Training,
        data: impl FnOnce(&RunConfig) -> Data,
    ) -> Result<Amount, OrderFault> {
        let order = Self::sized(config, Amount::ZERO, bounds, data)?;
        let slots = slots.max(bounds.min_shards).max(1);
        order.escrow.least(slots).ok_or(OrderFault::Uncountable)
    }

    /// An order within the network's bounds, whatever it pays.
    fn sized(
        config: &[u8],
        pays: Amount,
        bounds: &Training,
        data: impl FnOnce(&RunConfig) -> Data,
    ) -> Result<Self, OrderFault> {
        let config = RunConfig::from_bytes(config).map_err(|_| OrderFault::Config)?;
        let shape = config.model.shape().filter(|shape| config.context <= shape.context);
        let shape = shape.ok_or(OrderFault::Shape(config.context))?;
        let read = data(&config);
        if read.units == 0 {
            return Err(OrderFault::NoData);
        }
        let needs = Needs::new(&config, &shape, read).ok_or(OrderFault::Uncountable)?;
        if needs.memory > bounds.max_memory {
            return Err(OrderFault::Memory { needs: needs.memory, most: bounds.max_memory });
        }
        if needs.work > bounds.max_work {
            return Err(OrderFault::Work { needs: needs.work, most: bounds.max_work });
        }
        let units = u32::try_from(read.units).map_err(|_| OrderFault::Uncountable)?;
        let escrow = Escrow::new(pays, &config, units, (needs.work, needs.sketch), bounds);
        Ok(Self { config, units, needs, escrow })
    }
}

/// Most bytes of data that a run within some memory can read, whatever else it needs.
pub const fn most_data(memory: u64) -> u64 {
    memory / MEMORY_PER_BYTE
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;
    use crate::{
        blob::BlobRef, ids::Hash, model::AdapterOrder, params::Params, training::Contributions,
    };

    const BOUNDS: Training = Params::mainnet().training;
    const ENOUGH: Amount = Amount(1_000 * Amount::ONE_OPEN.0);

    /// The demo's order.
    fn demo() -> RunConfig {
        RunConfig {
            model: RunModel::Preset(0),
            tokenizer: Hash::ZERO,
            tokenizer_length: 4_096,
            seed: 1,
            rounds: 5,
            units_per_shard: 48,
            steps: 48,
            batch: 2,
            context: 128,
            warmup: 4,
            learning_rate: 6_000_000,
            final_rate: 300_000,
            top_k: 2_048,
            alpha: 1_500_000,
            data: vec![Contributions::ALL],
        }
    }

    fn read(config: &RunConfig, bytes: u64) -> Result<Order, OrderFault> {
        let units = bytes.div_ceil(640);
        Order::read(&config.to_bytes(), ENOUGH, &BOUNDS, |_| Data { units, bytes })
    }

    #[test]
    fn the_demos_order_fits_into_any_home_computer() {
        let order = read(&demo(), 1_500_000).unwrap();
        assert!(order.needs.memory < 256 << 20, "{:?}", order.needs);
        assert!(order.needs.work < 1 << 36, "{:?}", order.needs);
    }

    /// An adapter of a base as large as SmolLM2-135M.
    fn adapter(rank: u32) -> RunConfig {
        let shape = Shape::of(3).unwrap();
        let order = AdapterOrder {
            base: BlobRef::new(Hash([1; 32]), 4 * shape.parameters + 40_000),
            card: BlobRef::new(Hash([2; 32]), 4_000),
            shape,
            rank,
            scale: 2_000_000,
            targets: 0b101,
        };
        RunConfig { model: RunModel::Adapter(order), steps: 16, ..demo() }
    }

    #[test]
    fn an_adapter_takes_less_than_its_base_would_and_more_the_larger_it_is() {
        let needs = |config: &RunConfig| read(config, 1_500_000).unwrap().needs;
        let whole = needs(&RunConfig { model: RunModel::Preset(3), ..adapter(8) });
        let (small, large) = (needs(&adapter(8)), needs(&adapter(64)));
        assert!(small.memory < large.memory && large.memory < whole.memory);
        assert!(small.work < large.work && large.work < whole.work);
        assert!(small.memory > 3 * 4 * 134_515_008, "its base lies in memory: {small:?}");
    }

    #[test]
    fn what_would_kill_a_node_is_no_run() {
        let widest = RunConfig { batch: 1_024, ..demo() };
        assert!(matches!(read(&widest, 1 << 20), Err(OrderFault::Memory { .. })));
        assert!(matches!(read(&demo(), 1 << 40), Err(OrderFault::Memory { .. })));
        assert!(matches!(read(&demo(), u64::MAX), Err(OrderFault::Uncountable)));
        let longest =
            RunConfig { model: RunModel::Preset(3), context: 256, steps: 10_000, ..demo() };
        assert!(matches!(read(&longest, 1 << 20), Err(OrderFault::Work { .. })));
        for (preset, context) in [(4, 128), (255, 8), (0, 129), (0, 1 << 20)] {
            let config = RunConfig { model: RunModel::Preset(preset), context, ..demo() };
            assert_eq!(read(&config, 1), Err(OrderFault::Shape(context)));
        }
        assert_eq!(read(&demo(), 0), Err(OrderFault::NoData));
        let junk = Order::read(&[0xff; 4_096], ENOUGH, &BOUNDS, |_| Data::default());
        assert_eq!(junk, Err(OrderFault::Config));
    }

    #[test]
    fn an_order_below_the_networks_price_is_no_run_and_says_what_it_costs() {
        let config = demo().to_bytes();
        let size = |_: &RunConfig| Data { units: 1_000, bytes: 600_000 };
        let least = Order::cost(&config, 0, &BOUNDS, size).unwrap();
        let read = |pays| Order::read(&config, pays, &BOUNDS, size);
        let below = Amount(least.0 - 1);
        assert_eq!(read(below), Err(OrderFault::Price { pays: below, least }));
        assert_eq!(read(Amount::ZERO), Err(OrderFault::Price { pays: Amount::ZERO, least }));
        // Who pays more has more slots at once, each as dear.
        for slots in [3, 4, 17, 256] {
            let pays = Order::cost(&config, slots, &BOUNDS, size).unwrap();
            assert_eq!(read(pays).unwrap().escrow.slots(), slots);
            assert!(slots == 3 || read(Amount(pays.0 - 1)).unwrap().escrow.slots() == slots - 1);
        }
        assert_eq!(read(Amount(u128::MAX)).unwrap().escrow.slots(), 256);
    }
}
