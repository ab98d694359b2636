//! The model against mathematics.

use std::collections::BTreeMap;

use protocol::{
    AccountId, Amount, Digest, Hash,
    hash::keccak,
    holding,
    placement::{NodeSeed, PackSeed, Placement, Replication},
};
use simnet::{
    Scenario,
    faults::Faults,
    kernel::{Actor, CalendarQueue, Draws, EventQueue as _, Purpose, Time},
    network::{Network, Uniform},
    scenario::Net,
};

const RUNS: u64 = 100;

/// The mean of a figure over seeds.
fn mean(of: impl Fn(u64) -> f64) -> f64 {
    (0..RUNS).map(of).sum::<f64>() / RUNS as f64
}

#[track_caller]
fn assert_near(found: f64, expected: f64, tolerance: f64) {
    let error = (found / expected - 1.0).abs();
    assert!(error < tolerance, "found {found}, expected {expected}");
}

/// Asking random peers until all were asked takes n·Hₙ questions.
#[test]
fn asking_everybody_at_random_is_the_coupon_collectors_problem() {
    let peers = 100u64;
    let questions = |seed| {
        let draws = Draws::new(seed);
        let mut asked = [false; 100];
        let mut left = 100;
        (1..)
            .find(|question| {
                let peer = draws.below(Purpose::Request, 3, *question, peers) as usize;
                left -= usize::from(!std::mem::replace(&mut asked[peer], true));
                left == 0
            })
            .unwrap() as f64
    };
    let harmonic: f64 = (1..=peers).map(|k| 1.0 / k as f64).sum();
    // The standard deviation is π·n/√6 = 128, of the mean over 100 runs 13: 2.5 %, thrice.
    assert_near(mean(questions), peers as f64 * harmonic, 0.075);
}

/// A rumour that each who knows it tells to one random peer per round reaches all n after
/// log₂ n + ln n + O(1) rounds (Pittel, SIAM J. Appl. Math. 47(1), 1987).
#[test]
fn a_rumour_spreads_as_an_epidemic() {
    let rounds = |nodes: u32, seed| {
        let draws = Draws::new(seed);
        let mut queue = CalendarQueue::default();
        let mut knows = vec![false; nodes as usize];
        let mut left = nodes;
        queue.push(Time(0), Actor::node(0), Actor::node(0), 0u32);
        while let Some(next) = queue.pop() {
            let node = next.to.index().unwrap();
            let is_own_turn = next.to == next.from;
            if !knows[node] {
                knows[node] = true;
                left -= 1;
                if left == 0 {
                    return next.at.0 as f64 / 1e6;
                }
                if !is_own_turn {
                    queue.push(next.at.after(1), next.to, next.to, 0);
                    continue;
                }
            }
            if is_own_turn {
                let peer = draws.below(Purpose::Gossip, node as u64, next.at.0, nodes.into());
                let round = Time(next.at.0 / 1_000_000 * 1_000_000).after(1_000_000);
                queue.push(round, Actor::node(peer as u32), next.to, 0);
                queue.push(round.after(1), next.to, next.to, 0);
            }
        }
        unreachable!("everybody hears it")
    };
    // Sixteen times as many nodes: the constant is gone.
    let more = mean(|seed| rounds(2_048, seed)) - mean(|seed| rounds(128, seed));
    assert_near(more, 16f64.log2() + 16f64.ln(), 0.08);
}

/// Transfers of one size that arrive at random wait ρ·D / 2(1-ρ) for a line (Pollaczek, Khinchine).
#[test]
fn an_access_line_is_an_m_d_1_queue() {
    let net = Net { loss: 0.0, jitter: 0.0, down_mbit: 8.0, up_mbit: 1e6, ..Net::default() };
    for load in [0.3, 0.5, 0.8] {
        let scenario = Scenario { net: net.clone(), ..Scenario::default() };
        let mut network = Network::new(&scenario, Box::new(Uniform(0)), Faults::default());
        let draws = Draws::new(11);
        // 1 MB at 8 Mbit/s takes a second.
        let (bytes, service) = (1_000_000, 1e6);
        let (mut now, mut waited, transfers) = (0.0, 0.0, 60_000u64);
        for transfer in 0..transfers {
            now -= (1.0 - draws.share(Purpose::Request, 1, transfer)).ln() * service / load;
            let done = network.transfer(Time(now as u64), Some(1), 2, bytes, transfer).unwrap();
            waited += done.0 as f64 - now - service;
        }
        let expected = load * service / (2.0 * (1.0 - load));
        assert_near(waited / transfers as f64, expected, 0.06);
    }
}

/// Who lost a fraction f of its cells is caught by k openings with probability 1 - (1-f)^k.
#[test]
fn a_sample_of_k_catches_who_lost_f_with_probability_one_minus_one_minus_f_to_the_k() {
    let cells = 100_000u32;
    for (lost, opened) in [(0.01, 32), (0.05, 32), (0.05, 8), (0.20, 4)] {
        let is_caught = |epoch: u32| {
            let seed: Digest = keccak(&[b"sample", &epoch.to_be_bytes()]);
            let sample = holding::sample(&seed, AccountId(5), cells, opened);
            sample.iter().any(|cell| f64::from(*cell) < lost * f64::from(cells))
        };
        let caught = (0..4_000).filter(|epoch| is_caught(*epoch)).count();
        let expected = 1.0 - (1.0f64 - lost).powi(opened as i32);
        // Five standard deviations of 4,000 draws are at most 4 percentage points.
        assert!((caught as f64 / 4_000.0 - expected).abs() < 0.04, "{lost} {opened}: {caught}");
    }
}

/// Packs of the table, and nodes, of which each party of a share s has some.
const PACKS: u64 = 2_000;
const NODES: u64 = 600;

/// What placement gives to parties of equal stake that share all the nodes: of the replicas that
/// they are assigned, the share that is of a pack which the party has already; and of all packs, the
/// share of which one party has every replica.
fn shared_out(placement: &Placement, parties: u64, replicas: u32) -> (f64, f64) {
    let mut copies = BTreeMap::<(u64, Hash), u32>::new();
    for (account, packs) in placement.holders() {
        for protocol::BlobRef { hash, .. } in packs {
            *copies.entry((account.0 % parties, *hash)).or_default() += 1;
        }
    }
    let saved: u32 = copies.values().map(|count| count - 1).sum();
    let whole = copies.values().filter(|count| **count == replicas).count();
    let share = |count: f64, of: f64| count / of;
    (
        share(saved.into(), placement.replicas() as f64),
        share(whole as f64, (PACKS * parties) as f64),
    )
}

/// Many identities with one disk keep one copy of a pack that several of them are assigned: with a
/// share s of the stake and r replicas that saves 1 - (1-(1-s)^r) / (r·s) of what is paid for, and
/// all r replicas are the party's with probability s^r.
#[test]
fn many_names_for_one_disk_save_what_random_assignment_lets_them() {
    let seed = |what: &[u8], number: u64| keccak(&[what, &number.to_be_bytes()]);
    let hash = |number| Hash(seed(b"pack", number).0);
    let packs: Vec<_> = (0..PACKS)
        .map(|number| PackSeed { hash: hash(number), length: 1, seed: seed(b"admitted", number) })
        .collect();
    // Stakes of 1, 2 and 3 OPEN, of which every party has equally many.
    let stake = |number: u64| Amount(Amount::ONE_OPEN.0 * u128::from(number / 200 + 1));
    let node = |number| NodeSeed {
        account: AccountId(number),
        weight: stake(number),
        seed: seed(b"registered", number),
    };
    let nodes: Vec<_> = (0..NODES).map(node).collect();
    // The table by parties of an equal share: 1 %, 5 %, 10 %, 20 %, 33 %.
    let table = [
        (3, [(100, 1.0), (20, 4.9), (10, 9.7), (5, 18.7), (3, 29.6)]),
        (5, [(100, 2.0), (20, 9.5), (10, 18.1), (5, 32.8), (3, 47.9)]),
    ];
    for (replicas, row) in table {
        let placement =
            Placement::compute(&packs, &nodes, Replication { replicas, newcomers_bps: 0 });
        assert_eq!(placement.replicas(), PACKS * u64::from(replicas));
        for (parties, percent) in row {
            let (share, r) = (1.0 / parties as f64, f64::from(replicas));
            let formula = 1.0 - (1.0 - (1.0 - share).powf(r)) / (r * share);
            assert!((100.0 * formula - percent).abs() < 0.06, "the table is that of the formula");
            let (saved, whole) = shared_out(&placement, parties, replicas);
            // A party's six nodes are not drawn from with replacement: a fifth of a point at most.
            let spread = (formula * (1.0 - formula) / placement.replicas() as f64).sqrt();
            let is_near = (saved - formula).abs() < 3.0 * spread + 0.002;
            assert!(is_near, "{replicas} {parties}: {saved}, expected {formula}");
            let all = share.powf(r);
            assert!(
                (whole - all).abs() < 5.0 * (all / (PACKS as f64 / share)).sqrt().max(1e-4),
                "{replicas} {parties}: {whole}, expected {all}"
            );
        }
    }
}
