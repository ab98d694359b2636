//! What nodes and people ask of the contracts.

use alloc::{boxed::Box, string::String, vec::Vec};

use super::{
    Challenge, Contribution, DatanetUse, Model, ModelPublication, Registration, Settlement,
};
use crate::{
    balance::Balance,
    holding::CellOpening,
    ids::{AccountId, Amount, BlockNumber, Digest, Epoch, EvmAddress, NodeId},
    merkle::SumNode,
    receipt::SignedReceipt,
    record::SignedRecord,
};

/// What a node or a person may ask of the contracts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transaction {
    /// Registry: create an account, for oneself or for another.
    Register {
        /// The cold key.
        owner: EvmAddress,
        /// The hot key.
        operator: EvmAddress,
        /// Where claims pay.
        payout: EvmAddress,
        /// The node, or zero.
        node: NodeId,
        /// Its binding signature.
        binding: [u8; 64],
    },
    /// Registry: add stake to any account (the client approves OPEN first).
    StakeFor {
        /// The account whose stake it becomes.
        account: AccountId,
        /// Smallest units of OPEN that are locked.
        amount: Amount,
    },
    /// Registry: change where claims pay; the owner only.
    SetPayout {
        /// The account whose claims go elsewhere.
        account: AccountId,
        /// The new address.
        payout: EvmAddress,
    },
    /// DatanetRegistry: create a Datanet.
    CreateDatanet {
        /// Who owns it.
        owner: AccountId,
        /// What people will call it.
        name: String,
        /// What it is about.
        domain: String,
        /// What its licence allows, as a set of bits.
        licence: u32,
    },
    /// DatanetRegistry: admit packs; `id` is ignored, the contract assigns it.
    Contribute(Contribution),
    /// DatanetRegistry: return a contribution's deposit to who paid it, its time being over; anyone may.
    TakeBackDeposit {
        /// The contribution's number.
        contribution: u64,
    },
    /// ModelRegistry: order a training run; `id` is ignored, the contract assigns it.
    CreateModel(Model),
    /// ModelRegistry: register a base; `id` is ignored, the contract assigns it.
    RegisterBase(Registration),
    /// ModelRegistry: offer a finished model or a base.
    PublishModel(ModelPublication),
    /// Coordinator: have records taken in, one's own or anybody's.
    Include {
        /// Their epoch; records of others are passed over.
        epoch: Epoch,
        /// At most 256.
        records: Vec<SignedRecord>,
    },
    /// Settlements: propose a settlement with a bond, others beside it or not.
    Propose {
        /// By which account.
        proposer: AccountId,
        /// What the epoch pays, as its proposer says.
        settlement: Settlement,
    },
    /// Settlements: act on a live proposal.
    AboutProposal {
        /// What is proposed.
        settlement: Settlement,
        /// What to do about it.
        act: ProposalAct,
    },
    /// Settlements: end a proposal that was set aside, its epoch being settled; anyone may.
    CloseContested {
        /// Under which it waits.
        number: u64,
    },
    /// RewardVault: pay an account what a final root owes it; anyone may.
    Claim {
        /// The account that is paid.
        account: AccountId,
        /// What the leaf gives it.
        balance: Balance,
        /// The leaf's position.
        index: u64,
        /// Number of leaves.
        count: u64,
        /// The sibling on each level from the leaf up.
        path: Vec<SumNode>,
    },
    /// UsageEscrow: lock a deposit for a serving account (the client approves OPEN first).
    Deposit {
        /// The serving account that receipts may draw it for.
        payee: AccountId,
        /// Smallest units of OPEN that are locked.
        amount: Amount,
    },
    /// UsageEscrow: ask for what is left of a deposit.
    RequestWithdrawal {
        /// The contract that it is in.
        escrow: EvmAddress,
        /// The serving account that it was locked for.
        payee: AccountId,
    },
    /// UsageEscrow: take what is left of a deposit, in the blocks of its request.
    Withdraw {
        /// The contract that it is in.
        escrow: EvmAddress,
        /// The serving account that it was locked for.
        payee: AccountId,
    },
    /// UsageEscrow: redeem a consumer's cumulative receipt, in the contract that it names.
    Redeem(SignedReceipt),
    /// Disputes: have a node show a cell that it committed to; locks a bond.
    OpenDispute {
        /// By which account.
        accuser: AccountId,
        /// The commitment, as it was signed.
        commit: Box<SignedRecord>,
        /// The block that took it in: at its end or its begin the signer was the account's operator.
        at: BlockNumber,
        /// The cell that is to be opened.
        cell: u32,
    },
    /// Disputes: answer with the cell's opening; anyone may.
    AnswerDispute(Box<DisputeAnswer>),
    /// Disputes: end one whose time is over; anyone may.
    ExpireDispute {
        /// The epoch whose storage is in dispute.
        epoch: Epoch,
        /// Who was to open it.
        account: AccountId,
        /// Id of the commitment.
        commit: Digest,
        /// The cell that nobody opened.
        cell: u32,
    },
}

/// What may be done about a live proposal. The contract is given the whole of it, and keeps its hash only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProposalAct {
    /// Make it final, its window being over.
    Finalise {
        /// The list whose hash the settlement carries.
        uses: Vec<DatanetUse>,
    },
    /// Object with a bond, which stops finality until the arbiter rules.
    Object {
        /// Whose bond it is.
        account: AccountId,
        /// Hash of the published reason.
        reason: Digest,
    },
    /// Show that it is wrong, which ends it.
    Challenge(Challenge),
    /// Rule on an objection; only the arbiter may.
    Rule {
        /// Whether the objection is right.
        uphold: bool,
    },
    /// End it, its epoch being settled by another.
    Close,
}

/// The opening of a cell whose storage is in dispute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DisputeAnswer {
    /// The epoch whose storage is in dispute.
    pub epoch: Epoch,
    /// The account that holds the cell.
    pub account: AccountId,
    /// Id of the commitment that the cell is of.
    pub commit: Digest,
    /// What the contract needs to see that it is the cell committed to.
    pub opening: CellOpening,
}
