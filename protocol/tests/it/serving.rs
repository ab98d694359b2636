//! Short stories of models that are served, paid for and attributed.

use std::collections::{BTreeMap, BTreeSet};

use protocol::{
    AccountId, Amount, BlobRef, BlockNumber, DatanetId, Digest, Epoch, EvmAddress, Hash, ModelId,
    ask::{Ask, Prompt},
    chain::{ChainEvent, Contribution, Deposit, ModelPublication, Transaction},
    draw::Seats,
    hash::blake3,
    limits::MAX_DEPOSITS,
    node::{Event, Input, Refusal, ServeRequest},
    ranges::Ranges,
    receipt::Receipt,
    record::{AttributionBody, Body, Kind},
    rules::{attribution_auditors, follows_transcript},
    settle::{Line, Source, verify},
};

use crate::{
    chain::{CONTRIBUTOR, ESCROW, TREASURY, domain, key},
    net::Net,
    scenarios::{assert_conserved, earned},
};

/// Whose key pays.
pub(crate) const CONSUMER: u64 = 77;
/// Who serves the model.
pub(crate) const SERVER: AccountId = AccountId(1);
/// What the consumer has locked for it.
const DEPOSIT: Amount = Amount(2_000_000);

/// The consumer's receipt for what lies between two sums of all that it promised.
pub(crate) fn request(id: u64, payee: u64, range: (u128, u128)) -> ServeRequest {
    request_of(ModelId(1), id, payee, range)
}

/// The same for a use of another model.
pub(crate) fn request_of(
    model: ModelId,
    id: u64,
    payee: u64,
    (from, to): (u128, u128),
) -> ServeRequest {
    let payer = key(CONSUMER);
    let receipt = Receipt {
        escrow: ESCROW,
        payer: payer.address(),
        payee: AccountId(payee),
        model,
        cumulative: Amount(to),
        price: Amount(to.saturating_sub(from)),
        nonce: id,
        request: Digest([id as u8; 32]),
    };
    let receipt = receipt.sign(&domain(), &payer).unwrap();
    ServeRequest { id, receipt, tokens_in: 1000, tokens_out: 2000 }
}

pub(crate) fn served(seed: u64) -> Net {
    served_for(seed, [10, 20, 51])
}

/// A server of the model at these prices, for a thousand tokens in and out and for a use.
pub(crate) fn served_for(seed: u64, prices: [u128; 3]) -> Net {
    served_by(Net::new(5, 3, seed), prices)
}

fn served_by(mut net: Net, prices: [u128; 3]) -> Net {
    net.order_model(2);
    net.run_to(82);
    net.chain.waiting.push(Transaction::PublishModel(ModelPublication {
        model: ModelId(1),
        checkpoint: Hash::ZERO,
        sketch_root: Digest::ZERO,
        server: SERVER,
        price_in: Amount(prices[0]),
        price_out: Amount(prices[1]),
        price_use: Amount(prices[2]),
    }));
    net.chain.deposit(payer(), SERVER, DEPOSIT);
    net.run_to(84);
    net
}

pub(crate) fn payer() -> EvmAddress {
    key(CONSUMER).address()
}

fn deposit(net: &Net) -> Deposit {
    net.chain.view.deposit(payer(), SERVER)
}

pub(crate) fn ask(net: &mut Net, request: ServeRequest) -> Option<Refusal> {
    net.peer(1).requests.insert(request.id, request.receipt.clone());
    net.peer(1).events.clear();
    net.input(0, Input::Serve(request));
    refusal(net)
}

fn refusal(net: &mut Net) -> Option<Refusal> {
    net.peer(1).events.iter().find_map(|event| match event {
        Event::Refused { reason, .. } => Some(*reason),
        _ => None,
    })
}

#[test]
fn a_receipt_takes_no_promise_back_even_where_a_use_is_free() {
    let mut net = served_for(13, [0, 0, 0]);
    assert_eq!(ask(&mut net, request(1, 1, (0, 100))), None);
    let less = ask(&mut net, request(2, 1, (99, 99)));
    assert_eq!(less, Some(Refusal::TooLittle { price: Amount(0), offered: Amount(0) }));
    let free = ask(&mut net, request(3, 1, (100, 100)));
    assert_eq!(free, None, "the same promise pays for what is free");
}

#[test]
fn receipts_must_pay_the_price_to_the_right_account() {
    let mut net = served(12);
    // For the prompt, the use and the first 32 tokens.
    let (price, offered) = (Amount(61), Amount(60));
    let underpaid = ask(&mut net, request(1, 1, (0, 60)));
    assert_eq!(underpaid, Some(Refusal::TooLittle { price, offered }));
    assert_eq!(ask(&mut net, request(2, 2, (0, 500))), Some(Refusal::WrongPayee));
    assert_eq!(ask(&mut net, request(3, 1, (0, 101))), None);
    assert!(net.peer(1).events.iter().any(|e| matches!(e, Event::Served { request: 3, .. })));
    // The same receipt does not pay twice.
    let again = ask(&mut net, request(4, 1, (0, 101)));
    assert_eq!(again, Some(Refusal::TooLittle { price, offered: Amount(0) }));
    assert_eq!(ask(&mut net, request(5, 1, (101, 202))), None);
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
    assert_eq!(ask(&mut net, request(1, 1, (0, 101))), None);
    assert_eq!(ask(&mut net, request(2, 1, (101, 1_000_101))), None);
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
    assert_eq!(ask(&mut net, request(1, 1, (0, 101))), None);
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
        let to = 101 * u128::from(use_);
        assert_eq!(ask(&mut net, request(use_, 1, (to - 101, to))), None);
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

/// What lines pay for outputs, whoever gets it.
pub(crate) fn paid_for_outputs(net: &Net, epoch: u64) -> u128 {
    let is_output = |record: &Digest| {
        let known = net.peers.iter().find_map(|peer| peer.pool.get(record));
        known.is_some_and(|record| matches!(record.record().body, Body::Attribution(_)))
    };
    let lines = net.outcome(epoch).lines.iter();
    lines.filter(|line| is_output(&line.record)).map(|line| line.amount.0).sum()
}

#[test]
fn a_fee_without_an_attribution_stays_in_the_vault() {
    let mut net = served(13);
    net.chain.waiting.push(Transaction::Redeem(request(1, 1, (0, 1000)).receipt));
    net.run_epochs(3);
    assert_eq!(deposit(&net).redeemed, Amount(1000));
    assert_conserved(&net, 2, 0);
    let of_fees = [Source::Treasury, Source::Attribution, Source::Model, Source::Stake];
    let is_of_fee = |line: &&Line| of_fees.contains(&line.source) || line.source == Source::Serving;
    assert_eq!(net.outcome(2).lines.iter().find(is_of_fee), None);
}

/// What the server, the contributor and the treasury have of the epoch's fees.
fn split(net: &Net, epoch: u64) -> [u128; 3] {
    [
        earned(net, epoch, SERVER.0, Source::Serving),
        earned(net, epoch, CONTRIBUTOR.0, Source::Attribution),
        earned(net, epoch, TREASURY.0, Source::Treasury),
    ]
}

/// The server answers and redeems, and says nothing of whose data it was.
#[test]
fn a_withheld_attribution_pays_nobody_and_moves_nothing_to_another_output() {
    let run = |withheld: bool, uses: [(u128, u128); 3]| {
        let mut net = served(12);
        for (id, range) in (1..).zip(uses) {
            net.peer(1).faults.withholds = withheld && id == 2;
            assert_eq!(ask(&mut net, request(id, 1, range)), None);
            net.step();
        }
        net.peer(1).faults.withholds = withheld;
        net.run_epochs(3);
        net
    };
    let uses = [(0, 1000), (1000, 101_000), (101_000, 102_000)];
    let (with, without) = (run(false, uses), run(true, uses));
    assert_eq!(deposit(&with), deposit(&without), "all was redeemed");
    let small = run(false, [(0, 1000), (1000, 1101), (1101, 2101)]);
    // Of the one in the middle its own part is gone, and nothing else.
    let of_others: Vec<_> = split(&small, 2).iter().zip([23, 45, 10]).map(|(a, b)| a - b).collect();
    for ((found, before), others) in split(&without, 2).iter().zip(split(&with, 2)).zip(of_others) {
        assert!(*found < before, "withholding pays nobody");
        assert!(found.abs_diff(others) <= 20, "{found} {others}");
    }
    assert!(paid_for_outputs(&with, 2) >= 102_000);
    assert!((2_000..2_300).contains(&paid_for_outputs(&without, 2)));
}

#[test]
fn a_false_attribution_pays_nobody() {
    let mut net = served(14);
    net.peer(1).faults.misattributes = true;
    assert_eq!(ask(&mut net, request(1, 1, (0, 1000))), None);
    net.run_epochs(3);
    assert_eq!(deposit(&net).redeemed, Amount(1000));
    assert_conserved(&net, 2, 0);
    assert_eq!(split(&net, 2), [0; 3]);
}

/// Or its auditors, drawn from the block after it, could not say anything.
#[test]
fn an_attribution_that_came_in_when_its_epoch_was_over_pays_nobody() {
    let mut net = served(15);
    net.peer(1).faults.withholds = true;
    assert_eq!(ask(&mut net, request(1, 1, (0, 1000))), None);
    let made = net.peers[0].pool.values().find(|r| r.record().body.kind() == Kind::Attribution);
    let made = made.unwrap().signed().clone();
    let epoch = made.record.epoch;
    net.run_to(net.chain.view.schedule.start(epoch.next()).0);
    net.chain.waiting.push(Transaction::Include { epoch, records: vec![made.clone()] });
    net.run_epochs(4);
    assert!(net.chain.view.included(epoch, &made.record.id(&domain())).is_some(), "it is there");
    assert_eq!(deposit(&net).redeemed, Amount(1000));
    assert_eq!([split(&net, 2), split(&net, 3)], [[0; 3]; 2]);
}

/// It is redeemed at the end of an epoch, attributed for the next one, and shown just before the cutoff, when
/// its auditors have no time to say anything.
#[test]
fn a_fee_waits_for_the_auditors_of_an_output_of_the_next_epoch() {
    let run = |misattributes: bool| {
        let mut net = served(14);
        net.run_to(net.chain.view.schedule.start(Epoch(3)).0 - 2);
        let faults = &mut net.peer(1).faults;
        (faults.withholds, faults.misattributes) = (true, misattributes);
        assert_eq!(ask(&mut net, request(1, 1, (0, 1000))), None);
        let made = net.peers[0].pool.values().find(|r| r.record().body.kind() == Kind::Attribution);
        let made = made.unwrap().signed().clone();
        net.run_to(net.chain.view.schedule.cutoff(Epoch(2)).0 - 2);
        let epoch = made.record.epoch;
        net.chain.waiting.push(Transaction::Include { epoch, records: vec![made] });
        net.run_epochs(4);
        let redeemed = net.chain.view.redemptions(Epoch(2)).map(|item| item.amount).collect();
        assert_eq!((epoch, redeemed), (Epoch(3), vec![Amount(1000)]));
        assert_conserved(&net, 2, 0);
        [split(&net, 2), split(&net, 3)]
    };
    let [before, after] = run(false);
    assert_eq!(before, [0; 3]);
    assert_eq!((after[1], after[2]), (450, 100), "and the server {}", after[0]);
    assert_eq!(run(true), [[0; 3]; 2], "it is false, and they say so");
}

#[test]
fn an_attribution_that_nobody_audits_pays_the_declared_pool() {
    let mut net = served(14);
    unaudited(&mut net);
    assert_eq!(earned(&net, 2, CONTRIBUTOR.0, Source::Attribution), 450, "all units are its");
}

/// Whose fee is lost for a lie of one is anybody's whom that one does not like.
#[test]
fn one_liar_among_silent_auditors_takes_nobodys_fee() {
    let mut net = served_by(Net::with_auditors(5, 3, 15, 3), [10, 20, 51]);
    let is_minor =
        |drawn: &Seats, account: &AccountId| (1..=drawn.len() / 2).contains(&drawn.of(*account));
    audited_by(&mut net, |drawn| {
        let liar = (2..=5).map(AccountId).find(|account| is_minor(drawn, account));
        assert!(liar.is_some(), "{drawn:?}");
        liar
    });
    assert_eq!(earned(&net, 2, CONTRIBUTOR.0, Source::Attribution), 450);
}

#[test]
fn a_receipt_is_for_what_lies_above_all_promises_before_it_and_nothing_else() {
    let mut net = served(12);
    assert_eq!(ask(&mut net, request(1, 1, (0, 101))), None);
    let promised = Amount(101);
    for from in [0, 100, 102] {
        let asked = ask(&mut net, request(2, 1, (from, 303)));
        assert_eq!(asked, Some(Refusal::WrongRange { promised }), "from {from}");
    }
    assert_eq!(ask(&mut net, request(3, 1, (101, 303))), None);
}

#[test]
fn a_use_that_the_deposit_does_not_cover_beside_all_promises_is_refused() {
    let mut net = served(12);
    let price = Amount(DEPOSIT.0 + 1);
    let refused = ask(&mut net, request(1, 1, (0, price.0)));
    assert_eq!(refused, Some(Refusal::NoDeposit { available: DEPOSIT, price }));
    assert_eq!(ask(&mut net, request(2, 1, (0, DEPOSIT.0 - 150))), None);
    // It is promised, and not redeemed yet.
    let next = request(3, 1, (DEPOSIT.0 - 150, DEPOSIT.0 + 51));
    let (available, price) = (Amount(150), Amount(201));
    assert_eq!(ask(&mut net, next.clone()), Some(Refusal::NoDeposit { available, price }));
    net.step();
    assert_eq!(deposit(&net).balance, available, "now it is");
    assert_eq!(ask(&mut net, next.clone()), Some(Refusal::NoDeposit { available, price }));
    net.chain.deposit(payer(), SERVER, Amount(51));
    net.step();
    assert_eq!(ask(&mut net, ServeRequest { id: 4, ..next }), None);
    net.step();
    assert_eq!(deposit(&net).balance, Amount::ZERO);
}

#[test]
fn on_a_deposit_that_was_asked_back_nothing_is_served_until_the_request_has_expired() {
    let mut net = served(12);
    assert_eq!(ask(&mut net, request(1, 1, (0, 101))), None);
    let (from, until) = (BlockNumber(net.chain.now() + 5), BlockNumber(net.chain.now() + 9));
    let (escrow, payer, payee) = (ESCROW, payer(), SERVER);
    net.chain.extra.push(ChainEvent::WithdrawalRequested { escrow, payer, payee, from, until });
    net.step();
    assert_eq!(deposit(&net).redeemed, Amount(101), "what was served is paid before it leaves");
    while net.chain.view.now() <= until {
        let asked = ask(&mut net, request(2, 1, (101, 202)));
        assert_eq!(asked, Some(Refusal::Withdrawing { until }));
        net.step();
    }
    assert_eq!(ask(&mut net, request(3, 1, (101, 202))), None);
    net.chain.extra.push(ChainEvent::WithdrawalRequested { escrow, payer, payee, from, until });
    net.chain.deposit(payer, payee, Amount(1));
    net.step();
    assert_eq!(ask(&mut net, request(4, 1, (202, 303))), None, "a deposit takes the request back");
    net.chain.extra.push(ChainEvent::Withdrawn { escrow, payer, payee });
    net.step();
    let (available, price) = (Amount::ZERO, Amount(101));
    let asked = ask(&mut net, request(5, 1, (303, 404)));
    assert_eq!(asked, Some(Refusal::NoDeposit { available, price }));
}

/// Or who has answers computed for long enough has them, and its deposit back.
#[test]
fn an_answer_that_took_long_is_not_given_out_where_its_deposit_goes() {
    let run = |blocks: u64, is_withdrawn: bool| {
        let mut net = served(12);
        net.peer(1).faults.is_slow = true;
        assert_eq!(ask(&mut net, request(1, 1, (0, 101))), None);
        let (escrow, payer, payee) = (ESCROW, payer(), SERVER);
        let from = BlockNumber(net.chain.now() + blocks);
        let until = BlockNumber(from.0 + 20);
        net.chain.extra.push(ChainEvent::WithdrawalRequested { escrow, payer, payee, from, until });
        net.step();
        if is_withdrawn {
            net.chain.extra.push(ChainEvent::Withdrawn { escrow, payer, payee });
            net.step();
        }
        net.finish(1);
        let refused = refusal(&mut net);
        let promised = net.peers[0].node.promised_by(&net.chain.view, payer);
        net.step();
        (refused, promised, deposit(&net).redeemed, until)
    };
    let all = Amount(101);
    let (refused, promised, redeemed, _) = run(16, false);
    assert_eq!((refused, promised, redeemed), (None, all, all), "there is time to redeem it");
    let (refused, promised, redeemed, until) = run(3, false);
    assert_eq!(refused, Some(Refusal::Withdrawing { until }));
    assert_eq!((promised, redeemed), (Amount::ZERO, Amount::ZERO), "nothing was given for it");
    let (refused, ..) = run(1, true);
    assert_eq!(refused, Some(Refusal::NoDeposit { available: Amount::ZERO, price: all }));
}

#[test]
fn a_redemption_that_got_lost_is_sent_again_until_it_shows() {
    let mut net = served(12);
    assert_eq!(ask(&mut net, request(1, 1, (0, 101))), None);
    for lost in 0..3 {
        let is_redeem = |sent: &Transaction| matches!(sent, Transaction::Redeem(_));
        assert_eq!(net.chain.waiting.iter().filter(|sent| is_redeem(sent)).count(), 1, "{lost}");
        net.chain.waiting.retain(|sent| !is_redeem(sent));
        (0..4).for_each(|_| net.step());
        assert_eq!(deposit(&net).redeemed, Amount::ZERO);
    }
    net.step();
    assert_eq!(deposit(&net).redeemed, Amount(101));
}

/// Or whoever was served before it would be served again for the same promise.
#[test]
fn a_restart_forgets_no_promise() {
    let mut net = served(12);
    assert_eq!(ask(&mut net, request(1, 1, (0, 101))), None);
    net.chain.waiting.retain(|sent| !matches!(sent, Transaction::Redeem(_)));
    net.restart(1);
    assert_eq!(net.peers[0].node.promised_by(&net.chain.view, payer()), Amount(101));
    let (price, offered) = (Amount(61), Amount::ZERO);
    let again = ask(&mut net, request(2, 1, (0, 101)));
    assert_eq!(again, Some(Refusal::TooLittle { price, offered }));
    net.step();
    net.step();
    assert_eq!(deposit(&net).redeemed, Amount(101), "and it is redeemed after all");
}

/// A crowd that locks more each than an honest consumer has its deposit forgotten: nothing is served on it
/// then, and nothing of it is promised twice when it is known again.
#[test]
fn a_deposit_that_was_forgotten_is_as_good_as_none_until_there_is_more_of_it() {
    let mut net = served(12);
    assert_eq!(ask(&mut net, request(1, 1, (0, 101))), None);
    net.step();
    let before = deposit(&net);
    assert_eq!(before.redeemed, Amount(101));
    let larger = |number: u32| {
        let mut payer = EvmAddress([0; 20]);
        payer.0[..4].copy_from_slice(&number.to_be_bytes());
        let balance = Amount(DEPOSIT.0 + 1);
        let (escrow, payee, redeemed) = (ESCROW, SERVER, Amount::ZERO);
        ChainEvent::Deposited { escrow, payer, payee, balance, redeemed }
    };
    net.chain.extra.extend((0..u32::try_from(MAX_DEPOSITS).unwrap()).map(larger));
    net.step();
    assert_eq!(deposit(&net), Deposit::default());
    assert_eq!(net.chain.view.redeemed(payer(), SERVER), Amount::ZERO);
    let again = ask(&mut net, request(2, 1, (0, 101)));
    let (available, price) = (Amount::ZERO, Amount(101));
    assert_eq!(again, Some(Refusal::NoDeposit { available, price }), "no answer for nothing");
    let (payer, payee) = (payer(), SERVER);
    let (balance, redeemed) = (Amount(2 * DEPOSIT.0), before.redeemed);
    let escrow = ESCROW;
    net.chain.extra.push(ChainEvent::Deposited { escrow, payer, payee, balance, redeemed });
    net.step();
    let (price, offered) = (Amount(61), Amount::ZERO);
    let again = ask(&mut net, request(3, 1, (0, 101)));
    assert_eq!(again, Some(Refusal::TooLittle { price, offered }), "it was paid before");
    assert_eq!(ask(&mut net, request(4, 1, (101, 202))), None);
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
    audited_by(net, |_| None);
}

/// An output that is paid for, and of which one auditor at most says anything: that it is false.
fn audited_by(net: &mut Net, liar: impl Fn(&Seats) -> Option<AccountId>) {
    net.peer(1).faults.claims_lost = false;
    assert_eq!(ask(net, request(1, 1, (0, 1000))), None);
    net.run_to(85);
    // All are gone before they can say anything, and one comes back.
    (2..=5).for_each(|account| net.peer(account).faults.offline = true);
    net.run_to(90);
    let mut known = net.peers[0].pool.values();
    let output = known.find(|record| record.record().body.kind() == Kind::Attribution).unwrap();
    let liar = liar(&attribution_auditors(&net.chain.view, output).unwrap());
    if let Some(AccountId(liar)) = liar {
        let faults = &mut net.peer(liar).faults;
        (faults.condemns, faults.offline) = (true, false);
    }
    net.run_to(118);
    (2..=5).for_each(|account| net.peer(account).faults.offline = false);
    net.run_epochs(4);
    assert_conserved(net, 2, 1000);
}

#[test]
fn an_answer_to_something_else_than_was_asked_is_wrong() {
    let payer = key(CONSUMER);
    let ask = Ask::text(payer.address(), ModelId(1), "Why is the sky blue?".to_owned(), 4, 9);
    let receipt = Receipt {
        escrow: ESCROW,
        payer: payer.address(),
        payee: SERVER,
        model: ModelId(1),
        cumulative: Amount(70),
        price: Amount(70),
        nonce: 1,
        request: ask.digest(),
    };
    let shares = vec![(CONTRIBUTOR, 1_000_000)];
    let body = AttributionBody {
        model: ModelId(1),
        checkpoint: Hash::ZERO,
        receipt: receipt.sign(&domain(), &payer).unwrap(),
        ranges: Ranges::default(),
        transcript: Hash::ZERO,
        length: 10,
        tokens_in: 6,
        tokens_out: 4,
        lambda: 0,
        shares: shares.clone(),
    };
    let follows = |ask: &Ask| follows_transcript(&body, ask, &shares, 6, 4);
    assert!(follows(&ask));
    assert!(!follows_transcript(&body, &ask, &shares, 6, 3), "fewer tokens than were paid");
    assert!(!follows_transcript(&body, &ask, &[], 6, 4), "other shares");
    let others = [
        Ask { seed: 10, ..ask.clone() },
        Ask { temperature_ppm: 0, ..ask.clone() },
        Ask { prompt: Prompt::Text("In the words of account 4:".to_owned()), ..ask.clone() },
        Ask { payer: key(CONSUMER + 1).address(), ..ask.clone() },
        Ask { max_tokens: 3, ..ask },
    ];
    for other in others {
        assert!(!follows(&other), "{other:?}");
    }
}
