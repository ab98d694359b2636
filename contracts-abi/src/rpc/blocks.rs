//! Blocks and their receipts as JSON.

use std::sync::Arc;

use alloy::eips::eip2718::Encodable2718;
use alloy::eips::{BlockId, BlockNumberOrTag};
use alloy::network::primitives::BlockTransactions;
use alloy::primitives::{B256, U256};
use alloy::rlp::Encodable;
use alloy::rpc::types::{Block as RpcBlock, Header as RpcHeader};
use serde_json::Value;

use super::error::RpcError;
use super::methods::{Backend, quantity, to_json};
use super::transactions::{rpc_receipt, rpc_transaction};
use super::wire::Params;
use crate::devchain::Block;

impl Backend {
    pub(crate) fn block_by_number(&self, params: &Params) -> Result<Value, RpcError> {
        let tag: BlockNumberOrTag = params.get(0)?;
        let full = params.opt(1)?.unwrap_or(false);
        to_json(self.resolve(tag.into()).map(|block| rpc_block(block, full)))
    }

    pub(crate) fn block_by_hash(&self, params: &Params) -> Result<Value, RpcError> {
        let hash: B256 = params.get(0)?;
        let full = params.opt(1)?.unwrap_or(false);
        to_json(self.chain.block_by_hash(hash).map(|block| rpc_block(block, full)))
    }

    pub(crate) fn block_receipts(&self, params: &Params) -> Result<Value, RpcError> {
        let block = self.resolve(params.get(0)?);
        to_json(block.map(|block| {
            let indices = 0..block.transactions.len();
            indices.filter_map(|index| rpc_receipt(block, index)).collect::<Vec<_>>()
        }))
    }

    pub(crate) fn block_transaction_count(&self, params: &Params) -> Result<Value, RpcError> {
        let block = self.resolve(params.get(0)?);
        to_json(block.map(|block| quantity(block.transactions.len())))
    }

    /// The block that an id names. There are no reorgs: the newest block is safe and final.
    pub(crate) fn resolve(&self, id: BlockId) -> Option<&Arc<Block>> {
        match id {
            BlockId::Hash(hash) => self.chain.block_by_hash(hash.block_hash),
            BlockId::Number(BlockNumberOrTag::Number(number)) => self.chain.block(number),
            BlockId::Number(BlockNumberOrTag::Earliest) => self.chain.block(0),
            BlockId::Number(_) => Some(self.chain.head()),
        }
    }
}

fn rpc_block(block: &Block, full: bool) -> RpcBlock {
    let transactions = if full {
        let indices = 0..block.transactions.len();
        BlockTransactions::Full(indices.filter_map(|i| rpc_transaction(block, i)).collect())
    } else {
        BlockTransactions::Hashes(block.transactions.iter().map(|tx| *tx.tx_hash()).collect())
    };
    let bodies: usize = block.transactions.iter().map(Encodable2718::encode_2718_len).sum();
    let header = RpcHeader {
        hash: block.hash,
        inner: block.header.clone(),
        total_difficulty: Some(U256::ZERO),
        size: Some(U256::from(block.header.length() + bodies)),
    };
    RpcBlock::new(header, transactions).with_withdrawals(Some(Default::default()))
}
