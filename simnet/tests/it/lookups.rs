//! Addresses that have to be looked up before a fetch.

use simnet::{Scenario, report::Report, scenario::Dht};

use crate::{faultless, run, sized, with};

fn looked_up(change: impl FnOnce(&mut Scenario)) -> Report {
    run(with(sized(60, 1, 40, 2), |s| {
        faultless(s);
        s.net.dht = Dht::Kademlia;
        s.net.jitter = 0.0;
        change(s);
    }))
}

fn kpi(report: &Report, name: &str) -> Option<f64> {
    report.kpis.iter().find(|kpi| kpi.name == name).unwrap().value
}

#[test]
fn a_lookup_is_made_of_round_trips_and_of_timeouts_where_peers_are_gone() {
    let calm = looked_up(|_| {});
    // A step is a round trip of 160 ms; sixty nodes are at most some steps apart.
    let p99 = kpi(&calm, "lookup_p99").unwrap();
    assert!((160.0..=700.0).contains(&p99), "{p99}");
    assert_eq!(kpi(&calm, "lookups_failed"), Some(0.0));
    assert!(calm.histograms.iter().any(|histogram| histogram.name == "lookup_time"));
    let sparse = looked_up(|s| s.population.offline = 0.8);
    let slow = kpi(&sparse, "lookup_p99").unwrap();
    assert!(slow > 10_000.0, "three peers that are gone cost ten seconds: {slow}");
}

#[test]
fn without_lookups_there_are_no_figures_of_them() {
    let report = looked_up(|s| s.net.dht = Dht::None);
    assert_eq!(kpi(&report, "lookup_p50"), None);
    assert!(report.histograms.iter().all(|histogram| histogram.name != "lookup_time"));
    assert_ne!(report.trace, looked_up(|_| {}).trace, "they take time");
}
