//! Gas prices and their history.

use alloy::eips::{BlockId, BlockNumberOrTag};
use alloy::rpc::types::FeeHistory;
use serde_json::Value;

use super::error::RpcError;
use super::methods::{Backend, quantity, to_json};
use super::wire::{Count, Params};
use crate::devchain::Block;

/// Blocks of a fee history at most, as on public nodes.
const HISTORY_LIMIT: u64 = 1_024;
/// Percentiles of a fee history at most.
const PERCENTILE_LIMIT: usize = 100;

impl Backend {
    pub(crate) fn gas_price(&self) -> Result<Value, RpcError> {
        to_json(quantity(u128::from(self.chain.next_base_fee()) + self.chain.suggested_tip()))
    }

    pub(crate) fn fee_history(&self, params: &Params) -> Result<Value, RpcError> {
        let count = params.get::<Count>(0)?.get().min(HISTORY_LIMIT);
        let newest: BlockNumberOrTag = params.get(1)?;
        let percentiles: Option<Vec<f64>> = params.opt(2)?;
        if percentiles.as_deref().is_some_and(|list| !ascending_percentiles(list)) {
            let rule = "percentiles ascend from 0 to 100, at most 100 of them";
            return Err(RpcError::Params(rule.to_owned()));
        }
        let newest = self.resolve(BlockId::Number(newest)).ok_or(RpcError::UnknownBlock)?.number();
        let oldest = (newest + 1).saturating_sub(count);
        let blocks: Vec<&Block> = (oldest..=newest)
            .take(usize::try_from(count).unwrap_or(usize::MAX))
            .filter_map(|number| self.chain.block(number).map(AsRef::as_ref))
            .collect();
        to_json(FeeHistory {
            base_fee_per_gas: blocks
                .iter()
                .map(|block| base_fee(block))
                .chain([self.base_fee_after(newest)])
                .collect(),
            gas_used_ratio: blocks.iter().map(|block| used_ratio(block)).collect(),
            base_fee_per_blob_gas: vec![1; blocks.len() + 1],
            blob_gas_used_ratio: vec![0.0; blocks.len()],
            oldest_block: oldest,
            reward: percentiles
                .map(|list| blocks.iter().map(|block| rewards(block, &list)).collect()),
        })
    }

    fn base_fee_after(&self, number: u64) -> u128 {
        match self.chain.block(number + 1) {
            Some(block) => base_fee(block),
            None => u128::from(self.chain.next_base_fee()),
        }
    }
}

fn ascending_percentiles(list: &[f64]) -> bool {
    list.len() <= PERCENTILE_LIMIT
        && list.iter().all(|p| (0.0..=100.0).contains(p))
        && list.is_sorted()
}

fn base_fee(block: &Block) -> u128 {
    u128::from(block.header.base_fee_per_gas.unwrap_or_default())
}

fn used_ratio(block: &Block) -> f64 {
    block.header.gas_used as f64 / block.header.gas_limit.max(1) as f64
}

/// The tips at each percentile of the block's gas; zeroes for an empty block.
fn rewards(block: &Block, percentiles: &[f64]) -> Vec<u128> {
    let base = base_fee(block);
    let mut tips: Vec<_> = block
        .outcomes
        .iter()
        .map(|outcome| (outcome.gas_price.saturating_sub(base), outcome.gas_used))
        .collect();
    tips.sort_unstable();
    let at = |percentile: &f64| {
        let threshold = (block.header.gas_used as f64 * percentile / 100.0) as u64;
        let mut sum = 0;
        let reached = tips.iter().find(|(_, gas)| {
            sum += gas;
            sum >= threshold
        });
        reached.map_or(0, |(tip, _)| *tip)
    };
    percentiles.iter().map(at).collect()
}
