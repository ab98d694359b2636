//! An underlay of one's own: a long chain of villages, each some milliseconds from the next.
//!
//! `cargo run --release --example own_underlay`

use simnet::{Parts, Scenario, Simulation, network::Underlay, units::Span};

/// Nodes live in villages along a road; a message passes through all those between.
struct Road {
    names: Vec<String>,
    between: Span,
}

impl Underlay for Road {
    fn delay(&self, from: u32, to: u32) -> u64 {
        let villages = self.region(from).abs_diff(self.region(to)) as u64;
        Span::millis(5).0 + villages * self.between.0
    }

    fn typical(&self) -> u64 {
        self.names.len() as u64 / 3 * self.between.0
    }

    fn region(&self, node: u32) -> usize {
        node as usize % self.names.len()
    }

    fn regions(&self) -> &[String] {
        &self.names
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for millis in [1, 20, 100] {
        let names = (0..30).map(|number| format!("village-{number}")).collect();
        let road = Road { names, between: Span::millis(millis) };
        let mut scenario = Scenario { epochs: 2, ..Scenario::default() };
        scenario.population.nodes = 300;
        let parts = Parts { underlay: Some(Box::new(road)) };
        let mut simulation = Simulation::with(scenario, parts)?;
        while simulation.advance()?.is_some() {}
        let report = simulation.report()?;
        let bins = &report.histograms[0].bins;
        let total: u64 = bins.iter().map(|(_, count)| count).sum();
        let mut seen = 0;
        let median = bins.iter().find(|(_, count)| {
            seen += count;
            seen * 2 >= total
        });
        let median = median.map_or(0.0, |(bound, _)| *bound);
        println!("{millis:>4} ms between villages: records take {median:.0} ms in the median");
    }
    Ok(())
}
