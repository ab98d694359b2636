//! The chain itself, without a server: blocks, pool, state, determinism, persistence.

use alloy::consensus::{SignableTransaction, TxEip1559, TxEnvelope, TxLegacy};
use alloy::eips::eip2718::Encodable2718;
use alloy::eips::eip2935::HISTORY_STORAGE_ADDRESS;
use alloy::primitives::{Address, B256, Bytes, TxKind, U256, keccak256};
use alloy::rpc::types::Filter;
use alloy::signers::SignerSync;
use contracts_abi::devchain::{
    CallError, DecodeError, DevChain, DevConfig, Fees, JournalError, Message, OpenError, PoolError,
    Status, SubmitError, TX_GAS_CAP, dev_accounts,
};

use crate::code::{self, ADDER, BLOCK_HASH, ECHO_REVERT, LOGGER};

fn alice() -> Address {
    dev_accounts()[0].address()
}

fn bob() -> Address {
    dev_accounts()[1].address()
}

/// A signed transfer of one wei from the `signer`-th account to Bob.
fn transfer(signer: usize, nonce: u64, chain_id: u64, max_fee: u128) -> Vec<u8> {
    let tx = TxEip1559 {
        chain_id,
        nonce,
        gas_limit: 21_000,
        max_fee_per_gas: max_fee,
        max_priority_fee_per_gas: 1,
        to: TxKind::Call(bob()),
        value: U256::from(1),
        ..TxEip1559::default()
    };
    let signature = dev_accounts()[signer].sign_hash_sync(&tx.signature_hash()).unwrap();
    TxEnvelope::Eip1559(tx.into_signed(signature)).encoded_2718()
}

const GWEI: u128 = 1_000_000_000;

fn deploy(chain: &mut DevChain, runtime: &[u8]) -> Address {
    let message = Message::create(alice(), code::init_code(runtime));
    let outcome = chain.transact_impersonated(&message).unwrap();
    assert!(outcome.status.is_success());
    outcome.created.unwrap()
}

fn word(value: u64) -> Bytes {
    Bytes::from(B256::from(U256::from(value)).0)
}

#[test]
fn equal_inputs_give_equal_hashes_and_other_inputs_other_hashes() {
    let run = |salt: u8, value: u64| {
        let config = DevConfig { salt: B256::repeat_byte(salt), ..DevConfig::default() };
        let mut chain = DevChain::new(config);
        let logger = deploy(&mut chain, LOGGER);
        chain.submit_raw(&transfer(2, 0, 31_337, 10 * GWEI)).unwrap();
        chain.mine(100).unwrap();
        let call = Message::call(bob(), logger, word(value));
        chain.transact_impersonated(&call).unwrap();
        chain.head().hash
    };
    assert_eq!(run(0, 1), run(0, 1));
    assert_ne!(run(0, 1), run(1, 1));
    assert_ne!(run(0, 1), run(0, 2));
}

#[test]
fn blocks_link_to_their_parents_and_time_only_moves_forward() {
    let mut chain = DevChain::new(DevConfig { genesis_timestamp: 50, ..DevConfig::default() });
    let first = chain.mine(100).unwrap();
    let second = chain.mine(7).unwrap();
    assert_eq!((first.header.timestamp, second.header.timestamp), (100, 101));
    assert_eq!(second.header.parent_hash, first.hash);
    assert_eq!(second.hash, second.header.hash_slow());
    assert_eq!(chain.block_by_hash(first.hash).unwrap().number(), 1);
    assert_eq!(chain.block(3), None);
}

#[test]
fn the_base_fee_follows_the_load() {
    let mut chain = DevChain::new(DevConfig { gas_limit: 100_000, ..DevConfig::default() });
    let start = chain.next_base_fee();
    for nonce in 0..4 {
        chain.submit_raw(&transfer(0, nonce, 31_337, 50 * GWEI)).unwrap();
    }
    assert_eq!(chain.mine(1).unwrap().outcomes.len(), 4);
    let busy = chain.next_base_fee();
    chain.mine(2).unwrap();
    assert!(busy > start - start / 8, "a full block raises it");
    assert!(chain.next_base_fee() < busy, "an empty block lowers it");
}

#[test]
fn transactions_wait_for_their_nonce_and_for_room_in_the_block() {
    let mut chain = DevChain::new(DevConfig { gas_limit: 50_000, ..DevConfig::default() });
    chain.submit_raw(&transfer(0, 1, 31_337, 10 * GWEI)).unwrap();
    assert_eq!(chain.mine(1).unwrap().outcomes.len(), 0);
    chain.submit_raw(&transfer(0, 0, 31_337, 10 * GWEI)).unwrap();
    chain.submit_raw(&transfer(0, 2, 31_337, 10 * GWEI)).unwrap();
    assert_eq!((chain.nonce(alice()), chain.pending_nonce(alice())), (0, 3));
    assert_eq!(chain.mine(2).unwrap().outcomes.len(), 2, "two fit");
    assert_eq!(chain.pool_len(), 1);
    assert_eq!(chain.mine(3).unwrap().outcomes.len(), 1);
    assert_eq!(chain.nonce(alice()), 3);
}

#[test]
fn every_refusal_has_its_type() {
    let mut chain = DevChain::new(DevConfig::default());
    let good = transfer(0, 0, 31_337, 10 * GWEI);
    let submit = |chain: &mut DevChain, raw: &[u8]| chain.submit_raw(raw).unwrap_err();
    assert!(matches!(
        submit(&mut chain, &transfer(0, 0, 1, 10 * GWEI)),
        SubmitError::Decode(DecodeError::WrongChain { have: 1, want: 31_337 })
    ));
    assert!(matches!(
        submit(&mut chain, &good[..good.len() - 1]),
        SubmitError::Decode(DecodeError::Malformed(_))
    ));
    assert!(matches!(
        submit(&mut chain, &[0x02; 200_000]),
        SubmitError::Decode(DecodeError::TooLong { .. })
    ));
    assert!(matches!(
        submit(&mut chain, &transfer(0, 0, 31_337, 1)),
        SubmitError::FeeTooLow { offered: 1, .. }
    ));
    assert!(matches!(
        submit(&mut chain, &transfer(0, 0, 31_337, u128::from(u64::MAX) * GWEI)),
        SubmitError::Funds { .. }
    ));
    chain.submit_raw(&good).unwrap();
    assert!(matches!(submit(&mut chain, &good), SubmitError::Pool(PoolError::AlreadyKnown)));
    assert!(matches!(
        submit(&mut chain, &transfer(0, 0, 31_337, 10 * GWEI + 1)),
        SubmitError::Pool(PoolError::Underpriced)
    ));
    chain.mine(1).unwrap();
    assert!(matches!(submit(&mut chain, &good), SubmitError::Pool(PoolError::AlreadyKnown)));
    assert!(matches!(
        submit(&mut chain, &transfer(0, 0, 31_337, 20 * GWEI)),
        SubmitError::NonceTooLow { nonce: 0, next: 1 }
    ));
    let tx = TxEip1559 { nonce: 0, ..TxEip1559::default() };
    assert!(matches!(
        chain.submit_signed_for(Address::ZERO, tx.into()).unwrap_err(),
        SubmitError::UnknownAccount(Address::ZERO)
    ));
}

#[test]
fn legacy_transactions_with_and_without_replay_protection_are_taken() {
    let mut chain = DevChain::new(DevConfig::default());
    for (nonce, chain_id) in [(0, Some(31_337)), (1, None)] {
        let tx = TxLegacy {
            chain_id,
            nonce,
            gas_price: 10 * GWEI,
            gas_limit: 21_000,
            to: TxKind::Call(bob()),
            value: U256::from(5),
            input: Bytes::new(),
        };
        let signature = dev_accounts()[0].sign_hash_sync(&tx.signature_hash()).unwrap();
        let raw = TxEnvelope::Legacy(tx.into_signed(signature)).encoded_2718();
        chain.submit_raw(&raw).unwrap();
    }
    let before = chain.balance(bob());
    chain.mine(1).unwrap();
    assert_eq!(chain.balance(bob()) - before, U256::from(10));
}

#[test]
fn logs_are_found_by_address_topic_and_range() {
    let mut chain = DevChain::new(DevConfig::default());
    let (one, two) = (deploy(&mut chain, LOGGER), deploy(&mut chain, LOGGER));
    for (contract, topic) in [(one, 1), (two, 1), (one, 2)] {
        chain.transact_impersonated(&Message::call(alice(), contract, word(topic))).unwrap();
    }
    let head = chain.head().number();
    let count = |filter: Filter| chain.logs(0, head, &filter).unwrap().len();
    assert_eq!(count(Filter::new()), 3);
    assert_eq!(count(Filter::new().address(one)), 2);
    assert_eq!(count(Filter::new().event_signature(B256::from(U256::from(1)))), 2);
    assert_eq!(count(Filter::new().address(two).event_signature(B256::from(U256::from(2)))), 0);
    assert_eq!(chain.logs(head, head + 10, &Filter::new()).unwrap().len(), 1);
    assert!(chain.logs(2, 1, &Filter::new()).is_err());
}

#[test]
fn calls_leave_no_trace_and_carry_revert_data() {
    let mut chain = DevChain::new(DevConfig::default());
    let (adder, echo) = (deploy(&mut chain, ADDER), deploy(&mut chain, ECHO_REVERT));
    let state = chain.head().header.state_root;
    let call = Message::call(alice(), adder, word(5));
    chain.call(&call, false).unwrap();
    assert_eq!(chain.storage(adder, U256::ZERO), U256::ZERO);
    assert_eq!(chain.head().header.state_root, state);
    let data = Bytes::from_static(b"\x12\x34\x56\x78reason");
    let failing = Message::call(alice(), echo, data.clone());
    assert_eq!(chain.call(&failing, false), Err(CallError::Revert(data.clone())));
    assert_eq!(chain.estimate_gas(&failing), Err(CallError::Revert(data.clone())));
    assert_eq!(chain.transact_impersonated(&failing).unwrap().status, Status::Revert(data));
    let endless = Message::call(alice(), deploy(&mut chain, code::ENDLESS), Bytes::new());
    assert!(matches!(chain.call(&endless, false), Err(CallError::Halt(_))));
}

#[test]
fn an_estimate_is_enough_and_one_less_is_not() {
    let mut chain = DevChain::new(DevConfig::default());
    let adder = deploy(&mut chain, ADDER);
    let call = Message::call(alice(), adder, word(5));
    let gas = chain.estimate_gas(&call).unwrap();
    let with = |gas| Message { gas: Some(gas), ..call.clone() };
    assert!(matches!(chain.call(&with(gas - 1), true), Err(CallError::Halt(_))));
    assert!(chain.transact_impersonated(&with(gas)).unwrap().status.is_success());
    assert_eq!(chain.storage(adder, U256::ZERO), U256::from(5));
}

#[test]
fn past_block_hashes_are_seen_by_blockhash_and_by_the_history_contract() {
    let mut chain = DevChain::new(DevConfig::default());
    let probe = deploy(&mut chain, BLOCK_HASH);
    for time in 0..300 {
        chain.mine(time).unwrap();
    }
    let head = chain.head().number();
    let ask = |chain: &mut DevChain, to: Address, number: u64| {
        let message = Message::call(alice(), to, word(number));
        chain.call(&message, true).map(|output| B256::from_slice(&output))
    };
    for number in [head, head - 1, head - 255] {
        let hash = chain.block(number).unwrap().hash;
        assert_eq!(ask(&mut chain, probe, number), Ok(hash));
    }
    assert_eq!(ask(&mut chain, probe, head - 256), Ok(B256::ZERO), "beyond the window");
    let hash = chain.block(1).unwrap().hash;
    assert_eq!(ask(&mut chain, HISTORY_STORAGE_ADDRESS, 1), Ok(hash), "EIP-2935 reaches further");
    assert!(ask(&mut chain, HISTORY_STORAGE_ADDRESS, head + 5).is_err());
}

#[test]
fn one_transaction_may_not_ask_for_more_gas_than_the_hard_fork_allows() {
    let mut chain = DevChain::new(DevConfig::default());
    let over = Message { gas: Some(TX_GAS_CAP + 1), ..Message::call(alice(), bob(), Bytes::new()) };
    assert!(chain.transact_impersonated(&over).is_err());
}

#[test]
fn a_light_chain_ends_in_the_same_state() {
    let run = |mut chain: DevChain| {
        let adder = deploy(&mut chain, ADDER);
        let messages: Vec<_> =
            (0..50u64).map(|n| Message::call(Address::with_last_byte(9), adder, word(n))).collect();
        let mined = chain.mine_messages(10, &messages).unwrap();
        assert!(mined.results.iter().enumerate().all(|(n, result)| *result == Ok(n)));
        (chain.storage(adder, U256::ZERO), chain.head().header.gas_used)
    };
    let config = DevConfig::simulation(7);
    assert_eq!(config.fees, Fees::Free);
    assert_eq!(run(DevChain::light(config.clone())), run(DevChain::new(config)));
}

#[test]
fn a_reopened_chain_is_the_same_chain() {
    let dir = tempfile::tempdir().unwrap();
    let mut chain = DevChain::open(DevConfig::default(), dir.path()).unwrap();
    let adder = deploy(&mut chain, ADDER);
    chain.submit_raw(&transfer(3, 0, 31_337, 10 * GWEI)).unwrap();
    chain.mine(1_000).unwrap();
    chain.set_balance(Address::with_last_byte(1), U256::from(77)).unwrap();
    chain.transact_impersonated(&Message::call(bob(), adder, word(3))).unwrap();
    let (head, value) = (chain.head().clone(), chain.storage(adder, U256::ZERO));
    drop(chain);
    let mut chain = DevChain::open(DevConfig::default(), dir.path()).unwrap();
    assert_eq!(*chain.head(), head);
    assert_eq!(chain.storage(adder, U256::ZERO), value);
    assert_eq!(chain.balance(Address::with_last_byte(1)), U256::from(77));
    assert_eq!(chain.mine(2_000).unwrap().header.parent_hash, head.hash);
}

#[test]
fn a_torn_tail_loses_only_the_last_block_and_damage_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut chain = DevChain::open(DevConfig::default(), dir.path()).unwrap();
    for time in 1..=3 {
        chain.mine(time).unwrap();
    }
    let second = chain.block(2).unwrap().hash;
    drop(chain);
    let log = dir.path().join("blocks.log");
    let whole = std::fs::read(&log).unwrap();
    std::fs::write(&log, &whole[..whole.len() - 5]).unwrap();
    let chain = DevChain::open(DevConfig::default(), dir.path()).unwrap();
    assert_eq!((chain.head().number(), chain.head().hash), (2, second));
    drop(chain);
    let mut damaged = whole.clone();
    damaged[whole.len() / 2] ^= 1;
    std::fs::write(&log, damaged).unwrap();
    assert!(matches!(
        DevChain::open(DevConfig::default(), dir.path()),
        Err(OpenError::Journal(JournalError::Corrupt { .. }))
    ));
    std::fs::write(&log, whole).unwrap();
    let other = DevConfig { chain_id: 5, ..DevConfig::default() };
    assert!(matches!(
        DevChain::open(other, dir.path()),
        Err(OpenError::OtherChain { found: 31_337, wanted: 5 })
    ));
}

#[test]
fn a_log_that_another_version_wrote_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut chain = DevChain::open(DevConfig::default(), dir.path()).unwrap();
    let hash = chain.mine(1).unwrap().hash;
    drop(chain);
    let log = dir.path().join("blocks.log");
    let bytes = std::fs::read(&log).unwrap();
    let at = bytes.windows(66).rposition(|w| w == format!("{hash}").as_bytes()).unwrap();
    let frame = {
        let text = std::str::from_utf8(&bytes[..]).map(|_| ()).is_ok();
        assert!(!text, "frames have binary heads");
        let start = bytes[..at].windows(8).rposition(|w| w == b"{\"block\"").unwrap();
        start - 12
    };
    let mut payload = bytes[frame + 12..].to_vec();
    payload[at - frame - 12 + 2..][..64].copy_from_slice(&[b'0'; 64]);
    let mut forged = bytes[..frame].to_vec();
    forged.extend_from_slice(&(payload.len() as u32).to_be_bytes());
    forged.extend_from_slice(&blake3::hash(&payload).as_bytes()[..8]);
    forged.extend_from_slice(&payload);
    std::fs::write(&log, forged).unwrap();
    assert!(matches!(
        DevChain::open(DevConfig::default(), dir.path()),
        Err(OpenError::Diverged(1))
    ));
}

#[test]
fn the_contract_address_is_the_one_that_everyone_computes() {
    let mut chain = DevChain::new(DevConfig::default());
    assert_eq!(deploy(&mut chain, ADDER), alice().create(0));
    assert_eq!(keccak256(chain.code(alice().create(0))), keccak256(ADDER));
}
