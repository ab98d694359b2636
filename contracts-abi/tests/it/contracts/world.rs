//! A deployment with a few staked accounts.

use alloy::primitives::{Address, B256, Bytes, U256, keccak256};
use alloy::sol_types::{SolCall, SolError, SolValue};
use contracts_abi::devchain::{DEV_KEYS, dev_accounts};
use protocol::eip712::{Domain, EvmKey};
use protocol::record::{Body, Record, SignedRecord, StorageCommitBody};
use protocol::{AccountId, Digest, Epoch, EvmAddress};

use super::chain::{Chain, Mined};

/// Bindings of the artifacts under test.
#[allow(clippy::too_many_arguments)]
pub(crate) mod abi {
    macro_rules! contract {
        ($module:ident, $name:ident, $path:literal) => {
            pub(crate) mod $module {
                alloy::sol!(
                    #[sol(extra_derives(Debug))]
                    $name,
                    $path
                );
            }
        };
    }
    contract!(open, Open, "artifacts/Open.json");
    contract!(registry, Registry, "artifacts/Registry.json");
    contract!(datanets, DatanetRegistry, "artifacts/DatanetRegistry.json");
    contract!(models, ModelRegistry, "artifacts/ModelRegistry.json");
    contract!(verifier, StorageVerifier, "artifacts/StorageVerifier.json");
    contract!(vault, RewardVault, "artifacts/RewardVault.json");
    contract!(escrow, UsageEscrow, "artifacts/UsageEscrow.json");
    contract!(coordinator, Coordinator, "artifacts/Coordinator.json");
    contract!(settlements, Settlements, "artifacts/Settlements.json");
    contract!(disputes, Disputes, "artifacts/Disputes.json");
    contract!(timelock, Timelock, "artifacts/Timelock.json");
}

pub(crate) use abi::coordinator::Coordinator;
pub(crate) use abi::disputes::Disputes;
pub(crate) use abi::registry::Registry;
pub(crate) use abi::settlements::Settlements;
pub(crate) use abi::vault::RewardVault;

pub(crate) const OPEN: u128 = 1_000_000_000_000_000_000;
pub(crate) const EPOCH_BLOCKS: u64 = 40;
pub(crate) const COMMIT_BLOCKS: u64 = 20;
pub(crate) const CHALLENGE_BLOCKS: u64 = 6;
pub(crate) const BUDGET: u128 = 1000 * OPEN;
pub(crate) const PROPOSAL_BOND: u128 = 100 * OPEN;
/// What a proposer locks: as much as an epoch may emit, which is more.
pub(crate) const BOND: u128 = BUDGET;
pub(crate) const OBJECTION_BOND: u128 = 50 * OPEN;
pub(crate) const SETTLE_BLOCKS: u64 = 5;
const WITHDRAWAL_DELAY: u64 = 16;
pub(crate) const DISPUTE_BOND: u128 = 10 * OPEN;
/// What a hot key may lock or lose in an epoch, and in all.
pub(crate) const PER_PERIOD: u128 = 300 * OPEN;
pub(crate) const IN_ALL: u128 = 500 * OPEN;
pub(crate) const MAX_PACK: u64 = 64 << 20;
pub(crate) const FAULT: u128 = 30 * OPEN;
/// What a contribution locks for a byte, and for how many blocks.
pub(crate) const DEPOSIT_PER_BYTE: u128 = OPEN / 1000;
pub(crate) const DEPOSIT_BLOCKS: u64 = 30;
/// Bytes that a pack counts as at least.
pub(crate) const LEAST_PACK: u128 = 4_096;
/// Below which what is earned in the newcomers' lane is held.
pub(crate) const LEAST_STAKE: u128 = 50 * OPEN;
/// Accounts 1 to 3 belong to these development accounts.
pub(crate) const ACCOUNTS: u64 = 3;

/// The address of a development account.
pub(crate) fn who(index: usize) -> Address {
    dev_accounts()[index].address()
}

/// Addresses of a deployment.
pub(crate) struct World<'a> {
    pub(crate) chain: &'a mut dyn Chain,
    pub(crate) open: Address,
    pub(crate) registry: Address,
    pub(crate) datanets: Address,
    pub(crate) vault: Address,
    pub(crate) verifier: Address,
    pub(crate) coordinator: Address,
    pub(crate) settlements: Address,
    pub(crate) disputes: Address,
    pub(crate) escrow: Address,
    pub(crate) models: Address,
    pub(crate) genesis: u64,
    pub(crate) cell_bytes: u64,
}

fn code_of(artifact: &str) -> Bytes {
    let path = format!("{}/artifacts/{artifact}.json", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    json["bytecode"].as_str().unwrap().parse().unwrap()
}

pub(crate) fn deploy(chain: &mut dyn Chain, artifact: &str, arguments: &[u8]) -> Address {
    let code = code_of(artifact);
    let mined = chain.send(who(0), None, [&code, arguments].concat().into());
    assert!(mined.is_success, "deployment of {artifact}");
    mined.created.unwrap()
}

/// Where the deployer's contract will be that comes so many after one that is there.
fn following(contract: Address, places: u64) -> Address {
    let nonce = (0..).find(|nonce| who(0).create(*nonce) == contract).unwrap();
    who(0).create(nonce + places)
}

impl<'a> World<'a> {
    /// Deploys everything with cells of 16 MiB, and registers and stakes three accounts.
    pub(crate) fn deploy(chain: &'a mut dyn Chain) -> Self {
        Self::with_cells(chain, 16 << 20)
    }

    /// The same with cells of so many bytes.
    pub(crate) fn with_cells(chain: &'a mut dyn Chain, cell_bytes: u64) -> Self {
        let supply = U256::from(1_000_000_000u64) * U256::from(OPEN);
        let half = supply / U256::from(2);
        let admin = who(0);
        let genesis_list = (vec![admin, who(5)], vec![half, half]);
        let open = deploy(chain, "Open", &genesis_list.abi_encode_params());
        // Roles are granted below, as those of a new contract are later on.
        let nobody = Vec::<Address>::new;
        let (delay, treasury) = (20u64, who(1));
        let (period, per_period, in_all, least) = (EPOCH_BLOCKS, PER_PERIOD, IN_ALL, FAULT);
        let arguments = (open, delay, period, per_period, in_all, least, treasury, admin, nobody());
        let registry = deploy(chain, "Registry", &arguments.abi_encode_params());
        let deposit = (DEPOSIT_PER_BYTE, DEPOSIT_BLOCKS);
        let arguments =
            (open, registry, 100 * OPEN, MAX_PACK, deposit.0, deposit.1, admin, Address::ZERO);
        let datanets = deploy(chain, "DatanetRegistry", &arguments.abi_encode_params());
        let verifier = deploy(chain, "StorageVerifier", &[]);
        let genesis = chain.head() + 130;
        let windows = (COMMIT_BLOCKS, SETTLE_BLOCKS, CHALLENGE_BLOCKS);
        let params = (genesis, EPOCH_BLOCKS, windows.0, windows.1, windows.2, cell_bytes);
        let coordinator = deploy(chain, "Coordinator", &(params, registry).abi_encode_params());
        let first_disputes = following(coordinator, 2);
        let deciding = (Address::ZERO, first_disputes);
        let arguments =
            (open, coordinator, BUDGET, LEAST_STAKE, admin, deciding.0, deciding.1, nobody());
        let vault = deploy(chain, "RewardVault", &arguments.abi_encode_params());
        let arguments = (coordinator, vault, verifier, DISPUTE_BOND, FAULT);
        let disputes = deploy(chain, "Disputes", &arguments.abi_encode_params());
        assert_eq!(disputes, first_disputes, "two after the coordinator");
        let arguments = (coordinator, vault, WITHDRAWAL_DELAY);
        let escrow = deploy(chain, "UsageEscrow", &arguments.abi_encode_params());
        let arguments = (registry, datanets, coordinator, vault).abi_encode_params();
        let models = deploy(chain, "ModelRegistry", &arguments);
        let mut world = Self {
            chain,
            open,
            registry,
            datanets,
            vault,
            verifier,
            coordinator,
            settlements: Address::ZERO,
            disputes,
            escrow,
            models,
            genesis,
            cell_bytes,
        };
        world.replace_settlements();
        world.wire();
        world
    }

    /// Another contract decides over proposals from now on.
    pub(crate) fn replace_settlements(&mut self) {
        let (coordinator, datanets, vault) = (self.coordinator, self.datanets, self.vault);
        let bonds = (PROPOSAL_BOND, OBJECTION_BOND);
        let arguments = (coordinator, datanets, vault, bonds.0, bonds.1, who(0), who(0));
        self.settlements = deploy(self.chain, "Settlements", &arguments.abi_encode_params());
        let account = self.settlements;
        let grant = |name| Registry::grantRoleCall { role: keccak256(name), account };
        self.send(0, self.registry, &grant("SLASHER_ROLE"));
        self.send(0, self.datanets, &grant("COUNTER_ROLE"));
        let name = RewardVault::setSettlementsCall { newSettlements: account };
        self.send(0, self.vault, &name);
    }

    /// Another contract judges disputes from the next epoch on.
    pub(crate) fn replace_disputes(&mut self) {
        let (coordinator, vault, verifier) = (self.coordinator, self.vault, self.verifier);
        let arguments = (coordinator, vault, verifier, DISPUTE_BOND, FAULT);
        self.disputes = deploy(self.chain, "Disputes", &arguments.abi_encode_params());
        let (role, account) = (keccak256("SLASHER_ROLE"), self.disputes);
        self.send(0, self.registry, &Registry::grantRoleCall { role, account });
        self.send(0, self.vault, &RewardVault::setDisputesCall { newDisputes: account });
    }

    /// Another contract takes deposits from now on.
    pub(crate) fn replace_escrow(&mut self) {
        let arguments = (self.coordinator, self.vault, WITHDRAWAL_DELAY);
        self.escrow = deploy(self.chain, "UsageEscrow", &arguments.abi_encode_params());
        let (role, account) = (keccak256("FEES_ROLE"), self.escrow);
        self.send(0, self.vault, &Registry::grantRoleCall { role, account });
    }

    fn wire(&mut self) {
        let (registry, vault, open) = (self.registry, self.vault, self.open);
        let grant = |name, account| Registry::grantRoleCall { role: keccak256(name), account };
        self.send(0, registry, &grant("SLASHER_ROLE", self.disputes));
        self.send(0, vault, &grant("FEES_ROLE", self.escrow));
        self.send(0, vault, &grant("FEES_ROLE", self.models));
        for spender in [registry, vault] {
            let value = U256::MAX;
            self.send(0, open, &abi::open::Open::approveCall { spender, value });
        }
        self.send(0, vault, &RewardVault::fundCall { amount: 100_000_000 * OPEN });
        for account in 1..=ACCOUNTS {
            let owner = who(account as usize);
            let call = Registry::registerCall {
                owner,
                operator: owner,
                payout: owner,
                nodeId: B256::ZERO,
                binding: vec![0; 64].into(),
            };
            // The first is the treasury's, which is there from the start.
            if account > 1 {
                self.send(0, registry, &call);
            }
            self.send(0, registry, &Registry::stakeForCall { account, amount: 10_000 * OPEN });
        }
    }

    /// Gives a development account what contributing so many bytes locks, in packs that are not short.
    pub(crate) fn fund_data(&mut self, index: usize, bytes: u128) {
        let (open, spender) = (self.open, self.datanets);
        let value = U256::from(bytes * DEPOSIT_PER_BYTE);
        self.send(0, open, &abi::open::Open::transferCall { to: who(index), value });
        self.send(index, open, &abi::open::Open::approveCall { spender, value });
    }

    /// Sends a call that must succeed; gives its gas.
    pub(crate) fn send<C: SolCall>(&mut self, from: usize, to: Address, call: &C) -> u64 {
        let data: Bytes = call.abi_encode().into();
        let Mined { gas, is_success, .. } = self.chain.send(who(from), Some(to), data.clone());
        if !is_success {
            let why = self.chain.call(who(from), to, data);
            panic!("{} failed: {why:?}", C::SIGNATURE);
        }
        gas
    }

    /// Sends calls in one block; whether each succeeded.
    pub(crate) fn send_together<C: SolCall>(
        &mut self,
        from: usize,
        to: Address,
        calls: &[C],
    ) -> Vec<bool> {
        let calls: Vec<Bytes> = calls.iter().map(|call| call.abi_encode().into()).collect();
        self.chain.send_together(who(from), to, &calls)
    }

    /// Reads.
    pub(crate) fn read<C: SolCall>(&mut self, to: Address, call: &C) -> C::Return {
        let output = self.chain.call(who(0), to, call.abi_encode().into());
        C::abi_decode_returns(&output.expect(C::SIGNATURE)).unwrap()
    }

    /// Requires that a call reverts with error `E`.
    pub(crate) fn fails<E: SolError, C: SolCall>(&mut self, from: usize, to: Address, call: &C) {
        let data = self.chain.call(who(from), to, call.abi_encode().into());
        let data = data.expect_err(&format!("{} should fail with {}", C::SIGNATURE, E::SIGNATURE));
        let selector = data.get(..4).unwrap_or_default();
        assert_eq!(selector, E::SELECTOR, "{} is not {}", data, E::SIGNATURE);
    }

    /// Requires that a contract cannot be deployed so.
    pub(crate) fn cannot_deploy(&mut self, artifact: &str, arguments: &[u8]) {
        let code = code_of(artifact);
        let mined = self.chain.send(who(0), None, [&code, arguments].concat().into());
        assert!(!mined.is_success, "{artifact} was deployed");
    }

    /// The balance in OPEN.
    pub(crate) fn balance(&mut self, account: Address) -> U256 {
        self.read(self.open, &abi::open::Open::balanceOfCall { account })
    }

    /// The first block of an epoch.
    pub(crate) fn start(&self, epoch: u64) -> u64 {
        self.genesis + epoch * EPOCH_BLOCKS
    }

    /// The first block in which an epoch's settlement may be proposed.
    pub(crate) fn cutoff(&self, epoch: u64) -> u64 {
        self.start(epoch + 1) + SETTLE_BLOCKS
    }

    /// The signature domain.
    pub(crate) fn domain(&self) -> Domain {
        Domain::new(31_337, EvmAddress(self.coordinator.0.0))
    }

    /// A storage commitment, signed by development account `signer`.
    pub(crate) fn signed(
        &self,
        (epoch, account): (u64, u64),
        subject: u8,
        body: StorageCommitBody,
        signer: usize,
    ) -> SignedRecord {
        let record = Record {
            epoch: Epoch(epoch),
            account: AccountId(account),
            subject: Digest([subject; 32]),
            body: Body::StorageCommit(body),
        };
        let key = EvmKey::from_bytes(&DEV_KEYS[signer]).unwrap();
        record.sign(&self.domain(), &key).unwrap()
    }
}

/// The header of a record as the contracts read it.
pub(crate) fn header(signed: &SignedRecord) -> Disputes::Record {
    let record = &signed.record;
    Disputes::Record {
        kind: record.body.kind().tag(),
        epoch: record.epoch.0,
        account: record.account.0,
        subject: record.subject.0.into(),
        body: keccak256(record.body.to_bytes()),
    }
}

/// A path as the contracts read it.
pub(crate) fn path(index: u64, count: usize, siblings: &[Digest]) -> Disputes::Path {
    Disputes::Path {
        index,
        count: count as u64,
        siblings: siblings.iter().map(|s| s.0.into()).collect(),
    }
}

/// Siblings of a sum path as one of the contracts reads them.
macro_rules! sum_nodes {
    ($contract:ident, $nodes:expr) => {{
        let node = |n: &protocol::merkle::SumNode| $contract::SumNode {
            hash: n.hash.0.into(),
            sum: n.sum,
        };
        $nodes.iter().map(node).collect::<Vec<_>>()
    }};
}
pub(crate) use sum_nodes;
