//! Looks at the network at the end of each epoch, and reports at the end of the run.

use std::{collections::BTreeSet, sync::Arc};

use protocol::{
    Amount, BlobRef, BlockNumber, Epoch, Hash,
    settle::{Source, Unpaid},
};

use super::{RunError, Settled, Simulation, gossip::bin_bound, kpis, number};
use crate::{
    adversary::{self, Settlements},
    chain::Books,
    nodes::Kind,
    referee::Rule,
    report::{
        BooksRow, Check, EpochRow, Histogram, KindRow, NodeRow, PayoutRow, Report, Series, Status,
        Totals,
    },
    scenario::WARM_UP_EPOCHS,
};

/// Reasons of payments that are kept for the report; further ones are only summed.
const MAX_PAYOUTS: usize = 1_000_000;
/// Accounts up to which every balance is added up after every epoch.
const BALANCES_EACH_EPOCH: u32 = 20_000;

impl Simulation {
    /// At the first block of an epoch: what the one before left behind.
    pub(super) fn measure_block(&mut self, block: BlockNumber) -> Result<(), RunError> {
        let schedule = self.chain.view().schedule;
        let now = schedule.epoch_of(block);
        let Some(over) = now.0.checked_sub(1).map(Epoch) else { return Ok(()) };
        if block != schedule.start(now) || !self.reorgs.begins(now) {
            return Ok(());
        }
        if self.scenario.population.nodes <= BALANCES_EACH_EPOCH {
            let books = self.chain.books()?;
            self.books.push(BooksRow { epoch: over, books });
        }
        let online = self.nodes.iter().filter(|node| node.is_online()).count() as u64;
        self.online.push((self.now, online));
        if over.0 >= WARM_UP_EPOCHS && over <= self.last_epoch() {
            let row = self.measure_epoch(over);
            self.epochs.push(row);
        }
        self.forget(now);
        Ok(())
    }

    fn measure_epoch(&self, epoch: Epoch) -> EpochRow {
        let placement = self.chain.view().placement(epoch);
        let mut alive = BTreeSet::<Hash>::new();
        let mut row = EpochRow::new(epoch, self.packs.len() as u64, placement.replicas());
        for (account, packs) in placement.holders() {
            let Some(index) = self.index_of(account) else { continue };
            let node = &self.nodes[index];
            row.holders += 1;
            row.adverse_holders += u64::from(node.kind.is_adverse());
            for BlobRef { hash, .. } in packs {
                if node.is_online() && self.blobs.has(number(index), hash) {
                    row.replicas_live += 1;
                    alive.insert(*hash);
                }
            }
        }
        row.packs_alive = alive.len() as u64;
        row
    }

    /// An epoch has its final settlement: counts what it says, of which only sums are kept.
    pub(super) fn fold_epoch(&mut self, epoch: Epoch) {
        let settled = self.settled(epoch).cloned();
        if let Some(place) = self.epochs.iter().position(|row| row.epoch == epoch) {
            let mut row = self.epochs[place].clone();
            self.fill_row(&mut row, settled.as_deref());
            self.epochs[place] = row;
        }
        let Some(settled) = settled else { return };
        self.operate(&settled.outcome.lines, epoch);
        self.take(epoch, &settled.outcome);
        for line in &settled.outcome.lines {
            let Some(index) = self.index_of(line.account) else { continue };
            if self.payouts.len() < MAX_PAYOUTS {
                let kind = self.nodes[index].kind;
                self.payouts.push(PayoutRow { epoch, account: line.account, kind, line: *line });
            }
        }
    }

    /// What the chain says of an epoch that was measured.
    fn fill_row(&self, row: &mut EpochRow, settled: Option<&Settled>) {
        let epoch = row.epoch;
        let Some(state) = self.chain.view().settlement(epoch) else { return };
        row.status = if state.is_final { Status::Final } else { Status::Proposed };
        row.proposed_block = Some(state.proposed);
        row.final_block = self.final_at.get(&epoch).copied();
        row.replicas_proven = state.settlement.replicas_proven;
        row.storage_faults = state.settlement.storage_faults;
        row.total = state.settlement.total;
        row.adverse_caught = self.caught_of(epoch, true);
        row.others_caught = self.caught_of(epoch, false);
        let Some(settled) = settled else { return };
        for zero in &settled.outcome.zeros {
            let Some(index) = self.index_of(zero.account) else { continue };
            let kind = self.nodes[index].kind;
            if kind == Kind::Honest {
                row.count_unpaid(zero.reason);
            } else if zero.reason == Unpaid::WrongProof {
                row.adverse_faults += u64::from(kind.is_adverse());
            }
        }
    }

    fn caught_of(&self, epoch: Epoch, is_adverse: bool) -> u64 {
        let first = (epoch, protocol::AccountId(0));
        let last = (epoch.next(), protocol::AccountId(0));
        let accounts = self.caught.range(first..last).map(|((_, account), _)| *account);
        let indices = accounts.filter_map(|account| self.index_of(account));
        indices.filter(|i| self.nodes[*i].kind.is_adverse() == is_adverse).count() as u64
    }

    /// The result of the run so far.
    ///
    /// # Errors
    /// [`RunError`] when the contracts cannot be read.
    pub fn report(&mut self) -> Result<Report, RunError> {
        let mut epochs = self.epochs.clone();
        for row in epochs.iter_mut().filter(|row| row.status != Status::Final) {
            let settled = self.settled(row.epoch).map(Arc::clone);
            self.fill_row(row, settled.as_deref());
        }
        let nodes = self.node_rows()?;
        let books = self.chain.all_books()?;
        let kinds = KindRow::all(&nodes);
        if self.is_over {
            self.judge_branches();
        }
        let checks = self.checks(&epochs, &kinds, &books);
        let kpis = kpis::all(self, &epochs, &kinds, &nodes);
        Ok(Report {
            scenario: self.scenario.clone(),
            trace: self.trace_hash(),
            is_complete: self.is_over,
            time: self.now,
            series: self.series(&epochs),
            histograms: self.histograms(),
            totals: self.totals(),
            epochs,
            kinds,
            payouts: self.payouts.clone(),
            nodes,
            books: self.books.clone(),
            final_books: books,
            checks,
            findings: self.referee.broken().values().cloned().collect(),
            kpis,
        })
    }

    #[expect(clippy::cast_precision_loss, reason = "figures for plots")]
    fn series(&self, epochs: &[EpochRow]) -> Vec<Series> {
        let schedule = self.chain.view().schedule;
        let end = |row: &EpochRow| {
            let block = schedule.start(row.epoch.next()).0;
            crate::kernel::Time(self.scenario.chain.block.0.saturating_mul(block))
        };
        let by_epoch = |name, unit, of: fn(&EpochRow) -> f64| Series {
            name,
            unit,
            points: epochs.iter().map(|row| (end(row), of(row))).collect(),
        };
        let share = |part: u64, whole: u64| part as f64 / whole.max(1) as f64;
        vec![
            Series {
                name: "nodes_online",
                unit: "nodes",
                points: self.online.iter().map(|(at, count)| (*at, *count as f64)).collect(),
            },
            by_epoch("packs_alive", "packs", |row| row.packs_alive as f64),
            by_epoch("replicas_live", "replicas", |row| row.replicas_live as f64),
            by_epoch("replicas_proven", "replicas", |row| f64::from(row.replicas_proven)),
            by_epoch("storage_faults", "holders", |row| f64::from(row.storage_faults)),
            Series {
                name: "availability",
                unit: "share of packs",
                points: epochs.iter().map(|r| (end(r), share(r.packs_alive, r.packs))).collect(),
            },
        ]
    }

    fn histograms(&self) -> Vec<Histogram> {
        let bins = self.delays.iter().map(|(bin, count)| (bin_bound(*bin), *count)).collect();
        let delivery = Histogram { name: "delivery_time", unit: "ms", bins };
        let more = [self.retrievals.histogram("retrieval_time"), self.lookups.histogram()];
        [delivery].into_iter().chain(more.into_iter().flatten()).collect()
    }

    #[expect(clippy::cast_precision_loss, reason = "a mean for people")]
    pub(super) fn totals(&self) -> Totals {
        let (added, events) = self.tally.rounded;
        Totals {
            events: self.tally.events,
            outputs: self.trace.outputs(),
            records: u64::from(self.records.total()),
            blocks: self.chain.head().0,
            transactions: self.tally.transactions,
            reverted: self.tally.reverted,
            refused: self.chain.refused(),
            gas: self.tally.gas,
            delivered: self.tally.delivered,
            sessions: self.tally.sessions,
            most_pending: self.tally.most_pending as u64,
            quantum_shift: added as f64 / events.max(1) as f64,
            lost_transfers: self.tally.lost_transfers,
            fetched_bytes: self.tally.fetched_bytes,
            blob_bytes: self.blobs.used(),
            wrong_settlements: self.tally.wrong_settlements,
            defeated: self.tally.defeated,
            reorgs: self.reorgs.count,
            replaced_blocks: self.reorgs.blocks,
            reorg_stops: self.reorgs.stops,
        }
    }

    fn node_rows(&mut self) -> Result<Vec<NodeRow>, RunError> {
        let last = self.chain.view().last_final().map(|state| state.settlement.epoch);
        let settled = last.and_then(|epoch| self.settled(epoch)).cloned();
        let placement = self.chain.view().placement(self.last_epoch());
        let mut rows = Vec::new();
        for index in 0..self.nodes.len() {
            let node = &self.nodes[index];
            let (kind, account, is_online) = (node.kind, node.account, node.is_online());
            let mut accounts = self.former.get(&number(index)).cloned().unwrap_or_default();
            accounts.push(account);
            let earned = |of: &protocol::AccountId| {
                let leaves = &settled.as_ref()?.outcome.leaves;
                let found = leaves.binary_search_by_key(of, |(id, _)| *id).ok()?;
                Some(leaves[found].1)
            };
            let sum = |sum: Amount, more: Amount| sum.saturating_add(more);
            let earned = accounts.iter().filter_map(earned).fold(Amount::ZERO, sum);
            let packs = placement.packs_of(account);
            let held =
                packs.iter().filter(|pack| self.blobs.has(number(index), &pack.hash)).count();
            let assigned = packs.len() as u64;
            // Folded from the contract's own events; the totals are read from the contract.
            let paid = accounts.iter().map(|id| self.chain.view().claimed(*id));
            rows.push(NodeRow {
                node: number(index),
                account,
                kind,
                is_online,
                assigned,
                held: held as u64,
                earned,
                paid: paid.fold(Amount::ZERO, sum),
            });
        }
        Ok(rows)
    }

    /// Whether a lazy node was paid for storage.
    fn pays_lazy(&self) -> bool {
        let lazy = Kind::Adversary(adversary::LAZY_STORAGE.name());
        self.payouts.iter().any(|row| {
            row.kind == lazy
                && row.line.source == Source::Storage
                && !self.referee.work().is_of_output(&row.line)
        })
    }

    fn checks(&self, epochs: &[EpochRow], kinds: &[KindRow], books: &Books) -> Vec<Check> {
        let all_books = || self.books.iter().map(|row| &row.books).chain([books]);
        let is_settled = |row: &EpochRow| row.status == Status::Final;
        let lazy = Kind::Adversary(adversary::LAZY_STORAGE.name());
        let mut lazy = kinds.iter().filter(|row| row.kind == lazy);
        let is_early = self.scenario.adversaries.iter().all(|plan| plan.from.0 == 0);
        // As stakers they have a part of the fees.
        let has_fees = self.scenario.inference.is_on();
        let is_unpaid = lazy.all(|row| has_fees || row.earned.max(row.paid) == Amount::ZERO)
            && !self.pays_lazy();
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
        if self.dealt_run().is_some() {
            let name = "nobody gains by being its own customer";
            checks.push(Check::new(name, !self.deals_pay()));
        }
        if is_early {
            checks.push(Check::new("lazy nodes are unpaid", is_unpaid));
        }
        let has_liar = self.coalitions.facts().any(|facts| facts.settlements != Settlements::True);
        if !has_liar {
            let name = "no node objected to a settlement";
            checks.push(Check::new(name, self.tally.wrong_settlements == 0));
        }
        if self.is_over {
            let wanted = self.scenario.epochs;
            let settled = epochs.iter().filter(|row| is_settled(row)).count() as u64;
            checks.push(Check::new("every epoch is settled for good", settled == wanted));
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
        let first = simulation.chain.books().unwrap();
        while simulation.advance().unwrap().is_some() {
            let books = simulation.chain.books().unwrap();
            assert_eq!(books, simulation.chain.all_books().unwrap(), "{:?}", simulation.now);
            assert!(books.supply_holds() && books.vault_holds(), "{books:?}");
        }
        [first, simulation.chain.books().unwrap()]
    }

    #[test]
    fn books_by_what_moved_are_those_of_everybody_after_every_block() {
        let [first, last] = books_of(|working| {
            working.training.rounds = 2;
            working.inference.per_hour = 360.0;
        });
        assert!(last.paid > first.paid && last.redeemed > first.redeemed, "claims and fees");
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
