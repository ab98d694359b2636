//! Who may do what after a deployment, and how that changes.

use std::collections::{BTreeMap, BTreeSet};

use alloy::primitives::{Address, B256, Bytes, U256, keccak256};
use alloy::providers::{DynProvider, Provider, ProviderBuilder};
use alloy::rpc::types::{Filter, Log};
use alloy::sol_types::{SolCall, SolEvent, SolValue};
use contracts_abi::devchain::DEV_KEYS;
use contracts_abi::embedded::EmbeddedChain;
use contracts_abi::rpc::{DevChainHandle, DevChainServer, ServerConfig};
use contracts_abi::{Deployment, RevertReason, deploy};
use protocol::EvmAddress;
use protocol::Timestamp;
use protocol::eip712::EvmKey;
use serde_json::Value;

use crate::contracts::world::abi::open::Open;
use crate::contracts::world::abi::timelock::Timelock;
use crate::contracts::world::{Registry, RewardVault};
use crate::genesis::{ARBITER, GOVERNOR, genesis};

/// Contract, role and holder.
type Role = (String, String, String);

pub(crate) fn evm(address: EvmAddress) -> Address {
    Address::new(address.0)
}

/// The contracts by name.
pub(crate) fn contracts(at: &Deployment) -> [(&'static str, EvmAddress); 11] {
    [
        ("Open", at.open),
        ("Registry", at.registry),
        ("DatanetRegistry", at.datanets),
        ("ModelRegistry", at.models),
        ("Coordinator", at.coordinator),
        ("Settlements", at.settlements),
        ("Disputes", at.disputes),
        ("StorageVerifier", at.verifier),
        ("UsageEscrow", at.escrow),
        ("RewardVault", at.vault),
        ("Timelock", at.timelock),
    ]
}

/// The rows of the table of roles in README.md.
fn table() -> BTreeSet<Role> {
    let text = include_str!("../../README.md");
    let (_, part) = text.split_once("## Roles").expect("there is a section");
    let (part, _) = part.split_once("\n## ").expect("others follow it");
    let rows = part.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let mut cells = row.trim_matches('|').split('|').map(|cell| cell.trim().replace('`', ""));
        let mut cell = || cells.next().expect("a row has five cells");
        (cell(), cell(), cell())
    })
    .collect()
}

/// What the chain's logs say of roles, in words.
fn roles(logs: &[Log], at: &Deployment, deployer: EvmAddress) -> BTreeSet<Role> {
    let names = ["SLASHER", "COUNTER", "FEES", "ARBITER", "PROPOSER", "CANCELLER", "EXECUTOR"];
    let names = names.map(|name| format!("{name}_ROLE"));
    let mut roles: BTreeMap<_, _> = names.map(|name| (keccak256(&name), name)).into();
    roles.insert(B256::ZERO, "DEFAULT_ADMIN_ROLE".to_owned());
    let people = [
        ("anyone", EvmAddress([0; 20])),
        ("governor", GOVERNOR),
        ("arbiter", ARBITER),
        ("deployer", deployer),
    ];
    let known = contracts(at).into_iter().chain(people);
    let known: BTreeMap<_, _> = known.map(|(name, address)| (evm(address), name)).collect();
    let mut held = BTreeSet::new();
    for log in logs {
        let contract = known[&log.address()].to_owned();
        let role = |role: B256, who: Address| {
            (contract.clone(), roles[&role].clone(), known[&who].to_owned())
        };
        match *log.topic0().expect("no contract of ours is silent about what it says") {
            Registry::RoleGranted::SIGNATURE_HASH => {
                let e = Registry::RoleGranted::decode_log(&log.inner).unwrap();
                held.insert(role(e.role, e.account));
            }
            Registry::RoleRevoked::SIGNATURE_HASH => {
                let e = Registry::RoleRevoked::decode_log(&log.inner).unwrap();
                held.remove(&role(e.role, e.account));
            }
            topic => {
                let others = [
                    "RoleAdminChanged(bytes32,bytes32,bytes32)",
                    "OwnershipTransferred(address,address)",
                ];
                assert!(!others.map(keccak256).contains(&topic), "{contract} has another admin");
            }
        }
    }
    held
}

/// Whether a contract has roles or an owner.
fn is_governed(artifact: &str) -> bool {
    let path = format!("{}/artifacts/{artifact}.json", env!("CARGO_MANIFEST_DIR"));
    let json: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let mut parts = json["abi"].as_array().unwrap().iter();
    parts.any(|part| part["name"] == "grantRole" || part["name"] == "transferOwnership")
}

/// The deployer of [`Fresh`].
fn deployer() -> EvmKey {
    EvmKey::from_bytes(&DEV_KEYS[0].0).unwrap()
}

/// A chain on which nothing was done but to deploy the contracts.
struct Fresh {
    server: DevChainHandle,
    at: Deployment,
    provider: DynProvider,
}

impl Fresh {
    async fn deploy() -> Self {
        contracts_abi::install_crypto_provider();
        let server = DevChainServer::start(ServerConfig::default()).await.unwrap();
        let at = deploy(&server.url(), &deployer(), &genesis(&[])).await.unwrap();
        let provider = ProviderBuilder::new().connect_http(server.url().parse().unwrap()).erased();
        Self { server, at, provider }
    }
}

#[tokio::test]
async fn a_fresh_deployment_has_the_roles_of_the_table() {
    let Fresh { server, at, provider } = Fresh::deploy().await;
    let logs = provider.get_logs(&Filter::new().from_block(0)).await.unwrap();
    assert_eq!(roles(&logs, &at, deployer().address()), table());
    let governed =
        contracts(&at).into_iter().map(|(name, _)| name).filter(|name| is_governed(name));
    let listed: BTreeSet<_> = table().into_iter().map(|(contract, ..)| contract).collect();
    assert_eq!(governed.map(str::to_owned).collect::<BTreeSet<_>>(), listed);

    let owner = evm(deployer().address());
    let read = async |data: Vec<u8>| {
        let request = alloy::rpc::types::TransactionRequest::default().to(evm(at.open));
        provider.call(request.input(data.into())).await.unwrap()
    };
    let held = read(Open::balanceOfCall { account: owner }.abi_encode()).await;
    let spender = evm(at.vault);
    let allowed = read(Open::allowanceCall { owner, spender }.abi_encode()).await;
    assert_eq!([held, allowed], [Bytes::from(vec![0; 32]), Bytes::from(vec![0; 32])]);
    server.shutdown().await;
}

/// One network, asked by whoever.
struct Network(EmbeddedChain);

impl Network {
    /// When the newest block was made.
    fn second(&self) -> u64 {
        self.0.head().timestamp.0 / 1_000
    }

    /// Sends a call in a block of that time, or later where time has gone on; why it fails.
    fn send(
        &mut self,
        from: EvmAddress,
        to: EvmAddress,
        call: &impl SolCall,
        second: u64,
    ) -> Result<(), String> {
        self.0.send(from, to, call.abi_encode());
        let result = self.0.mine(Timestamp(second * 1_000)).results.remove(0);
        result.map(drop).map_err(|reason: RevertReason| reason.name().unwrap_or("none").to_owned())
    }
}

pub(crate) fn schedule(
    target: EvmAddress,
    call: &impl SolCall,
    delay: u64,
) -> Timelock::scheduleCall {
    Timelock::scheduleCall {
        target: evm(target),
        value: U256::ZERO,
        data: call.abi_encode().into(),
        predecessor: B256::ZERO,
        salt: B256::ZERO,
        delay: U256::from(delay),
    }
}

pub(crate) fn execute(target: EvmAddress, call: &impl SolCall) -> Timelock::executeCall {
    Timelock::executeCall {
        target: evm(target),
        value: U256::ZERO,
        payload: call.abi_encode().into(),
        predecessor: B256::ZERO,
        salt: B256::ZERO,
    }
}

#[test]
fn a_change_waits_for_its_delay_and_nobody_else_makes_one() {
    /// Who deployed the contracts of an embedded network.
    const DEPLOYER: EvmAddress = EvmAddress([0xde; 20]);
    const STRANGER: EvmAddress = EvmAddress([0xa1; 20]);
    let genesis = genesis(&[]);
    let delay = genesis.delay;
    let mut network = Network(EmbeddedChain::new(&genesis, 7).unwrap());
    let at = network.0.deployment().clone();
    let budget = RewardVault::setBudgetCall { budgetPerEpoch: 5 };
    let unauthorised = Err("AccessControlUnauthorizedAccount".to_owned());
    for who in [DEPLOYER, STRANGER, ARBITER, GOVERNOR] {
        assert_eq!(network.send(who, at.vault, &budget, 10), unauthorised);
        let name = RewardVault::setSettlementsCall { newSettlements: evm(who) };
        assert_eq!(network.send(who, at.vault, &name, 10), unauthorised);
        for contract in [at.registry, at.datanets, at.vault, at.settlements, at.timelock] {
            for role in ["SLASHER_ROLE", "ARBITER_ROLE", "PROPOSER_ROLE"] {
                let grant = Registry::grantRoleCall { role: keccak256(role), account: evm(who) };
                assert_eq!(network.send(who, contract, &grant, 10), unauthorised);
            }
        }
        if who != GOVERNOR {
            let ask = schedule(at.vault, &budget, delay);
            assert_eq!(network.send(who, at.timelock, &ask, 10), unauthorised);
        }
    }

    let hasty = schedule(at.vault, &budget, delay - 1);
    let short = Err("TimelockInsufficientDelay".to_owned());
    assert_eq!(network.send(GOVERNOR, at.timelock, &hasty, 100), short);
    let ask = schedule(at.vault, &budget, delay);
    assert_eq!(network.send(GOVERNOR, at.timelock, &ask, 100), Ok(()));
    let due = network.second() + delay;
    let early = Err("TimelockUnexpectedOperationState".to_owned());
    let act = execute(at.vault, &budget);
    assert_eq!(network.send(GOVERNOR, at.timelock, &act, 100), early);
    assert_eq!(network.send(STRANGER, at.timelock, &act, due - 1), early);
    assert_eq!(network.send(STRANGER, at.timelock, &act, due), Ok(()));
    assert_eq!(network.send(STRANGER, at.timelock, &act, due), early, "once");

    // What is called off never happens, and nobody shortens the delay itself.
    let other = RewardVault::setSettlementsCall { newSettlements: evm(STRANGER) };
    let ask = schedule(at.vault, &other, delay);
    assert_eq!(network.send(GOVERNOR, at.timelock, &ask, due), Ok(()));
    let due = network.second() + delay;
    let Timelock::scheduleCall { target, value, data, predecessor, salt, .. } = ask;
    let id = keccak256((target, value, data, predecessor, salt).abi_encode_params());
    let cancel = Timelock::cancelCall { id };
    assert_eq!(network.send(DEPLOYER, at.timelock, &cancel, 0), unauthorised);
    assert_eq!(network.send(GOVERNOR, at.timelock, &cancel, 0), Ok(()));
    let act = execute(at.vault, &other);
    assert_eq!(network.send(STRANGER, at.timelock, &act, due), early);
    let hurry = Timelock::updateDelayCall { newDelay: U256::ZERO };
    let caller = Err("TimelockUnauthorizedCaller".to_owned());
    assert_eq!(network.send(GOVERNOR, at.timelock, &hurry, due), caller);
}

/// Who watches a deployment could be quicker than its next transaction: account 1 comes with the Registry.
#[tokio::test]
async fn nobody_comes_between_the_transactions_of_a_deployment() {
    let Fresh { server, at, provider } = Fresh::deploy().await;
    let registered = Registry::AccountRegistered::SIGNATURE_HASH;
    let logs = provider.get_logs(&Filter::new().from_block(0).event_signature(registered)).await;
    let [log] = &logs.unwrap()[..] else { panic!("one account is there") };
    let event = Registry::AccountRegistered::decode_log(&log.inner).unwrap();
    let treasury = evm(genesis(&[]).treasury);
    assert_eq!((event.account, event.owner, event.payout), (at.treasury.0, treasury, treasury));
    let receipt = provider.get_transaction_receipt(log.transaction_hash.unwrap()).await.unwrap();
    assert_eq!(receipt.unwrap().contract_address, Some(evm(at.registry)));
    server.shutdown().await;
}
