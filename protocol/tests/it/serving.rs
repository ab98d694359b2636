//! Short stories of models that are served, paid for and attributed.

use std::collections::{BTreeMap, BTreeSet};

use protocol::{
    AccountId, Amount, BlobRef, DatanetId, Digest, Epoch, Hash, ModelId,
    chain::{Contribution, ModelPublication, Transaction},
    hash::blake3,
    node::{Event, Input, Refusal, ServeRequest},
    receipt::Receipt,
    record::Body,
    settle::{Source, verify},
};

use crate::{
    chain::{CONTRIBUTOR, TREASURY, domain, key},
    net::Net,
    scenarios::{assert_conserved, earned},
};

pub(crate) fn request(id: u64, payee: u64, cumulative: u128) -> ServeRequest {
    let payer = key(77);
    let receipt = Receipt {
        payer: payer.address(),
        payee: AccountId(payee),
        model: ModelId(1),
        cumulative: Amount(cumulative),
        nonce: id,
        request: Digest([id as u8; 32]),
    };
    let receipt = receipt.sign(&domain(), &payer).unwrap();
    ServeRequest { id, receipt, tokens_in: 1000, tokens_out: 2000 }
}

pub(crate) fn served(seed: u64) -> Net {
    served_for(seed, [10, 20, 51])
}

fn served_for(seed: u64, prices: [u128; 3]) -> Net {
    served_by(Net::new(5, 3, seed), prices)
}

fn served_by(mut net: Net, prices: [u128; 3]) -> Net {
    net.order_model(2);
    net.run_to(82);
    net.chain.waiting.push(Transaction::PublishModel(ModelPublication {
        model: ModelId(1),
        checkpoint: Hash::ZERO,
        sketch_root: Digest::ZERO,
        server: AccountId(1),
        price_in: Amount(prices[0]),
        price_out: Amount(prices[1]),
        price_use: Amount(prices[2]),
    }));
    net.run_to(84);
    net
}

pub(crate) fn ask(net: &mut Net, request: ServeRequest) -> Option<Refusal> {
    net.peer(1).requests.insert(request.id, request.receipt.clone());
    net.peer(1).events.clear();
    net.input(0, Input::Serve(request));
    net.peer(1).events.iter().find_map(|event| match event {
        Event::Refused { reason, .. } => Some(*reason),
        _ => None,
    })
}

#[test]
fn a_receipt_takes_no_promise_back_even_where_a_use_is_free() {
    let mut net = served_for(13, [0, 0, 0]);
    assert_eq!(ask(&mut net, request(1, 1, 100)), None);
    let less = ask(&mut net, request(2, 1, 99));
    assert_eq!(less, Some(Refusal::TooLittle { price: Amount(0), offered: Amount(0) }));
    assert_eq!(ask(&mut net, request(3, 1, 100)), None, "the same promise pays for what is free");
}

#[test]
fn receipts_must_pay_the_price_to_the_right_account() {
    let mut net = served(12);
    let (price, offered) = (Amount(101), Amount(100));
    let underpaid = ask(&mut net, request(1, 1, 100));
    assert_eq!(underpaid, Some(Refusal::TooLittle { price, offered }));
    assert_eq!(ask(&mut net, request(2, 2, 500)), Some(Refusal::WrongPayee));
    assert_eq!(ask(&mut net, request(3, 1, 101)), None);
    assert!(net.peer(1).events.iter().any(|e| matches!(e, Event::Served { request: 3, .. })));
    // The same receipt does not pay twice.
    let again = ask(&mut net, request(4, 1, 101));
    assert_eq!(again, Some(Refusal::TooLittle { price, offered: Amount(0) }));
    assert_eq!(ask(&mut net, request(5, 1, 202)), None);
    net.run_epochs(3);
    assert_conserved(&net, 2, 202);
    // 10 % to the treasury, half of the rest by attribution.
    assert_eq!(earned(&net, 2, TREASURY.0, Source::Treasury), 20);
    assert!(earned(&net, 2, CONTRIBUTOR.0, Source::Attribution) >= 90);
    assert!(earned(&net, 2, 1, Source::Serving) > 0);
    assert_eq!(net.outcome(2).uses.iter().map(|used| used.outputs).sum::<u32>(), 2);
}

/// Or its server could be its own customer at next to nothing, paid for by what others pay.
#[test]
fn no_output_gives_back_more_than_was_paid_for_it() {
    let mut net = served(12);
    assert_eq!(ask(&mut net, request(1, 1, 101)), None);
    assert_eq!(ask(&mut net, request(2, 1, 1_000_101)), None);
    net.run_epochs(3);
    assert_conserved(&net, 2, 1_000_101);
    let mut given = BTreeMap::<Digest, u128>::new();
    let lines = &net.outcome(2).lines;
    for line in lines.iter().filter(|line| line.source != Source::Treasury) {
        let known = net.peers[0].pool.get(&line.record);
        if known.is_some_and(|record| matches!(record.record().body, Body::Attribution(_))) {
            *given.entry(line.record).or_default() += line.amount.0;
        }
    }
    let mut given: Vec<_> = given.into_values().collect();
    given.sort_unstable();
    assert_eq!(given, [101, 1_000_000]);
}

#[test]
fn a_later_offer_of_the_model_leaves_settlements_as_they_were() {
    let mut net = served(17);
    assert_eq!(ask(&mut net, request(1, 1, 101)), None);
    net.run_epochs(3);
    let before = net.outcome(2).clone();
    assert!(earned(&net, 2, 1, Source::Serving) > 0);
    let mut offer = *net.chain.view.publication(ModelId(1)).unwrap();
    offer.server = AccountId(2);
    net.chain.waiting.push(Transaction::PublishModel(offer));
    net.chain.mine();
    assert_eq!(net.chain.view.publication(ModelId(1)), Some(&offer));
    let again = verify(&net.chain.view, &before.settlement, &net.parent(Epoch(2)));
    assert_eq!(again, Ok(before), "who watches late comes to the same");
}

#[test]
fn who_is_its_own_customer_gets_no_more_than_it_paid() {
    let mut net = served(16);
    for use_ in 1..=10 {
        assert_eq!(ask(&mut net, request(use_, 1, 101 * u128::from(use_))), None);
    }
    net.run_epochs(4);
    let outputs: BTreeSet<Digest> = net.peers[0]
        .pool
        .values()
        .filter(|record| matches!(record.record().body, Body::Attribution(_)))
        .map(|record| record.id())
        .collect();
    assert_eq!(outputs.len(), 10);
    let lines = (0..4).flat_map(|epoch| net.outcome(epoch).lines.iter());
    let of_outputs = lines.filter(|line| outputs.contains(&line.record));
    // All but the treasury could be the customer itself.
    let back: u128 =
        of_outputs.filter(|line| line.account != TREASURY).map(|line| line.amount.0).sum();
    assert!((900..=1010).contains(&back), "{back}");
}

#[test]
fn a_fee_without_attribution_pays_the_treasury_where_no_model_is_known() {
    let mut net = served(13);
    net.chain.waiting.push(Transaction::Redeem(request(1, 1, 1000).receipt));
    net.run_epochs(3);
    assert_conserved(&net, 2, 1000);
    assert_eq!(earned(&net, 2, TREASURY.0, Source::Treasury), 100);
    assert_eq!(earned(&net, 2, TREASURY.0, Source::Attribution), 450);
}

#[test]
fn an_attribution_that_fails_its_audit_pays_the_declared_pool() {
    let mut net = served(14);
    unaudited(&mut net);
    assert_eq!(earned(&net, 2, CONTRIBUTOR.0, Source::Attribution), 450, "all units are its");
}

#[test]
fn units_without_text_and_copies_have_no_part_of_the_declared_pool() {
    const THIEF: AccountId = AccountId(60);
    let mut net = Net::new(5, 3, 14);
    net.chain.register(THIEF, false);
    let copied = net.chain.view.contributions()[0].1.packs.clone();
    let tiny = vec![b'x'; 100];
    let pack = BlobRef::new(blake3(&tiny), tiny.len() as u64);
    net.origin.insert(pack.hash, tiny);
    let units = u32::try_from(pack.length).unwrap();
    for (packs, units) in [(copied, 60_003), (vec![pack; 200], 200 * units)] {
        net.chain.waiting.push(Transaction::Contribute(Contribution {
            id: 0,
            datanet: DatanetId(1),
            account: THIEF,
            manifest: Hash::ZERO,
            packs,
            units,
        }));
    }
    net.chain.mine();
    assert_eq!(net.chain.view.contributions().len(), 3);
    let mut net = served_by(net, [10, 20, 51]);
    unaudited(&mut net);
    // A hundred of sixty thousand bytes, though nearly all units: at most what rounding gives.
    let thief = earned(&net, 2, THIEF.0, Source::Attribution);
    assert!(thief <= 1, "{thief}");
    assert_eq!(earned(&net, 2, CONTRIBUTOR.0, Source::Attribution), 450 - thief);
}

/// An output that is paid for, and of which no auditor says anything.
fn unaudited(net: &mut Net) {
    net.peer(1).faults.claims_lost = false;
    assert_eq!(ask(net, request(1, 1, 1000)), None);
    net.run_to(85);
    // The auditors are gone before they can say anything.
    (2..=5).for_each(|account| net.peer(account).faults.offline = true);
    net.run_to(118);
    (2..=5).for_each(|account| net.peer(account).faults.offline = false);
    net.run_epochs(4);
    assert_conserved(net, 2, 1000);
}
