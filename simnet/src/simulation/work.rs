//! Work on models: who trains, who serves, and what it earns them.

use protocol::{
    chain::ChainEvent,
    node::{Event as NodeEvent, Job},
};

use super::{
    Answer,
    attribution::AdverseData,
    backend::Backend,
    earnings::Earnings,
    env::Env,
    market::Market,
    store::Store,
    training::{Site, Training},
};
use crate::report::Kpi;

/// All that is about models.
pub(super) struct Work {
    pub(super) training: Training,
    pub(super) market: Market,
    pub(super) earnings: Earnings,
}

impl Work {
    pub(super) fn new(backend: Box<dyn Backend>, data: AdverseData) -> Self {
        let (training, market) = (Training::new(backend), Market::new(data));
        Self { training, market, earnings: Earnings::default() }
    }

    /// What model developers and consumers do at a block.
    pub(super) fn develop(&mut self, env: &mut Env, events: &[ChainEvent]) {
        if env.scenario.training.is_on() {
            self.training.develop(env, events);
            self.market.offer(env, &self.training, events);
        }
    }

    /// A consumer asks.
    pub(super) fn demand(&mut self, env: &mut Env) {
        self.market.demand(env, &self.training);
    }

    /// What the machine of a node tells of models and requests.
    pub(super) fn note(&mut self, env: &mut Env, index: usize, event: &NodeEvent) {
        self.earnings.note(env, index, event);
        self.market.note(env, index, event);
    }

    /// What an honest host answers to a job on models.
    pub(super) fn answer(&mut self, site: &mut Site<'_>, job: Job) -> Answer {
        let Self { training, market, .. } = self;
        let answer = match job {
            Job::Infer { request, model } => market.infer(training, site, request, model),
            Job::AuditAttribution { record } => market.audit(training, site, &record),
            job => training.answer(site, job),
        };
        answer.unwrap_or_else(|| Answer::unavailable(0))
    }

    /// The key figures of work on models.
    pub(super) fn figures(&self, env: &Env, store: &Store) -> Vec<Kpi> {
        self.earnings.figures(env, (&self.training, &self.market, store))
    }
}
