//! Clusters of repeated units: against a naive reading of the definition, and on edited real text.

use std::collections::BTreeSet;
use std::path::Path;

use compute::data::clusters::{ClusterParams, Clusters, Kind};
use compute::formats::Tokenizer;
use proptest::prelude::*;
use protocol::manifest::cut_units;

/// Everything is compared with everything.
const THOROUGH: ClusterParams = ClusterParams {
    sample: 1,
    bucket: usize::MAX,
    candidates: usize::MAX,
    ..ClusterParams::DEFAULT
};

struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }
}

/// A made-up word of a number.
fn word(number: usize) -> String {
    let mut random = Random(number as u64 * 0x9e37_79b9 + 1);
    for _ in 0..16 {
        random.below(2);
    }
    (0..3 + number % 5).map(|_| char::from(b'a' + random.below(26) as u8)).collect()
}

fn words(range: std::ops::Range<usize>) -> String {
    range.map(|number| word(number) + " ").collect()
}

fn normal(text: &str) -> Vec<char> {
    text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// Which symbols of `text` stand in runs of `other`, laid over it where most of them meet.
fn covered(text: &[char], other: &[char]) -> Vec<bool> {
    let (run, drift) = (THOROUGH.run, THOROUGH.drift as i64);
    let mut meets = Vec::new();
    for (start, window) in text.windows(run).enumerate() {
        let places = other.windows(run).enumerate().filter(|(_, w)| *w == window);
        meets.extend(places.take(4).map(|(place, _)| (start as i64 - place as i64, start)));
    }
    let at = |low: i64| meets.iter().filter(move |(step, _)| (low..low + drift).contains(step));
    let mut steps: Vec<i64> = meets.iter().map(|(step, _)| *step).collect();
    steps.sort_unstable();
    let mut marks = vec![false; text.len()];
    if let Some(low) = steps.into_iter().rev().max_by_key(|low| at(*low).count()) {
        at(low).for_each(|(_, start)| marks[*start..start + run].fill(true));
    }
    marks
}

/// The definition, read literally: every earlier canonical unit is compared.
fn naive(texts: &[Vec<char>], before: &Clusters, rank: u32) -> (u32, &'static str) {
    let (own, params) = (&texts[rank as usize], THOROUGH);
    if let Some(first) = (0..rank).find(|&other| texts[other as usize] == *own) {
        return (before.of(first), "exact");
    }
    let canonical: Vec<u32> = before.canonical().take_while(|&other| other < rank).collect();
    let text = |rank: u32| &texts[rank as usize];
    let holders: Vec<u32> = own
        .windows(params.shingle)
        .filter_map(|run| {
            canonical.iter().copied().find(|&c| text(c).windows(run.len()).any(|w| w == run))
        })
        .collect();
    let windows = own.windows(params.shingle).len();
    if windows >= params.min_sampled
        && holders.len() * 1_000_000 / windows >= params.contained_ppm as usize
    {
        let count = |c: u32| holders.iter().filter(|holder| **holder == c).count();
        let most = canonical.iter().copied().rev().max_by_key(|&c| count(c)).unwrap();
        return (most, "contained");
    }
    let laid: Vec<Vec<bool>> = texts[..rank as usize].iter().map(|t| covered(own, t)).collect();
    let by = |others: &[u32]| {
        let is_marked = |at: &usize| others.iter().any(|other| laid[*other as usize][*at]);
        (0..own.len()).filter(is_marked).count()
    };
    let part = |count: usize| count * 1_000_000 / own.len().max(1);
    let best = canonical.iter().copied().rev().max_by_key(|&c| by(&[c]));
    if let Some(best) = best {
        let widest = canonical.iter().map(|&c| by(&[best, c])).max().unwrap();
        if part(widest) >= params.near_ppm as usize {
            return (best, "near");
        }
    }
    let is_led =
        |rank: &u32| matches!(before.kind(*rank), Some(Kind::Near(_) | Kind::Contained(_)));
    let led = (0..rank).filter(is_led);
    match led.rev().max_by_key(|&other| by(&[other])) {
        Some(other) if part(by(&[other])) >= params.follow_ppm as usize => {
            (before.of(other), "follows")
        }
        _ => (rank, "canonical"),
    }
}

/// Units that are new, copied, cut elsewhere, pieced together or edited.
fn snapshot(random: &mut Random, count: usize) -> Vec<String> {
    let mut texts: Vec<String> = Vec::new();
    for unit in 0..count {
        let other = |random: &mut Random, texts: &[String]| match texts.is_empty() {
            true => words(0..30),
            false => texts[random.below(texts.len())].clone(),
        };
        let text = match random.below(6) {
            0 => other(random, &texts).to_uppercase().replace(' ', ", "),
            1 => {
                let (a, b) = (other(random, &texts), other(random, &texts));
                a[a.len() / 2..].to_owned() + &b[..b.len() / 2]
            }
            2 | 3 => {
                let text = other(random, &texts);
                let change = |w: &str, random: &mut Random| match random.below(5) {
                    0 => word(random.below(3000)),
                    _ => w.to_owned(),
                };
                text.split(' ').map(|w| change(w, random) + " ").collect()
            }
            _ => words(unit * 100..unit * 100 + 20 + random.below(40)),
        };
        texts.push(text);
    }
    texts
}

#[test]
fn verdicts_are_those_of_the_definition() {
    let (mut near, mut missed, mut kinds) = (0, 0, BTreeSet::new());
    for seed in 1..=40 {
        let texts = snapshot(&mut Random(seed), 20);
        let refs: Vec<&str> = texts.iter().map(String::as_str).collect();
        let params = ClusterParams { key: [seed as u8; 32], ..THOROUGH };
        let clusters = Clusters::find(&refs, &params);
        let symbols: Vec<_> = texts.iter().map(|text| normal(text)).collect();
        for rank in 0..texts.len() as u32 {
            let (expected, kind) = naive(&symbols, &clusters, rank);
            kinds.insert(kind);
            let is_drawn = kind == "near" || kind == "follows";
            near += usize::from(is_drawn);
            // Candidates of near copies are drawn by hash: they may be missed, never invented.
            if is_drawn && clusters.is_canonical(rank) {
                missed += 1;
            } else {
                assert_eq!(clusters.of(rank), expected, "seed {seed}, unit {rank}, {kind}");
            }
        }
    }
    assert_eq!(kinds.len(), 5, "every kind occurs: {kinds:?}");
    assert!(near >= 30 && missed * 50 <= near, "{missed} of {near} near copies are missed");
}

#[test]
fn similarity_is_not_passed_on() {
    // Each window over one long text shares two thirds with the next, and the ends share nothing.
    let texts: Vec<String> = (0..7).map(|k| words(k * 20..k * 20 + 60)).collect();
    let refs: Vec<&str> = texts.iter().map(String::as_str).collect();
    let clusters = Clusters::find(&refs, &ClusterParams::DEFAULT);
    let found: Vec<u32> = (0..7).map(|rank| clusters.of(rank)).collect();
    assert_eq!(found, [0, 0, 2, 2, 4, 4, 6]);
}

#[test]
fn a_bridge_merges_nothing() {
    let bridge = words(0..60) + &words(1000..1050);
    let texts = [&words(0..60), &words(1000..1060), &bridge, &words(1000..1060)];
    let clusters = Clusters::find(&texts.map(String::as_str), &ClusterParams::DEFAULT);
    assert_eq!([0, 1, 2, 3].map(|rank| clusters.of(rank)), [0, 1, 0, 1]);
    assert!(matches!(clusters.kind(2), Some(Kind::Contained(_))));
    assert_eq!(clusters.canonical().collect::<Vec<_>>(), [0, 1]);
    assert_eq!((clusters.of(9), clusters.kind(9)), (9, None));
}

#[test]
fn what_has_no_letters_is_compared_as_it_stands() {
    let clusters = Clusters::find(&["--", "---", "--", "", ""], &ClusterParams::DEFAULT);
    assert_eq!([0, 1, 2, 3, 4].map(|rank| clusters.of(rank)), [0, 1, 0, 3, 3]);
    assert!(Clusters::find(&[], &ClusterParams::DEFAULT).is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn clusters_are_stable_and_led_by_their_earliest(seed in 1u64..u64::MAX, cut in 1usize..20) {
        let texts = snapshot(&mut Random(seed), 20);
        let refs: Vec<&str> = texts.iter().map(String::as_str).collect();
        let all = Clusters::find(&refs, &ClusterParams::DEFAULT);
        let early = Clusters::find(&refs[..cut], &ClusterParams::DEFAULT);
        prop_assert_eq!(all.len(), 20);
        for rank in 0..20u32 {
            prop_assert!(all.of(rank) <= rank && all.is_canonical(all.of(rank)));
            prop_assert_eq!(all.is_canonical(rank), all.kind(rank) == Some(Kind::Canonical));
            if (rank as usize) < cut {
                prop_assert_eq!(all.of(rank), early.of(rank), "later units change nothing");
            }
        }
    }
}

/// The units of the demo's texts, by author.
fn real() -> Vec<Vec<String>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../daemon/data/demo");
    let read = |author: &str| {
        let mut paths: Vec<_> =
            std::fs::read_dir(folder.join(author)).unwrap().map(|e| e.unwrap().path()).collect();
        paths.sort();
        let text: String = paths.iter().map(|p| std::fs::read_to_string(p).unwrap()).collect();
        let piece = |unit: &protocol::manifest::Unit| {
            let from = unit.offset as usize;
            text[from..from + unit.length as usize].to_owned()
        };
        cut_units(0, text.as_bytes(), 640).iter().map(piece).collect()
    };
    ["bierce", "jargon", "king-james"].map(read).to_vec()
}

#[test]
fn edited_copies_of_real_text_are_found_and_other_text_is_left_alone() {
    let authors = real();
    let honest: Vec<&str> = authors.iter().flatten().map(String::as_str).collect();
    let clusters = Clusters::find(&honest, &ClusterParams::DEFAULT);
    let mut first = 0;
    // The Bible's formulae and its second account of the tabernacle are repetitions.
    for (author, most) in authors.iter().zip([0.01, 0.01, 0.10]) {
        let ranks = first..first + author.len() as u32;
        first = ranks.end;
        let joined = ranks.clone().filter(|&rank| !clusters.is_canonical(rank)).count();
        println!("{joined} of {} units repeat earlier ones", author.len());
        assert!(joined as f64 <= most * author.len() as f64, "{joined} of {}", author.len());
        assert!(ranks.clone().all(|rank| ranks.contains(&clusters.of(rank))), "across authors");
    }

    let sampled: Vec<&str> =
        authors.iter().flat_map(|units| &units[..40]).map(String::as_str).collect();
    let sample = authors.iter().map(|units| units[..40].concat()).collect::<Vec<_>>();
    let tokenizer = Tokenizer::train(sample.iter().map(String::as_str), 512).unwrap();
    for (percent, least) in [(0, 1.0), (5, 0.97), (10, 0.95), (20, 0.95), (30, 0.70)] {
        for is_shifted in [false, true] {
            let (found, right, count) = recall(&sample, &tokenizer, &sampled, percent, is_shifted);
            println!(
                "{percent} % changed, shifted {is_shifted}: {found} of {count}, {right} right"
            );
            assert!(found as f64 >= least * count as f64, "{percent} %: {found} of {count}");
            assert!(right * 100 >= found * 97, "{percent} %: {right} of {found}");
        }
    }
}

/// Commits edited copies after all honest units: how many are found, and how many of those in a cluster
/// of the author that was copied.
fn recall(
    sample: &[String],
    tokenizer: &Tokenizer,
    honest: &[&str],
    percent: usize,
    is_shifted: bool,
) -> (usize, usize, usize) {
    let mut random = Random(percent as u64 + 99);
    let mut copies = Vec::new();
    for (author, text) in sample.iter().enumerate() {
        let tokens = tokenizer.encode(text).unwrap();
        let changed: Vec<u32> = tokens
            .iter()
            .map(|&token| match random.below(100) < percent {
                true => tokens[random.below(tokens.len())],
                false => token,
            })
            .collect();
        let text = tokenizer.decode(&changed).unwrap();
        let text = if is_shifted { &text[text.floor_char_boundary(320)..] } else { &text[..] };
        let units = cut_units(0, text.as_bytes(), 640);
        // The last unit may be a few words.
        for unit in &units[..units.len() - 1] {
            let bytes =
                &text.as_bytes()[unit.offset as usize..(unit.offset + unit.length) as usize];
            copies.push((author, String::from_utf8_lossy(bytes).into_owned()));
        }
    }
    let texts: Vec<&str> =
        honest.iter().copied().chain(copies.iter().map(|(_, copy)| copy.as_str())).collect();
    let clusters = Clusters::find(&texts, &ClusterParams::DEFAULT);
    let author_of = |rank: u32| {
        let text = honest[rank as usize];
        sample.iter().position(|sample| sample.contains(text))
    };
    let (mut found, mut right) = (0, 0);
    for (rank, (author, _)) in (honest.len() as u32..).zip(&copies) {
        if clusters.of(rank) < honest.len() as u32 {
            found += 1;
            right += usize::from(author_of(clusters.of(rank)) == Some(*author));
        }
    }
    (found, right, copies.len())
}
