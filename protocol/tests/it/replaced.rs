//! Contracts in whose place others are: what each owes it pays, once, and nobody goes on without knowing all.

use protocol::{
    Amount, EvmAddress,
    chain::{ChainEvent, Transaction},
    node::{Refusal, ServeRequest},
    receipt::Receipt,
    record::Kind,
    settle::Source,
};

use crate::{
    chain::{ESCROW, domain, key},
    net::Net,
    scenarios::{assert_conserved, earned},
    serving::{SERVER, ask, paid_for_outputs, payer, request, served},
};

/// The escrow in whose place there was [`ESCROW`].
const NEW: EvmAddress = EvmAddress([0xe6; 20]);

/// A request whose receipt is for the new escrow.
fn on_new(id: u64, range: (u128, u128)) -> ServeRequest {
    let old = request(id, SERVER.0, range);
    let receipt = Receipt { escrow: NEW, ..old.receipt.receipt };
    let receipt = receipt.sign(&domain(), &key(77)).unwrap();
    ServeRequest { receipt, ..old }
}

fn lose_redemptions(net: &mut Net) {
    net.chain.waiting.retain(|sent| !matches!(sent, Transaction::Redeem(_)));
}

/// The server has the network's new file.
fn replace(net: &mut Net) {
    net.chain.view.escrow = NEW;
    net.restart(SERVER.0);
}

fn redeemed(net: &Net) -> [Amount; 2] {
    [ESCROW, NEW].map(|escrow| net.chain.view.deposit_in(escrow, payer(), SERVER).redeemed)
}

#[test]
fn what_an_escrow_owes_that_was_replaced_it_pays_and_the_new_one_nothing_of_it() {
    let mut net = served(12);
    assert_eq!(ask(&mut net, request(1, 1, (0, 101))), None);
    lose_redemptions(&mut net);
    replace(&mut net);
    let promised = net.peers[0].node.promised_by(&net.chain.view, payer());
    assert_eq!(promised, Amount::ZERO, "in the new one nothing was promised");
    let old = ask(&mut net, request(2, 1, (101, 202)));
    assert_eq!(old, Some(Refusal::WrongEscrow { escrow: NEW }));
    let (available, price) = (Amount::ZERO, Amount(101));
    let uncovered = ask(&mut net, on_new(3, (0, 101)));
    assert_eq!(uncovered, Some(Refusal::NoDeposit { available, price }), "what is in the old one");
    net.chain.deposit(payer(), SERVER, Amount(1_000));
    net.step();
    assert_eq!(ask(&mut net, on_new(4, (0, 101))), None);
    net.step();
    net.step();
    assert_eq!(redeemed(&net), [Amount(101), Amount(101)]);
    net.run_epochs(3);
    assert_conserved(&net, 2, 202);
    assert!(earned(&net, 2, SERVER.0, Source::Serving) > 0);
}

/// Sums begin anew in another escrow, so its redemptions lie over what was promised in the one before.
#[test]
fn what_one_escrow_pays_is_for_no_output_of_another() {
    let mut net = served(12);
    assert_eq!(ask(&mut net, request(1, 1, (0, 101))), None);
    lose_redemptions(&mut net);
    let (escrow, payer, payee) = (ESCROW, payer(), SERVER);
    net.chain.extra.push(ChainEvent::Withdrawn { escrow, payer, payee });
    replace(&mut net);
    net.chain.deposit(payer, payee, Amount(1_000));
    net.step();
    net.chain.waiting.push(Transaction::Redeem(on_new(2, (0, 500)).receipt));
    net.run_epochs(3);
    assert_eq!(redeemed(&net), [Amount::ZERO, Amount(500)]);
    assert_eq!(paid_for_outputs(&net, 2), 0);
}

#[test]
fn a_node_that_does_not_know_a_contract_risks_nothing() {
    let mut net = served(12);
    let contract = EvmAddress([0xdd; 20]);
    net.chain.extra.push(ChainEvent::UnknownContract { contract });
    net.step();
    let asked = ask(&mut net, request(1, 1, (0, 101)));
    assert_eq!(asked, Some(Refusal::UnknownContract { contract }), "it might not be paid");
    let settled = net.chain.view.next_to_settle();
    let epoch = net.chain.view.epoch().next();
    let end = net.chain.view.schedule.cutoff(epoch);
    net.run_to(end.0 + 20);
    assert_eq!(net.chain.view.next_to_settle(), settled, "it might be wrong about what is right");
    assert_eq!(net.chain.view.proposals(settled).count(), 0);
    let commits = net.chain.view.records(epoch);
    let is_commit = |kind: Kind| kind == Kind::StorageCommit;
    let commits = commits.filter(|(record, _)| is_commit(record.record().body.kind())).count();
    assert_eq!(commits, 0, "it might not hear of a dispute");
}
