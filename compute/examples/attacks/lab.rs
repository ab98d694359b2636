//! The whole pipeline on real texts: tokenizer, training, sketches, spans, and the evidence that
//! they give for a set of outputs. What was trained on the same texts with the same seed is
//! computed once.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use compute::attribute::{CaptureUnit, Capturer, Preconditioner, Scope, SketchSet, SketchSpec};
use compute::device::Engine;
use compute::formats::Checkpoint;
use compute::formats::Tokenizer;
use compute::model::ModelConfig;
use compute::serve::{Generator, Sampling};
use compute::spans::{SpanIndex, SpanParams, SpanUnit, Spans};
use compute::train::ShardHyper;
use compute::train::outer;
use compute::train::shard::{self, ShardInput};
use protocol::Hash;
use protocol::hash::blake3;
use protocol::manifest::cut_units;
use protocol::params::Params;

/// What can go wrong here ends the program.
pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Tokens of a prompt, of what is generated after it, and of a passage that is recited.
const PROMPT: usize = 40;
const ANSWER: u32 = 24;
pub(crate) const PASSAGE: usize = 24;

/// The size of the experiment.
pub(crate) struct Settings {
    /// Contributors that each folder of texts is divided among.
    pub(crate) per_folder: usize,
    /// Units of each contributor.
    pub(crate) units: usize,
    /// Outputs for each contributor.
    pub(crate) outputs: usize,
    /// Steps of training, and sequences in each.
    pub(crate) steps: u32,
    pub(crate) batch: u32,
    pub(crate) model: ModelConfig,
    /// Most occurrences of a span that is no boilerplate.
    pub(crate) max_count: u32,
}

/// A unit of a snapshot before attribution: snapshots are lists of these in the order of commitment.
#[derive(Clone, Debug)]
pub(crate) struct Unit {
    pub(crate) owner: u64,
    pub(crate) text: String,
}

/// An output to be attributed.
#[derive(Clone, Debug)]
pub(crate) struct Output {
    pub(crate) about: usize,
    pub(crate) prompt: Vec<u32>,
    pub(crate) output: Vec<u32>,
}

/// One contributor's text.
pub(crate) struct Contributor {
    /// What it publishes, uncut.
    pub(crate) text: String,
    held_out: String,
}

/// A span with all units that hold it.
pub(crate) struct Held {
    pub(crate) millibits: u64,
    pub(crate) holders: Vec<usize>,
}

/// What is known about one output and each unit that was trained on.
pub(crate) struct Evidence {
    pub(crate) scores: Vec<i64>,
    /// The same scores when what the output repeats of its prompt counts again.
    pub(crate) echoed: Vec<i64>,
    /// Evidence of spans under the rule: no echo, no boilerplate, earliest owner.
    pub(crate) ruled: Vec<u64>,
    /// Every span, whoever holds it.
    pub(crate) plain: Vec<Held>,
    /// Information of the output under the rule, and of all of it.
    pub(crate) ruled_millibits: u64,
    pub(crate) plain_millibits: u64,
}

/// A trained model with everything that attribution needs.
struct World {
    tokens: Vec<Vec<u32>>,
    checkpoint: Checkpoint,
    capturer: Capturer,
    set: SketchSet,
    preconditioner: Preconditioner,
    index: SpanIndex,
}

/// Texts, tokenizer and what was computed so far.
pub(crate) struct Lab {
    pub(crate) settings: Settings,
    pub(crate) contributors: Vec<Contributor>,
    pub(crate) tokenizer: Tokenizer,
    engine: Engine,
    known: RefCell<BTreeMap<Hash, Rc<Vec<Evidence>>>>,
    worlds: RefCell<BTreeMap<Hash, Rc<World>>>,
}

/// Cuts a text by the network's rule.
pub(crate) fn cut(text: &str, unit_bytes: u32) -> Vec<String> {
    let units = cut_units(0, text.as_bytes(), unit_bytes);
    let piece = |unit: &protocol::manifest::Unit| {
        let from = unit.offset as usize;
        String::from_utf8_lossy(&text.as_bytes()[from..from + unit.length as usize]).into_owned()
    };
    units.iter().map(piece).collect()
}

/// Bytes of a unit on the network.
pub(crate) fn unit_bytes() -> u32 {
    Params::mainnet().unit_bytes
}

impl Lab {
    /// Reads the texts: one folder of files per author.
    pub(crate) fn new(folder: &Path, settings: Settings) -> Result<Self> {
        let mut folders: Vec<_> =
            std::fs::read_dir(folder)?.map(|e| Ok(e?.path())).collect::<Result<_>>()?;
        folders.retain(|path| path.is_dir());
        folders.sort();
        let mut contributors = Vec::new();
        for folder in folders {
            let mut files: Vec<_> =
                std::fs::read_dir(folder)?.map(|e| Ok(e?.path())).collect::<Result<_>>()?;
            files.sort();
            for part in files.chunks(files.len() / settings.per_folder).take(settings.per_folder) {
                let text: String =
                    part.iter().map(std::fs::read_to_string).collect::<std::io::Result<_>>()?;
                contributors.push(contributor(&text, settings.units));
            }
        }
        let texts = contributors.iter().map(|c| c.text.as_str());
        let tokenizer = Tokenizer::train(texts, settings.model.vocab)?;
        let (known, worlds) = Default::default();
        Ok(Self { settings, contributors, tokenizer, engine: Engine::cpu(), known, worlds })
    }

    /// The snapshot without any attack: contributor `i` has account `i + 1`.
    pub(crate) fn honest(&self) -> Vec<Unit> {
        let of = |(number, contributor): (usize, &Contributor)| {
            let owner = number as u64 + 1;
            let units = cut(&contributor.text, unit_bytes());
            units.into_iter().map(move |text| Unit { owner, text }).collect::<Vec<_>>()
        };
        self.contributors.iter().enumerate().flat_map(of).collect()
    }

    /// Outputs of the honest model to prompts from text that was held out. Every other output goes on
    /// with a passage of the contributor's published text, as a model that recites it would.
    pub(crate) fn outputs(&self, seed: u64) -> Result<Rc<Vec<Output>>> {
        let texts: Vec<String> = self.honest().into_iter().map(|unit| unit.text).collect();
        let world = self.world(&texts, seed)?;
        let generator = Generator::new(&self.engine, &world.checkpoint)?;
        let mut outputs = Vec::new();
        for (about, contributor) in self.contributors.iter().enumerate() {
            let held_out = self.tokenizer.encode(&contributor.held_out)?;
            let published = self.tokenizer.encode(&contributor.text)?;
            for number in 0..self.settings.outputs {
                let place = |len: usize, room: usize| {
                    (seed as usize * 7919 + number * (len - room) / self.settings.outputs)
                        % (len - room)
                };
                let at = place(held_out.len(), PROMPT);
                let prompt = held_out[at..at + PROMPT].to_vec();
                let sampling = Sampling {
                    tokens: ANSWER,
                    temperature_ppm: 800_000,
                    top: 0,
                    top_p_ppm: Sampling::ALL,
                    seed: seed * 1000 + (about * self.settings.outputs + number) as u64,
                };
                let mut output = generator.generate(&prompt, &sampling)?;
                if number % 2 == 1 {
                    let at = place(published.len(), PASSAGE);
                    output.extend(&published[at..at + PASSAGE]);
                }
                outputs.push(Output { about, prompt, output });
            }
        }
        Ok(Rc::new(outputs))
    }

    /// The evidence for `outputs` of a model that is trained on `texts`, in the order of commitment.
    pub(crate) fn evidence(
        &self,
        texts: &[String],
        seed: u64,
        outputs: &[Output],
    ) -> Result<Rc<Vec<Evidence>>> {
        let name = name_of(texts, seed, outputs);
        if let Some(known) = self.known.borrow().get(&name) {
            return Ok(Rc::clone(known));
        }
        let world = self.world(texts, seed)?;
        let found = outputs.iter().map(|output| self.attribute(&world, output));
        let found = Rc::new(found.collect::<Result<Vec<_>>>()?);
        self.known.borrow_mut().insert(name, Rc::clone(&found));
        Ok(found)
    }

    fn attribute(&self, world: &World, output: &Output) -> Result<Evidence> {
        let (prompt, answer) = (&output.prompt[..], &output.output[..]);
        let scores = |answer: &[u32]| -> Result<Vec<i64>> {
            let sketch = world.capturer.output(prompt, answer, Scope::default())?;
            Ok(world.set.scores(&world.preconditioner.query(&sketch)?)?)
        };
        let tokenizer = self.tokenizer.hash();
        let params = SpanParams { max_count: self.settings.max_count, ..SpanParams::DEFAULT };
        let ruled = world.index.attribute(tokenizer, prompt, answer, params)?;
        let free = SpanParams { max_count: u32::MAX, echo_millibits: u64::MAX, ..params };
        let plain = world.index.attribute(tokenizer, prompt, answer, free)?;
        let held = plain.spans.iter().map(|span| {
            let from = span.start as usize;
            let tokens = &answer[from..from + span.len as usize];
            let holds = |unit: &Vec<u32>| unit.windows(tokens.len()).any(|run| run == tokens);
            let holders = (0..world.tokens.len()).filter(|&unit| holds(&world.tokens[unit]));
            Held { millibits: span.millibits, holders: holders.collect() }
        });
        Ok(Evidence {
            scores: scores(&world.index.without_echo(prompt, answer, params))?,
            echoed: scores(answer)?,
            ruled: ruled.by_unit(world.tokens.len()),
            plain: held.collect(),
            ruled_millibits: ruled.output_millibits,
            plain_millibits: plain.output_millibits,
        })
    }

    fn world(&self, texts: &[String], seed: u64) -> Result<Rc<World>> {
        let name = name_of(texts, seed, &[]);
        if let Some(world) = self.worlds.borrow().get(&name) {
            return Ok(Rc::clone(world));
        }
        let tokens: Vec<Vec<u32>> = texts
            .iter()
            .map(|text| self.tokenizer.encode(text))
            .collect::<std::result::Result<_, _>>()?;
        let checkpoint = self.train(&tokens, seed)?;
        // A text may stand in a snapshot twice: units are named by their rank here.
        let names: Vec<Hash> = (0..texts.len()).map(|i| blake3(&i.to_be_bytes())).collect();
        let spec = SketchSpec::standard(checkpoint.hash(), 1, checkpoint.config());
        let capturer = Capturer::new(&self.engine, &checkpoint, &spec)?;
        let units: Vec<_> =
            names.iter().zip(&tokens).map(|(&hash, tokens)| CaptureUnit { hash, tokens }).collect();
        let part = capturer.units(0, &units)?;
        let shape: Vec<_> = names.iter().zip(&tokens).map(|(n, t)| (*n, t.len() as u32)).collect();
        let set = SketchSet::assemble(spec, &shape, vec![part])?;
        let preconditioner = Preconditioner::fit(&set, Preconditioner::DAMPING_PPM)?;
        let units: Vec<_> =
            names.iter().zip(&tokens).map(|(&hash, tokens)| SpanUnit { hash, tokens }).collect();
        let index = SpanIndex::build(self.tokenizer.hash(), self.tokenizer.vocab(), &units)?;
        let world = World { tokens, checkpoint, capturer, set, preconditioner, index };
        let world = Rc::new(world);
        self.worlds.borrow_mut().insert(name, Rc::clone(&world));
        Ok(world)
    }

    /// One shard on all units: the budget of steps is the same, however many units there are.
    fn train(&self, units: &[Vec<u32>], seed: u64) -> Result<Checkpoint> {
        let settings = &self.settings;
        let start = Checkpoint::init(&settings.model, self.tokenizer.hash(), seed)?;
        let hyper = ShardHyper {
            steps: settings.steps,
            batch: settings.batch,
            context: settings.model.context,
            learning_rate_ppb: 8_000_000,
            warmup: 8,
            beta1_ppm: 900_000,
            beta2_ppm: 950_000,
            weight_decay_ppm: 100_000,
            clip_ppm: 1_000_000,
            keep: 4096,
        };
        let input = ShardInput {
            checkpoint: Arc::new(start.clone()),
            adapter: None,
            units: units.to_vec(),
            seed: blake3(&seed.to_be_bytes()).0,
            hyper,
        };
        let payload = shard::run(&self.engine, &input)?.payload;
        Ok(outer::step(&start, &[payload], 1_000_000)?)
    }
}

fn contributor(text: &str, units: usize) -> Contributor {
    let pieces = cut(text, unit_bytes());
    let held = (units / 3).max(2);
    let (published, rest) = pieces.split_at(units);
    Contributor { text: published.concat(), held_out: rest[..held].concat() }
}

fn name_of(texts: &[String], seed: u64, outputs: &[Output]) -> Hash {
    let mut bytes = seed.to_be_bytes().to_vec();
    for text in texts {
        bytes.extend(blake3(text.as_bytes()).0);
    }
    for output in outputs {
        for part in [&output.prompt, &output.output] {
            bytes.extend((part.len() as u64).to_be_bytes());
            bytes.extend(part.iter().flat_map(|token| token.to_be_bytes()));
        }
    }
    blake3(&bytes)
}
