//! What is seen of the network at the end of each epoch.

use std::collections::{BTreeMap, BTreeSet};

use protocol::{
    AccountId, BlobRef, BlockNumber, Epoch, Hash,
    node::Event as NodeEvent,
    settle::{Line, Unpaid},
};

use super::{env::Env, settlements::Settled, store::Store};
use crate::{
    chain::ChainError,
    kernel::{Time, real},
    nodes::Kind,
    report::{BooksRow, EpochRow, PayoutRow, Series, Status},
    scenario::{ChurnModel, WARM_UP_EPOCHS},
};

/// Reasons of payments that are kept for the report; further ones are only summed.
const MAX_PAYOUTS: usize = 1_000_000;
/// Accounts up to which every balance is added up after every epoch.
const BALANCES_EACH_EPOCH: u32 = 20_000;

/// Rows of a report, as far as the run came.
#[derive(Default)]
pub(super) struct Measurements {
    epochs: Vec<EpochRow>,
    books: Vec<BooksRow>,
    payouts: Vec<PayoutRow>,
    /// How many nodes were online at the end of each epoch.
    online: Vec<(Time, u64)>,
    /// Whom honest auditors caught, and when first.
    caught: BTreeMap<(Epoch, AccountId), Time>,
    wrong_settlements: u64,
    /// How often a node stopped since blocks that it had read were replaced.
    reorg_stops: u64,
}

impl Measurements {
    pub(super) fn epochs(&self) -> &[EpochRow] {
        &self.epochs
    }

    pub(super) fn books(&self) -> &[BooksRow] {
        &self.books
    }

    pub(super) fn payouts(&self) -> &[PayoutRow] {
        &self.payouts
    }

    /// Whom honest auditors caught, and when first.
    pub(super) const fn caught(&self) -> &BTreeMap<(Epoch, AccountId), Time> {
        &self.caught
    }

    /// How often a node objected to a settlement.
    pub(super) const fn wrong_settlements(&self) -> u64 {
        self.wrong_settlements
    }

    pub(super) const fn reorg_stops(&self) -> u64 {
        self.reorg_stops
    }

    pub(super) const fn note_reorg_stops(&mut self, nodes: u64) {
        self.reorg_stops += nodes;
    }

    /// The machine of a node tells of another's fault; whether this was about that.
    pub(super) fn note(&mut self, env: &Env, index: usize, event: &NodeEvent) -> bool {
        let is_honest = !env.population.node(index).kind.is_adverse();
        match event {
            NodeEvent::StorageFault { account, epoch } if is_honest => {
                self.caught.entry((*epoch, *account)).or_insert(env.now());
            }
            NodeEvent::WrongSettlement { .. } => self.wrong_settlements += 1,
            _ => return false,
        }
        true
    }

    /// At the first block of an epoch: what the one before left behind. The epoch that begins.
    ///
    /// # Errors
    /// [`ChainError`] when the contracts cannot be read.
    pub(super) fn block(
        &mut self,
        env: &mut Env,
        store: &Store,
        block: BlockNumber,
    ) -> Result<Option<Epoch>, ChainError> {
        let schedule = env.view().schedule;
        let now = schedule.epoch_of(block);
        let Some(over) = now.0.checked_sub(1).map(Epoch) else { return Ok(None) };
        if block != schedule.start(now) || !env.ledger.begins(now) {
            return Ok(None);
        }
        if env.scenario.population.nodes <= BALANCES_EACH_EPOCH {
            self.books.push(BooksRow { epoch: over, books: env.ledger.chain_mut().books()? });
        }
        self.online.push((env.now(), env.population.online()));
        if over.0 >= WARM_UP_EPOCHS && over <= env.last_epoch() {
            self.epochs.push(epoch_row(env, store, over));
        }
        Ok(Some(now))
    }

    /// An epoch has its final settlement: what the chain says of it goes into its row.
    pub(super) fn note_final(&mut self, env: &Env, epoch: Epoch, settled: Option<&Settled>) {
        if let Some(place) = self.epochs.iter().position(|row| row.epoch == epoch) {
            let mut row = self.epochs[place].clone();
            self.fill(env, &mut row, settled);
            self.epochs[place] = row;
        }
    }

    /// Keeps the reasons of payments.
    pub(super) fn note_payouts(&mut self, env: &Env, epoch: Epoch, lines: &[Line]) {
        for line in lines {
            let Some(index) = env.population.index_of(line.account) else { continue };
            if self.payouts.len() < MAX_PAYOUTS {
                let kind = env.population.node(index).kind;
                self.payouts.push(PayoutRow { epoch, account: line.account, kind, line: *line });
            }
        }
    }

    /// What the chain says of an epoch that was measured.
    pub(super) fn fill(&self, env: &Env, row: &mut EpochRow, settled: Option<&Settled>) {
        let epoch = row.epoch;
        let Some(state) = env.view().settlement(epoch) else { return };
        row.status = if state.is_final { Status::Final } else { Status::Proposed };
        row.proposed_block = Some(state.proposed);
        row.final_block = env.ledger.final_at(epoch);
        row.replicas_proven = state.settlement.replicas_proven;
        row.storage_faults = state.settlement.storage_faults;
        row.total = state.settlement.total;
        row.adverse_caught = self.caught_in(env, epoch, true);
        row.others_caught = self.caught_in(env, epoch, false);
        let Some(settled) = settled else { return };
        for zero in &settled.outcome.zeros {
            let Some(index) = env.population.index_of(zero.account) else { continue };
            let kind = env.population.node(index).kind;
            if kind == Kind::Honest {
                row.count_unpaid(zero.reason);
            }
            if matches!(zero.reason, Unpaid::WrongProof | Unpaid::NotShown) {
                let is_theirs = kind.is_adverse()
                    || is_failed_falsely(env, epoch, zero.account)
                    || (zero.reason == Unpaid::NotShown && may_be_away(env, kind));
                row.adverse_faults += u64::from(is_theirs);
            }
        }
    }

    fn caught_in(&self, env: &Env, epoch: Epoch, is_adverse: bool) -> u64 {
        let (first, last) = ((epoch, AccountId(0)), (epoch.next(), AccountId(0)));
        let accounts = self.caught.range(first..last).map(|((_, account), _)| *account);
        let indices = accounts.filter_map(|account| env.population.index_of(account));
        let is_such = |index: &usize| env.population.node(*index).kind.is_adverse() == is_adverse;
        indices.filter(is_such).count() as u64
    }

    /// Series over time, from rows that were filled.
    pub(super) fn series(&self, env: &Env, epochs: &[EpochRow]) -> Vec<Series> {
        let schedule = env.view().schedule;
        let end = |row: &EpochRow| {
            let block = schedule.start(row.epoch.next()).0;
            Time(env.scenario.chain.block.0.saturating_mul(block))
        };
        let by_epoch = |name, unit, of: fn(&EpochRow) -> f64| Series {
            name,
            unit,
            points: epochs.iter().map(|row| (end(row), of(row))).collect(),
        };
        let share = |part: u64, whole: u64| real(part) / real(whole.max(1));
        vec![
            Series {
                name: "nodes_online",
                unit: "nodes",
                points: self.online.iter().map(|(at, count)| (*at, real(*count))).collect(),
            },
            by_epoch("packs_alive", "packs", |row| real(row.packs_alive)),
            by_epoch("replicas_live", "replicas", |row| real(row.replicas_live)),
            by_epoch("replicas_proven", "replicas", |row| f64::from(row.replicas_proven)),
            by_epoch("storage_faults", "holders", |row| f64::from(row.storage_faults)),
            Series {
                name: "availability",
                unit: "share of packs",
                points: epochs.iter().map(|r| (end(r), share(r.packs_alive, r.packs))).collect(),
            },
        ]
    }
}

/// Who holds what of an epoch that is over.
fn epoch_row(env: &Env, store: &Store, epoch: Epoch) -> EpochRow {
    let placement = env.view().placement(epoch);
    let mut alive = BTreeSet::<Hash>::new();
    let mut row = EpochRow::new(epoch, store.packs() as u64, placement.replicas());
    for (account, packs) in placement.holders() {
        let Some(index) = env.population.index_of(account) else { continue };
        let node = env.population.node(index);
        row.holders += 1;
        row.adverse_holders += u64::from(node.kind.is_adverse());
        for BlobRef { hash, .. } in packs {
            if node.is_online() && store.has(index, hash) {
                row.replicas_live += 1;
                alive.insert(*hash);
            }
        }
    }
    row.packs_alive = alive.len() as u64;
    row
}

/// Whether a node may be gone when it is asked for what it holds: then it is at fault, however honest.
fn may_be_away(env: &Env, kind: Kind) -> bool {
    let scenario = &env.scenario;
    kind == Kind::Offline || scenario.churn.model != ChurnModel::None || !scenario.events.is_empty()
}

/// Whether an auditor that fails what is right was drawn for a holder.
fn is_failed_falsely(env: &Env, epoch: Epoch, holder: AccountId) -> bool {
    let (population, auditors) = (&env.population, env.view().storage_auditors(epoch, holder));
    let is_false = |auditor: AccountId| {
        let coalition = population.node(population.index_of(auditor)?).coalition()?;
        Some(population.coalitions().get(coalition)?.facts.fails_the_right)
    };
    auditors.holders().into_iter().any(|auditor| is_false(auditor) == Some(true))
}
