//! What nodes send and receive.

use simnet::{Scenario, kernel, report::Report};

use crate::{faultless, run, sized, with};

fn moved(change: impl FnOnce(&mut Scenario)) -> Report {
    run(with(sized(60, 2, 40, 2), |s| {
        faultless(s);
        s.net.jitter = 0.0;
        change(s);
    }))
}

fn kpi(report: &Report, name: &str) -> f64 {
    report.kpis.iter().find(|kpi| kpi.name == name).unwrap().value.unwrap()
}

#[test]
fn traffic_grows_with_what_moves_and_its_parts_are_all_of_it() {
    let few = moved(|_| {});
    let parts = ["bytes_control", "bytes_data", "bytes_chain"].map(|name| kpi(&few, name));
    let all = kpi(&few, "bytes_per_node");
    assert!((parts.iter().sum::<f64>() - all).abs() < 1.0, "{parts:?} of {all}");
    // Each holder commits and proves, and each proof is audited, once by whoever has several of its seats:
    // of three among 59 others one in twenty.
    let holders: u64 = few.epochs.iter().map(|row| row.holders).sum();
    let others = f64::from(few.scenario.population.nodes - 1);
    let seats = few.scenario.holding.auditors.try_into().unwrap();
    let auditors = others * (1.0 - (1.0 - 1.0 / others).powi(seats));
    let made = kernel::real(holders) * (2.0 + auditors) / 2.0;
    let records = kpi(&few, "records_per_epoch");
    assert!((records - made).abs() < 6.0, "{records} against {made}");
    let many = moved(|s| s.holding.auditors *= 3);
    assert!(kpi(&many, "bytes_control") > kpi(&few, "bytes_control"));
    let ratio = kpi(&many, "bytes_data") / kpi(&few, "bytes_data");
    // Three times as many seats, of which some fall on one account: as many fetch the openings, and the
    // packs were there before.
    assert!((2.5..3.0).contains(&ratio), "each fetches the openings: {ratio}");
    let slow = moved(|s| s.chain.epoch_blocks *= 2);
    let ratio = kpi(&slow, "bytes_chain") / kpi(&few, "bytes_chain");
    assert!((1.8..=2.0).contains(&ratio), "{ratio}");
}

#[test]
fn who_floods_to_everybody_reaches_them_in_one_hop() {
    let slowest = |report: &Report| {
        let delivery = report.histograms.iter().find(|h| h.name == "delivery_time").unwrap();
        delivery.bins.last().unwrap().0
    };
    // A delay of 80 ms and half a millisecond of validation; a bin is 1.6 % wide.
    let flooded = slowest(&moved(|s| s.net.flood = 64));
    assert!(flooded < 80.5 * 1.017, "{flooded}");
    let meshed = slowest(&moved(|_| {}));
    assert!((161.0..161.0 * 1.017).contains(&meshed), "{meshed}");
}
