//! Uses that are paid for step by step, while they are answered.

use protocol::{
    Amount, Digest, ModelId,
    chain::{ModelPublication, Transaction},
    node::{Event, Input, Refusal, ServeRequest},
    ranges::Ranges,
    receipt::Receipt,
    record::Body,
    rules::{price, tokens_paid},
    settle::Source,
};

use crate::{
    chain::{CONTRIBUTOR, TREASURY, domain, key},
    net::Net,
    scenarios::{assert_conserved, earned},
    serving::{CONSUMER, SERVER, ask, paid_for_outputs, request, served_for},
};

/// A use as its consumer knows it.
struct Use {
    id: u64,
    receipt: Receipt,
    ranges: Ranges,
}

/// A server whose answers take long, at a unit for each token of an answer and nothing else.
fn slow() -> Net {
    let mut net = served_for(12, [0, 1000, 0]);
    net.peer(1).faults.is_slow = true;
    net
}

/// Asks, and pays for the beginning.
fn begin(net: &mut Net, id: u64, range: (u128, u128)) -> Use {
    let request = request(id, SERVER.0, range);
    let receipt = request.receipt.receipt.clone();
    assert_eq!(ask(net, request), None);
    Use { id, receipt, ranges: Ranges::default() }
}

/// Pays for more of a use: the tokens that are paid for then.
fn raise(net: &mut Net, one: &mut Use, (from, to): (u128, u128)) -> Result<u32, Refusal> {
    let (receipt, ranges) = one.ranges.raised(&one.receipt, (Amount(from), Amount(to))).unwrap();
    let said = pay(net, one.id, receipt.clone());
    if said.is_ok() {
        (one.receipt, one.ranges) = (receipt, ranges);
    }
    said
}

fn pay(net: &mut Net, request: u64, receipt: Receipt) -> Result<u32, Refusal> {
    let receipt = receipt.sign(&domain(), &key(CONSUMER)).unwrap();
    net.peer(1).events.clear();
    net.input(0, Input::Raise { request, receipt });
    let said = net.peer(1).events.iter().find_map(|event| match event {
        Event::Paid { request: of, tokens } if *of == request => Some(Ok(*tokens)),
        Event::Unpaid { request: of, reason } if *of == request => Some(Err(*reason)),
        _ => None,
    });
    said.expect("a step has its answer")
}

/// What others than the treasury have of outputs: as much as was paid for them, since emission adds what the
/// treasury takes.
fn paid_out(net: &Net) -> u128 {
    paid_for_outputs(net, 2) - earned(net, 2, TREASURY.0, Source::Treasury)
}

fn served_at(net: &mut Net, id: u64) -> Option<Amount> {
    net.peer(1).events.iter().find_map(|event| match event {
        Event::Served { request, price, .. } if *request == id => Some(*price),
        _ => None,
    })
}

#[test]
fn two_uses_of_one_consumer_are_paid_side_by_side_and_each_in_full() {
    let mut net = slow();
    let mut one = begin(&mut net, 1, (0, 32));
    let mut two = begin(&mut net, 2, (32, 64));
    assert_eq!(raise(&mut net, &mut one, (64, 96)), Ok(64));
    assert_eq!(raise(&mut net, &mut two, (96, 128)), Ok(64));
    assert_eq!(raise(&mut net, &mut two, (128, 138)), Ok(74));
    net.finish(1);
    assert_eq!(served_at(&mut net, 1), Some(Amount(64)));
    assert_eq!(served_at(&mut net, 2), Some(Amount(74)));
    net.run_epochs(3);
    assert_conserved(&net, 2, 138);
    assert_eq!(paid_out(&net), 138);
    assert!(earned(&net, 2, CONTRIBUTOR.0, Source::Attribution) > 0);
    let paid = net.peers[0].pool.values().filter_map(|record| match &record.record().body {
        Body::Attribution(body) => body.ranges.of(&body.receipt.receipt),
        _ => None,
    });
    let mut paid: Vec<_> = paid.collect();
    paid.sort();
    let range = |from, to| (Amount(from), Amount(to));
    assert_eq!(paid, [[range(0, 32), range(64, 96)], [range(32, 64), range(96, 138)]]);
}

#[test]
fn who_pays_no_further_has_paid_for_what_it_got() {
    let mut net = slow();
    let mut one = begin(&mut net, 1, (0, 40));
    assert!(net.peer(1).events.contains(&Event::Paid { request: 1, tokens: 40 }));
    assert_eq!(raise(&mut net, &mut one, (40, 41)), Ok(41));
    net.finish(1);
    assert_eq!(served_at(&mut net, 1), Some(Amount(41)));
    assert_eq!(pay(&mut net, 1, one.receipt.clone()), Err(Refusal::WrongUse), "it is over");
    net.run_epochs(3);
    assert_eq!(paid_out(&net), 41);
}

#[test]
fn a_step_that_is_not_right_leaves_what_was_paid() {
    let mut net = slow();
    let mut one = begin(&mut net, 1, (0, 32));
    let mut two = begin(&mut net, 2, (32, 64));
    let promised = Amount(64);
    let crossed = raise(&mut net, &mut one, (32, 96));
    assert_eq!(crossed, Err(Refusal::WrongRange { promised }), "it did not know of the other");
    let (right, _) = one.ranges.raised(&one.receipt, (promised, Amount(96))).unwrap();
    for (wrong, reason) in [
        (Receipt { cumulative: promised, ..right.clone() }, Refusal::WrongRange { promised }),
        (Receipt { model: ModelId(2), ..right.clone() }, Refusal::WrongUse),
        (Receipt { nonce: 9, ..right.clone() }, Refusal::WrongUse),
        (Receipt { price: Amount(96), ..right.clone() }, Refusal::WrongRange { promised }),
        (Receipt { request: Digest::ZERO, ..right }, Refusal::WrongRange { promised }),
        (two.receipt.clone(), Refusal::WrongRange { promised }),
    ] {
        assert_eq!(pay(&mut net, 1, wrong), Err(reason));
    }
    let much = raise(&mut net, &mut one, (64, 3_000_000));
    assert!(matches!(much, Err(Refusal::NoDeposit { .. })), "{much:?}");
    assert_eq!(pay(&mut net, 7, right), Err(Refusal::WrongUse), "there is no such use");
    assert_eq!(raise(&mut net, &mut two, (64, 74)), Ok(42));
    assert_eq!(raise(&mut net, &mut one, (74, 106)), Ok(64));
    net.finish(1);
    assert_eq!([1, 2].map(|id| served_at(&mut net, id)), [Some(Amount(64)), Some(Amount(42))]);
}

/// Or who has many answers computed and none of them fail would find its promises used up, or another's.
#[test]
fn a_use_that_fails_gives_back_its_last_step_and_nobody_elses() {
    let mut net = slow();
    let mut one = begin(&mut net, 1, (0, 32));
    let two = begin(&mut net, 2, (32, 64));
    assert_eq!(raise(&mut net, &mut one, (64, 96)), Ok(64));
    net.fail(1, 0);
    let promised = net.peers[0].node.promised_by(&net.chain.view, two.receipt.payer);
    assert_eq!(promised, Amount(64));
    begin(&mut net, 3, (64, 96));
    net.finish(1);
    net.run_epochs(3);
    assert_eq!(paid_out(&net), 64, "what was paid for no answer stays in the vault");
}

#[test]
fn a_first_payment_pays_for_a_few_tokens_at_least() {
    let mut net = slow();
    let short = ask(&mut net, request(1, SERVER.0, (0, 31)));
    let (price, offered) = (Amount(32), Amount(31));
    assert_eq!(short, Some(Refusal::TooLittle { price, offered }));
    let little = ServeRequest { tokens_out: 5, ..request(2, SERVER.0, (0, 5)) };
    assert_eq!(ask(&mut net, little), None, "or for all that is asked for");
}

#[test]
fn as_many_tokens_are_paid_as_cost_no_more() {
    let net = slow();
    let offer = *net.chain.view.publication(ModelId(1)).unwrap();
    let most = 100;
    for (price_in, price_out, price_use) in
        [(0, 0, 0), (7, 1, 0), (1000, 1000, 3), (999, 333, 1), (5, 999, 0), (0, u128::MAX, 0)]
    {
        let [price_in, price_out, price_use] = [price_in, price_out, price_use].map(Amount);
        let offer = ModelPublication { price_in, price_out, price_use, ..offer };
        for paid in (0..150).map(Amount) {
            // By trying all of them.
            let costs = |tokens: &u32| price(&offer, 9, *tokens).is_some_and(|due| due <= paid);
            let right = (0..=most).filter(costs).max();
            assert_eq!(tokens_paid(&offer, 9, most, paid), right, "{offer:?} for {paid}");
        }
    }
}

#[test]
fn a_step_pays_the_same_whoever_redeems_first() {
    let mut net = slow();
    let mut one = begin(&mut net, 1, (0, 32));
    let mut two = begin(&mut net, 2, (32, 64));
    // A receipt for a beginning is redeemed by itself, as any may be.
    let first = two.receipt.clone().sign(&domain(), &key(CONSUMER)).unwrap();
    net.chain.waiting.push(Transaction::Redeem(first));
    net.step();
    assert_eq!(raise(&mut net, &mut one, (64, 96)), Ok(64));
    assert_eq!(raise(&mut net, &mut two, (96, 128)), Ok(64));
    net.finish(1);
    net.run_epochs(3);
    assert_eq!(paid_out(&net), 128);
}

/// Or whoever publishes a model takes more for an answer than it was asked for.
#[test]
fn a_use_is_paid_to_its_end_at_the_price_for_which_it_was_accepted() {
    let mut net = slow();
    let mut one = begin(&mut net, 1, (0, 32));
    let mut offer = *net.chain.view.publication(ModelId(1)).unwrap();
    offer.price_out = Amount(7000);
    net.chain.waiting.push(Transaction::PublishModel(offer));
    net.step();
    assert_eq!(net.chain.view.publication(ModelId(1)), Some(&offer));
    assert_eq!(raise(&mut net, &mut one, (32, 64)), Ok(64));
    let (price, offered) = (Amount(224), Amount(32));
    let next = ask(&mut net, request(2, SERVER.0, (64, 96)));
    assert_eq!(
        next,
        Some(Refusal::TooLittle { price, offered }),
        "the next one pays the new price"
    );
}
