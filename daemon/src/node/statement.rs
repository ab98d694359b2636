//! An account's statement: page by page, every line of every settlement, narrowed to a Datanet, a model, an
//! output or a unit.

use std::collections::BTreeSet;
use std::sync::Arc;

use compute::serve::{MAX_TRANSCRIPT_BYTES, PublishedUse};
use protocol::attribution::{WeighParams, unit_shares};
use protocol::balance::{Balance, Due};
use protocol::chain::ChainView;
use protocol::codec::Wire;
use protocol::math::{mul_div, split};
use protocol::node::Failure;
use protocol::settle::{Division, Outcome, Output, Source, Work, trained_on};
use protocol::{AccountId, Amount, DatanetId, Digest, Epoch, Hash, ModelId};

use super::failures::not_served;
use super::handle::{NodeHandle, why};

/// Lines after which a page ends with its epoch, and epochs that one page looks at.
const PAGE_LINES: usize = 2_000;
const PAGE_EPOCHS: u64 = 256;
/// Outputs whose attribution one page repeats, to divide a line among units: each takes a moment of computing.
const PAGE_REPEATS: usize = 32;

/// What of a statement is asked for; each that is given narrows it further.
#[derive(Debug, Clone, Copy, Default)]
pub struct StatementQuery {
    /// The account; the owner of the unit where one is given, this node's own otherwise.
    pub account: Option<AccountId>,
    /// Only what concerns models trained on this Datanet.
    pub datanet: Option<DatanetId>,
    /// Only what concerns this model.
    pub model: Option<ModelId>,
    /// Only what this record earned: the attribution of an output, or any other.
    pub output: Option<Digest>,
    /// Only what outputs earned by this unit.
    pub unit: Option<Hash>,
    /// The first epoch.
    pub since: Epoch,
}

/// Why there is no statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StatementError {
    /// This node has no account.
    #[error("this node has no account yet; `openledger status` says what it waits for")]
    NoAccount,
    /// The chain knows no such account.
    #[error("there is no account {0}")]
    UnknownAccount(AccountId),
    /// The chain knows no such Datanet.
    #[error("there is no Datanet {0}; `openledger datanet ls` lists them")]
    UnknownDatanet(DatanetId),
    /// The chain knows no such model.
    #[error("there is no model {0}; `openledger model ls` lists them")]
    UnknownModel(ModelId),
    /// No run that this node has the data of read such a unit.
    #[error(
        "no run whose data this node holds has a unit {0}; `openledger attribute --json` lists units with \
         their hashes, and a node that took part in the run holds its data"
    )]
    UnknownUnit(Hash),
    /// The unit is of another account.
    #[error("unit {unit} is of account {owner}; leave --account out")]
    OthersUnit {
        /// BLAKE3 hash of the unit that was asked about.
        unit: Hash,
        /// Who contributed it.
        owner: AccountId,
    },
    /// The epoch is yet to come.
    #[error("epoch {since} has not begun; the chain is in epoch {now}")]
    Future {
        /// The epoch that was asked for.
        since: Epoch,
        /// The one now.
        now: Epoch,
    },
}

/// Where an amount stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Paid to the account's payout address.
    Paid,
    /// Earned without the least stake that counts, and made stake by a claim.
    Staked,
    /// Final, and paid by the next claim.
    Claimable,
    /// Final, earned without the least stake that counts, and held until it is one.
    Held,
    /// In a settlement that is not final yet, and may still be challenged.
    Pending,
    /// It earned nothing.
    Zero,
    /// Only for a unit: this node cannot say which part of the line it earned.
    Unknown,
}

/// One line of a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatementRow {
    /// The epoch that was settled.
    pub epoch: Epoch,
    /// The kind of work.
    pub source: Source,
    /// The record behind it; zero where there is none.
    pub record: Digest,
    /// The model that the record is about.
    pub model: Option<ModelId>,
    /// The Datanet that the model was trained on.
    pub datanet: Option<DatanetId>,
    /// What it earned; of a unit, its part.
    pub amount: Amount,
    /// What of that was claimed.
    pub claimed: Amount,
    /// What the record earned the account by all its units; only of a unit.
    pub whole: Option<Amount>,
    /// Where it stands.
    pub standing: Standing,
    /// Why it earned nothing, or how it was divided.
    pub note: Option<String>,
}

/// A part of a statement.
#[derive(Debug, Clone)]
pub struct StatementPage {
    /// Whose it is.
    pub account: AccountId,
    /// By epoch, in the order of the settlements.
    pub rows: Vec<StatementRow>,
    /// Epochs of which this node knows no lines, each with the reason.
    pub gaps: Vec<(Epoch, String)>,
    /// What the account had earned before the first epoch of the page; none where that is not known.
    pub before: Option<Balance>,
    /// Whether a settlement of the page names the record that was asked for.
    pub is_named: bool,
    /// The last epoch whose settlement is final, and the account's leaf of its payout tree; none where there is
    /// no final settlement, or this node cannot recompute it now.
    pub leaf: Option<(Epoch, Balance)>,
    /// What the vault has paid, or made stake.
    pub claimed: Balance,
    /// What a claim would do now.
    pub due: Due,
    /// The epoch now.
    pub now: Epoch,
    /// Where the next page begins.
    pub next: Option<Epoch>,
}

/// A statement as it is made.
struct Pages<'a> {
    node: &'a NodeHandle,
    chain: Arc<ChainView>,
    account: AccountId,
    query: StatementQuery,
    /// Those trained on the account's data.
    models: BTreeSet<ModelId>,
    /// Those that read the unit which is asked about.
    of_unit: BTreeSet<ModelId>,
    /// Outputs whose attribution was repeated.
    repeats: usize,
}

impl NodeHandle {
    /// A page of a statement, from an epoch on. It ends after so many lines or epochs; then it names the next.
    ///
    /// # Errors
    /// [`StatementError`] for what the chain or this node does not know.
    pub async fn statement(&self, query: StatementQuery) -> Result<StatementPage, StatementError> {
        let chain = self.chain();
        let account = self.account_of_statement(&chain, &query)?;
        let leaf = match chain.last_final().map(|last| last.settlement) {
            Some(last) => {
                let outcome = self.inner.worker.settler.confirmed(&chain, &last).await;
                outcome.ok().map(|outcome| (last.epoch, outcome.earned(account)))
            }
            None => None,
        };
        let claimed = chain.claimed(account);
        let due = leaf.map_or_else(Due::default, |(_, earned)| chain.claimable(account, earned));
        let mut page = StatementPage {
            account,
            rows: Vec::new(),
            gaps: Vec::new(),
            // Before the first epoch nobody had earned anything.
            before: (query.since == Epoch(0)).then_some(Balance::ZERO),
            is_named: false,
            leaf,
            claimed,
            due,
            now: chain.epoch(),
            next: None,
        };
        let models = trained_on(&chain, account);
        let of_unit =
            query.unit.map(|unit| self.readers_of(&chain, unit).map(|(id, _)| id).collect());
        let of_unit = of_unit.unwrap_or_default();
        let mut pages = Pages { node: self, chain, account, query, models, of_unit, repeats: 0 };
        pages.fill(&mut page).await;
        Ok(page)
    }

    /// Whose statement is asked for, of what exists.
    fn account_of_statement(
        &self,
        chain: &ChainView,
        query: &StatementQuery,
    ) -> Result<AccountId, StatementError> {
        let now = chain.epoch();
        if query.since > now {
            return Err(StatementError::Future { since: query.since, now });
        }
        if let Some(id) = query.model.filter(|id| chain.model(*id).is_none()) {
            return Err(StatementError::UnknownModel(id));
        }
        if let Some(id) = query.datanet.filter(|id| chain.datanet(*id).is_none()) {
            return Err(StatementError::UnknownDatanet(id));
        }
        if let Some(id) = query.account.filter(|id| chain.account(*id).is_none()) {
            return Err(StatementError::UnknownAccount(id));
        }
        if let Some(unit) = query.unit {
            let owner = self.readers_of(chain, unit).next().map(|(_, owner)| owner);
            let owner = owner.ok_or(StatementError::UnknownUnit(unit))?;
            return match query.account {
                Some(account) if account != owner => {
                    Err(StatementError::OthersUnit { unit, owner })
                }
                _ => Ok(owner),
            };
        }
        query.account.or_else(|| self.account()).ok_or(StatementError::NoAccount)
    }

    /// The models that read a unit, of those whose data this node holds, each with who is paid for it.
    fn readers_of(
        &self,
        chain: &ChainView,
        unit: Hash,
    ) -> impl Iterator<Item = (ModelId, AccountId)> {
        let worker = &self.inner.worker;
        let runs = chain.models().filter_map(|(_, m)| Some((m.id, worker.run_data(m.id)?)));
        runs.filter_map(move |(model, run)| {
            let found = run.units.iter().find(|other| other.hash == unit)?;
            Some((model, found.owner))
        })
    }
}

impl Pages<'_> {
    async fn fill(&mut self, page: &mut StatementPage) {
        let since = self.query.since;
        let mut epoch = since;
        while epoch <= page.now {
            let is_full = page.rows.len() >= PAGE_LINES
                || self.repeats >= PAGE_REPEATS
                || epoch.0.saturating_sub(since.0) >= PAGE_EPOCHS;
            if is_full {
                page.next = Some(epoch);
                return;
            }
            // An epoch that nobody has proposed a settlement of has no lines yet.
            if let Some(state) = self.chain.settlement(epoch).copied() {
                let settler = &self.node.inner.worker.settler;
                match settler.confirmed(&self.chain, &state.settlement).await {
                    Ok(outcome) => self.add(page, &outcome, state.is_final).await,
                    Err(failure) => page.gaps.push((epoch, why(failure).to_owned())),
                }
            }
            epoch = epoch.next();
        }
    }

    /// Adds what one settlement says.
    async fn add(&mut self, page: &mut StatementPage, outcome: &Outcome, is_final: bool) {
        let epoch = outcome.settlement.epoch;
        let found = match outcome.statement(self.account, page.claimed, &self.models) {
            Ok(found) => found,
            Err(invariant) => {
                page.gaps.push((epoch, invariant.to_string()));
                return;
            }
        };
        if epoch == self.query.since {
            page.before = Some(found.before);
        }
        let named = self.query.output.is_some_and(|record| {
            outcome.works.contains_key(&record)
                || outcome.lines.iter().any(|line| line.record == record)
                || outcome.zeros.iter().any(|zero| zero.record == record)
        });
        page.is_named |= named;
        for entry in found.entries {
            let line = entry.line;
            let is_claimed = entry.claimed == line.amount;
            let standing = match (is_final, line.is_held, is_claimed) {
                (false, ..) => Standing::Pending,
                (true, false, true) => Standing::Paid,
                (true, true, true) => Standing::Staked,
                (true, false, false) => Standing::Claimable,
                (true, true, false) if page.due.stakes > Amount::ZERO => Standing::Claimable,
                (true, true, false) => Standing::Held,
            };
            let claimed = if is_final { entry.claimed } else { Amount::ZERO };
            let row = self.row(outcome, line.source, line.record);
            let row = StatementRow { amount: line.amount, claimed, standing, ..row };
            let work = outcome.works.get(&line.record);
            if self.is_wanted(&row) {
                page.rows.push(self.of_unit(row, work).await);
            }
        }
        for zero in found.zeros {
            let row = self.row(outcome, zero.source, zero.record);
            let row = StatementRow { note: Some(zero.reason.to_string()), ..row };
            if self.is_wanted(&row) {
                page.rows.push(row);
            }
        }
    }

    /// A line of nothing yet.
    fn row(&self, outcome: &Outcome, source: Source, record: Digest) -> StatementRow {
        let model = outcome.works.get(&record).map(|work| work.model);
        let ordered = model.and_then(|model| self.chain.model(model));
        StatementRow {
            epoch: outcome.settlement.epoch,
            source,
            record,
            model,
            datanet: ordered.map(|(_, model)| model.datanet),
            amount: Amount::ZERO,
            claimed: Amount::ZERO,
            whole: None,
            standing: Standing::Zero,
            note: None,
        }
    }

    fn is_wanted(&self, row: &StatementRow) -> bool {
        let StatementQuery { datanet, model, output, unit, .. } = self.query;
        datanet.is_none_or(|datanet| row.datanet == Some(datanet))
            && model.is_none_or(|model| row.model == Some(model))
            && output.is_none_or(|output| row.record == output)
            && (unit.is_none()
                || (row.source == Source::Attribution
                    && row.model.is_some_and(|model| self.of_unit.contains(&model))))
    }

    /// The part of a line that the unit which is asked about earned. A record pays accounts: which of their units
    /// earned it, only repeating the attribution tells, with the data and the transcript.
    async fn of_unit(&mut self, row: StatementRow, work: Option<&Work>) -> StatementRow {
        let (Some(unit), Some(model)) = (self.query.unit, row.model) else { return row };
        let whole = Some(row.amount);
        let unknown = |note: &str| StatementRow {
            amount: Amount::ZERO,
            claimed: Amount::ZERO,
            whole,
            standing: Standing::Unknown,
            note: Some(note.to_owned()),
            ..row.clone()
        };
        let Some(output) = work.and_then(|work| work.output) else {
            return unknown("the settlement does not say of which output it is");
        };
        if output.division != Some(Division::Attributed) {
            return unknown(
                "the fee was divided by the bytes that each account brought, not by unit",
            );
        }
        if self.repeats >= PAGE_REPEATS {
            return unknown("too many outputs in one epoch to repeat them all; ask with --output");
        }
        self.repeats += 1;
        match self.part_of(unit, model, &output, row.amount).await {
            Ok(Amount::ZERO) => StatementRow {
                amount: Amount::ZERO,
                claimed: Amount::ZERO,
                whole,
                standing: Standing::Zero,
                note: Some("other units of the account earned all of it".to_owned()),
                ..row
            },
            Ok(amount) => {
                // Of a line that was claimed in part every unit has as much of its own, rounded down.
                let claimed = mul_div(row.claimed.0, amount.0, row.amount.0).map(Amount);
                StatementRow { amount, claimed: claimed.unwrap_or_default(), whole, ..row }
            }
            Err(failure) => {
                unknown(&format!("this node cannot repeat the attribution: {}", why(failure)))
            }
        }
    }

    /// What of an amount that an output earned a unit's owner is the unit's: all its units together have all of
    /// it, by their parts per million.
    async fn part_of(
        &self,
        unit: Hash,
        model: ModelId,
        output: &Output,
        amount: Amount,
    ) -> Result<Amount, Failure> {
        let worker = &self.node.inner.worker;
        let checkpoint = worker.load(model).await?;
        if checkpoint != output.checkpoint || output.transcript.length > MAX_TRANSCRIPT_BYTES {
            return Err(Failure::Invalid);
        }
        let blob = output.transcript;
        let bytes = worker.blobs.obtain(blob.hash, blob.length, &[]).await?;
        let published = PublishedUse::from_bytes(&bytes).map_err(|_| Failure::Invalid)?;
        let transcript = published.transcript;
        let owner = self.account;
        let parts = worker.thread.run(move |state| {
            let loaded = state.attributor(&(model, checkpoint))?;
            let evidence = loaded.attribute(&transcript.prompt, &transcript.output);
            let evidence = evidence.map_err(not_served)?;
            let shares = unit_shares(&evidence.units, &evidence.weights, WeighParams::DEFAULT);
            let all = evidence.units.into_iter().zip(shares);
            let own = all.filter(|(unit, _)| unit.owner == owner);
            Ok(own.map(|(unit, share)| (unit.unit, share.ppm())).collect::<Vec<_>>())
        });
        let parts = parts.await?;
        let weights: Vec<u128> = parts.iter().map(|(_, ppm)| u128::from(*ppm)).collect();
        // That the account earned something, and none of its units did, is no repetition of what was paid.
        let amounts = split(amount.0, &weights).map_err(|_| Failure::Invalid)?;
        let of_unit = parts.iter().zip(amounts).filter(|((hash, _), _)| *hash == unit);
        Ok(of_unit.fold(Amount::ZERO, |sum, (_, part)| sum.saturating_add(Amount(part))))
    }
}
