//! Questions to the contracts: what is called, and what the answer means.

use alloy::primitives::{Bytes, U256};
use alloy::sol_types::SolCall;
use protocol::chain::Deposit;
use protocol::{
    AccountId, Amount, Balance, BlockNumber, Blocks, DatanetId, Digest, Epoch, EvmAddress,
};
use serde::{Deserialize, Serialize};

use crate::bindings::{DatanetRegistry, Open, Registry, RewardVault, Settlements, UsageEscrow};
use crate::convert::{Call, RevertReason, address};
use crate::deployment::Deployment;
use crate::http::RpcError;

/// Why a question had no answer.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The contract reverted.
    #[error("the contract refused: {0}")]
    Reverted(RevertReason),
    /// The answer does not decode.
    #[error("the contract's answer does not decode ({0}); is this the right deployment?")]
    Decode(String),
    /// The RPC failed.
    #[error(transparent)]
    Rpc(#[from] RpcError),
}

/// A live proposal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProposalState {
    /// Who proposed it.
    pub proposer: AccountId,
    /// The block in which its challenge window began.
    pub open_since: BlockNumber,
    /// Whose objection waits for the arbiter, if any.
    pub objector: Option<AccountId>,
    /// What the proposer has locked.
    pub bond: Amount,
    /// What the objector has locked.
    pub objection_bond: Amount,
    /// Whether the arbiter found it right.
    pub is_right: bool,
}

/// The RewardVault's books: `funded + redeemed = held + paid`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct VaultState {
    /// Emission put in so far.
    pub funded: Amount,
    /// Fees put in so far.
    pub redeemed: Amount,
    /// Paid out so far.
    pub paid: Amount,
}

/// A call with the meaning of its answer.
pub(crate) struct Read<T> {
    pub(crate) call: Call,
    pub(crate) decode: fn(&Bytes) -> Result<T, ReadError>,
}

fn returns<C: SolCall>(data: &Bytes) -> Result<C::Return, ReadError> {
    C::abi_decode_returns(data).map_err(|error| ReadError::Decode(error.to_string()))
}

fn narrow(value: U256) -> Result<Amount, ReadError> {
    let too_large = |_| ReadError::Decode("an amount above the supply".to_owned());
    u128::try_from(value).map(Amount).map_err(too_large)
}

fn read<T, C: SolCall>(
    to: EvmAddress,
    call: &C,
    decode: fn(&Bytes) -> Result<T, ReadError>,
) -> Read<T> {
    Read { call: Call { to: address(to), data: call.abi_encode().into() }, decode }
}

pub(crate) fn balance(at: &Deployment, of: EvmAddress) -> Read<Amount> {
    let call = Open::balanceOfCall { account: address(of) };
    read(at.open, &call, |data| narrow(returns::<Open::balanceOfCall>(data)?))
}

pub(crate) fn allowance(at: &Deployment, of: EvmAddress, spender: EvmAddress) -> Read<U256> {
    let call = Open::allowanceCall { owner: address(of), spender: address(spender) };
    read(at.open, &call, returns::<Open::allowanceCall>)
}

pub(crate) fn stake(at: &Deployment, account: AccountId) -> Read<Amount> {
    let call = Registry::stakeOfCall { account: account.0 };
    read(at.registry, &call, |data| Ok(Amount(returns::<Registry::stakeOfCall>(data)?.stake)))
}

/// Whether what is contributed waits for the Datanet's owner.
pub(crate) fn is_reviewed(at: &Deployment, datanet: DatanetId) -> Read<bool> {
    /// Its place in the contract's `Policy`.
    const REVIEWED: u8 = 1;
    let call = DatanetRegistry::datanetCall { id: datanet.0 };
    read(at.datanets, &call, |data| {
        Ok(returns::<DatanetRegistry::datanetCall>(data)?.policy == REVIEWED)
    })
}

pub(crate) fn least_stake(at: &Deployment) -> Read<Amount> {
    read(at.vault, &RewardVault::LEAST_STAKECall {}, |data| {
        Ok(Amount(returns::<RewardVault::LEAST_STAKECall>(data)?))
    })
}

pub(crate) fn claimed(at: &Deployment, account: AccountId) -> Read<Balance> {
    let call = RewardVault::claimedCall { account: account.0 };
    read(at.vault, &call, |data| {
        let paid = returns::<RewardVault::claimedCall>(data)?;
        Ok(Balance { free: Amount(paid.free), lane: Amount(paid.lane) })
    })
}

/// A deposit, and the first block in which it may be withdrawn: 0 where nobody asked for it.
pub(crate) fn deposit(
    escrow: EvmAddress,
    payer: EvmAddress,
    payee: AccountId,
) -> Read<(Deposit, BlockNumber)> {
    let call = UsageEscrow::depositsCall { payer: address(payer), payee: payee.0 };
    read(escrow, &call, |data| {
        let found = returns::<UsageEscrow::depositsCall>(data)?;
        let (balance, redeemed) = (Amount(found.balance), Amount(found.redeemed));
        Ok((Deposit { balance, redeemed, withdrawal: None }, BlockNumber(found.unlockBlock)))
    })
}

pub(crate) fn withdrawal_delay(escrow: EvmAddress) -> Read<Blocks> {
    let call = UsageEscrow::WITHDRAWAL_DELAYCall {};
    read(escrow, &call, |data| Ok(Blocks(returns::<UsageEscrow::WITHDRAWAL_DELAYCall>(data)?)))
}

pub(crate) fn fees(at: &Deployment, epoch: Epoch) -> Read<Amount> {
    let call = UsageEscrow::feesRedeemedCall { epoch: epoch.0 };
    read(at.escrow, &call, |data| Ok(Amount(returns::<UsageEscrow::feesRedeemedCall>(data)?)))
}

pub(crate) fn proposal(at: &Deployment, id: Digest) -> Read<Option<ProposalState>> {
    let call = Settlements::proposalCall { id: id.0.into() };
    read(at.settlements, &call, |data| {
        let found = returns::<Settlements::proposalCall>(data)?;
        Ok((found.proposer != 0).then(|| ProposalState {
            proposer: AccountId(found.proposer),
            open_since: BlockNumber(found.openSince),
            objector: (found.objector != 0).then_some(AccountId(found.objector)),
            bond: Amount(found.bond.to()),
            objection_bond: Amount(found.objectionBond.to()),
            is_right: found.isRight,
        }))
    })
}

pub(crate) fn final_of(at: &Deployment, epoch: Epoch) -> Read<Option<Digest>> {
    let call = RewardVault::finalOfCall { epoch: epoch.0 };
    read(at.vault, &call, |data| {
        let id = returns::<RewardVault::finalOfCall>(data)?;
        Ok((!id.is_zero()).then_some(Digest(id.0)))
    })
}

/// Funded, redeemed, paid.
pub(crate) fn vault(at: &Deployment) -> [Read<Amount>; 3] {
    [
        read(at.vault, &RewardVault::fundedCall {}, |data| {
            Ok(Amount(returns::<RewardVault::fundedCall>(data)?))
        }),
        read(at.vault, &RewardVault::redeemedCall {}, |data| {
            Ok(Amount(returns::<RewardVault::redeemedCall>(data)?))
        }),
        read(at.vault, &RewardVault::paidCall {}, |data| {
            Ok(Amount(returns::<RewardVault::paidCall>(data)?))
        }),
    ]
}
