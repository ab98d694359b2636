//! How right the attribution is.
use compute::attribution::unrolled::Recipe;
use compute::quality::{digits, language};

fn env(name: &str, or: u32) -> u32 {
    std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(or)
}

fn main() {
    if env("DIGITS", 0) == 1 {
        let report = digits::measure(&digits::Setting::full(), &|step| eprintln!("{step}"));
        println!("{report:?}");
    }
    let mut sources = vec![];
    for d in ["bierce", "jargon", "king-james"] {
        let mut files: Vec<_> = std::fs::read_dir(format!("daemon/data/demo/{d}"))
            .unwrap()
            .map(|e| e.unwrap().path())
            .collect();
        files.sort();
        for f in files {
            sources.push(language::Source {
                name: f.display().to_string(),
                text: std::fs::read_to_string(f).unwrap(),
            });
        }
    }
    let mut s = language::Setting::full();
    s.recipe = Recipe {
        steps: env("STEPS", s.recipe.steps),
        learning_rate_ppm: env("LR", s.recipe.learning_rate_ppm),
        clip_milli: env("CLIP", 0),
        batch: env("BATCH", s.recipe.batch),
        warmup: env("WARM", s.recipe.warmup),
        ..s.recipe
    };
    s.unit = env("UNIT", s.unit as u32) as usize;
    s.units = env("UNITS", s.units as u32) as usize;
    s.masks = env("MASKS", s.masks as u32) as usize;
    s.queries = env("QUERIES", s.queries as u32) as usize;
    let t = std::time::Instant::now();
    let report = language::measure(&s, &sources, &|step| {
        eprintln!("{:.0} {step}", t.elapsed().as_secs_f64())
    });
    println!("{report:?} {:.0} s", t.elapsed().as_secs_f64());
}
