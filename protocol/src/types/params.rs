//! Parameters of a network, as presets of the same code: [`Params::mainnet`] and [`Params::minimal`].
//!
//! The chain fixes the [`Schedule`]; everything else is governed and equal on every node.

use serde::{Deserialize, Serialize};

use crate::{
    ids::{Amount, BlockNumber, Blocks, Epoch},
    math::PPM,
};

/// How blocks make epochs. Stored immutably in the Coordinator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// The first block of epoch 0.
    pub genesis_block: BlockNumber,
    /// Blocks of an epoch.
    pub epoch_blocks: Blocks,
    /// Blocks from the start of an epoch in which a storage commitment must be included.
    pub commit_blocks: Blocks,
    /// Blocks after an epoch in which its records may still be included.
    pub settle_blocks: Blocks,
    /// Blocks after a proposal in which it may be challenged.
    pub challenge_blocks: Blocks,
}

impl Schedule {
    /// The epoch that contains a block; blocks before genesis belong to epoch 0.
    pub const fn epoch_of(&self, block: BlockNumber) -> Epoch {
        Epoch(block.since(self.genesis_block).fits(self.epoch_blocks))
    }

    /// The first block of an epoch.
    pub const fn start(&self, epoch: Epoch) -> BlockNumber {
        self.genesis_block.after(self.epoch_blocks.times(epoch.0))
    }

    /// The first block in which no record of an epoch can be included any more, and in which its
    /// settlement may be proposed.
    pub const fn cutoff(&self, epoch: Epoch) -> BlockNumber {
        self.start(epoch.next()).after(self.settle_blocks)
    }

    /// The last block in which an included commitment counts; its hash fixes S2.
    pub const fn commit_deadline(&self, epoch: Epoch) -> BlockNumber {
        self.start(epoch).after(self.commit_blocks)
    }

    /// The last block in which what is shown and said of an epoch's storage counts: whoever was drawn to
    /// look still has the time to dispute what others let pass.
    pub const fn storage_deadline(&self, epoch: Epoch) -> BlockNumber {
        self.start(epoch.next()).after(self.part_of_settle(4)).before(Blocks(1))
    }

    /// The last block in which a dispute about an epoch's storage may be opened, so that the time to
    /// answer it is over before the cutoff.
    pub const fn last_dispute(&self, epoch: Epoch) -> BlockNumber {
        self.cutoff(epoch).before(self.answer_blocks()).before(Blocks(1))
    }

    /// Blocks in which a storage dispute may be answered: half of those before the cutoff, rounded up.
    pub const fn answer_blocks(&self) -> Blocks {
        Blocks(self.settle_blocks.0.saturating_sub(self.part_of_settle(2).0))
    }

    /// The least `settle_blocks` of a network in which honest nodes answer storage disputes in time.
    /// `there_and_back` is how many blocks it takes to read a block and to send a transaction, together; one
    /// more takes the answer in. With fewer blocks a node loses stake for what it holds.
    pub const fn least_settle_blocks(there_and_back: Blocks) -> Blocks {
        // Half of them, rounded up, are there for the answer.
        Blocks(there_and_back.0.saturating_mul(2).saturating_add(1))
    }

    /// The least `challenge_blocks` of a network in which who watches objects in time: the block after a
    /// proposal draws the watchers, and then it takes as many as it takes to read a block and to send a
    /// transaction, together.
    pub const fn least_challenge_blocks(there_and_back: Blocks) -> Blocks {
        Blocks(there_and_back.0.saturating_add(1))
    }

    /// How many blocks a node may have follow one before it believes it, and still answer storage disputes and
    /// object to false settlements in time. `None` where the windows are too short for every node.
    pub fn most_confirmations(&self) -> Option<Blocks> {
        let least = Blocks(1);
        let watches = self.challenge_blocks.0.checked_sub(Self::least_challenge_blocks(least).0)?;
        let answers = self.settle_blocks.0.checked_sub(Self::least_settle_blocks(least).0)?;
        // Each counts twice where half of the blocks are there for the answer.
        Some(Blocks(watches.min(Blocks(answers).fits(Blocks(2)))))
    }

    const fn part_of_settle(&self, parts: u64) -> Blocks {
        Blocks(self.settle_blocks.fits(Blocks(parts)))
    }
}

/// Proof of Holding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holding {
    /// Largest pack, in bytes.
    pub max_pack: u64,
    /// Bytes of a cell, the grain of sampling.
    pub cell_bytes: u64,
    /// Cells opened per node and epoch; all when the node has no more.
    pub opened_cells: u32,
    /// Paid replicas of a pack.
    pub replicas: u32,
    /// Auditors per storage proof.
    pub auditors: u32,
    /// Blocks before the end of the epoch at which an auditor reports what it has not received.
    pub audit_blocks: Blocks,
}

/// When training rounds close, and what their audits tolerate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Training {
    /// Shards below which a round does not close.
    pub min_shards: u32,
    /// Blocks after which a round closes without its missing shards.
    pub round_blocks: Blocks,
    /// Blocks between two turns to close a round.
    pub fallback_blocks: Blocks,
    /// Auditors per shard.
    pub auditors: u32,
    /// Least overlap of the transmitted index sets, in ppm ([`crate::record::ReplayReport`]).
    pub min_overlap_ppm: u32,
    /// Least cosine between the decoded updates, in ppm.
    pub min_cosine_ppm: u32,
    /// Least ratio of the norms, in ppm; the greatest is its mirror image around one.
    pub min_norm_ratio_ppm: u32,
    /// Greatest ratio of the norms, in ppm.
    pub max_norm_ratio_ppm: u32,
    /// Bytes of memory that the jobs of a run may need ([`crate::order::Needs`]).
    pub max_memory: u64,
    /// Multiplications that a training shard may take.
    pub max_work: u64,
    /// What an order pays at least for a multiplication, in the smallest units of OPEN.
    pub work_price: Amount,
    /// Multiplications that each part of a run counts for beside its own: its records, and their audit.
    pub part_work: u64,
}

/// Audits of attributions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attribution {
    /// Least cosine between a published query and the auditor's own, in ppm.
    pub min_query_cosine_ppm: u32,
    /// Most that the auditor's logits may be, in millionths of a nat, from some that draw exactly the answer.
    pub max_token_slack_ppm: u32,
    /// Greatest distance of the published digest of what the model computed from the auditor's own, in ppm.
    pub max_activation_distance_ppm: u32,
}

/// Whose stake counts, and how emission and fees are split, in basis points.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Economics {
    /// Stake below which an account counts for nothing: no seat, no turn, no part of fees for stake.
    pub min_stake: Amount,
    /// The newcomers' lane: the part of all replicas, and of the emission for them, that accounts below
    /// the least stake may have together.
    pub newcomers_bps: u32,
    /// Emission of an epoch that goes to proven replicas.
    pub emission_storage_bps: u32,
    /// … to verified shards, beside their price: at most the platform's part of it.
    pub emission_shards_bps: u32,
    /// … to audits.
    pub emission_audits_bps: u32,
    /// … to attribution work.
    pub emission_attribution_bps: u32,
    /// Share of the gross fee, and of what an order pays for a part of its run, that goes to the treasury.
    pub fee_platform_bps: u32,
    /// Share of the net fee that goes to contributors, by attribution.
    pub fee_contributors_bps: u32,
    /// … to the model developer.
    pub fee_developer_bps: u32,
    /// … to stakers, pro rata.
    pub fee_stakers_bps: u32,
    /// … to the nodes that served and stored.
    pub fee_nodes_bps: u32,
}

/// Everything a network agrees on beside its chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Params {
    /// Proof of Holding.
    pub holding: Holding,
    /// How training rounds close and are audited.
    pub training: Training,
    /// How attributions are audited.
    pub attribution: Attribution,
    /// How emission and fees are divided.
    pub economics: Economics,
    /// Work finished so close to the end of an epoch is labelled with the next one, so that its
    /// audit has time; in blocks.
    pub work_margin_blocks: Blocks,
    /// Blocks between two turns to propose a settlement.
    pub propose_fallback_blocks: Blocks,
    /// Tokens of a unit, fixed by the network and never by the contributor (in bytes of text: four
    /// times as many at most).
    pub unit_bytes: u32,
}

impl Params {
    /// The production network: 64 MiB packs, 16 MiB cells, 32 openings, five auditors.
    pub const fn mainnet() -> Self {
        Self {
            holding: Holding {
                max_pack: 64 << 20,
                cell_bytes: 16 << 20,
                opened_cells: 32,
                replicas: 3,
                auditors: 5,
                audit_blocks: Blocks(300),
            },
            training: Training {
                min_shards: 3,
                round_blocks: Blocks(300),
                fallback_blocks: Blocks(30),
                auditors: 1,
                min_overlap_ppm: 920_000,
                min_cosine_ppm: 995_000,
                min_norm_ratio_ppm: 970_000,
                max_norm_ratio_ppm: 1_030_000,
                max_memory: 16 << 30,
                max_work: 1_000_000_000_000_000,
                // One OPEN for 10¹⁵, an hour of a good processor.
                work_price: Amount(1_000),
                part_work: 1_000_000_000_000,
            },
            attribution: Attribution {
                min_query_cosine_ppm: 995_000,
                max_token_slack_ppm: 1_000,
                max_activation_distance_ppm: 1_000,
            },
            economics: Economics::DEFAULT,
            work_margin_blocks: Blocks(600),
            propose_fallback_blocks: Blocks(30),
            unit_bytes: 640,
        }
    }

    /// The same code with small numbers, for tests and the demo: 64 KiB packs, 16 KiB cells, every
    /// cell opened, three auditors.
    pub const fn minimal() -> Self {
        let mut params = Self::mainnet();
        params.holding = Holding {
            max_pack: 64 << 10,
            cell_bytes: 16 << 10,
            opened_cells: 512,
            replicas: 3,
            auditors: 3,
            audit_blocks: Blocks(4),
        };
        params.economics.min_stake = Amount::ONE_OPEN;
        params.training.round_blocks = Blocks(60);
        params.training.fallback_blocks = Blocks(6);
        params.training.max_memory = 4 << 30;
        params.training.max_work = 100_000_000_000_000;
        // A thousand times as dear, for models a thousand times as small.
        params.training.work_price = Amount(1_000_000);
        params.training.part_work = 1_000_000_000;
        params.work_margin_blocks = Blocks(10);
        params.propose_fallback_blocks = Blocks(4);
        params
    }
}

impl Economics {
    /// The defaults of the design: 40/40/10/10 of emission; 10 % of gross to the treasury, and of the
    /// net fee 50 % to contributors, 20 % to the developer, 15 % to stakers, 15 % to nodes.
    ///
    /// To count takes 1,000 OPEN of the 10⁹ that there are.
    pub const DEFAULT: Self = Self {
        min_stake: Amount(1_000 * Amount::ONE_OPEN.0),
        newcomers_bps: 1000,
        emission_storage_bps: 4000,
        emission_shards_bps: 4000,
        emission_audits_bps: 1000,
        emission_attribution_bps: 1000,
        fee_platform_bps: 1000,
        fee_contributors_bps: 5000,
        fee_developer_bps: 2000,
        fee_stakers_bps: 1500,
        fee_nodes_bps: 1500,
    };
}

const _: () = {
    let e = Economics::DEFAULT;
    assert!(
        e.emission_storage_bps
            + e.emission_shards_bps
            + e.emission_audits_bps
            + e.emission_attribution_bps
            == 10_000,
        "emission is split whole"
    );
    assert!(e.newcomers_bps <= 10_000, "newcomers have a part of the emission for storage");
    let least = Amount::ONE_OPEN.0;
    assert!(e.min_stake.0 >= least, "placement weighs stake in whole OPEN");
    assert!(Params::minimal().economics.min_stake.0 >= least, "here too");
    assert!(
        e.fee_contributors_bps + e.fee_developer_bps + e.fee_stakers_bps + e.fee_nodes_bps
            == 10_000,
        "the net fee is split whole"
    );
    let t = Params::mainnet().training;
    assert!(t.min_overlap_ppm < PPM && t.min_cosine_ppm < PPM, "tolerances are below one");
    let a = Params::mainnet().attribution;
    assert!(a.min_query_cosine_ppm < PPM, "other hardware may round otherwise");
    assert!(t.min_norm_ratio_ppm < PPM && t.max_norm_ratio_ppm > PPM, "norms lie around one");
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_time_to_answer_for_the_way_there_and_back_and_a_block_and_no_block_too_many() {
        let answer = |settle: u64| {
            let schedule = Schedule {
                genesis_block: BlockNumber(0),
                epoch_blocks: Blocks(600),
                commit_blocks: Blocks(20),
                settle_blocks: Blocks(settle),
                challenge_blocks: Blocks(12),
            };
            schedule.answer_blocks().0
        };
        for way in 0..100 {
            let least = Schedule::least_settle_blocks(Blocks(way)).0;
            assert_eq!(answer(least), way + 1);
            assert!(least == 1 || answer(least - 1) <= way);
        }
    }

    #[test]
    fn a_node_believes_a_block_as_late_as_it_can_still_answer_and_object() {
        for (settle, challenge) in (0..40).flat_map(|settle| (0..20).map(move |c| (settle, c))) {
            let schedule = Schedule {
                genesis_block: BlockNumber(0),
                epoch_blocks: Blocks(600),
                commit_blocks: Blocks(20),
                settle_blocks: Blocks(settle),
                challenge_blocks: Blocks(challenge),
            };
            let is_in_time = |confirmations: u64| {
                let way = Blocks(confirmations + 1);
                settle >= Schedule::least_settle_blocks(way).0
                    && challenge >= Schedule::least_challenge_blocks(way).0
            };
            let most = (0..40).rev().find(|confirmations| is_in_time(*confirmations));
            assert_eq!(schedule.most_confirmations(), most.map(Blocks));
        }
    }
}
