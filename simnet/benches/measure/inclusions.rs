//! Records that come in, one a transaction: a block of them at a time on the embedded EVM.

use protocol::{
    AccountId, Digest, Epoch, EvmAddress, Hash, NodeId,
    chain::Transaction,
    eip712::EvmKey,
    hash::keccak,
    record::{Body, Record, StorageProofBody},
};
use simnet::{
    Scenario,
    chain::{Chain, named_address},
    kernel::Time,
};

/// Transactions of a block.
pub(crate) const RECORDS: u32 = 2_000;
/// The first account after the treasury's.
const ACCOUNT: AccountId = AccountId(2);

/// The real contracts, and what was sent to them.
pub(crate) struct Inclusions {
    chain: Chain,
    key: EvmKey,
    blocks: u32,
}

impl Inclusions {
    pub(crate) fn new() -> Self {
        let mut chain = Chain::deploy(&Scenario::default(), 0).expect("the contracts deploy");
        let key = EvmKey::from_bytes(&[7; 32]).expect("it is a scalar");
        let owner = key.address();
        let (node, binding) = (NodeId::ZERO, [0; 64]);
        let register =
            Transaction::Register { owner, operator: owner, payout: owner, node, binding };
        chain.submit(owner, &register);
        let mined = chain.mine(Time::from_millis(2_000));
        assert_eq!((mined.transactions, mined.reverted), (1, 0));
        Self { chain, key, blocks: 1 }
    }

    /// The transactions of a block, each with another record.
    pub(crate) fn of(&self, block: u32) -> Vec<(EvmAddress, Transaction)> {
        let domain = &self.chain.view().domain;
        let include = |number: u32| {
            let subject = keccak(&[&block.to_be_bytes(), &number.to_be_bytes()]);
            let body = StorageProofBody { commit: Digest::ZERO, openings: Hash::ZERO, length: 1 };
            let (epoch, account) = (Epoch(0), ACCOUNT);
            let record = Record { epoch, account, subject, body: Body::StorageProof(body) };
            let signed = record.sign(domain, &self.key).expect("a key signs");
            (
                named_address(b"sending", number),
                Transaction::Include { epoch, records: vec![signed] },
            )
        };
        (0..RECORDS).map(include).collect()
    }

    /// Executes them as one block.
    pub(crate) fn mine(&mut self, transactions: &[(EvmAddress, Transaction)]) {
        for (from, transaction) in transactions {
            self.chain.submit(*from, transaction);
        }
        self.blocks += 1;
        let mined = self.chain.mine(Time::from_millis(u64::from(self.blocks) * 2_000));
        assert_eq!((mined.transactions, mined.reverted), (RECORDS.into(), 0));
    }
}
