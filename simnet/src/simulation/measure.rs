//! Looks at the network at the end of each epoch, and reports at the end of the run.

use std::collections::BTreeSet;

use protocol::{Amount, BlockNumber, Epoch, Hash, settle::Unpaid};

use super::{RunError, Simulation, kpis, number};
use crate::{
    chain::Books,
    nodes::Kind,
    referee::Rule,
    report::{BooksRow, Check, EpochRow, KindRow, NodeRow, PayoutRow, Report, Status, Totals},
    scenario::{AdversaryKind, WARM_UP_EPOCHS},
};

impl Simulation {
    /// At the first block of an epoch: what the one before left behind.
    pub(super) fn measure_block(&mut self, block: BlockNumber) -> Result<(), RunError> {
        let schedule = self.chain.view().schedule;
        let now = schedule.epoch_of(block);
        let Some(over) = now.0.checked_sub(1).map(Epoch) else { return Ok(()) };
        if block != schedule.start(now) {
            return Ok(());
        }
        let books = self.chain.books()?;
        self.books.push(BooksRow { epoch: over, books });
        if over.0 >= WARM_UP_EPOCHS && over <= self.last_epoch() {
            let row = self.measure_epoch(over);
            self.epochs.push(row);
        }
        Ok(())
    }

    fn measure_epoch(&self, epoch: Epoch) -> EpochRow {
        let placement = self.chain.view().placement(epoch);
        let mut alive = BTreeSet::<Hash>::new();
        let mut row = EpochRow::new(epoch, self.packs.len() as u64, placement.replicas());
        for (account, packs) in placement.holders() {
            let Some(index) = self.by_account.get(&account) else { continue };
            let node = &self.nodes[*index as usize];
            row.holders += 1;
            row.adverse_holders += u64::from(node.kind.is_adverse());
            for (hash, _) in packs {
                if node.is_online && self.blobs.has(*index, hash) {
                    row.replicas_live += 1;
                    alive.insert(*hash);
                }
            }
        }
        row.packs_alive = alive.len() as u64;
        row
    }

    /// What the chain says of the epochs that were measured.
    fn settle_rows(&self) -> Vec<EpochRow> {
        let mut rows = self.epochs.clone();
        for row in &mut rows {
            let epoch = row.epoch;
            let Some(state) = self.chain.view().settlement(epoch) else { continue };
            row.status = if state.is_final { Status::Final } else { Status::Proposed };
            row.proposed_block = Some(state.proposed);
            row.final_block = self.final_at.get(&epoch).copied();
            row.replicas_proven = state.settlement.replicas_proven;
            row.storage_faults = state.settlement.storage_faults;
            row.total = state.settlement.total;
            row.adverse_caught = self.caught_of(epoch, true);
            row.others_caught = self.caught_of(epoch, false);
            let Some(settled) = self.settled(epoch) else { continue };
            for zero in &settled.outcome.zeros {
                let Some(index) = self.by_account.get(&zero.account) else { continue };
                if self.nodes[*index as usize].kind == Kind::Honest {
                    row.count_unpaid(zero.reason);
                } else if zero.reason == Unpaid::WrongProof {
                    let is_adverse = self.nodes[*index as usize].kind.is_adverse();
                    row.adverse_faults += u64::from(is_adverse);
                }
            }
        }
        rows
    }

    fn caught_of(&self, epoch: Epoch, is_adverse: bool) -> u64 {
        let of_kind = |account| {
            let index = self.by_account.get(account);
            index.is_some_and(|i| self.nodes[*i as usize].kind.is_adverse() == is_adverse)
        };
        self.caught.iter().filter(|(e, account)| *e == epoch && of_kind(account)).count() as u64
    }

    /// The result of the run so far.
    ///
    /// # Errors
    /// [`RunError`] when the contracts cannot be read.
    pub fn report(&mut self) -> Result<Report, RunError> {
        let epochs = self.settle_rows();
        let nodes = self.node_rows()?;
        let books = self.chain.books()?;
        let kinds = KindRow::all(&nodes);
        let checks = self.checks(&epochs, &kinds, &books);
        let kpis = kpis::all(&epochs, &kinds, &nodes, &self.totals());
        Ok(Report {
            scenario: self.scenario.clone(),
            trace: self.trace_hash(),
            is_complete: self.is_over,
            time: self.now,
            epochs,
            kinds,
            payouts: self.payout_rows(),
            nodes,
            books: self.books.clone(),
            final_books: books,
            totals: self.totals(),
            checks,
            findings: self.referee.broken().values().cloned().collect(),
            kpis,
            series: Vec::new(),
            histograms: Vec::new(),
        })
    }

    fn totals(&self) -> Totals {
        Totals {
            events: self.tally.events,
            outputs: self.trace.outputs(),
            records: self.records.len() as u64,
            blocks: self.chain.head().0,
            transactions: self.tally.transactions,
            reverted: self.tally.reverted,
            refused: self.chain.refused(),
            gas: self.tally.gas,
            gossip_sent: self.tally.gossip_sent,
            gossip_lost: self.tally.gossip_lost,
            pulled: self.tally.pulled,
            fetched_bytes: self.tally.fetched_bytes,
            blob_bytes: self.blobs.used(),
            wrong_settlements: self.tally.wrong_settlements,
        }
    }

    fn node_rows(&mut self) -> Result<Vec<NodeRow>, RunError> {
        let last = self.chain.view().last_final().map(|state| state.settlement.epoch);
        let settled = last.and_then(|epoch| self.settled(epoch)).cloned();
        let placement = self.chain.view().placement(self.last_epoch());
        let mut rows = Vec::new();
        for index in 0..self.nodes.len() {
            let node = &self.nodes[index];
            let earned = settled.as_ref().and_then(|settled| {
                let leaves = &settled.outcome.leaves;
                let found = leaves.binary_search_by_key(&node.account, |(id, _)| *id).ok()?;
                Some(leaves[found].1)
            });
            let (kind, account, is_online) = (node.kind, node.account, node.is_online);
            let packs = placement.packs_of(account);
            let held = packs.iter().filter(|(hash, _)| self.blobs.has(number(index), hash)).count();
            rows.push(NodeRow {
                node: number(index),
                account,
                kind,
                is_online,
                assigned: packs.len() as u64,
                held: held as u64,
                earned: earned.unwrap_or(Amount::ZERO),
                paid: self.chain.claimed(account)?,
            });
        }
        Ok(rows)
    }

    fn payout_rows(&self) -> Vec<PayoutRow> {
        let mut rows = Vec::new();
        for epoch in (WARM_UP_EPOCHS..=self.last_epoch().0).map(Epoch) {
            let Some(settled) = self.settled(epoch) else { continue };
            for line in &settled.outcome.lines {
                let Some(index) = self.by_account.get(&line.account) else { continue };
                let kind = self.nodes[*index as usize].kind;
                rows.push(PayoutRow { epoch, account: line.account, kind, line: *line });
            }
        }
        rows
    }

    fn checks(&self, epochs: &[EpochRow], kinds: &[KindRow], books: &Books) -> Vec<Check> {
        let all_books = || self.books.iter().map(|row| &row.books).chain([books]);
        let is_settled = |row: &EpochRow| row.status == Status::Final;
        let lazy = Kind::Adversary(AdversaryKind::LazyStorage.name());
        let mut lazy = kinds.iter().filter(|row| row.kind == lazy);
        let is_unpaid = lazy.all(|row| row.earned == Amount::ZERO && row.paid == Amount::ZERO);
        let innocent = |row: &EpochRow| {
            row.others_caught == 0 && u64::from(row.storage_faults) == row.adverse_faults
        };
        let mut checks = vec![
            Check::new(
                "the supply is whole after every epoch",
                all_books().all(Books::supply_holds),
            ),
            Check::new(
                "the vault's books balance after every epoch",
                all_books().all(Books::vault_holds),
            ),
            Check::new("lazy nodes are unpaid", is_unpaid),
            Check::new("nobody but adversaries is at fault", epochs.iter().all(innocent)),
            Check::new("no node objected to a settlement", self.tally.wrong_settlements == 0),
        ];
        checks.extend(
            Rule::ALL
                .map(|rule| Check::new(rule.words(), !self.referee.broken().contains_key(&rule))),
        );
        if self.is_over {
            let wanted = self.scenario.epochs;
            let settled = epochs.iter().filter(|row| is_settled(row)).count() as u64;
            checks.push(Check::new("every epoch is settled for good", settled == wanted));
        }
        checks
    }
}
