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
    node::{Done, Event as NodeEvent, Input, ServeRequest, price},
    receipt::{Receipt, SignedReceipt},
    record::{AttributionBody, Body, Verdict, VerifiedRecord},
};

use super::{Answer, Event, Simulation, World, number, training::developer};
use crate::kernel::{Actor, Purpose, Slab, Time, ratio};

/// Messages between a consumer's question for the price and its request: there, back, there.
const WAYS: u64 = 3;
/// Blocks after which a publication that does not show is sent again.
const REPUBLISH_BLOCKS: u64 = 10;

/// What there is to ask, and what became of what was asked.
#[derive(Debug, Default)]
pub(super) struct Market {
    /// Accounts under which coalitions contributed data, with their numbers.
    pub(super) adverse_data: BTreeMap<AccountId, usize>,
    offers: BTreeMap<ModelId, Offer>,
    has_opened: bool,
    /// The draw of the next request of the consumers.
    drawn: u64,
    /// Requests that were sent, of consumers and of self-dealers.
    sent: u64,
    flying: Slab<Request>,
    serving: BTreeMap<u64, (Request, SignedReceipt)>,
    deposited: BTreeMap<(EvmAddress, AccountId), Amount>,
    pub(super) served: u64,
    pub(super) refused: u64,
    pub(super) unserved: u64,
    /// From question to answer, in microseconds.
    pub(super) latencies: Vec<u64>,
    /// Attributions of what self-dealers asked.
    pub(super) dealt: BTreeSet<Digest>,
}

impl Market {
    pub(super) fn new(adverse_data: BTreeMap<AccountId, usize>) -> Self {
        Self { adverse_data, ..Self::default() }
    }
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

/// A request on its way.
#[derive(Debug, Clone, Copy)]
struct Request {
    id: u64,
    model: ModelId,
    consumer: u32,
    since: Time,
    is_dealt: bool,
}

/// The key of a consumer; those of self-dealing adversaries come after the others.
fn consumer_key(seed: u64, consumer: u32) -> EvmKey {
    let secret = keccak(&[b"consumer", &seed.to_be_bytes(), &consumer.to_be_bytes()]);
    EvmKey::from_bytes(&secret.0).expect("all but some 2^-128 of digests are keys")
}

impl Simulation {
    /// The adversary that orders and uses a run for itself, if there is such, and the run: the last.
    pub(super) fn dealt_run(&self) -> Option<(usize, u32)> {
        let coalition = self.coalitions.facts().position(|facts| facts.owns_last_run)?;
        Some((coalition, self.scenario.training.models - 1))
    }

    fn dealer_of(&self, model: ModelId) -> Option<usize> {
        let (coalition, run) = self.dealt_run()?;
        (self.workshop.runs.get(run as usize) == Some(&model)).then_some(coalition)
    }

    /// Offers finished models, and lets demand begin with the first that is published.
    pub(super) fn offer(&mut self, events: &[ChainEvent]) {
        for event in events {
            let ChainEvent::ModelPublished(publication) = event else { continue };
            let server = self.index_of(publication.server).map(number);
            if let Some(offer) = self.market.offers.get_mut(&publication.model) {
                (offer.server, offer.sent) = (server, None);
            }
            if !self.market.has_opened && self.scenario.inference.is_on() {
                self.market.has_opened = true;
                self.plan_demand(0, self.now);
            }
        }
        if !self.scenario.inference.is_on() && self.dealt_run().is_none() {
            return;
        }
        for model in self.workshop.runs.clone() {
            self.publish(model);
        }
    }

    fn publish(&mut self, model: ModelId) {
        let block = self.chain.head().0;
        let Some(offer) = self.market.offers.get(&model) else { return };
        let is_there = |node: u32| self.nodes[node as usize].is_online();
        let is_sent = offer.sent.is_some_and(|at| block < at + REPUBLISH_BLOCKS);
        if is_sent || offer.server.is_some_and(is_there) {
            return;
        }
        let dealer = self.dealer_of(model);
        let willing = |node: &&u32| match dealer {
            Some(dealer) => self.nodes[**node as usize].coalition() == Some(dealer),
            None => {
                let share = self.draws.share(Purpose::Demand, 1 << 40 | u64::from(**node), 0);
                share < self.scenario.inference.servers
            }
        };
        // The fastest of them.
        let slowness = |node: &u32| self.slowness(*node as usize);
        let ready = offer.ready.iter().filter(|node| is_there(**node)).filter(willing);
        let best = ready.min_by(|one, other| slowness(one).total_cmp(&slowness(other)));
        let Some(node) = best.copied() else { return };
        let publication = ModelPublication {
            model,
            checkpoint: offer.checkpoint,
            sketch_root: offer.sketch_root,
            server: self.nodes[node as usize].account,
            price_in: Amount::ZERO,
            price_out: Amount::ZERO,
            // Who pays itself asks for as little as there is.
            price_use: if dealer.is_some() { Amount(1) } else { self.scenario.inference.price() },
        };
        let run = self.workshop.runs.iter().position(|known| *known == model).map_or(0, number);
        self.chain.submit(developer(run), &Transaction::PublishModel(publication));
        if let Some(offer) = self.market.offers.get_mut(&model) {
            offer.sent = Some(block);
        }
    }

    /// What machines tell of models and requests.
    pub(super) fn note_work(&mut self, index: usize, event: &NodeEvent) {
        self.note_training(index, event);
        match event {
            NodeEvent::ModelReady { model, checkpoint, sketch_root, .. } => {
                let (checkpoint, sketch_root) = (*checkpoint, *sketch_root);
                let fresh = || Offer {
                    checkpoint,
                    sketch_root,
                    ready: BTreeSet::new(),
                    server: None,
                    sent: None,
                };
                let offer = self.market.offers.entry(*model).or_insert_with(fresh);
                if offer.ready.is_empty() && offer.sent.is_none() {
                    *offer = fresh();
                }
                if (offer.checkpoint, offer.sketch_root) == (checkpoint, sketch_root) {
                    offer.ready.insert(number(index));
                }
            }
            NodeEvent::RoundReopened { model, .. } => {
                if let Some(offer) = self.market.offers.get_mut(model) {
                    offer.ready.remove(&number(index));
                }
            }
            NodeEvent::Served { request, record } => {
                let Some((asked, _)) = self.market.serving.remove(request) else { return };
                if asked.is_dealt {
                    self.market.dealt.insert(*record);
                    return;
                }
                let back = self.network.to_server(number(index), 3 << 41 | request);
                self.market.served += 1;
                self.market.latencies.push(self.now.after(back).0 - asked.since.0);
            }
            NodeEvent::Refused { request, .. } => {
                let asked = self.market.serving.remove(request);
                let is_consumers = asked.is_some_and(|(asked, _)| !asked.is_dealt);
                self.market.refused += u64::from(is_consumers);
            }
            _ => {}
        }
    }

    /// Puts the next request of the consumers on the calendar: a Poisson process whose rate follows
    /// the time of day and the series, drawn by thinning.
    fn plan_demand(&mut self, from: u64, since: Time) {
        let demand = &self.scenario.inference;
        let greatest = demand.per_hour * demand.greatest_factor() / 3.6e9;
        let mut at = since;
        for which in from.. {
            let word = |n| ratio(self.draws.word(Purpose::Demand, 2 << 40 | which, n));
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a gap in microseconds, and casts saturate"
            )]
            let gap = (-(1.0 - word(0)).ln() / greatest) as u64;
            at = at.after(gap.max(1));
            let is_over = at.0 / self.scenario.epoch_span().0 > self.last_epoch().0 + 1;
            if is_over {
                return;
            }
            if word(1) * demand.greatest_factor() < demand.factor_at(at.0) * self.time_of_day(at) {
                self.market.drawn = which + 1;
                self.push(at, Actor::CHAIN, Actor::CHAIN, Event::Demand);
                return;
            }
        }
    }

    /// The demand of an hour over that of the busiest one.
    #[expect(clippy::cast_precision_loss, reason = "the time of a day in microseconds")]
    fn time_of_day(&self, at: Time) -> f64 {
        const DAY: u64 = 86_400_000_000;
        let turn = (at.0 % DAY) as f64 / DAY as f64 * std::f64::consts::TAU;
        1.0 - self.scenario.inference.diurnal * (1.0 + turn.cos()) / 2.0
    }

    /// A consumer asks.
    pub(super) fn demand(&mut self) {
        let which = self.market.drawn;
        self.plan_demand(which, self.now);
        let named = &self.scenario.inference.models;
        let is_named = |place: usize| named.is_empty() || named.contains(&number(place));
        let runs = self.workshop.runs.iter().enumerate();
        let open = runs.filter(|(place, model)| {
            is_named(*place)
                && self.dealer_of(**model).is_none()
                && self.chain.view().publication(**model).is_some()
        });
        let open: Vec<_> = open.map(|(_, model)| *model).collect();
        let pick = |n, bound: usize| {
            let drawn = self.draws.below(Purpose::Demand, 3 << 40 | which, n, bound as u64);
            usize::try_from(drawn).expect("below a number in memory")
        };
        if open.is_empty() {
            self.market.unserved += 1;
            return;
        }
        let model = open[pick(0, open.len())];
        let consumer = number(pick(1, self.scenario.inference.consumers as usize));
        self.ask(model, consumer, false);
    }

    /// Sends a request on its way to who serves the model.
    fn ask(&mut self, model: ModelId, consumer: u32, is_dealt: bool) {
        let server = self.market.offers.get(&model).and_then(|offer| offer.server);
        let Some(server) = server.filter(|node| self.nodes[*node as usize].is_online()) else {
            self.market.unserved += u64::from(!is_dealt);
            return;
        };
        self.market.sent += 1;
        let id = self.market.sent;
        let request = Request { id, model, consumer, since: self.now, is_dealt };
        let ways = (0..WAYS).map(|way| self.network.to_server(server, way << 42 | id));
        let at = self.now.after(ways.sum());
        let place = self.market.flying.put(request);
        self.push(at, Actor::node(server), Actor::CHAIN, Event::Ask(place));
    }

    /// A request reaches a node, with a receipt over what it has been told is due.
    pub(super) fn asked(&mut self, index: usize, place: u32) {
        let Some(request) = self.market.flying.take(place) else { return };
        let demand = &self.scenario.inference;
        let (tokens_in, tokens_out) = (demand.tokens_in, demand.tokens_out);
        let view = self.chain.view();
        let due = view.publication(request.model).and_then(|o| price(o, tokens_in, tokens_out));
        let (Some(due), Some(machine)) = (due, self.nodes[index].machine.as_ref()) else {
            self.market.unserved += u64::from(!request.is_dealt);
            return;
        };
        let key = consumer_key(self.scenario.seed, request.consumer);
        let (payer, payee) = (key.address(), self.nodes[index].account);
        let receipt = Receipt {
            payer,
            payee,
            model: request.model,
            cumulative: machine.promised_by(view, payer).saturating_add(due),
            nonce: request.id,
            request: keccak(&[b"request", &request.id.to_be_bytes()]),
        };
        let cumulative = receipt.cumulative;
        let receipt = receipt.sign(&view.domain, &key).expect("RFC 6979 finds a nonce");
        self.top_up(payer, payee, cumulative);
        self.market.serving.insert(request.id, (request, receipt.clone()));
        let id = request.id;
        self.input(index, Input::Serve(ServeRequest { id, receipt, tokens_in, tokens_out }));
    }

    /// Deposits for a server before what was promised is used up.
    fn top_up(&mut self, payer: EvmAddress, payee: AccountId, needed: Amount) {
        let step = self.scenario.inference.deposited();
        let deposited = self.market.deposited.entry((payer, payee)).or_default();
        while *deposited < needed {
            *deposited = deposited.saturating_add(step);
            self.chain.fund(payer, step);
            self.chain.submit(payer, &Transaction::Deposit { payee, amount: step });
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "a time of at most some days")]
    fn decoding(&self) -> f64 {
        let demand = &self.scenario.inference;
        demand.token.0 as f64 * f64::from(demand.tokens_out)
    }

    /// Generates, attributes, and keeps the transcript.
    pub(super) fn infer(&mut self, index: usize, request: u64, model: ModelId) -> Option<Answer> {
        let (_, receipt) = self.market.serving.get(&request)?.clone();
        let checkpoint = self.market.offers.get(&model)?.checkpoint;
        let (shares, lambda) = self.shares(model, &receipt.receipt.request)?;
        let demand = &self.scenario.inference;
        let (tokens_in, tokens_out) = (demand.tokens_in, demand.tokens_out);
        let cost = self.decoding() * (1.0 + demand.attribution);
        let length = u32::try_from(demand.transcript.0).ok()?;
        let transcript = keccak(&[b"transcript", &receipt.receipt.request.0]).0.to_vec();
        let transcript = self.blobs.put(number(index), transcript).ok()?;
        let taken = self.occupy(index, 0, cost);
        let body = AttributionBody {
            model,
            checkpoint,
            receipt,
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
    pub(super) fn audit_attribution(
        &mut self,
        index: usize,
        record: &VerifiedRecord,
    ) -> Option<Answer> {
        let Body::Attribution(body) = &record.record().body else { return None };
        let offer = self.market.offers.get(&body.model)?;
        if !offer.ready.contains(&number(index)) {
            return None;
        }
        let is_current = offer.checkpoint == body.checkpoint;
        let fetched = self.transfer(index, &body.transcript, body.length.into())?;
        let (shares, lambda) = self.shares(body.model, &body.receipt.receipt.request)?;
        let is_right = is_current && shares == body.shares && lambda == body.lambda;
        let cost = self.decoding() * self.scenario.inference.attribution;
        let taken = self.occupy(index, fetched, cost);
        let verdict = if is_right { Verdict::Pass } else { Verdict::Fail };
        Some(Answer { taken, done: Done::Judged(verdict), gains: Some(body.transcript) })
    }

    /// The consumer of a coalition that uses its own model.
    const fn dealing_consumer(&self, coalition: usize) -> u32 {
        self.scenario.inference.consumers + coalition as u32
    }

    /// What the self-dealers' consumers have paid.
    pub(super) fn dealt_fees(&self) -> Amount {
        let address =
            |number| consumer_key(self.scenario.seed, self.dealing_consumer(number)).address();
        let payers: BTreeSet<_> = (0..self.coalitions.count()).map(address).collect();
        let view = self.chain.view();
        let epochs = (0..=view.epoch().0).map(protocol::Epoch);
        let redeemed = epochs.flat_map(|epoch| view.redemptions(epoch));
        redeemed
            .filter(|item| payers.contains(&item.payer))
            .fold(Amount::ZERO, |sum, item| sum.saturating_add(item.to.saturating_sub(item.from)))
    }
}

impl World<'_> {
    /// Uses a coalition's own model once, as its own customer.
    pub fn use_own_model(&mut self, coalition: usize) {
        let runs = self.0.workshop.runs.clone();
        let own = runs.into_iter().find(|model| self.0.dealer_of(*model) == Some(coalition));
        if let Some(model) = own {
            let consumer = self.0.dealing_consumer(coalition);
            self.0.ask(model, consumer, true);
        }
    }
}
