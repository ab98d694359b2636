//! How right the attribution is: every method against real retraining, on digits and on text.
//!
//! `cargo run --release -p openledger-compute --example lds -- [--json] [--small] [--only digits|lm]
//! [--tune] [--reference FILE] [FOLDER]`. The folder has one text file per contributor, in any depth;
//! by default the demo's 24. `--tune` prints grids of dampings and of the rule's constants over other masks,
//! queries and continuations than are reported; `--reference` writes one run on digits for `tests/reference/digits.py`.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Instant;

use quality::{digits, language};
use serde_json::{Value, json};

const TEXTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../daemon/data/demo");

#[derive(Default)]
struct Options {
    json: bool,
    small: bool,
    tune: bool,
    only: Option<String>,
    reference: Option<PathBuf>,
    folder: Option<PathBuf>,
}

impl Options {
    fn read() -> Result<Self, Box<dyn Error>> {
        let mut options = Self::default();
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
            match word.as_str() {
                "--json" => options.json = true,
                "--small" => options.small = true,
                "--tune" => options.tune = true,
                "--only" => options.only = Some(value()?),
                "--reference" => options.reference = Some(value()?.into()),
                _ if word.starts_with('-') => return Err(format!("unknown option {word}").into()),
                _ => options.folder = Some(word.into()),
            }
        }
        Ok(options)
    }

    fn wants(&self, part: &str) -> bool {
        self.only.as_deref().is_none_or(|only| only == part)
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::read()?;
    let start = Instant::now();
    let progress = |step: &str| eprintln!("{:6.0} s  {step}", start.elapsed().as_secs_f64());
    let digits_setting =
        if options.small { digits::Setting::small() } else { digits::Setting::full() };
    let text_setting =
        if options.small { language::Setting::small() } else { language::Setting::full() };
    if let Some(path) = &options.reference {
        let reference = digits::reference(&digits_setting)?;
        return Ok(std::fs::write(path, serde_json::to_vec(&reference)?)?);
    }
    let sources = sources(options.folder.as_deref().unwrap_or(Path::new(TEXTS)))?;
    if options.tune {
        let (dampings, rules) = language::tune(&text_setting, &sources, &progress)?;
        for language::Damped { tier, damping_ppm, lds } in dampings {
            println!("{tier:>10} damping {damping_ppm:>10} ppm: LDS {lds:.3}");
        }
        for language::Ruled { tail_ppm, lambda_max_ppm, lds, plain, quoted } in rules {
            println!(
                "floor by the lowest {tail_ppm:>7} ppm, lambda {lambda_max_ppm:>7} ppm: LDS of shares \
                 {lds:.3}, right {plain:.3} plain, {quoted:.3} quoted"
            );
        }
        return Ok(());
    }
    let mut record = serde_json::Map::new();
    if options.wants("digits") {
        let report = digits::measure(&digits_setting, &progress)?;
        record.insert("digits".into(), serde_json::to_value(&report)?);
    }
    if options.wants("lm") {
        let report = language::measure(&text_setting, &sources, &progress)?;
        let mut value = serde_json::to_value(&report)?;
        let plain = value.as_object_mut().and_then(|map| map.remove("plain"));
        let quoted = value.as_object_mut().and_then(|map| map.remove("quoted"));
        record.insert("lm".into(), value);
        record.insert("provenance".into(), json!({ "plain": plain, "quoted": quoted }));
    }
    record.insert("seconds".into(), json!(start.elapsed().as_secs()));
    let record = Value::Object(record);
    if options.json {
        println!("{record}");
    } else {
        println!("{record:#}");
    }
    Ok(())
}

/// Every text file below a folder, by name: one contributor each.
fn sources(folder: &Path) -> Result<Vec<language::Source>, Box<dyn Error>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "txt") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
        .into_iter()
        .map(|path| {
            let text = std::fs::read_to_string(&path)?;
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            Ok(language::Source { name, text })
        })
        .collect()
}
