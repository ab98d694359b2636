//! OPEN: whoever has it, lets it be taken or votes with it. No unit is made or lost.

use alloy::primitives::{Address, B256, U256, keccak256};
use alloy::sol_types::SolValue;
use contracts_abi::devchain::DEV_KEYS;
use protocol::Digest;
use protocol::eip712::EvmKey;

use super::driver::{Done, Draw, Encoded, Model, Step, need};
use crate::contracts::world::abi::open::Open;
use crate::contracts::world::{OPEN, World, who};

const PEOPLE: usize = 5;

#[derive(Clone, Debug)]
pub(super) enum Call {
    Transfer {
        to: Address,
        amount: U256,
    },
    Approve {
        spender: Address,
        amount: U256,
    },
    TransferFrom {
        owner: usize,
        to: Address,
        amount: U256,
    },
    /// Signed by somebody with one of the numbers that signatures are counted by.
    Permit {
        owner: usize,
        spender: Address,
        amount: U256,
        signed: Signed,
    },
    Delegate(Address),
    DelegateBySig {
        to: Address,
        signed: Signed,
    },
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Signed {
    signer: usize,
    nonce: u64,
    is_expired: bool,
}

impl Signed {
    const fn deadline(self) -> U256 {
        if self.is_expired { U256::ZERO } else { U256::MAX }
    }
}

#[derive(Clone)]
pub(super) struct Token {
    balances: Vec<U256>,
    /// What each owner lets each person take.
    allowed: [[U256; PEOPLE]; PEOPLE],
    nonces: [u64; PEOPLE],
    votes_with: [Address; PEOPLE],
    /// Of everybody else.
    rest: U256,
    at: Address,
}

fn person(address: Address) -> Option<usize> {
    (0..PEOPLE).find(|person| who(*person) == address)
}

fn somebody(draw: &mut Draw) -> Address {
    if draw.one_in(8) { Address::ZERO } else { who(draw.below(PEOPLE)) }
}

impl Token {
    fn amount(&self, draw: &mut Draw, from: usize) -> U256 {
        let has = self.balances[from];
        draw.of(&[
            U256::ZERO,
            U256::from(1),
            U256::from(OPEN),
            has,
            has + U256::from(1),
            has / U256::from(2),
            U256::MAX,
        ])
    }

    fn spend(&mut self, owner: usize, spender: usize, amount: U256) -> Done {
        let allowed = &mut self.allowed[owner][spender];
        if *allowed != U256::MAX {
            *allowed = allowed.checked_sub(amount).ok_or("ERC20InsufficientAllowance")?;
        }
        Ok(())
    }

    fn shift(&mut self, from: usize, to: Address, amount: U256) -> Done {
        need(to != Address::ZERO, "ERC20InvalidReceiver")?;
        let left = self.balances[from].checked_sub(amount);
        self.balances[from] = left.ok_or("ERC20InsufficientBalance")?;
        self.balances[person(to).unwrap()] += amount;
        Ok(())
    }

    fn signed(&self, draw: &mut Draw, owner: usize) -> Signed {
        let signer = if draw.one_in(6) { draw.below(PEOPLE) } else { owner };
        let nonce = self.nonces[signer] + u64::from(draw.one_in(6));
        Signed { signer, nonce, is_expired: draw.one_in(6) }
    }
}

fn separator(token: Address) -> B256 {
    let kind = "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)";
    let (name, version) = (keccak256("openledger"), keccak256("1"));
    keccak256((keccak256(kind), name, version, U256::from(31_337), token).abi_encode())
}

fn sign(token: Address, signer: usize, words: &[u8]) -> (u8, B256, B256) {
    let hash = keccak256(words);
    let digest = keccak256([&[0x19, 1], &separator(token)[..], &hash[..]].concat());
    let key = EvmKey::from_bytes(&DEV_KEYS[signer]).unwrap();
    let signature = key.sign(&Digest(digest.0)).unwrap().0;
    let half = |at: usize| B256::from_slice(&signature[at..at + 32]);
    (signature[64], half(0), half(32))
}

/// A permit (EIP-2612) of `owner, spender, value, nonce, deadline`.
pub(super) fn permit(
    token: Address,
    signer: usize,
    (owner, spender, value, nonce, deadline): (Address, Address, U256, U256, U256),
) -> (u8, B256, B256) {
    let kind = "Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)";
    let words = (keccak256(kind), owner, spender, value, nonce, deadline).abi_encode();
    sign(token, signer, &words)
}

impl Model for Token {
    type Call = Call;
    const CALLS: &'static [&'static str] = &[
        "Open.transfer",
        "Open.approve",
        "Open.transferFrom",
        "Open.permit",
        "Open.delegate",
        "Open.delegateBySig",
    ];
    const ALWAYS: &'static [&'static str] = &["Open.delegate"];

    fn start(world: &mut World<'_>) -> Self {
        let at = world.open;
        let mut allowed = [[U256::ZERO; PEOPLE]; PEOPLE];
        for (owner, row) in allowed.iter_mut().enumerate() {
            for (spender, amount) in row.iter_mut().enumerate() {
                let call = Open::allowanceCall { owner: who(owner), spender: who(spender) };
                *amount = world.read(at, &call);
            }
        }
        let balances: Vec<_> = (0..PEOPLE).map(|person| world.balance(who(person))).collect();
        let supply = world.read(at, &Open::totalSupplyCall {});
        let rest = supply - balances.iter().sum::<U256>();
        let (nonces, votes_with) = ([0; PEOPLE], [Address::ZERO; PEOPLE]);
        Self { balances, allowed, nonces, votes_with, rest, at }
    }

    fn draw(&self, draw: &mut Draw, _block: u64) -> Step<Call> {
        let (from, owner) = (draw.below(PEOPLE), draw.below(PEOPLE));
        let (to, amount) = (somebody(draw), self.amount(draw, owner));
        let call = match draw.below(7) {
            0 => Call::Transfer { to, amount: self.amount(draw, from) },
            1 => Call::Approve { spender: to, amount },
            2 | 3 => Call::TransferFrom { owner, to, amount },
            4 => Call::Permit { owner, spender: to, amount, signed: self.signed(draw, owner) },
            5 => Call::Delegate(to),
            _ => Call::DelegateBySig { to, signed: self.signed(draw, owner) },
        };
        Step { wait: 0, from, call }
    }

    fn encode(&self, world: &mut World<'_>, call: &Call) -> Encoded {
        let at = world.open;
        match *call {
            Call::Transfer { to, amount: value } => {
                Encoded::new("Open.transfer", at, &Open::transferCall { to, value })
            }
            Call::Approve { spender, amount: value } => {
                Encoded::new("Open.approve", at, &Open::approveCall { spender, value })
            }
            Call::TransferFrom { owner, to, amount: value } => {
                let call = Open::transferFromCall { from: who(owner), to, value };
                Encoded::new("Open.transferFrom", at, &call)
            }
            Call::Permit { owner, spender, amount: value, signed } => {
                let (owner, deadline) = (who(owner), signed.deadline());
                let words = (owner, spender, value, U256::from(signed.nonce), deadline);
                let (v, r, s) = permit(at, signed.signer, words);
                let call = Open::permitCall { owner, spender, value, deadline, v, r, s };
                Encoded::new("Open.permit", at, &call)
            }
            Call::Delegate(delegatee) => {
                Encoded::new("Open.delegate", at, &Open::delegateCall { delegatee })
            }
            Call::DelegateBySig { to: delegatee, signed } => {
                let kind = "Delegation(address delegatee,uint256 nonce,uint256 expiry)";
                let (nonce, expiry) = (U256::from(signed.nonce), signed.deadline());
                let words = (keccak256(kind), delegatee, nonce, expiry).abi_encode();
                let (v, r, s) = sign(at, signed.signer, &words);
                let call = Open::delegateBySigCall { delegatee, nonce, expiry, v, r, s };
                Encoded::new("Open.delegateBySig", at, &call)
            }
        }
    }

    fn apply(&mut self, from: usize, call: &Call, _block: u64) -> Done {
        match *call {
            Call::Transfer { to, amount } => self.shift(from, to, amount),
            Call::Approve { spender, amount } => {
                let spender = person(spender).ok_or("ERC20InvalidSpender")?;
                self.allowed[from][spender] = amount;
                Ok(())
            }
            Call::TransferFrom { owner, to, amount } => {
                self.spend(owner, from, amount)?;
                self.shift(owner, to, amount)
            }
            Call::Permit { owner, spender, amount, signed } => {
                need(!signed.is_expired, "ERC2612ExpiredSignature")?;
                let is_owners = signed.signer == owner && signed.nonce == self.nonces[owner];
                need(is_owners, "ERC2612InvalidSigner")?;
                let spender = person(spender).ok_or("ERC20InvalidSpender")?;
                self.nonces[owner] += 1;
                self.allowed[owner][spender] = amount;
                Ok(())
            }
            Call::Delegate(to) => {
                self.votes_with[from] = to;
                Ok(())
            }
            Call::DelegateBySig { to, signed } => {
                need(!signed.is_expired, "VotesExpiredSignature")?;
                let nonce = &mut self.nonces[signed.signer];
                need(signed.nonce == *nonce, "InvalidAccountNonce")?;
                *nonce += 1;
                self.votes_with[signed.signer] = to;
                Ok(())
            }
        }
    }

    fn compare(&self, world: &mut World<'_>, _from: usize, _call: &Call) {
        for (person, balance) in self.balances.iter().enumerate() {
            assert_eq!(world.balance(who(person)), *balance, "{person}");
        }
        let supply = world.read(self.at, &Open::totalSupplyCall {});
        assert_eq!(supply, self.rest + self.balances.iter().sum::<U256>());
    }

    fn compare_all(&self, world: &mut World<'_>) {
        for owner in 0..PEOPLE {
            for spender in 0..PEOPLE {
                let call = Open::allowanceCall { owner: who(owner), spender: who(spender) };
                assert_eq!(world.read(self.at, &call), self.allowed[owner][spender]);
            }
            let account = who(owner);
            let nonce = world.read(self.at, &Open::noncesCall { owner: account });
            assert_eq!(nonce, U256::from(self.nonces[owner]));
            let delegate = world.read(self.at, &Open::delegatesCall { account });
            assert_eq!(delegate, self.votes_with[owner]);
            let voters = (0..PEOPLE).filter(|voter| self.votes_with[*voter] == account);
            let votes = voters.map(|voter| self.balances[voter]).sum::<U256>();
            assert_eq!(world.read(self.at, &Open::getVotesCall { account }), votes);
        }
    }
}
