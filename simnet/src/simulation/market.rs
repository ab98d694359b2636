//! Models that are offered, asked and paid for.
//!
//! A developer publishes a finished model with a node that serves it, and another one when that is
//! gone. Consumers ask for the price, sign a receipt and send it with their request, as the daemon's
//! client does; the machine of the server does the rest. Who is attributed follows from the request
//! by the protocol's rule over evidence that is drawn, so that every auditor finds the same.

use std::collections::{BTreeMap, BTreeSet};

use protocol::{
    AccountId, Amount, Digest, EvmAddress, Hash, ModelId,
    chain::{ChainEvent, ModelPublication, Transaction},
    eip712::EvmKey,
    hash::keccak,
    node::{Done, Event as NodeEvent, Input, ServeRequest},
    purchase::{Payment, Purchase},
    ranges::Ranges,
    receipt::{Receipt, SignedReceipt},
    record::{AttributionBody, Body, Verdict, VerifiedRecord},
};

use super::{
    Answer, Event,
    attribution::AdverseData,
    env::Env,
    number,
    training::{Site, Training, dealt_run, developer, slowness},
    uses::{Request, Use, Uses},
};
use crate::kernel::{Actor, Purpose, Slab, Time, ratio, real, whole};

/// Messages between a consumer's question for the price and its request: there, back, there.
const WAYS: u64 = 3;
/// Blocks after which a publication or a deposit that does not show is sent again.
const REPUBLISH_BLOCKS: u64 = 10;
/// Blocks for which a consumer waits for its deposit before it asks all the same.
const DEPOSIT_BLOCKS: u32 = 20;

/// What there is to ask, and what became of what was asked.
#[derive(Debug, Default)]
pub(super) struct Market {
    data: AdverseData,
    offers: BTreeMap<ModelId, Offer>,
    has_opened: bool,
    /// The draw of the next request of the consumers.
    drawn: u64,
    /// Requests that were sent, of consumers and of self-dealers.
    sent: u64,
    flying: Slab<Request>,
    uses: Uses,
    /// Payments that are on their way to a server.
    paying: Slab<(u64, u32)>,
    /// The block in which a consumer last sent a deposit for a server.
    deposited: BTreeMap<(EvmAddress, AccountId), u64>,
    /// All that a consumer promised a server for what it was given.
    answered: BTreeMap<(EvmAddress, AccountId), Amount>,
    counts: Counts,
    /// From question to answer, in microseconds.
    latencies: Vec<u64>,
    /// Attributions of what self-dealers asked.
    dealt: BTreeSet<Digest>,
}

/// Requests of consumers, by what became of them.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counts {
    pub(super) served: u64,
    pub(super) refused: u64,
    /// Nobody was there to serve them.
    pub(super) unserved: u64,
}

/// A finished model, and who serves it.
#[derive(Debug, Clone)]
struct Offer {
    checkpoint: Hash,
    sketch_root: Digest,
    /// Nodes that hold what serving and auditing need.
    ready: BTreeSet<u32>,
    server: Option<u32>,
    /// The block in which it was last published.
    sent: Option<u64>,
}

/// The key of a consumer; those of self-dealing adversaries come after the others.
fn consumer_key(seed: u64, consumer: u32) -> EvmKey {
    let secret = keccak(&[b"consumer", &seed.to_be_bytes(), &consumer.to_be_bytes()]);
    EvmKey::from_bytes(&secret.0).expect("all but some 2^-128 of digests are keys")
}

impl Market {
    pub(super) fn new(data: AdverseData) -> Self {
        Self { data, ..Self::default() }
    }

    pub(super) const fn data(&self) -> &AdverseData {
        &self.data
    }

    pub(super) const fn counts(&self) -> Counts {
        self.counts
    }

    /// From question to answer, in microseconds, of all requests that were served.
    pub(super) fn latencies(&self) -> &[u64] {
        &self.latencies
    }

    /// Whether a record attributes what a self-dealer asked.
    pub(super) fn is_dealt(&self, record: &Digest) -> bool {
        self.dealt.contains(record)
    }

    /// How often self-dealers used their own models.
    pub(super) fn dealings(&self) -> usize {
        self.dealt.len()
    }

    /// Offers finished models, and lets demand begin with the first that is published.
    pub(super) fn offer(&mut self, env: &mut Env, training: &Training, events: &[ChainEvent]) {
        let has_demand = env.scenario.inference.is_on();
        for event in events {
            let ChainEvent::ModelPublished(publication) = event else { continue };
            let server = env.population.index_of(publication.server).map(number);
            if let Some(offer) = self.offers.get_mut(&publication.model) {
                (offer.server, offer.sent) = (server, None);
            }
            if !self.has_opened && has_demand {
                self.has_opened = true;
                self.plan_demand(env, 0);
            }
        }
        if !has_demand && dealt_run(env).is_none() {
            return;
        }
        for model in training.runs() {
            self.publish(env, training, *model);
        }
    }

    fn publish(&mut self, env: &mut Env, training: &Training, model: ModelId) {
        let block = env.ledger.chain().head().0;
        let Some(offer) = self.offers.get(&model) else { return };
        let is_there = |node: u32| env.population.is_online(node as usize);
        let is_sent = offer.sent.is_some_and(|at| block < at + REPUBLISH_BLOCKS);
        if is_sent || offer.server.is_some_and(is_there) {
            return;
        }
        let dealer = dealer_of(env, training, model);
        let is_boasting = |node: &u32| {
            let coalition = env.population.node(*node as usize).coalition();
            let coalition = coalition.and_then(|own| env.population.coalitions().get(own));
            coalition.is_some_and(|coalition| coalition.facts.wants_to_serve)
        };
        let has_boasters = env.population.coalitions().facts().any(|facts| facts.wants_to_serve);
        let willing = |node: &&u32| match dealer {
            Some(dealer) => env.population.node(**node as usize).coalition() == Some(dealer),
            // Developers believe who says that it is faster than all others.
            None if has_boasters => is_boasting(node),
            None => {
                let share = env.draws.share(Purpose::Demand, 1 << 40 | u64::from(**node), 0);
                share < env.scenario.inference.servers
            }
        };
        // The fastest of them.
        let slowness = |node: &u32| slowness(env, *node as usize);
        let ready = offer.ready.iter().filter(|node| is_there(**node)).filter(willing);
        let best = ready.min_by(|one, other| slowness(one).total_cmp(&slowness(other)));
        let Some(node) = best.copied() else { return };
        let demand = &env.scenario.inference;
        let (price_out, price_use) = match dealer {
            // Who pays itself asks for as little as there is.
            Some(_) => (Amount::ZERO, Amount(1)),
            None if demand.steps => (demand.price_of_tokens(), Amount::ZERO),
            None => (Amount::ZERO, demand.price()),
        };
        let publication = ModelPublication {
            model,
            checkpoint: offer.checkpoint,
            sketch_root: offer.sketch_root,
            server: env.population.node(node as usize).account,
            price_in: Amount::ZERO,
            price_out,
            price_use,
        };
        let run = training.runs().iter().position(|known| *known == model).map_or(0, number);
        let publish = Transaction::PublishModel(publication);
        env.ledger.chain_mut().submit(developer(run), &publish);
        if let Some(offer) = self.offers.get_mut(&model) {
            offer.sent = Some(block);
        }
    }

    /// What the machine of a node tells of models and requests.
    pub(super) fn note(&mut self, env: &mut Env, index: usize, event: &NodeEvent) {
        match event {
            NodeEvent::ModelReady { model, checkpoint, sketch_root, .. } => {
                self.note_ready(index, *model, (*checkpoint, *sketch_root));
            }
            NodeEvent::RoundReopened { model, .. } => {
                if let Some(offer) = self.offers.get_mut(model) {
                    offer.ready.remove(&number(index));
                }
            }
            NodeEvent::Paid { request, tokens } => {
                if let Some(next) = self.uses.taken(*request, *tokens) {
                    self.plan_payment(env, index, (*request, next));
                }
            }
            NodeEvent::Served { request, record, .. } => {
                let Some(Use { request: asked, purchase, .. }) = self.uses.end(*request) else {
                    return;
                };
                purchase.receipt().into_iter().for_each(|paid| self.note_answer(paid));
                if asked.is_dealt {
                    self.dealt.insert(*record);
                    return;
                }
                let back = env.links.network().to_server(number(index), 3 << 41 | request);
                self.counts.served += 1;
                self.latencies.push(env.now().after(back).0 - asked.since.0);
            }
            NodeEvent::Refused { request, .. } => {
                let asked = self.uses.end(*request);
                let is_consumers = asked.is_some_and(|one| !one.request.is_dealt);
                self.counts.refused += u64::from(is_consumers);
            }
            _ => {}
        }
    }

    /// A consumer hears how far it has paid, and pays for the next tokens.
    fn plan_payment(&mut self, env: &mut Env, index: usize, payment: (u64, u32)) {
        let server = number(index);
        let ways = env.links.network().to_server(server, 5 << 41 | payment.0);
        let (place, at) = (self.paying.put(payment), env.now().after(2 * ways));
        env.schedule.push(at, Actor::node(server), Actor::CHAIN, Event::Pay(place));
    }

    /// A payment for the next tokens of an answer reaches its server: what the machine is given.
    pub(super) fn pay(&mut self, env: &mut Env, index: usize, place: u32) -> Option<Input> {
        let (request, tokens) = self.paying.take(place)?;
        let consumer = self.uses.get(request)?.request.consumer;
        let (receipt, _) = self.sign(env, index, consumer, (request, tokens))?;
        Some(Input::Raise { request, receipt })
    }

    /// Pays for a use up to a token, over what its server was promised before, and sees to the deposit; with whether
    /// it covers that now.
    fn sign(
        &mut self,
        env: &mut Env,
        index: usize,
        consumer: u32,
        (request, tokens): (u64, u32),
    ) -> Option<(SignedReceipt, bool)> {
        let (view, node) = (env.view(), env.population.node(index));
        let key = consumer_key(env.scenario.seed, consumer);
        let (payer, payee, escrow) = (key.address(), node.account, view.escrow);
        let promised = node.machine.as_ref()?.promised_by(view, payer);
        let payment = Payment { escrow, payer, promised, nonce: request };
        let receipt = self.uses.pay(view, (request, tokens), &key, &payment)?;
        let due = receipt.receipt.cumulative.saturating_sub(promised);
        let available = view.deposit(payer, payee).available(promised);
        self.top_up(env, (payer, payee), (available, due));
        Some((receipt, available >= due))
    }

    /// A consumer has what it signed a receipt for.
    fn note_answer(&mut self, receipt: &Receipt) {
        let promised = self.answered.entry((receipt.payer, receipt.payee)).or_default();
        *promised = (*promised).max(receipt.cumulative);
    }

    /// What consumers were given by some servers and nothing stands behind: it is neither redeemed nor in
    /// the deposit.
    pub(super) fn unpaid(&self, env: &Env, by: impl Fn(AccountId) -> bool) -> Amount {
        let unpaid = |((payer, payee), promised): (&(EvmAddress, AccountId), &Amount)| {
            let deposit = env.view().deposit(*payer, *payee);
            promised.saturating_sub(deposit.redeemed.saturating_add(deposit.balance))
        };
        let of_them = self.answered.iter().filter(|((_, payee), _)| by(*payee));
        of_them.map(unpaid).fold(Amount::ZERO, Amount::saturating_add)
    }

    /// A node has all that serving a model takes.
    fn note_ready(
        &mut self,
        index: usize,
        model: ModelId,
        (checkpoint, sketch_root): (Hash, Digest),
    ) {
        let fresh = || {
            let ready = BTreeSet::new();
            Offer { checkpoint, sketch_root, ready, server: None, sent: None }
        };
        let offer = self.offers.entry(model).or_insert_with(fresh);
        // Nobody has what was offered before, and nobody was asked to publish it.
        if offer.ready.is_empty() && offer.sent.is_none() {
            *offer = fresh();
        }
        if (offer.checkpoint, offer.sketch_root) == (checkpoint, sketch_root) {
            offer.ready.insert(number(index));
        }
    }

    /// Puts the next request of the consumers on the calendar: a Poisson process whose rate follows
    /// the time of day and the series, drawn by thinning.
    fn plan_demand(&mut self, env: &mut Env, from: u64) {
        let demand = &env.scenario.inference;
        let greatest = demand.per_hour * demand.greatest_factor() / 3.6e9;
        let mut at = env.now();
        for which in from.. {
            let word = |n| ratio(env.draws.word(Purpose::Demand, 2 << 40 | which, n));
            let gap = whole(-(1.0 - word(0)).ln() / greatest);
            at = at.after(gap.max(1));
            let is_over = at.0 / env.scenario.epoch_span().0 > env.last_epoch().0 + 1;
            if is_over {
                return;
            }
            let rate = demand.factor_at(at.0) * time_of_day(demand.diurnal, at);
            if word(1) * demand.greatest_factor() < rate {
                self.drawn = which + 1;
                env.schedule.push_global(at, Event::Demand);
                return;
            }
        }
    }

    /// A consumer asks.
    pub(super) fn demand(&mut self, env: &mut Env, training: &Training) {
        let which = self.drawn;
        self.plan_demand(env, which);
        let named = &env.scenario.inference.models;
        let is_named = |place: usize| named.is_empty() || named.contains(&number(place));
        let runs = training.runs().iter().enumerate();
        let open = runs.filter(|(place, model)| {
            is_named(*place)
                && dealer_of(env, training, **model).is_none()
                && env.view().publication(**model).is_some()
        });
        let open: Vec<_> = open.map(|(_, model)| *model).collect();
        let pick = |n, bound: usize| {
            let drawn = env.draws.below(Purpose::Demand, 3 << 40 | which, n, bound as u64);
            usize::try_from(drawn).expect("below a number in memory")
        };
        if open.is_empty() {
            self.counts.unserved += 1;
            return;
        }
        let model = open[pick(0, open.len())];
        let consumer = number(pick(1, env.scenario.inference.consumers as usize));
        self.ask(env, model, consumer, false);
    }

    /// Sends a request on its way to who serves the model.
    fn ask(&mut self, env: &mut Env, model: ModelId, consumer: u32, is_dealt: bool) {
        let server = self.offers.get(&model).and_then(|offer| offer.server);
        let is_there = |node: &u32| env.population.is_online(*node as usize);
        let Some(server) = server.filter(is_there) else {
            self.counts.unserved += u64::from(!is_dealt);
            return;
        };
        self.sent += 1;
        let id = self.sent;
        let request = Request { id, model, consumer, since: env.now(), is_dealt, waited: 0 };
        let network = env.links.network();
        let ways: u64 = (0..WAYS).map(|way| network.to_server(server, way << 42 | id)).sum();
        let place = self.flying.put(request);
        let at = env.now().after(ways);
        env.schedule.push(at, Actor::node(server), Actor::CHAIN, Event::Ask(place));
    }

    /// Uses a coalition's own model once, as its own customer.
    pub(super) fn use_own_model(&mut self, env: &mut Env, training: &Training, coalition: usize) {
        let is_own = |model: &&ModelId| dealer_of(env, training, **model) == Some(coalition);
        if let Some(model) = training.runs().iter().find(is_own) {
            let consumer = dealing_consumer(env, coalition);
            self.ask(env, *model, consumer, true);
        }
    }

    /// Uses a model of others once, as a coalition's own consumer.
    pub(super) fn use_others_model(&mut self, env: &mut Env, training: &Training, number: usize) {
        let is_others = |model: &&ModelId| {
            dealer_of(env, training, **model).is_none() && env.view().publication(**model).is_some()
        };
        if let Some(model) = training.runs().iter().find(is_others) {
            let consumer = dealing_consumer(env, number);
            self.ask(env, *model, consumer, false);
        }
    }

    /// A request reaches a node, with a receipt over what it has been told is due; what its machine is
    /// given, and `None` where nobody serves it, or the consumer's deposit is not there yet.
    pub(super) fn arrive(
        &mut self,
        env: &mut Env,
        index: usize,
        place: u32,
    ) -> Option<ServeRequest> {
        let request = self.flying.take(place)?;
        let demand = &env.scenario.inference;
        let (tokens_in, tokens_out, in_steps) = (demand.tokens_in, demand.tokens_out, demand.steps);
        let offer = env.view().publication(request.model).copied();
        let (Some(offer), true) = (offer, env.population.node(index).machine.is_some()) else {
            self.counts.unserved += u64::from(!request.is_dealt);
            return None;
        };
        let id = request.id;
        let purchase = Purchase::new(offer, (tokens_in, tokens_out), question(id));
        let first = purchase.due().filter(|_| in_steps).unwrap_or(tokens_out);
        self.uses.begin(request, purchase);
        let (receipt, is_covered) = self.sign(env, index, request.consumer, (id, first))?;
        if !is_covered && request.waited < DEPOSIT_BLOCKS {
            self.uses.end(id);
            self.wait(env, index, request);
            return None;
        }
        Some(ServeRequest { id, receipt, tokens_in, tokens_out })
    }

    /// A consumer asks again in the next block; nobody counts that as time to the answer.
    fn wait(&mut self, env: &mut Env, index: usize, request: Request) {
        let block = env.scenario.chain.block.0;
        let (since, waited) = (request.since.after(block), request.waited + 1);
        let place = self.flying.put(Request { since, waited, ..request });
        let (at, node) = (env.now().after(block), Actor::node(number(index)));
        env.schedule.push(at, node, node, Event::Ask(place));
    }

    /// Deposits for a server before what is there is used up.
    fn top_up(
        &mut self,
        env: &mut Env,
        (payer, payee): (EvmAddress, AccountId),
        (available, due): (Amount, Amount),
    ) {
        let step = env.scenario.inference.deposited();
        let enough = due.saturating_add(Amount(step.0 / 2));
        let head = env.ledger.chain().head().0;
        let sent = self.deposited.get(&(payer, payee));
        if available >= enough || sent.is_some_and(|sent| head < sent + REPUBLISH_BLOCKS) {
            return;
        }
        self.deposited.insert((payer, payee), head);
        // What others ask for until the next one is there is covered as well.
        let amount = step.max(due.saturating_add(due));
        let chain = env.ledger.chain_mut();
        chain.fund(payer, amount);
        chain.submit(payer, &Transaction::Deposit { payee, amount });
    }

    /// Generates, attributes, and keeps the transcript.
    pub(super) fn infer(
        &self,
        training: &mut Training,
        site: &mut Site<'_>,
        request: u64,
        model: ModelId,
    ) -> Option<Answer> {
        let receipt = self.uses.get(request)?.receipt()?.clone();
        let checkpoint = self.offers.get(&model)?.checkpoint;
        let (shares, lambda) = self.data.shares(site.env, model, &question(request))?;
        let demand = &site.env.scenario.inference;
        let (tokens_in, tokens_out) = (demand.tokens_in, demand.tokens_out);
        let cost = decoding(site.env) * (1.0 + demand.attribution);
        let length = u32::try_from(demand.transcript.0).ok()?;
        let transcript = keccak(&[b"transcript", &question(request).0]).0.to_vec();
        let transcript = site.store.put(site.index, transcript).ok()?;
        let taken = training.occupy(site.env, site.index, 0, cost);
        let body = AttributionBody {
            model,
            checkpoint,
            receipt,
            ranges: Ranges::default(),
            transcript,
            length,
            tokens_in,
            tokens_out,
            lambda,
            shares,
        };
        Some(Answer::after(taken, Done::Inferred(body)))
    }

    /// Attributes once more what another says that it has served.
    pub(super) fn audit(
        &self,
        training: &mut Training,
        site: &mut Site<'_>,
        record: &VerifiedRecord,
    ) -> Option<Answer> {
        let Body::Attribution(body) = &record.record().body else { return None };
        let offer = self.offers.get(&body.model)?;
        if !offer.ready.contains(&number(site.index)) {
            return None;
        }
        let is_current = offer.checkpoint == body.checkpoint;
        let fetched = site.fetch(&body.transcript, body.length.into())?;
        // What its receipt names is something else where it was paid in steps.
        let asked = question(body.receipt.receipt.nonce);
        let (shares, lambda) = self.data.shares(site.env, body.model, &asked)?;
        let is_right = is_current && shares == body.shares && lambda == body.lambda;
        let cost = decoding(site.env) * site.env.scenario.inference.attribution;
        let taken = training.occupy(site.env, site.index, fetched, cost);
        let verdict = if is_right { Verdict::Pass } else { Verdict::Fail };
        let answer = Answer::after(taken, Done::Judged(verdict));
        Some(Answer { gains: Some(body.transcript), ..answer })
    }
}

/// What is asked in a request of that number.
fn question(request: u64) -> Digest {
    keccak(&[b"request", &request.to_be_bytes()])
}

/// The coalition that uses a model for itself.
fn dealer_of(env: &Env, training: &Training, model: ModelId) -> Option<usize> {
    let (coalition, run) = dealt_run(env)?;
    (training.runs().get(run as usize) == Some(&model)).then_some(coalition)
}

/// The consumer of a coalition that uses its own model, or others'.
const fn dealing_consumer(env: &Env, coalition: usize) -> u32 {
    env.scenario.inference.consumers + coalition as u32
}

/// The address of a coalition's consumer.
pub(super) fn consumer_of(env: &Env, coalition: usize) -> EvmAddress {
    consumer_key(env.scenario.seed, dealing_consumer(env, coalition)).address()
}

/// What the self-dealers' consumers have paid.
pub(super) fn dealt_fees(env: &Env) -> Amount {
    let coalitions = 0..env.population.coalitions().count();
    let payers: BTreeSet<_> = coalitions.map(|number| consumer_of(env, number)).collect();
    let view = env.view();
    let epochs = (0..=view.epoch().0).map(protocol::Epoch);
    let redeemed = epochs.flat_map(|epoch| view.redemptions(epoch));
    redeemed
        .filter(|item| payers.contains(&item.payer))
        .fold(Amount::ZERO, |sum, item| sum.saturating_add(item.to.saturating_sub(item.from)))
}

/// Microseconds that the reference GPU takes to generate an answer.
fn decoding(env: &Env) -> f64 {
    let demand = &env.scenario.inference;
    real(demand.token.0) * f64::from(demand.tokens_out)
}

/// The demand of an hour over that of the busiest one, when it varies by the share `diurnal`.
fn time_of_day(diurnal: f64, at: Time) -> f64 {
    const DAY: u64 = 86_400_000_000;
    let turn = real(at.0 % DAY) / real(DAY) * std::f64::consts::TAU;
    1.0 - diurnal * (1.0 + turn.cos()) / 2.0
}
