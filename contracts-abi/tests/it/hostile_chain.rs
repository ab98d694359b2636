//! Whatever a transaction can have our contracts emit, a view of the chain goes on.

use alloy::sol_types::SolCall;
use contracts_abi::embedded::EmbeddedChain;
use protocol::chain::{ChainEvent, ChainView, Transaction};
use protocol::params::Params;
use protocol::{AccountId, DatanetId, EvmAddress, NodeId, Timestamp};

use crate::contracts::world::abi::datanets::DatanetRegistry;
use crate::genesis::genesis;

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
        let (domain, params) = (at.domain(), Params::minimal());
        let view = ChainView::new(domain, at.registry, at.schedule, at.budget, at.treasury, params);
        let mut network = Self { chain, view };
        let (owner, node, binding) = (STRANGER, NodeId([3; 32]), [9; 64]);
        let register =
            Transaction::Register { owner, operator: owner, payout: owner, node, binding };
        network.chain.submit(STRANGER, &register).unwrap();
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
