//! What attacks on attribution earn, with the rule and without it.
//!
//! `cargo run --release -p openledger-compute --example attacks -- [FOLDER] [--seeds N] [--json]`, where the
//! folder has one sub-folder of text files per author. For each seed one contributor attacks; models
//! are really retrained wherever the attack changes what they are trained on. A multiplier is the
//! attacker's mean share of the outputs, over all its names, divided by its share without the
//! attack; the same outputs are paid for on both sides. *Without* the rule, shares are the positive
//! part of an identity's summed scores, nothing is deduplicated, and a span is split equally among all
//! that hold it; for claimed boilerplate it belongs to whoever committed it first, and for bad cuts
//! contributors choose their units.
//!
//! **Noise** is what retraining alone does: the ratio of contributors' payouts under two training
//! seeds, as a standard deviation. A row whose training data the rule leaves unchanged has none.

mod lab;
mod rules;
mod schemes;

use std::path::Path;
use std::time::Instant;

use compute::model::ModelConfig;
use compute::spans::SpanParams;
use lab::{Lab, Result, Settings};
use rules::{Rule, Side};
use schemes::{Attack, Attempt, Multiplier, NEAR_COPIES};

/// Training seeds that differ by this much belong to the same outputs.
const OTHER_TRAINING: u64 = 1_000_000;

/// All attacks, in the order of the table.
const ALL: [Attack; 17] = [
    Attack::Copies(1),
    Attack::Copies(3),
    Attack::Copies(10),
    Attack::Near(5),
    Attack::Near(10),
    Attack::Near(20),
    Attack::Near(40),
    Attack::Split(2),
    Attack::Split(5),
    Attack::Split(20),
    Attack::Merge,
    Attack::Cut,
    Attack::Hide,
    Attack::SelfDeal,
    Attack::Echo,
    Attack::Boilerplate,
    Attack::LateCopy,
];

struct Row {
    attack: Attack,
    found: Vec<Multiplier>,
}

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1).peekable();
    let folder = args.next_if(|arg| !arg.starts_with("--"));
    let (mut seeds, mut is_json) = (3, false);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--json" => is_json = true,
            "--seeds" => seeds = args.next().ok_or("--seeds needs a number")?.parse()?,
            _ => return Err(format!("no option is named {arg}").into()),
        }
    }
    let start = Instant::now();
    let folder = folder.as_deref().unwrap_or("daemon/data/demo");
    let mut rows: Vec<Row> =
        ALL.into_iter().map(|attack| Row { attack, found: Vec::new() }).collect();
    let mut noise = Vec::new();
    for seed in 1..=seeds {
        let lab = Lab::new(Path::new(folder), table())?;
        let attempt = Attempt {
            lab: &lab,
            honest: lab.honest(),
            outputs: lab.outputs(seed)?,
            attacker: (seed as usize * 2 - 1) % lab.contributors.len(),
            seed,
        };
        noise.extend(retrained(&attempt)?);
        for row in &mut rows {
            row.found.push(attempt.run(row.attack)?);
            eprintln!("seed {seed}, {}: {:?}", name(row.attack), row.found.last());
        }
    }
    let noise = spread(&noise);
    let seconds = start.elapsed().as_secs_f64();
    print_table(&rows, noise, seeds, seconds);
    if is_json {
        println!("{}", json(&rows, noise, seeds, seconds));
    }
    Ok(())
}

fn name(attack: Attack) -> String {
    match attack {
        Attack::Copies(count) => format!("verbatim copies: {count}"),
        Attack::Near(percent) => format!("{NEAR_COPIES} copies, {percent} % of tokens changed"),
        Attack::Split(names) => format!("splitting over {names} names"),
        Attack::Merge => "merging two contributors".to_owned(),
        Attack::Cut => "cutting at bad places".to_owned(),
        Attack::Hide => "harmful data under a second name".to_owned(),
        Attack::SelfDeal => "self-dealing: payout / fee".to_owned(),
        Attack::Echo => "prompt echo".to_owned(),
        Attack::Boilerplate => "claimed boilerplate".to_owned(),
        Attack::LateCopy => "late copy of another's units".to_owned(),
    }
}

/// Six contributors of twenty units.
fn table() -> Settings {
    Settings {
        per_folder: 2,
        units: 20,
        outputs: 4,
        steps: 150,
        batch: 8,
        model: ModelConfig { context: 64, ..ModelConfig::tiny() },
        max_count: SpanParams::DEFAULT.max_count,
    }
}

/// Each contributor's payout under another training seed, by its payout under this one.
fn retrained(attempt: &Attempt<'_>) -> Result<Vec<f64>> {
    let mut ratios = Vec::new();
    for name in 1..=attempt.lab.contributors.len() as u64 {
        let payout = |seed| {
            let (units, names) = (&attempt.honest[..], &[name][..]);
            let side = Side { units, names, outputs: &attempt.outputs, seed };
            attempt.lab.payout(&side, Rule::Quotient)
        };
        ratios.push(payout(attempt.seed + OTHER_TRAINING)? / payout(attempt.seed)?);
    }
    Ok(ratios)
}

/// Standard deviation around one.
fn spread(ratios: &[f64]) -> f64 {
    let squares: f64 = ratios.iter().map(|ratio| (ratio - 1.0).powi(2)).sum();
    (squares / ratios.len() as f64).sqrt()
}

/// Mean, least and greatest.
fn summary(values: impl Iterator<Item = f64> + Clone) -> [f64; 3] {
    let count = values.clone().count() as f64;
    let mean = values.clone().sum::<f64>() / count;
    [mean, values.clone().fold(f64::MAX, f64::min), values.fold(f64::MIN, f64::max)]
}

fn print_table(rows: &[Row], noise: f64, seeds: u64, seconds: f64) {
    println!("| attack | without the rule | with the rule |\n|---|---|---|");
    for row in rows {
        let cell = |values: [f64; 3]| {
            let [mean, least, most] = values.map(|value| format!("{value:.2}"));
            format!("{mean} ({least}–{most})")
        };
        let without = cell(summary(row.found.iter().map(|m| m.without)));
        let with = cell(summary(row.found.iter().map(|m| m.with)));
        println!("| {} | {without} | {with} |", name(row.attack));
    }
    println!(
        "\n{seeds} seeds, mean (least–greatest); noise of retraining ±{noise:.2}; {seconds:.0} s"
    );
}

fn json(rows: &[Row], noise: f64, seeds: u64, seconds: f64) -> serde_json::Value {
    let cell = |[mean, least, most]: [f64; 3]| serde_json::json!({ "mean": mean, "least": least, "greatest": most });
    let rows: Vec<_> = rows
        .iter()
        .map(|row| {
            serde_json::json!({
                "attack": name(row.attack),
                "without": cell(summary(row.found.iter().map(|m| m.without))),
                "with": cell(summary(row.found.iter().map(|m| m.with))),
            })
        })
        .collect();
    serde_json::json!({ "attacks": rows, "noise": noise, "seeds": seeds, "seconds": seconds })
}
