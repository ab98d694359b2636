//! Disputes about storage: who has what it committed to shows it and loses nothing, and what nobody can
//! show is not paid, however many say that they saw it.

use std::collections::BTreeSet;

use protocol::{
    AccountId, BlockNumber, Epoch,
    chain::{ChainEvent, Dispute, DisputeAnswer, Purpose, Transaction},
    hash::leading_u64,
    holding::RowKey,
    limits::MAX_DISPUTES,
    node::Waiting,
    record::{Body, Kind, SignedRecord, storage_subject},
    settle::{Source, Unpaid},
};

use crate::{
    chain::{FakeChain, domain, key},
    net::Net,
    scenarios::earned,
};

const HOLDER: AccountId = AccountId(2);
const STRANGER: AccountId = AccountId(50);

impl FakeChain {
    /// What the contract does, which knows nothing of who was drawn for what.
    pub(crate) fn dispute(
        &self,
        now: BlockNumber,
        transaction: Transaction,
        same_block: &[ChainEvent],
    ) -> Option<ChainEvent> {
        match transaction {
            Transaction::OpenDispute { accuser, commit, at, cell } => {
                self.open_dispute(now, accuser, *commit, at, cell, same_block)
            }
            Transaction::AnswerDispute(answer) => self.answer_dispute(now, &answer, same_block),
            Transaction::ExpireDispute { epoch, account, commit, cell } => {
                let dispute = self.find(epoch, account, (commit, cell))?;
                let event = ChainEvent::DisputeExpired { epoch, account, commit, cell };
                let is_over = now > dispute.until && !dispute.is_answered && !dispute.is_closed;
                (is_over && !same_block.contains(&event)).then_some(event)
            }
            other => panic!("{other:?} is no dispute"),
        }
    }

    fn find(
        &self,
        epoch: Epoch,
        account: AccountId,
        of: (protocol::Digest, u32),
    ) -> Option<&Dispute> {
        let about = self.view.disputes_about(epoch, account);
        about.iter().find(|dispute| (dispute.commit, dispute.cell) == of)
    }

    fn open_dispute(
        &self,
        now: BlockNumber,
        accuser: AccountId,
        signed: SignedRecord,
        at: BlockNumber,
        cell: u32,
        same_block: &[ChainEvent],
    ) -> Option<ChainEvent> {
        let (schedule, verified) = (self.view.schedule, signed.verify(&domain()).ok()?);
        let made = verified.record();
        let Body::StorageCommit(body) = &made.body else { return None };
        let (epoch, account, commit) = (made.epoch, made.account, verified.id());
        let until = now.after(schedule.answer_blocks());
        let in_time = schedule.start(epoch) <= at && at <= schedule.commit_deadline(epoch);
        let signer = self.view.account(account)?.operator_at(at);
        let s1 = self.view.seed(epoch, Purpose::Commit)?;
        let is_new = |event: &ChainEvent| !matches!(event, ChainEvent::DisputeOpened { commit: c, cell: n, .. } if (*c, *n) == (commit, cell));
        let about = self.view.disputes_about(epoch, account);
        let may = in_time
            && signer == Some(verified.signer())
            && until < schedule.cutoff(epoch)
            && leading_u64(&s1) == body.seed
            && cell < body.cells
            && about.len() < MAX_DISPUTES
            && !about.iter().any(|dispute| dispute.is_closed)
            && self.find(epoch, account, (commit, cell)).is_none()
            && same_block.iter().all(is_new);
        may.then_some(ChainEvent::DisputeOpened { epoch, account, accuser, commit, cell, until })
    }

    fn answer_dispute(
        &self,
        now: BlockNumber,
        answer: &DisputeAnswer,
        same_block: &[ChainEvent],
    ) -> Option<ChainEvent> {
        let DisputeAnswer { epoch, account, commit, opening } = answer;
        let (epoch, account, commit) = (*epoch, *account, *commit);
        let cell = u32::try_from(opening.row.index).ok()?;
        let dispute = self.find(epoch, account, (commit, cell))?;
        let record = self.view.record(epoch, &commit)?;
        let Body::StorageCommit(body) = &record.record().body else { return None };
        let key = RowKey::new(&self.view.seed(epoch, Purpose::Commit)?, account);
        let cell_bytes = self.view.params().holding.cell_bytes;
        let event = ChainEvent::DisputeAnswered { epoch, account, commit, cell };
        let is_right = now <= dispute.until
            && !dispute.is_answered
            && opening.opens(body, &key, cell_bytes)
            && !same_block.contains(&event);
        is_right.then_some(event)
    }
}

/// The commitment of an account in epoch 2, once the chain has it.
fn commitment(net: &Net, account: AccountId) -> (SignedRecord, BlockNumber) {
    let view = &net.chain.view;
    let key = (Kind::StorageCommit, account, storage_subject(Epoch(2), account));
    let record = view.record_of(Epoch(2), &key).expect("it committed");
    let at = view.included(Epoch(2), &record.id()).unwrap();
    (record.signed().clone(), at)
}

fn dispute(net: &mut Net, of: AccountId, cell: u32) {
    let (commit, at) = commitment(net, of);
    let (accuser, commit) = (STRANGER, Box::new(commit));
    net.chain.waiting.push(Transaction::OpenDispute { accuser, commit, at, cell });
}

fn reasons(net: &Net, epoch: u64, account: AccountId) -> Vec<Unpaid> {
    let zeros = &net.outcome(epoch).zeros;
    zeros.iter().filter(|zero| zero.account == account).map(|zero| zero.reason).collect()
}

fn paid(net: &Net, account: AccountId) -> u128 {
    earned(net, 2, account.0, Source::Storage)
}

#[test]
fn a_holder_shows_whatever_cell_is_disputed_also_after_a_restart() {
    let calm = {
        let mut net = Net::new(5, 6, 2);
        net.run_epochs(3);
        paid(&net, HOLDER)
    };
    for restart in [None, Some(0), Some(1), Some(2)] {
        let mut net = Net::new(5, 6, 2);
        net.run_to(98);
        let cells = match &commitment(&net, HOLDER).0.record.body {
            Body::StorageCommit(body) => body.cells,
            _ => panic!("it is a commitment"),
        };
        // As many as the contract takes, all at once.
        (0..MAX_DISPUTES as u32).for_each(|place| dispute(&mut net, HOLDER, place % cells));
        if let Some(after) = restart {
            net.run_to(99 + after);
            net.restart(HOLDER.0);
        }
        net.run_epochs(3);
        let disputes = net.chain.view.disputes_about(Epoch(2), HOLDER);
        assert_eq!(disputes.len(), MAX_DISPUTES.min(cells as usize));
        assert!(disputes.iter().all(|dispute| dispute.is_answered), "{restart:?}: {disputes:?}");
        assert_eq!(paid(&net, HOLDER), calm, "it loses nothing");
    }
}

#[test]
fn a_dispute_that_comes_at_the_last_moment_is_answered_before_the_cutoff() {
    let mut net = Net::new(5, 6, 2);
    let schedule = net.chain.view.schedule;
    let last = schedule.last_dispute(Epoch(2));
    net.run_to(last.0 - 1);
    dispute(&mut net, HOLDER, 0);
    net.run_to(last.0);
    dispute(&mut net, HOLDER, 1);
    net.run_epochs(3);
    let disputes = net.chain.view.disputes_about(Epoch(2), HOLDER);
    assert_eq!(disputes.len(), 1, "a block later is too late");
    assert!(disputes[0].until < schedule.cutoff(Epoch(2)) && disputes[0].is_answered);
}

#[test]
fn what_was_lost_cannot_be_shown_and_the_node_says_so_and_is_unpaid() {
    let mut net = Net::new(5, 6, 2);
    net.run_to(98);
    for pack in net.chain.view.placement(Epoch(2)).packs_of(HOLDER).to_vec() {
        let peer = net.peer(HOLDER.0);
        peer.blobs.remove(&pack.hash).unwrap();
        peer.refused_blobs.insert(pack.hash);
    }
    dispute(&mut net, HOLDER, 0);
    net.run_to(100);
    let until = net.chain.view.disputes_about(Epoch(2), HOLDER)[0].until;
    let view = net.chain.view.clone();
    let waiting = net.peer(HOLDER.0).node.waiting(&view);
    assert!(waiting.contains(&Waiting::Unshown { epoch: Epoch(2), cell: 0, until }), "{waiting:?}");
    net.run_epochs(3);
    assert_eq!(reasons(&net, 2, HOLDER), [Unpaid::NotShown]);
    assert_eq!(net.outcome(2).settlement.storage_faults, 1);
    assert_eq!(paid(&net, HOLDER), 0);
}

/// A network of which all but one have nothing and say of each other that all is well.
fn lazy_network(seed: u64) -> Net {
    let mut net = Net::new(9, 6, seed);
    for account in 2..=9 {
        let faults = &mut net.peer(account).faults;
        (faults.stores_nothing, faults.passes_unseen) = (true, true);
    }
    net
}

#[test]
fn one_honest_auditor_among_lazy_ones_has_lazy_holders_unpaid() {
    let (mut looked, mut escaped) = (0, 0);
    for seed in 1..=6 {
        let mut net = lazy_network(seed);
        net.run_epochs(4);
        for (epoch, holder) in (2..4).flat_map(|epoch| (2..=9).map(move |holder| (epoch, holder))) {
            let holder = AccountId(holder);
            if net.chain.view.placement(Epoch(epoch)).packs_of(holder).is_empty() {
                continue;
            }
            let seats = net.chain.view.storage_auditors(Epoch(epoch), holder);
            let is_paid = earned(&net, epoch, holder.0, Source::Storage) > 0;
            if !seats.has(AccountId(1)) {
                escaped += usize::from(is_paid);
                continue;
            }
            looked += 1;
            assert!(!is_paid, "seed {seed}, epoch {epoch}, {holder}");
            let disputes = net.chain.view.disputes_about(Epoch(epoch), holder);
            if seats.of(AccountId(1)) * 2 < seats.len() {
                assert_eq!(reasons(&net, epoch, holder), [Unpaid::NotShown]);
                let [dispute] = disputes else { panic!("{disputes:?}") };
                assert!(dispute.accuser == AccountId(1) && dispute.is_closed, "it was ended");
            } else {
                assert!(disputes.is_empty(), "most of those drawn said so: it costs no bond");
            }
        }
    }
    assert!(looked > 15 && escaped > 0, "{looked} were looked at; {escaped} others were paid");
}

#[test]
fn lazy_auditors_are_not_paid_for_passing_what_could_not_be_shown() {
    let mut net = lazy_network(1);
    net.run_epochs(3);
    let disputed: BTreeSet<_> = net
        .chain
        .view
        .disputes()
        .filter(|(epoch, _)| epoch.0 == 2)
        .map(|(_, d)| d.account)
        .collect();
    assert!(!disputed.is_empty());
    for line in net.outcome(2).lines.iter().filter(|line| line.source == Source::Audits) {
        let audit = net.chain.view.record(Epoch(2), &line.record).unwrap();
        let Body::Audit(body) = &audit.record().body else { panic!("it is paid for an audit") };
        assert!(line.account == AccountId(1) || !disputed.contains(&body.of), "{line:?}");
    }
}

#[test]
fn who_disputes_what_others_let_pass_is_paid_for_their_seats() {
    let mut net = lazy_network(1);
    net.run_epochs(3);
    let lost: BTreeSet<_> =
        net.chain.view.disputes().map(|(_, d)| (d.account, d.accuser)).collect();
    let audits = |net: &Net| {
        let lines = net.outcome(2).lines.clone();
        lines.into_iter().filter(|line| line.source == Source::Audits).collect::<Vec<_>>()
    };
    let (mut seats, mut amounts) = (Vec::new(), Vec::new());
    for line in audits(&net) {
        let audit = net.chain.view.record(Epoch(2), &line.record).unwrap();
        let Body::Audit(body) = &audit.record().body else { panic!("it is paid for an audit") };
        let drawn = net.chain.view.storage_auditors(Epoch(2), body.of);
        let is_accuser = lost.contains(&(body.of, line.account));
        seats.push(if is_accuser { drawn.len() } else { drawn.of(line.account) } as u128);
        amounts.push(line.amount.0);
    }
    assert!(!lost.is_empty() && seats.len() >= lost.len());
    let one = amounts[0] / seats[0];
    let owed: Vec<_> = seats.iter().map(|seats| one * seats).collect();
    assert_eq!(amounts, owed, "all drawn for a holder were lazy but the accuser");
}

#[test]
fn what_a_stolen_key_signs_besides_costs_the_holder_its_pay_and_its_auditors_nothing() {
    let audits = |net: &Net| {
        let lines = net.outcome(2).lines.iter().filter(|line| line.source == Source::Audits);
        lines.map(|line| (line.account, line.amount, line.record)).collect::<Vec<_>>()
    };
    let calm = {
        let mut net = Net::new(5, 6, 2);
        net.run_epochs(3);
        audits(&net)
    };
    let mut net = Net::new(5, 6, 2);
    net.run_to(98);
    let (signed, at) = commitment(&net, HOLDER);
    let mut record = signed.record;
    if let Body::StorageCommit(body) = &mut record.body {
        body.rows = protocol::Digest([9; 32]);
    }
    let commit = Box::new(record.sign(&domain(), &key(HOLDER.0)).unwrap());
    let accuser = STRANGER;
    net.chain.waiting.push(Transaction::OpenDispute { accuser, commit, at, cell: 0 });
    net.run_epochs(3);
    assert_eq!(reasons(&net, 2, HOLDER), [Unpaid::NotShown]);
    assert_eq!(audits(&net), calm, "they passed what was shown");
}

#[test]
fn what_is_said_of_storage_too_late_to_be_disputed_is_not_said() {
    let mut net = lazy_network(1);
    (2..=9).for_each(|account| net.peer(account).faults.is_late = true);
    net.run_epochs(3);
    assert_eq!(net.chain.view.disputes().count(), 0, "there was nothing to dispute");
    for holder in (2..=9).map(AccountId) {
        assert_eq!(paid(&net, holder), 0);
    }
}

#[test]
fn a_bad_line_costs_a_holder_nothing_and_an_auditor_no_bond_while_anybody_has_the_openings() {
    let mut net = Net::new(6, 6, 3);
    net.peer(4).faults.misses_proofs = true;
    net.run_epochs(3);
    let missed = |record: &protocol::record::VerifiedRecord| record.record().account.0 == 4;
    let audits = net.peers[0].pool.values().filter(|record| missed(record));
    assert!(audits.filter(|r| r.record().body.kind() == Kind::Audit).count() > 0);
    assert_eq!(net.chain.view.disputes().count(), 0);
    for (holder, _) in net.chain.view.placement(Epoch(2)).holders() {
        let seats = net.chain.view.storage_auditors(Epoch(2), holder);
        assert!(paid(&net, holder) > 0 || seats.of(AccountId(4)) * 2 >= seats.len(), "{holder}");
    }
}

#[test]
fn who_accuses_an_honest_holder_loses_one_bond_and_it_nothing() {
    let mut net = Net::new(6, 6, 3);
    net.peer(4).faults.misses_proofs = true;
    let deadline = net.chain.view.schedule.storage_deadline(Epoch(2));
    net.run_to(deadline.0 - 3);
    // Nobody gives it the openings any more.
    let proofs: Vec<_> = net.peers[0]
        .pool
        .values()
        .filter_map(|record| match &record.record().body {
            Body::StorageProof(body) if record.record().epoch == Epoch(2) => Some(body.openings),
            _ => None,
        })
        .collect();
    net.peer(4).refused_blobs.extend(proofs);
    net.run_epochs(3);
    let disputes: Vec<_> = net.chain.view.disputes().map(|(_, dispute)| *dispute).collect();
    assert!(!disputes.is_empty(), "it accuses");
    let accused: BTreeSet<_> = disputes.iter().map(|dispute| dispute.account).collect();
    assert_eq!(accused.len(), disputes.len(), "nobody twice");
    for dispute in disputes {
        assert!(dispute.is_answered && dispute.accuser == AccountId(4), "{dispute:?}");
        assert!(paid(&net, dispute.account) > 0);
    }
}
