//! Logs and transactions as the protocol speaks of them.

use alloc::{string::String, vec::Vec};

use serde::{Deserialize, Serialize};

use crate::{
    balance::Balance,
    blob::BlobRef,
    codec::Wire,
    eip712::word,
    hash::keccak,
    ids::{
        AccountId, Amount, BlockNumber, DatanetId, Digest, Epoch, EvmAddress, Hash, ModelId,
        NodeId, Timestamp,
    },
    limits::MAX_PACKS_PER_CONTRIBUTION,
    record::SignedRecord,
};

/// A block of the settlement chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockHeader {
    /// Its height: the only clock that machines have.
    pub number: BlockNumber,
    /// Its hash, from which beacons are derived.
    pub hash: Digest,
    /// When its producer says that it was made.
    pub timestamp: Timestamp,
}

/// Packs that a contributor put into a Datanet (event `ContributionAdmitted`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contribution {
    /// Sequence number over all Datanets, from 1: the order of commitment.
    pub id: u64,
    /// The Datanet that it belongs to.
    pub datanet: DatanetId,
    /// The contributor, who is paid for its units.
    pub account: AccountId,
    /// The BLAKE3 hash of the manifest blob.
    pub manifest: Hash,
    /// Every pack that it brings.
    pub packs: Vec<BlobRef>,
    /// Number of units.
    pub units: u32,
}

impl Contribution {
    /// Whether it is one that the network takes notice of: as many packs as a contribution may have,
    /// none of them empty or longer than a pack may be, and no more units than bytes. Whatever else the
    /// chain carries was never contributed.
    pub fn is_in_bounds(&self, max_pack: u64) -> bool {
        let packs = 1..=MAX_PACKS_PER_CONTRIBUTION;
        packs.contains(&self.packs.len())
            && self.packs.iter().all(|pack| (1..=max_pack).contains(&pack.length))
            && (1..=BlobRef::total(&self.packs)).contains(&u64::from(self.units))
    }
}

/// A training run (event `ModelCreated`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    /// Its id, from 1, as ModelRegistry gives it.
    pub id: ModelId,
    /// Who ordered it, and earns the developer's share.
    pub developer: AccountId,
    /// What it trains on: those contributions admitted before it that it names.
    pub datanet: DatanetId,
    /// What was paid for all of its parts, in the smallest units of OPEN.
    pub escrow: Amount,
    /// The encoding of a [`crate::training::RunConfig`]; what is no [`crate::order::Order`] is no run.
    pub config: Vec<u8>,
}

/// A base was registered (event `BaseRegistered`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    /// Its id among the models, as ModelRegistry gives it.
    pub id: ModelId,
    /// Who registered it, and earns the developer's share.
    pub developer: AccountId,
    /// The encoding of a [`crate::base::BaseModel`]; what is none is no base for any node.
    pub config: Vec<u8>,
}

/// A finished model or a base offered for use (event `ModelPublished`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelPublication {
    /// The model that is offered.
    pub model: ModelId,
    /// The checkpoint that is served.
    pub checkpoint: Hash,
    /// Merkle root of the attribution sketches.
    pub sketch_root: Digest,
    /// The account that serves it.
    pub server: AccountId,
    /// Price of 1,000 prompt tokens.
    pub price_in: Amount,
    /// Price of 1,000 generated tokens.
    pub price_out: Amount,
    /// Fixed part of the price of one use.
    pub price_use: Amount,
}

/// How often a Datanet was used in an epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatanetUse {
    /// The Datanet that was used.
    pub datanet: DatanetId,
    /// Verified shards that read it.
    pub shards: u32,
    /// Outputs attributed to it.
    pub outputs: u32,
}

/// One epoch's result, as proposed to the Coordinator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settlement {
    /// The epoch that is settled.
    pub epoch: Epoch,
    /// Id of the final settlement that this one builds on; zero for the first.
    pub parent: Digest,
    /// The fold over the ids of the records that the chain included ([`super::ChainView::records_head`]).
    pub records: Digest,
    /// Merkle-sum root over (account, cumulative amount), sorted by account.
    pub payout_root: Digest,
    /// Sum of all cumulative amounts.
    pub total: Amount,
    /// BLAKE3 hash of the list of all balances, from which the next settlement and every claim follow.
    pub balances: Hash,
    /// Length of that list in bytes.
    pub balances_length: u64,
    /// `keccak(abi.encodePacked)` of the [`DatanetUse`] list.
    pub uses: Digest,
    /// Replicas proven in this epoch.
    pub replicas_proven: u32,
    /// Nodes whose storage proof failed.
    pub storage_faults: u32,
    /// Shards that passed their audit.
    pub shards_verified: u32,
    /// Shards that failed it.
    pub shards_rejected: u32,
}

impl Settlement {
    /// The id: `keccak(abi.encode(settlement))`, all fields as ABI words in order.
    pub fn id(&self) -> Digest {
        let words: [[u8; 32]; 12] = [
            word(u128::from(self.epoch.0)),
            self.parent.0,
            self.records.0,
            self.payout_root.0,
            word(self.total.0),
            self.balances.0,
            word(u128::from(self.balances_length)),
            self.uses.0,
            word(u128::from(self.replicas_proven)),
            word(u128::from(self.storage_faults)),
            word(u128::from(self.shards_verified)),
            word(u128::from(self.shards_rejected)),
        ];
        keccak(&[words.as_flattened()])
    }

    /// The hash of a list of uses: packed (u64 datanet ‖ u32 shards ‖ u32 outputs) each.
    pub fn hash_uses(uses: &[DatanetUse]) -> Digest {
        let mut packed = Vec::new();
        for item in uses {
            item.datanet.encode(&mut packed);
            item.shards.encode(&mut packed);
            item.outputs.encode(&mut packed);
        }
        keccak(&[&packed])
    }
}

/// A decoded log of one of our contracts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChainEvent {
    /// An account exists.
    AccountRegistered {
        /// Its permanent id.
        account: AccountId,
        /// The cold key.
        owner: EvmAddress,
        /// The hot key that signs records.
        operator: EvmAddress,
        /// Where claims pay.
        payout: EvmAddress,
        /// The node it runs; zero for accounts without one.
        node: NodeId,
        /// The node's ed25519 signature over the binding ([`crate::identity::Binding`]).
        binding: [u8; 64],
    },
    /// The hot key changed.
    OperatorRotated {
        /// The account that the key signs for.
        account: AccountId,
        /// The new key.
        operator: EvmAddress,
    },
    /// The payout address changed.
    PayoutChanged {
        /// The account whose claims go elsewhere now.
        account: AccountId,
        /// The new address.
        payout: EvmAddress,
    },
    /// The stake changed.
    StakeChanged {
        /// The account that is staked.
        account: AccountId,
        /// The stake now.
        stake: Amount,
    },
    /// A part of the stake was asked back. It is withdrawn later, and counts for nothing until then.
    UnstakeRequested {
        /// The account that it leaves.
        account: AccountId,
        /// All that is leaving now.
        leaving: Amount,
    },
    /// A part of the stake was taken; what is left follows as [`Self::StakeChanged`].
    Slashed {
        /// The account that lost it.
        account: AccountId,
        /// What was taken.
        amount: Amount,
    },
    /// A Datanet exists.
    DatanetCreated {
        /// Its id, from 1, as DatanetRegistry gives it.
        datanet: DatanetId,
        /// Who owns it.
        owner: AccountId,
        /// What people call it.
        name: String,
        /// What it is about.
        domain: String,
        /// What its licence allows, as a set of bits.
        licence: u32,
    },
    /// Data was admitted.
    ContributionAdmitted(Contribution),
    /// A training run was ordered.
    ModelCreated(Model),
    /// A base was registered.
    BaseRegistered(Registration),
    /// A model is offered.
    ModelPublished(ModelPublication),
    /// The chain took in records of an epoch, each signed by who was its account's operator then.
    Included {
        /// The epoch that all of them are labelled with.
        epoch: Epoch,
        /// The fold over all ids of the epoch's records so far.
        head: Digest,
        /// Those whose bodies are of this protocol, in order.
        records: Vec<SignedRecord>,
    },
    /// A settlement was proposed.
    Proposed {
        /// By which account, with its bond.
        proposer: AccountId,
        /// What the epoch pays, as its proposer says.
        settlement: Settlement,
    },
    /// A bonded objection stops one proposal until the arbiter rules.
    Objected {
        /// Of which epoch.
        epoch: Epoch,
        /// The proposal's id.
        id: Digest,
        /// The account that objects, with a bond.
        account: AccountId,
    },
    /// The arbiter ruled on an objection; one that is upheld also defeats the proposal, and to one that is
    /// found right nobody can object any more.
    Ruled {
        /// Of which epoch.
        epoch: Epoch,
        /// The proposal's id.
        id: Digest,
        /// Whether the objection was right.
        upheld: bool,
    },
    /// A proposal was disproved or ruled out.
    Defeated {
        /// Of which epoch.
        epoch: Epoch,
        /// The proposal's id.
        id: Digest,
    },
    /// The arbiter did not rule on an objection in time, and the same is proposed again: what becomes
    /// final decides.
    SetAside {
        /// Of which epoch.
        epoch: Epoch,
        /// The proposal's id.
        id: Digest,
        /// Under which it waits.
        number: u64,
    },
    /// A proposal that was still there when its epoch became final is gone.
    Closed {
        /// The proposal's id.
        id: Digest,
        /// That of one which was set aside; zero for a live one.
        number: u64,
        /// Whether it is what became final. If not its bond is lost.
        is_right: bool,
    },
    /// Another contract decides over proposals from now on, and nobody over those that are open.
    SettlementsChanged,
    /// The governors named a contract that the network's file does not: whoever reads this with that file
    /// knows no longer all that counts.
    UnknownContract {
        /// The one that they named.
        contract: EvmAddress,
    },
    /// The governors changed what each epoch may emit.
    BudgetChanged {
        /// The first epoch for which it counts, up to that of the next change.
        from: Epoch,
        /// Emission of an epoch.
        budget: Amount,
    },
    /// A settlement became final.
    Finalised {
        /// Of which epoch.
        epoch: Epoch,
        /// The settlement's id.
        id: Digest,
    },
    /// A claim was paid.
    Claimed {
        /// To which account.
        account: AccountId,
        /// What went to its payout address, and what of its lane became its stake.
        paid: Balance,
    },
    /// A consumer's deposit grew; whatever request for its withdrawal there was is gone.
    Deposited {
        /// The contract that it is in.
        escrow: EvmAddress,
        /// The consumer whose deposit it is.
        payer: EvmAddress,
        /// The serving account that receipts may draw it for.
        payee: AccountId,
        /// What is there now.
        balance: Amount,
        /// All that was redeemed between the two before.
        redeemed: Amount,
    },
    /// A consumer asked for a deposit. It can be taken in some blocks, and then the request is over.
    WithdrawalRequested {
        /// The contract that it is in.
        escrow: EvmAddress,
        /// The consumer whose deposit it is.
        payer: EvmAddress,
        /// The serving account that it was locked for.
        payee: AccountId,
        /// The first block in which it may be taken.
        from: BlockNumber,
        /// The last one.
        until: BlockNumber,
    },
    /// A consumer took what was left of a deposit.
    Withdrawn {
        /// The contract that it is in.
        escrow: EvmAddress,
        /// The consumer whose deposit it is.
        payer: EvmAddress,
        /// The serving account that it was locked for.
        payee: AccountId,
    },
    /// Receipts were redeemed.
    Redeemed {
        /// The contract that paid.
        escrow: EvmAddress,
        /// The consumer whose deposit paid.
        payer: EvmAddress,
        /// The serving account.
        payee: AccountId,
        /// The receipt's cumulative amount.
        cumulative: Amount,
        /// What moved now.
        amount: Amount,
    },
    /// Somebody wants to be shown a cell that a node committed to.
    DisputeOpened {
        /// Of which epoch.
        epoch: Epoch,
        /// The holder that has to answer.
        account: AccountId,
        /// Who accuses, with a bond.
        accuser: AccountId,
        /// Id of the commitment.
        commit: Digest,
        /// The cell that has to be opened.
        cell: u32,
        /// The last block in which it may be.
        until: BlockNumber,
    },
    /// A disputed cell was opened.
    DisputeAnswered {
        /// Of which epoch.
        epoch: Epoch,
        /// Who held what it is about.
        account: AccountId,
        /// Id of the commitment.
        commit: Digest,
        /// The cell that was opened.
        cell: u32,
    },
    /// The time of a dispute was over and nobody had opened the cell: the contract took stake for it, or
    /// had for another one of the same epoch.
    DisputeExpired {
        /// Of which epoch.
        epoch: Epoch,
        /// Who was to open it.
        account: AccountId,
        /// Id of the commitment.
        commit: Digest,
        /// The cell that nobody opened.
        cell: u32,
    },
}
