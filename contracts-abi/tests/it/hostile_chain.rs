//! Whatever a transaction can have our contracts emit, a view of the chain goes on.

use alloy::primitives::{U256, keccak256};
use alloy::sol_types::SolCall;
use contracts_abi::embedded::EmbeddedChain;
use protocol::chain::{ChainEvent, ChainView, Model, Transaction};
use protocol::node::{Input, Node, NodeConfig, Output};
use protocol::params::Params;
use protocol::{AccountId, Amount, DatanetId, EvmAddress, ModelId, NodeId, Timestamp};
use serde_json::Value;

use crate::contracts::world::abi::datanets::DatanetRegistry;
use crate::contracts::world::abi::open::Open;
use crate::genesis::genesis;
use crate::roles::contracts;

/// An account without a stake: it pays gas and nothing else.
const STRANGER: EvmAddress = EvmAddress([0xa1; 20]);
const ACCOUNT: AccountId = AccountId(2);

/// A network with an account of a stranger, and what a node knows of it.
struct Network {
    chain: EmbeddedChain,
    view: ChainView,
}

impl Network {
    fn new() -> Self {
        let chain = EmbeddedChain::new(&genesis(&[STRANGER]), 7).unwrap();
        let at = chain.deployment();
        let view = at.view(Params::minimal());
        let mut network = Self { chain, view };
        let (owner, node, binding) = (STRANGER, NodeId([3; 32]), [9; 64]);
        let register =
            Transaction::Register { owner, operator: owner, payout: owner, node, binding };
        network.chain.submit(STRANGER, &register);
        // What it contributes locks a deposit.
        let (open, spender) =
            (network.chain.deployment().open, network.chain.deployment().datanets);
        let spender = spender.0.into();
        let approve = Open::approveCall { spender, value: U256::MAX };
        network.chain.send(STRANGER, open, approve.abi_encode());
        network.mine();
        network
    }

    /// Makes a block, which the view must be able to fold in; what it held.
    fn mine(&mut self) -> Vec<ChainEvent> {
        let block = self.chain.mine(Timestamp(0));
        self.view.apply(block.header, &block.events);
        assert_eq!(self.view.now(), block.header.number);
        block.events
    }
}

#[test]
fn a_name_that_is_no_text_stops_nobody() {
    let mut network = Network::new();
    let create = DatanetRegistry::createDatanetCall {
        name: "x".repeat(128),
        domain: "y".repeat(128),
        licence: u32::MAX,
        policy: 0,
        owner: ACCOUNT.0,
    };
    let registry = network.chain.deployment().datanets;
    let hostile = create.abi_encode().into_iter().map(|byte| match byte {
        b'x' => 0xff,
        b'y' => 0x1b,
        byte => byte,
    });
    network.chain.send(STRANGER, registry, hostile.collect());
    assert!(matches!(network.mine()[..], [ChainEvent::DatanetCreated { .. }]));
    let (owner, name) = network.view.datanet(DatanetId(1)).expect("it exists on chain");
    assert_eq!((*owner, name.chars().count()), (ACCOUNT, 128));
    assert!(name.chars().all(|c| c == '\u{fffd}'), "{name:?}");
}

/// How extreme the arguments of a call are.
#[derive(Clone, Copy)]
struct Level {
    /// The value of every number, as far as its type goes.
    number: u64,
    /// Whether it is the greatest of its type instead.
    is_max: bool,
    /// Length of bytes and of text, which is none.
    bytes: usize,
    /// Elements of lists.
    items: usize,
}

const LEVELS: [Level; 5] = [
    Level { number: 0, is_max: false, bytes: 0, items: 0 },
    Level { number: 1, is_max: false, bytes: 64, items: 1 },
    // What belongs to the stranger: its account, and what it made before.
    Level { number: ACCOUNT.0, is_max: false, bytes: 64, items: 1 },
    Level { number: ACCOUNT.0, is_max: false, bytes: 128, items: 256 },
    Level { number: 0, is_max: true, bytes: 4_096, items: 300 },
];

/// The encoding of an argument, and whether its place holds only where it is.
struct Encoded(bool, Vec<u8>);

fn word(number: u64) -> Vec<u8> {
    let mut word = vec![0; 24];
    word.extend(number.to_be_bytes());
    word
}

fn sequence(items: &[Encoded]) -> Encoded {
    let heads: usize =
        items.iter().map(|Encoded(is_far, b)| if *is_far { 32 } else { b.len() }).sum();
    let (mut head, mut tail) = (Vec::new(), Vec::new());
    for Encoded(is_far, bytes) in items {
        if *is_far {
            head.extend(word((heads + tail.len()) as u64));
            tail.extend(bytes);
        } else {
            head.extend(bytes);
        }
    }
    let is_far = items.iter().any(|Encoded(is_far, _)| *is_far);
    Encoded(is_far, [head, tail].concat())
}

fn argument(kind: &str, parameter: &Value, level: Level) -> Encoded {
    if let Some(item) = kind.strip_suffix("[]") {
        let items: Vec<_> = (0..level.items).map(|_| argument(item, parameter, level)).collect();
        return Encoded(true, [word(items.len() as u64), sequence(&items).1].concat());
    }
    let bits = |kind: &str| kind.trim_start_matches(char::is_alphabetic).parse::<usize>().ok();
    match kind {
        "tuple" => arguments(&parameter["components"], level),
        "bytes" | "string" => {
            let padded = level.bytes.next_multiple_of(32);
            let mut bytes = vec![0xff; level.bytes];
            bytes.resize(padded, 0);
            Encoded(true, [word(level.bytes as u64), bytes].concat())
        }
        _ if kind.starts_with("bytes") => Encoded(false, {
            let mut bytes = vec![if level.is_max { 0xff } else { 7 }; bits(kind).unwrap()];
            bytes.resize(32, 0);
            bytes
        }),
        "address" if !level.is_max && level.number > 0 => {
            Encoded(false, [vec![0; 12], STRANGER.0.to_vec()].concat())
        }
        _ if level.is_max => {
            let size = match kind {
                "bool" => return Encoded(false, word(1)),
                "address" => 20,
                _ => bits(kind).unwrap() / 8,
            };
            Encoded(false, [vec![0; 32 - size], vec![0xff; size]].concat())
        }
        _ => Encoded(false, word(level.number)),
    }
}

fn arguments(parameters: &Value, level: Level) -> Encoded {
    let parameters = parameters.as_array().unwrap().iter();
    let items = parameters.map(|p| argument(p["type"].as_str().unwrap(), p, level));
    sequence(&items.collect::<Vec<_>>())
}

fn canonical(parameter: &Value) -> String {
    let kind = parameter["type"].as_str().unwrap();
    match kind.strip_prefix("tuple") {
        Some(rest) => {
            let parts = parameter["components"].as_array().unwrap().iter().map(canonical);
            format!("({}){rest}", parts.collect::<Vec<_>>().join(","))
        }
        None => kind.to_owned(),
    }
}

/// Every call that changes a contract, at a level.
fn calls(artifact: &str, level: Level) -> Vec<Vec<u8>> {
    let path = format!("{}/artifacts/{artifact}.json", env!("CARGO_MANIFEST_DIR"));
    let json: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let functions = json["abi"].as_array().unwrap().iter();
    let changes =
        functions.filter(|f| f["type"] == "function" && f["stateMutability"] == "nonpayable");
    let call = |function: &Value| {
        let inputs = function["inputs"].as_array().unwrap().iter().map(canonical);
        let name = function["name"].as_str().unwrap();
        let signature = format!("{name}({})", inputs.collect::<Vec<_>>().join(","));
        let selector = keccak256(signature)[..4].to_vec();
        [selector, arguments(&function["inputs"], level).1].concat()
    };
    changes.map(call).collect()
}

#[test]
fn no_call_at_extreme_values_stops_a_node() {
    let mut network = Network::new();
    let at = network.chain.deployment().clone();
    for _ in 0..2 {
        let (owner, name, domain) = (ACCOUNT, "open".to_owned(), String::new());
        let open = Transaction::CreateDatanet { owner, name, domain, licence: 0 };
        network.chain.submit(STRANGER, &open);
    }
    let spends = Model {
        id: ModelId(0),
        developer: ACCOUNT,
        datanet: DatanetId(1),
        escrow: Amount(1),
        config: vec![0],
    };
    // With an approval, which the calls below have no other way to.
    network.chain.submit(STRANGER, &Transaction::CreateModel(spends));
    network.mine();
    let config = NodeConfig { computes: true, claim_epochs: 1, max_memory: Some(1 << 30) };
    let mut node = Node::new(ACCOUNT, config);
    let contracts = contracts(&at);
    let (mut sent, mut events) = (0, 0);
    // Twice, so that everything is sent again too, and on what the first time made.
    for _ in 0..2 {
        for level in LEVELS {
            for (artifact, contract) in contracts {
                for call in calls(artifact, level) {
                    for from in [STRANGER, EvmAddress([0xbb; 20])] {
                        network.chain.send(from, contract, call.clone());
                        sent += 1;
                    }
                }
                events += network.mine().len();
                node.handle(&network.view, Input::Block);
                while let Some(output) = node.poll_output() {
                    let is_job = matches!(output, Output::Job(..));
                    assert!(!is_job, "nothing of this is worth a job: {output:?}");
                }
            }
        }
    }
    assert!(sent > 1_000 && events > 20, "{sent} calls, {events} events");
    let view = &network.view;
    assert!(view.datanets().all(|(_, (_, name))| name.chars().count() <= 128));
    let max_pack = view.params().holding.max_pack;
    assert!(view.contributions().iter().all(|(_, known)| known.is_in_bounds(max_pack)));
    assert!(view.contributions().iter().any(|(_, known)| known.packs.len() == 256));
    assert!(view.models().count() > 1, "junk was ordered");
    assert!(view.models().all(|(_, model)| view.order(model.id).is_err()));
}
