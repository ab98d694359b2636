//! Disputes about storage: showing on chain what this node committed to, and having others show what was
//! let pass unseen.
//!
//! Whoever holds answers, so a dispute takes nothing from an honest node but the gas that its accuser's
//! bond pays for. Whoever was drawn to look, and saw nothing or something wrong where most of those drawn
//! say that all is well, looks once more, at those too who say so, and then accuses. All who look ask for
//! the same cell, one after the other in the order of their seats, and need to ask only once.

use alloc::{boxed::Box, collections::BTreeMap, sync::Arc, vec::Vec};

use super::{Done, Failure, Job, Node, Pending, Waiting, nodes_of, outbox::Outgoing};
use crate::{
    chain::{ChainView, Dispute, DisputeAnswer, Purpose, Transaction},
    ids::{AccountId, BlockNumber, Blocks, Digest, Epoch},
    limits::MAX_DISPUTES,
    record::{
        AuditBody, Body, Finding, Kind, StorageCommitBody, Verdict, VerifiedRecord, audit_subject,
        storage_subject,
    },
    rules::{cell_to_show, commits_to_assigned, committed_in_time, included_in, passes_storage},
};

/// Names a dispute: the epoch, the commitment and the cell.
type Key = (Epoch, Digest, u32);

/// The disputes that concern a node.
#[derive(Debug, Default)]
pub(super) struct Disputing {
    /// What this node committed to in this epoch and the one before, whether the chain took it in or not.
    own: BTreeMap<Digest, (Epoch, StorageCommitBody)>,
    /// What it has to show.
    answers: BTreeMap<Key, Answer>,
    /// Whose storage it was drawn to look at and did not see.
    doubts: BTreeMap<(Epoch, AccountId), Doubt>,
    /// Its own disputes whose time is over.
    expired: BTreeMap<Key, Outgoing>,
}

#[derive(Debug)]
enum Answer {
    Opening,
    Ready(Box<DisputeAnswer>, Outgoing),
    /// It cannot be read, and is tried again.
    Unable,
}

#[derive(Debug)]
enum Doubt {
    /// Others may see it as well.
    Watched,
    /// It is being looked at once more.
    Looking,
    /// Nobody could show this cell.
    Unseen(u32, Outgoing),
}

/// A proof that most of those drawn for it let pass.
struct Passed<'a> {
    commit: &'a Arc<VerifiedRecord>,
    proof: &'a Arc<VerifiedRecord>,
    /// Who says so.
    by: Vec<AccountId>,
    /// Who says otherwise, in the order of their seats.
    doubted: Vec<AccountId>,
}

impl Disputing {
    pub(super) const fn new() -> Self {
        Self {
            own: BTreeMap::new(),
            answers: BTreeMap::new(),
            doubts: BTreeMap::new(),
            expired: BTreeMap::new(),
        }
    }

    /// What this node cannot show, and by when it loses stake for it.
    pub(super) fn waiting(&self, account: AccountId, chain: &ChainView) -> Vec<Waiting> {
        let unable = self.answers.iter().filter(|(_, answer)| matches!(answer, Answer::Unable));
        let until = |(epoch, commit, cell): Key| {
            let disputes = chain.disputes_about(epoch, account).iter();
            let open = disputes.filter(|dispute| dispute.is_open(chain.now()));
            let mut of_cell =
                open.filter(|dispute| (dispute.commit, dispute.cell) == (commit, cell));
            of_cell.next().map(|dispute| Waiting::Unshown { epoch, cell, until: dispute.until })
        };
        unable.filter_map(|(key, _)| until(*key)).collect()
    }
}

impl Node {
    /// A commitment of this node came back signed, now or from the log after a restart.
    pub(super) fn note_own_commit(&mut self, chain: &ChainView, record: &VerifiedRecord) {
        let made = record.record();
        if let Body::StorageCommit(body) = &made.body
            && made.epoch.next() >= chain.epoch()
        {
            self.disputing.own.insert(record.id(), (made.epoch, body.clone()));
        }
    }

    /// An audit of storage by this node came back signed, now or from the log after a restart: one that
    /// did not see the storage, or saw what is wrong, is a doubt.
    pub(super) fn note_finding(&mut self, chain: &ChainView, epoch: Epoch, audit: &AuditBody) {
        let is_doubted = match audit.finding {
            Finding::Storage { verdict, .. } => verdict == Verdict::Fail,
            Finding::StorageMissing => true,
            Finding::Shard { .. } | Finding::Attribution { .. } => false,
        };
        if is_doubted && chain.now() < chain.schedule.last_dispute(epoch) {
            self.disputing.doubts.entry((epoch, audit.of)).or_insert(Doubt::Watched);
        }
    }

    pub(super) fn advance_disputes(&mut self, chain: &ChainView) {
        self.forget_disputes(chain);
        self.advance_answers(chain);
        self.advance_doubts(chain);
        self.advance_expired(chain);
    }

    /// The block from which on a dispute may go on by itself.
    pub(super) fn disputes_wake(&self, chain: &ChainView) -> Option<BlockNumber> {
        let answers = self.disputing.answers.values().map(|answer| match answer {
            Answer::Opening => None,
            Answer::Ready(_, outgoing) => Some(outgoing.due()),
            Answer::Unable => Some(BlockNumber(0)),
        });
        let doubts = self.disputing.doubts.iter().map(|((epoch, _), doubt)| match doubt {
            Doubt::Looking => None,
            Doubt::Watched | Doubt::Unseen(..) => Some(look_from(chain, *epoch)),
        });
        let mine = chain.disputes().filter(|(_, dispute)| is_to_end(dispute, self.account));
        let expired = mine.map(|(epoch, dispute)| {
            let sent = self.disputing.expired.get(&key_of(epoch, dispute));
            Some(sent.map_or(dispute.until, Outgoing::due))
        });
        answers.chain(doubts).chain(expired).flatten().min()
    }

    fn forget_disputes(&mut self, chain: &ChainView) {
        let (now, epoch) = (chain.now(), chain.epoch());
        self.disputing.own.retain(|_, (of, _)| of.next() >= epoch);
        // A transaction of now is in the next block.
        self.disputing.doubts.retain(|(of, _), _| now < chain.schedule.last_dispute(*of));
        let account = self.account;
        let find = |(epoch, commit, cell): Key, of: AccountId| {
            let about = chain.disputes_about(epoch, of).iter();
            about.copied().find(|dispute| (dispute.commit, dispute.cell) == (commit, cell))
        };
        let is_due = |key: &Key| find(*key, account).is_some_and(|dispute| dispute.is_open(now));
        self.disputing.answers.retain(|key, _| is_due(key));
        let mine: Vec<_> = chain
            .disputes()
            .filter(|(_, dispute)| is_to_end(dispute, account))
            .map(|(epoch, dispute)| key_of(epoch, dispute))
            .collect();
        self.disputing.expired.retain(|key, _| mine.contains(key));
    }

    /// Opens what it is asked for, and sends that until the chain shows it.
    fn advance_answers(&mut self, chain: &ChainView) {
        let (now, this) = (chain.now(), chain.epoch());
        for epoch in (this.back(1).0..=this.0).map(Epoch) {
            for dispute in chain.disputes_about(epoch, self.account) {
                if dispute.is_open(now) {
                    self.answer(chain, epoch, dispute);
                }
            }
        }
    }

    fn answer(&mut self, chain: &ChainView, epoch: Epoch, dispute: &Dispute) {
        let key = key_of(epoch, dispute);
        match self.disputing.answers.get_mut(&key) {
            Some(Answer::Opening) => {}
            Some(Answer::Ready(answer, outgoing)) => {
                if outgoing.send_within(chain.now(), SOON) {
                    let answer = answer.clone();
                    self.submit(Transaction::AnswerDispute(answer));
                }
            }
            Some(Answer::Unable) | None => {
                let is_known = self.open_disputed(chain, epoch, dispute);
                let answer = if is_known { Answer::Opening } else { Answer::Unable };
                self.disputing.answers.insert(key, answer);
            }
        }
    }

    /// Has the disputed cell read; whether this node knows what it committed to.
    fn open_disputed(&mut self, chain: &ChainView, epoch: Epoch, dispute: &Dispute) -> bool {
        let own = self.disputing.own.get(&dispute.commit).map(|(_, body)| body.clone());
        let included = || match &chain.record(epoch, &dispute.commit)?.record().body {
            Body::StorageCommit(body) => Some(body.clone()),
            _ => None,
        };
        let known = own.or_else(included).zip(chain.seed(epoch, Purpose::Commit));
        let Some((commit, s1)) = known else { return false };
        let packs = chain.placement(epoch).packs_of(self.account).to_vec();
        let (account, cell) = (self.account, dispute.cell);
        let job = Job::OpenCell { account, packs, commit, s1, cell };
        self.start(Pending::OpenCell(epoch, dispute.commit, cell), job);
        true
    }

    pub(super) fn on_cell_opened(&mut self, chain: &ChainView, key: Key, done: Done) {
        let Some(Answer::Opening) = self.disputing.answers.get(&key) else { return };
        let (epoch, commit, _) = key;
        let Done::CellOpened(opening) = done else {
            self.disputing.answers.insert(key, Answer::Unable);
            return;
        };
        let account = self.account;
        let answer = Box::new(DisputeAnswer { epoch, account, commit, opening });
        let sent = Outgoing::sent(chain.now());
        self.disputing.answers.insert(key, Answer::Ready(answer.clone(), sent));
        self.submit(Transaction::AnswerDispute(answer));
    }

    fn advance_doubts(&mut self, chain: &ChainView) {
        let now = chain.now();
        let all: Vec<_> = self.disputing.doubts.keys().copied().collect();
        for (epoch, holder) in all {
            if now < look_from(chain, epoch) {
                continue;
            }
            let Some(passed) = passed(chain, epoch, holder) else { continue };
            match self.disputing.doubts.get(&(epoch, holder)) {
                Some(Doubt::Watched) => self.look_again(chain, epoch, holder, &passed),
                Some(Doubt::Unseen(cell, _)) => self.accuse(chain, epoch, *cell, &passed),
                Some(Doubt::Looking) | None => {}
            }
        }
    }

    /// Asks the holder once more, and everybody who says that he saw its openings.
    fn look_again(&mut self, chain: &ChainView, epoch: Epoch, of: AccountId, passed: &Passed<'_>) {
        let mut from = nodes_of(chain, &[of]);
        from.extend(nodes_of(chain, &passed.by));
        let (commit, proof) = (Arc::clone(passed.commit), Arc::clone(passed.proof));
        self.disputing.doubts.insert((epoch, of), Doubt::Looking);
        self.start(Pending::LookAgain(epoch, of), Job::LookAgain { commit, proof, from });
    }

    pub(super) fn on_looked(
        &mut self,
        chain: &ChainView,
        epoch: Epoch,
        of: AccountId,
        done: &Done,
    ) {
        let Some(Doubt::Looking) = self.disputing.doubts.get(&(epoch, of)) else { return };
        let cell = match done {
            // All is well: its own line was bad.
            Done::Looked(None) => {
                self.disputing.doubts.remove(&(epoch, of));
                return;
            }
            Done::Looked(cell) => *cell,
            Done::Failed(Failure::Unavailable | Failure::Invalid) => passed(chain, epoch, of)
                .and_then(|passed| {
                    let Body::StorageCommit(body) = &passed.commit.record().body else {
                        return None;
                    };
                    cell_to_show(chain, epoch, of, body.cells)
                }),
            // This node's own trouble.
            _ => None,
        };
        let doubt = cell.map_or(Doubt::Watched, |cell| Doubt::Unseen(cell, Outgoing::new()));
        self.disputing.doubts.insert((epoch, of), doubt);
        if let (Some(cell), Some(passed)) = (cell, passed(chain, epoch, of)) {
            self.accuse(chain, epoch, cell, &passed);
        }
    }

    /// Disputes a cell when it is this node's turn and nobody has.
    fn accuse(&mut self, chain: &ChainView, epoch: Epoch, cell: u32, passed: &Passed<'_>) {
        let (commit, now) = (passed.commit, chain.now());
        let of = commit.record().account;
        let disputes = chain.disputes_about(epoch, of);
        let is_asked = disputes.iter().any(|d| (d.commit, d.cell) == (commit.id(), cell));
        if is_asked || disputes.len() >= MAX_DISPUTES {
            return;
        }
        let place = passed.doubted.iter().position(|auditor| *auditor == self.account);
        let Some(at) = included_in(chain, commit) else { return };
        if now < turn(chain, epoch, place.unwrap_or(passed.doubted.len())) {
            return;
        }
        let Some(Doubt::Unseen(_, sent)) = self.disputing.doubts.get_mut(&(epoch, of)) else {
            return;
        };
        if sent.send_within(now, SOON) {
            let (accuser, commit) = (self.account, Box::new(commit.signed().clone()));
            self.submit(Transaction::OpenDispute { accuser, commit, at, cell });
        }
    }

    /// Ends its own disputes that nobody answered: its bond comes back, and the holder loses stake.
    fn advance_expired(&mut self, chain: &ChainView) {
        let now = chain.now();
        for (epoch, dispute) in chain.disputes() {
            if !is_to_end(dispute, self.account) || !dispute.is_lost(now) {
                continue;
            }
            let Dispute { account, commit, cell, .. } = *dispute;
            let sent = self.disputing.expired.entry(key_of(epoch, dispute));
            if sent.or_insert_with(Outgoing::new).send(now) {
                let expire = Transaction::ExpireDispute { epoch, account, commit, cell };
                self.submit(expire);
            }
        }
    }
}

/// How soon something is sent again that has only so many blocks.
const SOON: Blocks = Blocks(2);

fn key_of(epoch: Epoch, dispute: &Dispute) -> Key {
    (epoch, dispute.commit, dispute.cell)
}

/// Whether an account has a bond in a dispute that only time can end.
fn is_to_end(dispute: &Dispute, accuser: AccountId) -> bool {
    dispute.accuser == accuser && !dispute.is_answered && !dispute.is_closed
}

/// The block from which on it may be looked at again what others let pass.
fn look_from(chain: &ChainView, epoch: Epoch) -> BlockNumber {
    let schedule = chain.schedule;
    let deadline = schedule.storage_deadline(epoch);
    deadline.before(Blocks(schedule.settle_blocks.fits(Blocks(8))))
}

/// The block from which on who has a place in the order accuses: all that is said is said by then.
fn turn(chain: &ChainView, epoch: Epoch, place: usize) -> BlockNumber {
    let schedule = chain.schedule;
    let deadline = schedule.storage_deadline(epoch);
    let time = schedule.last_dispute(epoch).since(deadline);
    let auditors = u64::from(chain.params().holding.auditors);
    let step = Blocks(time.fits(Blocks(auditors)).max(1));
    deadline.after(step.times(place as u64))
}

/// The proof of an account that is about to be paid, as far as the chain knows.
fn passed(chain: &ChainView, epoch: Epoch, holder: AccountId) -> Option<Passed<'_>> {
    let subject = storage_subject(epoch, holder);
    let commit = chain.record_of(epoch, &(Kind::StorageCommit, holder, subject))?;
    let proof = chain.record_of(epoch, &(Kind::StorageProof, holder, subject))?;
    let counts = committed_in_time(chain, commit) && commits_to_assigned(chain, commit);
    if !counts || !passes_storage(chain, commit, proof) {
        return None;
    }
    let drawn = chain.storage_auditors(epoch, holder);
    let mut order = drawn.holders();
    order.sort_by_key(|auditor| drawn.first_of(*auditor));
    let (mut by, mut doubted) = (Vec::new(), Vec::new());
    for auditor in order {
        let key = (Kind::Audit, auditor, audit_subject(holder, &subject));
        let Some(audit) = chain.record_of(epoch, &key) else { continue };
        let Body::Audit(body) = &audit.record().body else { continue };
        match body.finding {
            Finding::Storage { verdict: Verdict::Pass, .. } => by.push(auditor),
            _ => doubted.push(auditor),
        }
    }
    Some(Passed { commit, proof, by, doubted })
}
