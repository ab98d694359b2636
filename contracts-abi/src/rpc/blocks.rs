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
use super::transactions::{rpc_pending, rpc_receipt, rpc_transaction};
use super::wire::{Count, Params};
use crate::devchain::Block;

impl Backend {
    pub(crate) fn block_by_number(&self, params: &Params) -> Result<Value, RpcError> {
        let tag: BlockNumberOrTag = params.get(0)?;
        let full = params.opt(1)?.unwrap_or(false);
        if tag.is_pending() {
            return self.pending_block(full);
        }
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

    /// There are no uncles, but their number can be asked for.
    pub(crate) fn uncle_count(&self, params: &Params) -> Result<Value, RpcError> {
        to_json(self.resolve(params.get(0)?).map(|_| quantity(0)))
    }

    /// The transaction at an index of a block.
    pub(crate) fn transaction_in_block(&self, params: &Params) -> Result<Value, RpcError> {
        let index = params.get::<Count>(1)?.get();
        let block = self.resolve(params.get(0)?);
        let index = usize::try_from(index).ok();
        to_json(block.zip(index).and_then(|(block, index)| rpc_transaction(block, index)))
    }

    /// The next block as it would be now. What it will hash to is not known.
    fn pending_block(&self, full: bool) -> Result<Value, RpcError> {
        let header = self.chain.next_header();
        let transactions: Vec<_> =
            self.chain.executable().map(|(tx, from)| rpc_pending(tx, from)).collect();
        let transactions = if full {
            BlockTransactions::Full(transactions)
        } else {
            let hashes = transactions.iter().map(|tx| *tx.inner.tx_hash());
            BlockTransactions::Hashes(hashes.collect())
        };
        let header = RpcHeader {
            hash: B256::ZERO,
            inner: header,
            total_difficulty: Some(U256::ZERO),
            size: None,
        };
        let block = RpcBlock::new(header, transactions).with_withdrawals(Some(Default::default()));
        let mut block = to_json(block)?;
        for unknown in ["hash", "nonce", "miner"] {
            block[unknown] = Value::Null;
        }
        Ok(block)
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
