//! The model against mathematics.

use protocol::{AccountId, Digest, hash::keccak, holding};
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
