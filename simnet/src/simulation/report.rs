//! The report of a run, put together from what its parts counted.

use protocol::{Amount, Balance, settle::Source};

use super::{RunError, Simulation, kpis, number, refereeing};
use crate::{
    adversary,
    chain::Books,
    kernel::real,
    nodes::Kind,
    referee::Rule,
    report::{Check, EpochRow, Histogram, KindRow, NodeRow, PayoutRow, Report, Status, Totals},
};

impl Simulation {
    /// The result of the run so far.
    ///
    /// # Errors
    /// [`RunError`] when the contracts cannot be read.
    pub fn report(&mut self) -> Result<Report, RunError> {
        let mut epochs = self.measurements.epochs().to_vec();
        for row in epochs.iter_mut().filter(|row| row.status != Status::Final) {
            let settled = self.settlements.of(self.env.view(), row.epoch);
            self.measurements.fill(&self.env, row, settled.map(AsRef::as_ref));
        }
        let nodes = self.node_rows();
        let books = self.env.ledger.chain_mut().all_books()?;
        let kinds = KindRow::all(&nodes);
        if self.is_over() {
            self.work.earnings.judge_branches(&self.env, &mut self.referee);
        }
        let checks = self.checks(&epochs, &kinds, &books);
        let kpis = kpis::all(self, &epochs, &kinds, &nodes);
        Ok(Report {
            scenario: self.env.scenario.clone(),
            trace: self.trace_hash(),
            is_complete: self.is_over(),
            time: self.env.now(),
            series: self.measurements.series(&self.env, &epochs),
            histograms: self.histograms(),
            totals: self.totals(),
            epochs,
            kinds,
            payouts: self.measurements.payouts().to_vec(),
            nodes,
            books: self.measurements.books().to_vec(),
            final_books: books,
            checks,
            findings: self.referee.broken().values().cloned().collect(),
            kpis,
        })
    }

    fn histograms(&self) -> Vec<Histogram> {
        let retrievals = self.store.retrievals().histogram("retrieval_time");
        let more = [retrievals, self.env.links.lookups().histogram()];
        [self.gossip.histogram()].into_iter().chain(more.into_iter().flatten()).collect()
    }

    pub(super) fn totals(&self) -> Totals {
        let (events, blocks) = (self.env.schedule.counts(), self.env.ledger.counts());
        let (fetched_bytes, lost_transfers) = self.env.links.transferred();
        Totals {
            events: events.events,
            outputs: self.observer.trace().1,
            records: u64::from(self.gossip.table().total()),
            blocks: self.env.ledger.chain().head().0,
            transactions: blocks.transactions,
            reverted: blocks.reverted,
            gas: blocks.gas,
            delivered: self.observer.delivered(),
            sessions: self.env.population.restarts(),
            most_pending: events.most_pending as u64,
            quantum_shift: real(events.shifted) / real(events.pushed.max(1)),
            lost_transfers,
            fetched_bytes,
            blob_bytes: self.store.blobs().used(),
            wrong_settlements: self.measurements.wrong_settlements(),
            defeated: blocks.defeated,
            reorgs: blocks.reorgs,
            replaced_blocks: blocks.replaced,
            reorg_stops: self.measurements.reorg_stops(),
        }
    }

    fn node_rows(&self) -> Vec<NodeRow> {
        let Self { env, store, settlements, .. } = self;
        let view = env.view();
        let last = view.last_final().map(|state| state.settlement.epoch);
        let settled = last.and_then(|epoch| settlements.of(view, epoch));
        let placement = view.placement(env.last_epoch());
        let sum = |sum: Amount, more: Amount| sum.saturating_add(more);
        let row = |index: usize| {
            let node = env.population.node(index);
            let accounts = env.population.accounts_of(index);
            let earned = accounts.iter().filter_map(|account| settled?.earned(*account));
            let packs = placement.packs_of(node.account);
            // Folded from the contract's own events; the totals are read from the contract.
            let paid = accounts.iter().map(|id| view.claimed(*id));
            NodeRow {
                node: number(index),
                account: node.account,
                kind: node.kind,
                is_online: node.is_online(),
                assigned: packs.len() as u64,
                held: packs.iter().filter(|pack| store.has(index, &pack.hash)).count() as u64,
                earned: earned.fold(Amount::ZERO, sum),
                paid: paid.map(Balance::total).fold(Amount::ZERO, sum),
            }
        };
        (0..env.population.len()).map(row).collect()
    }

    /// Whether a lazy node was paid for storage in an epoch in which that counts.
    fn pays_lazy(&self, counts: impl Fn(&PayoutRow) -> bool) -> bool {
        let lazy = Kind::Adversary(adversary::LAZY_STORAGE.name());
        self.measurements.payouts().iter().any(|row| {
            row.kind == lazy
                && counts(row)
                && row.line.source == Source::Storage
                && !self.referee.work().is_of_output(&row.line)
        })
    }

    fn checks(&self, epochs: &[EpochRow], kinds: &[KindRow], books: &Books) -> Vec<Check> {
        let Self { env, work, measurements, .. } = self;
        let of_epochs = measurements.books().iter().map(|row| &row.books);
        let all_books = || of_epochs.clone().chain([books]);
        let innocent = |row: &EpochRow| {
            row.others_caught == 0 && u64::from(row.storage_faults) == row.adverse_faults
        };
        let mut checks = vec![
            Check::new(
                "the supply is whole after every epoch",
                all_books().all(Books::supply_holds),
            ),
            Check::new(
                "the vault's books balance after every block",
                all_books().all(Books::vault_holds),
            ),
            Check::new("nobody but adversaries is at fault", epochs.iter().all(innocent)),
        ];
        checks.extend(
            Rule::ALL
                .map(|rule| Check::new(rule.words(), !self.referee.broken().contains_key(&rule))),
        );
        if refereeing::are_servers_quick(&env.scenario) {
            let is_honest = |account| {
                let node = env.population.index_of(account);
                node.is_some_and(|node| !env.population.node(node).kind.is_adverse())
            };
            let name = "no answer of an honest server is left unpaid";
            checks.push(Check::new(name, work.market.unpaid(env, is_honest) == Amount::ZERO));
        }
        if super::training::dealt_run(env).is_some() {
            let name = "nobody gains by being its own customer";
            checks.push(Check::new(name, !work.earnings.deals_pay(env, &work.market)));
        }
        if env.population.coalitions().facts().any(|facts| facts.orders_for_itself) {
            let name = "nobody gains by working on runs that it orders";
            checks.push(Check::new(name, !work.earnings.orders_pay()));
        }
        // Where auditors pass what they have not seen, whoever has all of those drawn for it is paid.
        let looks = env.population.coalitions().facts().all(|facts| !facts.passes_unseen);
        if looks && env.scenario.adversaries.iter().all(|plan| plan.from.0 == 0) {
            let lazy = Kind::Adversary(adversary::LAZY_STORAGE.name());
            let mut lazy = kinds.iter().filter(|row| row.kind == lazy);
            // As stakers they have a part of the fees.
            let has_fees = env.scenario.inference.is_on();
            let is_unpaid = lazy.all(|row| has_fees || row.earned.max(row.paid) == Amount::ZERO);
            checks
                .push(Check::new("lazy nodes are unpaid", is_unpaid && !self.pays_lazy(|_| true)));
        }
        // One who looks is enough, however many pass what they have not seen: he disputes it.
        let was_caught =
            |row: &PayoutRow| measurements.caught().contains_key(&(row.epoch, row.account));
        let name = "no lazy node is paid where an honest auditor caught it";
        checks.push(Check::new(name, !self.pays_lazy(was_caught)));
        let mut coalitions = env.population.coalitions().facts();
        if coalitions.all(|facts| !facts.settles_falsely) {
            let name = "no node objected to a settlement";
            checks.push(Check::new(name, measurements.wrong_settlements() == 0));
        }
        if self.is_over() {
            let is_settled = |row: &&EpochRow| row.status == Status::Final;
            let settled = epochs.iter().filter(is_settled).count() as u64;
            let name = "every epoch is settled for good";
            checks.push(Check::new(name, settled == env.scenario.epochs));
        }
        checks
    }
}

#[cfg(test)]
mod tests {
    use crate::{Scenario, Simulation, adversary, chain::Books, scenario::AdversaryPlan};

    /// The books at the start and at the end, compared with everybody's after every block.
    fn books_of(change: impl FnOnce(&mut Scenario)) -> [Books; 2] {
        let mut scenario = Scenario { epochs: 2, ..Scenario::default() };
        scenario.population.nodes = 12;
        scenario.workload.packs = 8;
        scenario.workload.contributors = 2;
        change(&mut scenario);
        let mut simulation = Simulation::new(scenario).unwrap();
        let first = simulation.env.ledger.chain_mut().books().unwrap();
        while simulation.advance().unwrap().is_some() {
            let books = simulation.env.ledger.chain_mut().books().unwrap();
            assert_eq!(
                books,
                simulation.env.ledger.chain_mut().all_books().unwrap(),
                "{:?}",
                simulation.env.now()
            );
            assert!(books.supply_holds() && books.vault_holds(), "{books:?}");
        }
        [first, simulation.env.ledger.chain_mut().books().unwrap()]
    }

    #[test]
    fn books_by_what_moved_are_those_of_everybody_after_every_block() {
        let [first, last] = books_of(|working| {
            working.epochs = 4;
            working.training.gpus = 1.0;
            working.training.rounds = 2;
            working.inference.per_hour = 360.0;
        });
        assert!(
            last.paid > first.paid && last.redeemed > first.redeemed,
            "claims and fees: {last:?}"
        );
        let [first, last] = books_of(|lying| {
            lying.adversaries = vec![AdversaryPlan::new(adversary::FALSE_SETTLEMENT, 0.7)];
            lying.chain.arbiter_blocks = 6;
        });
        assert!(last.staked < first.staked, "bonds were taken");
        let [first, last] = books_of(|reorganised| {
            reorganised.chain.reorg = 0.01;
            reorganised.chain.reorg_depth = 1.5;
        });
        assert!(last.paid > first.paid, "claims");
    }
}
