//! What lies between two nodes: a delay, and where they are.
//!
//! A model of one's own is a type with two methods, given to
//! [`Simulation::with`](crate::Simulation::with); `examples/own_underlay.rs` is one.

use std::{collections::BTreeMap, fs, path::Path};

use crate::{
    Scenario,
    data::{self, DataError, Set},
    kernel::{Draws, Purpose, normal},
    scenario::{Net, UnderlayKind},
};

/// Delays between nodes.
pub trait Underlay: Send {
    /// One way between two nodes, in microseconds, before jitter. It has to be the same whenever it
    /// is asked for.
    fn delay(&self, from: u32, to: u32) -> u64;

    /// At most the least delay between two nodes, in microseconds: how far ahead threads may work.
    fn least(&self) -> u64 {
        0
    }

    /// One way to what is not a node (an RPC of the chain, a contributor's server), in microseconds.
    fn typical(&self) -> u64;

    /// The region of a node, as an index into [`Self::regions`].
    fn region(&self, _node: u32) -> usize {
        0
    }

    /// The names of the regions; none where there are none.
    fn regions(&self) -> &[String] {
        &[]
    }
}

/// The underlay of a scenario.
///
/// # Errors
/// [`DataError`] when the data that it names cannot be used.
pub fn build(scenario: &Scenario, draws: Draws) -> Result<Box<dyn Underlay>, DataError> {
    let (net, nodes) = (&scenario.net, scenario.population.nodes);
    Ok(match net.underlay {
        UnderlayKind::Uniform => Box::new(Uniform(net.latency.0)),
        UnderlayKind::Matrix => {
            Box::new(Matrix::new(&rtt_set(net)?, &scenario.population.regions, nodes, draws)?)
        }
        UnderlayKind::Coords => Box::new(Coords::new(nodes, draws)),
        UnderlayKind::Trace => {
            Box::new(Trace::read(Path::new(net.data.as_deref().unwrap_or_default()), draws)?)
        }
    })
}

fn rtt_set(net: &Net) -> Result<Set, DataError> {
    let name = net.data.as_deref().unwrap_or("rtt-simblock-2019");
    if !name.ends_with(".toml") {
        return data::set(name).cloned();
    }
    let first = data::read(Path::new(name))?.into_iter().next();
    first.ok_or_else(|| DataError::NoSet(name.to_owned()))
}

/// The same delay everywhere.
#[derive(Debug)]
pub struct Uniform(pub u64);

impl Underlay for Uniform {
    fn delay(&self, _from: u32, _to: u32) -> u64 {
        self.0
    }

    fn least(&self) -> u64 {
        self.0
    }

    fn typical(&self) -> u64 {
        self.0
    }
}

/// Regions with a delay between each two, and the last mile of each node.
#[derive(Debug)]
pub struct Matrix {
    names: Vec<String>,
    /// One way between regions, row by row.
    between: Vec<u64>,
    typical: u64,
    places: Vec<u8>,
    /// By how much the access line of each node is slower than the usual one.
    excess: Vec<u32>,
}

impl Matrix {
    /// From round trips in milliseconds under `"a-b"`; nodes by the given shares of regions, or those
    /// of `regions-simblock-2019` where these name the regions, equally otherwise.
    ///
    /// # Errors
    /// [`DataError::NoValue`] for a pair that is missing, [`DataError::NoRegion`] for a share of a
    /// region that the set does not have.
    pub fn new(
        set: &Set,
        shares: &BTreeMap<String, f64>,
        nodes: u32,
        draws: Draws,
    ) -> Result<Self, DataError> {
        let mut names: Vec<String> =
            set.values.keys().flat_map(|pair| pair.split('-').map(str::to_owned)).collect();
        names.sort_unstable();
        names.dedup();
        let mut between = Vec::new();
        for from in &names {
            for to in &names {
                let rtt = set
                    .value(&format!("{from}-{to}"))
                    .or_else(|_| set.value(&format!("{to}-{from}")))?;
                between.push(micros(rtt / 2.0));
            }
        }
        let shares = shares_of(&names, shares, set)?;
        let places = (0..nodes)
            .map(|node| pick(&shares, draws.share(Purpose::Place, node.into(), 0)))
            .collect();
        let sigma = data::shipped("last-mile", "sigma");
        let median = data::shipped("last-mile", "median");
        // The figure of a region has usual access lines in it: only the excess is added.
        let excess = |node: u32| {
            let words = [1, 2].map(|which| draws.word(Purpose::Place, node.into(), which));
            let own = median * (sigma * normal(words[0], words[1])).exp();
            whole((own - median).max(0.0) * 1_000.0)
        };
        let excess = (0..nodes).map(excess).collect();
        let mut sorted = between.clone();
        sorted.sort_unstable();
        let typical = sorted.get(sorted.len() / 2).copied().unwrap_or(0);
        Ok(Self { names, between, typical, places, excess })
    }
}

/// The shares of the nodes in each region.
fn shares_of(
    names: &[String],
    given: &BTreeMap<String, f64>,
    set: &Set,
) -> Result<Vec<f64>, DataError> {
    if let Some(region) = given.keys().find(|region| !names.contains(region)) {
        let (region, known) = (region.clone(), names.join(", "));
        return Err(DataError::NoRegion { set: set.name.clone(), region, known });
    }
    let usual = &data::set("regions-simblock-2019")?.values;
    let given = if given.is_empty() { usual } else { given };
    let mut shares: Vec<f64> =
        names.iter().map(|name| given.get(name).copied().unwrap_or(0.0)).collect();
    if shares.iter().sum::<f64>() <= 0.0 {
        shares.fill(1.0);
    }
    Ok(shares)
}

impl Underlay for Matrix {
    fn delay(&self, from: u32, to: u32) -> u64 {
        let row = self.region(from) * self.names.len();
        let excess = |node: u32| self.excess.get(node as usize).map_or(0, |own| u64::from(*own));
        self.between[row + self.region(to)] + excess(from) + excess(to)
    }

    fn least(&self) -> u64 {
        self.between.iter().copied().min().unwrap_or(0)
    }

    fn typical(&self) -> u64 {
        self.typical
    }

    fn region(&self, node: u32) -> usize {
        self.places.get(node as usize).map_or(0, |place| usize::from(*place))
    }

    fn regions(&self) -> &[String] {
        &self.names
    }
}

/// Points of a square, each with the height of its access line above it (as in Vivaldi, SIGCOMM
/// 2004): the distance is the delay.
#[derive(Debug)]
pub struct Coords {
    places: Vec<[u32; 3]>,
    typical: u64,
}

impl Coords {
    /// Places whose delays have the median of `rtt-ripe-2025`.
    pub fn new(nodes: u32, draws: Draws) -> Self {
        let side = data::shipped("coords-ripe-2025", "side") * 1_000.0;
        let height = data::shipped("coords-ripe-2025", "height") * 1_000.0;
        let place = |node: u32| {
            let share = |which| draws.share(Purpose::Place, node.into(), which);
            let height = -height * (1.0 - share(2)).ln();
            [share(0) * side, share(1) * side, height].map(whole)
        };
        Self {
            places: (0..nodes).map(place).collect(),
            typical: micros(data::shipped("rtt-ripe-2025", "median") / 2.0),
        }
    }
}

impl Underlay for Coords {
    fn delay(&self, from: u32, to: u32) -> u64 {
        let (Some(a), Some(b)) = (self.places.get(from as usize), self.places.get(to as usize))
        else {
            return self.typical;
        };
        let across = |axis: usize| u64::from(a[axis].abs_diff(b[axis])).pow(2);
        (across(0) + across(1)).isqrt() + u64::from(a[2]) + u64::from(b[2])
    }

    fn typical(&self) -> u64 {
        self.typical
    }
}

/// Round trips between hosts, measured by somebody: lines `from,to,milliseconds`. Nodes are put on
/// hosts at random; a pair that the file lacks has the median of all.
#[derive(Debug)]
pub struct Trace {
    hosts: u64,
    between: BTreeMap<(u32, u32), u32>,
    typical: u64,
    draws: Draws,
}

impl Trace {
    /// Reads a trace.
    ///
    /// # Errors
    /// [`DataError`] naming the line that is not one.
    pub fn read(path: &Path, draws: Draws) -> Result<Self, DataError> {
        let name = path.display().to_string();
        let text = fs::read_to_string(path)
            .map_err(|source| DataError::Read { path: name.clone(), source })?;
        Self::parse(&name, &text, draws)
    }

    fn parse(path: &str, text: &str, draws: Draws) -> Result<Self, DataError> {
        let wrong = |line: usize, reason: &str| DataError::Trace {
            path: path.to_owned(),
            line,
            reason: reason.to_owned(),
        };
        let mut hosts = BTreeMap::<&str, u32>::new();
        let mut between = BTreeMap::new();
        let rows = text.lines().zip(1usize..);
        for (row, line) in rows.filter(|(row, _)| !row.trim().is_empty() && !row.starts_with('#')) {
            let fields: Vec<_> = row.split(',').map(str::trim).collect();
            let [from, to, rtt] = fields[..] else {
                return Err(wrong(line, "it needs from, to and milliseconds"));
            };
            let Some(rtt) = rtt.parse::<f64>().ok().filter(|r| (0.0..1e6).contains(r)) else {
                if line == 1 {
                    continue;
                }
                return Err(wrong(line, "the round trip is not a number of milliseconds"));
            };
            let mut number = |host| {
                let next = u32::try_from(hosts.len()).expect("hosts fit into a file");
                *hosts.entry(host).or_insert(next)
            };
            let (from, to) = (number(from), number(to));
            between.insert((from.min(to), from.max(to)), whole(rtt * 500.0));
        }
        let mut sorted: Vec<_> = between.values().copied().collect();
        sorted.sort_unstable();
        let Some(typical) = sorted.get(sorted.len() / 2).copied() else {
            return Err(wrong(1, "the file has no round trips"));
        };
        Ok(Self { hosts: hosts.len() as u64, between, typical: typical.into(), draws })
    }

    fn host(&self, node: u32) -> u32 {
        let host = self.draws.below(Purpose::Place, node.into(), 0, self.hosts);
        u32::try_from(host).expect("hosts are numbered so")
    }
}

impl Underlay for Trace {
    fn delay(&self, from: u32, to: u32) -> u64 {
        let (from, to) = (self.host(from), self.host(to));
        let found = self.between.get(&(from.min(to), from.max(to)));
        found.map_or(self.typical, |delay| u64::from(*delay))
    }

    fn typical(&self) -> u64 {
        self.typical
    }
}

/// The index of the share in which a number from 0 to 1 lies.
fn pick(shares: &[f64], place: f64) -> u8 {
    let mut left = place * shares.iter().sum::<f64>();
    let found = shares.iter().position(|share| {
        left -= share;
        left < 0.0
    });
    u8::try_from(found.unwrap_or(shares.len() - 1)).expect("fewer than 256 regions")
}

fn micros(millis: f64) -> u64 {
    u64::from(whole(millis * 1_000.0))
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "casts saturate")]
const fn whole(value: f64) -> u32 {
    value as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quartiles(of: &dyn Underlay, nodes: u32) -> [u64; 3] {
        let mut delays: Vec<_> = (0..nodes)
            .flat_map(|a| (0..a).map(move |b| (a, b)))
            .map(|(a, b)| of.delay(a, b))
            .collect();
        delays.sort_unstable();
        [1, 2, 3].map(|quarter| delays[delays.len() * quarter / 4])
    }

    #[test]
    fn coordinates_have_the_median_of_the_data_they_come_from() {
        let [low, median, high] = quartiles(&Coords::new(400, Draws::new(3)), 400);
        // One way is half of 95.4 ms; the places are drawn, so within a tenth.
        assert!((43_000..=52_500).contains(&median), "{median}");
        assert!(low < median && median < high);
    }

    #[test]
    fn a_matrix_is_symmetric_and_puts_nodes_into_regions_by_their_shares() {
        let set = data::set("rtt-simblock-2019").unwrap();
        let matrix = Matrix::new(set, &BTreeMap::new(), 10_000, Draws::new(3)).unwrap();
        let eu = matrix.regions().iter().position(|name| name == "eu").unwrap();
        let count = (0..10_000).filter(|node| matrix.region(*node) == eu).count();
        // Expected 4,995; five standard deviations are 250.
        assert!((4_745..=5_245).contains(&count), "{count}");
        for (a, b) in [(1, 2), (77, 3), (5, 5)] {
            assert_eq!(matrix.delay(a, b), matrix.delay(b, a));
        }
        let mut missing = set.clone();
        missing.values.remove("na-eu");
        let no_shares = BTreeMap::new();
        let error = Matrix::new(&missing, &no_shares, 10, Draws::new(3)).unwrap_err();
        assert!(matches!(error, DataError::NoValue { .. }));

        let shares = BTreeMap::from([("eu".to_owned(), 3.0), ("na".to_owned(), 1.0)]);
        let matrix = Matrix::new(set, &shares, 10_000, Draws::new(3)).unwrap();
        let count = (0..10_000).filter(|node| matrix.region(*node) == eu).count();
        // Expected 7,500; five standard deviations are 217.
        assert!((7_283..=7_717).contains(&count), "{count}");
        let shares = BTreeMap::from([("moon".to_owned(), 1.0)]);
        let error = Matrix::new(set, &shares, 10, Draws::new(3)).unwrap_err();
        assert!(matches!(error, DataError::NoRegion { ref region, .. } if region == "moon"));
    }

    #[test]
    fn a_trace_gives_half_of_its_round_trips_and_names_a_bad_line() {
        let draws = Draws::new(3);
        let trace = Trace::parse("t", "from,to,ms\na,b,80\n\na,a,2\nb,b,2\n", draws).unwrap();
        let other = (1..).find(|node| trace.host(*node) != trace.host(0)).unwrap();
        assert_eq!(trace.delay(0, other), 40_000);
        assert_eq!(trace.delay(0, 0), 1_000);
        let error = Trace::parse("t", "a,b,80\na,c\n", draws).unwrap_err();
        assert_eq!(error.to_string(), "line 2 of t: it needs from, to and milliseconds");
        assert!(matches!(Trace::parse("t", "", draws), Err(DataError::Trace { .. })));
    }
}
