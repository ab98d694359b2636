//! The contracts in terms of the protocol, without a server.

use contracts_abi::embedded::EmbeddedChain;
use contracts_abi::{GenesisError, SUPPLY, embedded::EmbeddedError};
use protocol::chain::{ChainEvent, Contribution, ProposalAct, Settlement, Transaction};
use protocol::eip712::EvmKey;
use protocol::record::{Body, Record, StorageProofBody};
use protocol::{
    AccountId, Amount, BlobRef, DatanetId, Digest, Epoch, EvmAddress, Hash, NodeId, Timestamp,
};

use crate::genesis::genesis;

const ALICE: EvmAddress = EvmAddress([0xa1; 20]);

fn open(n: u128) -> Amount {
    Amount(n * Amount::ONE_OPEN.0)
}

fn register() -> Transaction {
    Transaction::Register {
        owner: ALICE,
        operator: ALICE,
        payout: ALICE,
        node: NodeId([3; 32]),
        binding: [9; 64],
    }
}

fn settlement() -> Settlement {
    Settlement {
        epoch: Epoch(0),
        parent: Digest::ZERO,
        records: Digest::ZERO,
        payout_root: Digest([2; 32]),
        total: Amount(0),
        balances: Hash([3; 32]),
        balances_length: 5,
        uses: Settlement::hash_uses(&[]),
        replicas_proven: 1,
        storage_faults: 2,
        shards_verified: 3,
        shards_rejected: 4,
    }
}

#[test]
fn transactions_become_the_events_that_say_the_same() {
    let mut chain = EmbeddedChain::new(&genesis(&[ALICE]), 7).unwrap();
    chain.submit(ALICE, &register());
    let block = chain.mine(Timestamp(5_000));
    assert_eq!(block.header.timestamp, Timestamp(5_000));
    let account = AccountId(2);
    let Some(ChainEvent::AccountRegistered { account: found, node, binding, .. }) =
        block.events.first()
    else {
        panic!("no registration: {block:?}");
    };
    assert_eq!((*found, *node, *binding), (account, NodeId([3; 32]), [9; 64]));

    let contribution = Contribution {
        id: 1,
        datanet: DatanetId(1),
        account,
        manifest: Hash([4; 32]),
        packs: vec![BlobRef::new(Hash([5; 32]), 60_000), BlobRef::new(Hash([6; 32]), 7)],
        units: 12,
    };
    let datanet = Transaction::CreateDatanet {
        owner: account,
        name: "poems".into(),
        domain: "text".into(),
        licence: 3,
    };
    chain.submit(ALICE, &Transaction::StakeFor { account, amount: open(50) });
    chain.submit(ALICE, &datanet);
    chain.submit(ALICE, &Transaction::Contribute(contribution.clone()));
    let block = chain.mine(Timestamp(6_000));
    assert!(block.results.iter().all(Result::is_ok), "{:?}", block.results);
    assert_eq!(
        block.events,
        vec![
            ChainEvent::StakeChanged { account, stake: open(50) },
            ChainEvent::DatanetCreated {
                datanet: DatanetId(1),
                owner: account,
                name: "poems".into(),
                domain: "text".into(),
                licence: 3,
            },
            ChainEvent::ContributionAdmitted(contribution),
        ]
    );
    assert_eq!(chain.stake(account).unwrap(), open(50));
    // The short pack counts as one of 4,096 bytes.
    let deposit = chain.deployment().data_deposit.of_bytes(60_000 + 4_096);
    assert_eq!(chain.balance(ALICE).unwrap(), Amount(open(950).0 - deposit.0));
    assert_eq!(chain.balance(chain.deployment().datanets).unwrap(), deposit);
    chain.submit(ALICE, &Transaction::TakeBackDeposit { contribution: 1 });
    let early = chain.mine(Timestamp(0));
    assert_eq!(early.results[0].as_ref().unwrap_err().name(), Some("DepositLocked"));
    for _ in 0..chain.deployment().data_deposit.blocks {
        chain.mine(Timestamp(0));
    }
    chain.submit(ALICE, &Transaction::TakeBackDeposit { contribution: 1 });
    assert!(chain.mine(Timestamp(0)).results[0].is_ok());
    assert_eq!(chain.balance(ALICE).unwrap(), open(950));
}

#[test]
fn a_network_whose_data_deposits_cannot_be_counted_is_not_started() {
    let mut long = genesis(&[ALICE]);
    long.data_deposit.blocks = 1 << 40;
    let mut large = genesis(&[ALICE]);
    large.max_pack = 1 << 40;
    for (genesis, name) in [(long, "BadDeposit"), (large, "BadPack")] {
        let Err(EmbeddedError::Step { reason, .. }) = EmbeddedChain::new(&genesis, 7) else {
            panic!("it is started");
        };
        assert_eq!(reason.name(), Some(name));
    }
}

#[test]
fn a_settlement_goes_from_proposal_to_finality() {
    let mut chain = EmbeddedChain::new(&genesis(&[ALICE]), 7).unwrap();
    let account = AccountId(2);
    chain.submit(ALICE, &register());
    chain.submit(ALICE, &Transaction::StakeFor { account, amount: open(150) });
    let end = chain.deployment().schedule.cutoff(Epoch(0));
    while chain.head().number < end {
        chain.mine(Timestamp(0));
    }
    let (settlement, act) = (settlement(), ProposalAct::Finalise { uses: vec![] });
    let id = settlement.id();
    let finalise = Transaction::AboutProposal { settlement, act };
    chain.submit(ALICE, &finalise);
    let early = chain.mine(Timestamp(0));
    assert_eq!(early.results[0].as_ref().unwrap_err().name(), Some("NotProposed"));
    chain.submit(ALICE, &Transaction::Propose { proposer: account, settlement });
    let block = chain.mine(Timestamp(0));
    assert_eq!(block.events, vec![ChainEvent::Proposed { proposer: account, settlement }]);
    let state = chain.proposal(id).unwrap().unwrap();
    assert_eq!((state.proposer, state.bond, state.objector), (account, open(100), None));
    chain.submit(ALICE, &finalise);
    let early = chain.mine(Timestamp(0));
    assert_eq!(early.results[0].as_ref().unwrap_err().name(), Some("WindowOpen"));
    chain.mine(Timestamp(0));
    assert_eq!(chain.final_of(Epoch(0)).unwrap(), None);
    chain.submit(ALICE, &finalise);
    let block = chain.mine(Timestamp(0));
    assert_eq!(block.events, vec![ChainEvent::Finalised { epoch: Epoch(0), id }]);
    assert_eq!(chain.final_of(Epoch(0)).unwrap(), Some(id));
    assert_eq!(chain.proposal(id).unwrap(), None);
}

#[test]
fn the_same_inputs_give_the_same_chain_and_the_books_balance() {
    let run = || {
        let mut chain = EmbeddedChain::new(&genesis(&[ALICE]), 7).unwrap();
        chain.submit(ALICE, &register());
        (chain.mine(Timestamp(9_000)).header, chain)
    };
    let (first, mut chain) = run();
    assert_eq!(first, run().0);
    let vault = chain.vault().unwrap();
    assert_eq!((vault.funded, vault.paid), (open(400_000_000), Amount::ZERO));
    let held = chain.deployment().vault;
    assert_eq!(chain.balance(held).unwrap(), open(400_000_000));
    let rest = SUPPLY.0 - open(400_000_000).0 - open(1_000).0;
    assert_eq!(chain.balance(EvmAddress([0x77; 20])).unwrap(), Amount(rest));
}

#[test]
fn more_than_the_supply_is_refused() {
    let mut config = genesis(&[ALICE]);
    config.holders.push((ALICE, SUPPLY));
    assert!(matches!(
        EmbeddedChain::new(&config, 7),
        Err(EmbeddedError::Genesis(GenesisError::TooMuch(_)))
    ));
}

#[test]
fn thousands_of_transactions_fit_into_a_second() {
    let mut chain = EmbeddedChain::new(&genesis(&[ALICE]), 7).unwrap();
    let start = chain.deployment().schedule.genesis_block;
    while chain.head().number < start {
        chain.mine(Timestamp(0));
    }
    let key = EvmKey::from_bytes(&[7; 32]).unwrap();
    let Transaction::Register { owner, payout, node, binding, .. } = register() else {
        unreachable!("it is a registration")
    };
    let operator = key.address();
    chain.submit(ALICE, &Transaction::Register { owner, operator, payout, node, binding });
    chain.mine(Timestamp(0));
    let began = std::time::Instant::now();
    for n in 0..2_000u32 {
        let mut subject = Digest([0; 32]);
        subject.0[..4].copy_from_slice(&n.to_be_bytes());
        let body = StorageProofBody { commit: subject, openings: Hash::ZERO, length: 1 };
        let (epoch, account) = (Epoch(0), AccountId(2));
        let record = Record { epoch, account, subject, body: Body::StorageProof(body) };
        let records = vec![record.sign(&chain.deployment().domain(), &key).unwrap()];
        let from = EvmAddress([(n % 251) as u8 + 1; 20]);
        chain.submit(from, &Transaction::Include { epoch, records });
    }
    let block = chain.mine(Timestamp(0));
    let spent = began.elapsed();
    assert!(block.results.iter().all(Result::is_ok));
    assert_eq!(block.events.len(), 2_000);
    println!("{:.0} records a second", 2_000.0 / spent.as_secs_f64());
    assert!(spent.as_secs() < 20, "a busy machine is slow, and not that slow: {spent:?}");
}

/// Registers somebody and stakes for him, each in a block.
fn two_blocks(chain: &mut EmbeddedChain, first: u64) -> AccountId {
    chain.submit(ALICE, &register());
    let block = chain.mine(Timestamp(first * 1_000));
    let Some(ChainEvent::AccountRegistered { account, .. }) = block.events.first() else {
        panic!("no registration: {block:?}");
    };
    chain.submit(ALICE, &Transaction::StakeFor { account: *account, amount: open(50) });
    chain.mine(Timestamp((first + 1) * 1_000));
    *account
}

#[test]
fn replaced_blocks_leave_nothing_behind_and_their_transactions_come_again() {
    let mut chain = EmbeddedChain::new(&genesis(&[ALICE]), 7).unwrap();
    chain.keep_past(4);
    for second in 5..15 {
        chain.mine(Timestamp(second * 1_000));
    }
    let before = (chain.balance(ALICE).unwrap(), chain.head());
    let account = two_blocks(&mut chain, 15);
    let old = chain.head();
    assert_eq!(chain.stake(account).unwrap(), open(50));

    // What waits comes after what comes again.
    chain.transfer(ALICE, EvmAddress([7; 20]), open(3));
    let times = [Timestamp(15_000), Timestamp(16_000)];
    let blocks = chain.replace(&times).unwrap();
    assert_eq!(blocks.len(), 2);
    assert!(blocks.iter().all(|block| block.results.is_empty() && block.events.is_empty()));
    assert_eq!(blocks[0].header.number.0, before.1.number.0 + 1);
    assert_eq!(chain.head().number, old.number);
    assert_ne!(chain.head().hash, old.hash);
    assert_eq!(chain.balance(ALICE).unwrap(), before.0);
    assert_eq!(chain.stake(account).unwrap(), Amount::ZERO);

    let block = chain.mine(Timestamp(17_000));
    assert_eq!(block.results.len(), 3);
    assert!(block.results.iter().all(Result::is_ok), "{:?}", block.results);
    assert!(
        matches!(block.events[0], ChainEvent::AccountRegistered { account: a, .. } if a == account)
    );
    assert_eq!(chain.stake(account).unwrap(), open(50));
    assert_eq!(chain.balance(EvmAddress([7; 20])).unwrap(), open(3));
}

#[test]
fn a_rewound_chain_is_the_chain_that_never_had_those_blocks() {
    let mut plain = EmbeddedChain::new(&genesis(&[ALICE]), 7).unwrap();
    let mut chain = EmbeddedChain::new(&genesis(&[ALICE]), 7).unwrap();
    chain.keep_past(3);
    two_blocks(&mut plain, 5);
    two_blocks(&mut chain, 5);
    assert_eq!(plain.head(), chain.head(), "keeping the past changes nothing");
    // Replaced twice, the second time also an empty block by another.
    chain.mine(Timestamp(8_000));
    let empty = chain.head();
    chain.replace(&[Timestamp(8_000)]).unwrap();
    assert_ne!(chain.head().hash, empty.hash, "another block, though as empty");
    let more = chain.replace(&[Timestamp(8_000); 9]).unwrap_err();
    assert_eq!((more.asked, more.kept), (9, 3));
    for chain in [&mut plain, &mut chain] {
        let more = Transaction::StakeFor { account: AccountId(2), amount: open(7) };
        chain.submit(ALICE, &more);
    }
    plain.mine(Timestamp(8_000));
    let (one, other) = (plain.mine(Timestamp(9_000)), chain.mine(Timestamp(9_000)));
    assert_eq!(one.header.number, other.header.number);
    for account in 0..4 {
        let account = AccountId(account);
        assert_eq!(plain.stake(account).unwrap(), chain.stake(account).unwrap());
        assert_eq!(plain.claimed(account).unwrap(), chain.claimed(account).unwrap());
    }
    assert_eq!(plain.vault().unwrap(), chain.vault().unwrap());
    assert_eq!(plain.balance(ALICE).unwrap(), chain.balance(ALICE).unwrap());
}
