//! The attacks: how each changes the snapshot, the names or the outputs.

use std::rc::Rc;

use protocol::hash::blake3;
use protocol::params::Economics;

use super::lab::{Lab, Output, PASSAGE, Result, Unit, cut, unit_bytes};
use super::rules::{Rule, Side};

/// First of the attacker's other names.
const SECOND_NAME: u64 = 101;
/// Copies in the attacks with changed tokens.
pub(crate) const NEAR_COPIES: usize = 3;

/// The attacker's payout, divided by what it would be paid without the attack.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Multiplier {
    pub(crate) without: f64,
    pub(crate) with: f64,
}

/// One attack by one contributor on one model.
pub(crate) struct Attempt<'a> {
    pub(crate) lab: &'a Lab,
    pub(crate) honest: Vec<Unit>,
    pub(crate) outputs: Rc<Vec<Output>>,
    pub(crate) attacker: usize,
    pub(crate) seed: u64,
}

/// What is tried.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Attack {
    Copies(usize),
    Near(u32),
    Split(u64),
    Merge,
    Cut,
    Hide,
    SelfDeal,
    Echo,
    Boilerplate,
    LateCopy,
}

impl Attempt<'_> {
    pub(crate) fn run(&self, attack: Attack) -> Result<Multiplier> {
        match attack {
            Attack::Copies(count) => self.copies(count, 0),
            Attack::Near(percent) => self.copies(NEAR_COPIES, percent),
            Attack::Split(names) => self.split(names),
            Attack::Merge => self.merge(),
            Attack::Cut => self.cut(),
            Attack::Hide => self.hide(),
            Attack::SelfDeal => self.self_deal(),
            Attack::Echo => self.echo(),
            Attack::Boilerplate => self.boilerplate(),
            Attack::LateCopy => self.late_copy(),
        }
    }

    fn name(&self) -> u64 {
        self.attacker as u64 + 1
    }

    fn own(&self) -> impl Iterator<Item = &Unit> {
        self.honest.iter().filter(|unit| unit.owner == self.name())
    }

    /// The payout of two snapshots compared, with the attacker's names in each.
    fn compare(
        &self,
        (before, names_before): (&[Unit], &[u64]),
        (after, names_after): (&[Unit], &[u64]),
        without: Rule,
    ) -> Result<Multiplier> {
        let side = |units, names| Side { units, names, outputs: &self.outputs, seed: self.seed };
        let (before, after) = (side(before, names_before), side(after, names_after));
        let ratio = |rule| {
            Ok::<_, Box<dyn std::error::Error>>(
                self.lab.payout(&after, rule)? / self.lab.payout(&before, rule)?,
            )
        };
        Ok(Multiplier { without: ratio(without)?, with: ratio(Rule::Quotient)? })
    }

    /// Copies under other names, committed after everything else.
    fn copies(&self, count: usize, percent: u32) -> Result<Multiplier> {
        let mut after = self.honest.clone();
        let mut names = vec![self.name()];
        for copy in 0..count {
            let owner = SECOND_NAME + copy as u64;
            names.push(owner);
            for (number, unit) in self.own().enumerate() {
                let salt = format!("{}/{copy}/{number}/{percent}", self.seed);
                after.push(Unit { owner, text: self.changed(&unit.text, percent, &salt)? });
            }
        }
        self.compare((&self.honest, &[self.name()]), (&after, &names), Rule::PerIdentity)
    }

    /// The text with some of its tokens replaced by others of the same text.
    fn changed(&self, text: &str, percent: u32, salt: &str) -> Result<String> {
        let tokens = self.lab.tokenizer.encode(text)?;
        let mut draw = Draw::new(salt);
        let replace = |&token: &u32| match draw.below(100) < percent as usize {
            true => tokens[draw.below(tokens.len())],
            false => token,
        };
        let changed: Vec<u32> = tokens.iter().map(replace).collect();
        Ok(self.lab.tokenizer.decode(&changed)?)
    }

    fn split(&self, count: u64) -> Result<Multiplier> {
        let mut after = self.honest.clone();
        let own = after.iter_mut().filter(|unit| unit.owner == self.name());
        own.zip(0u64..).for_each(|(unit, number)| unit.owner = SECOND_NAME + number % count);
        let names: Vec<u64> = (SECOND_NAME..SECOND_NAME + count).collect();
        self.compare((&self.honest, &[self.name()]), (&after, &names), Rule::PerIdentity)
    }

    fn merge(&self) -> Result<Multiplier> {
        let other = (self.attacker + 1) % self.lab.contributors.len();
        let names = [self.name(), other as u64 + 1];
        let mut after = self.honest.clone();
        let merged = after.iter_mut().filter(|unit| unit.owner == names[1]);
        merged.for_each(|unit| unit.owner = names[0]);
        self.compare((&self.honest, &names), (&after, &names), Rule::PerIdentity)
    }

    /// Where contributors cut, pieces of an eighth of a unit; where the network cuts, the text turned by
    /// half a unit.
    fn cut(&self) -> Result<Multiplier> {
        let text = &self.lab.contributors[self.attacker].text;
        let with_units = |pieces: Vec<String>| {
            let own = |owner| owner == self.name();
            let at = self.honest.iter().position(|unit| own(unit.owner)).unwrap_or(0);
            let mut units: Vec<Unit> =
                self.honest.iter().filter(|unit| !own(unit.owner)).cloned().collect();
            let pieces = pieces.into_iter().map(|text| Unit { owner: self.name(), text });
            units.splice(at..at, pieces);
            units
        };
        let half = text.floor_char_boundary(unit_bytes() as usize / 2);
        let turned = [&text[half..], &text[..half]].concat();
        let fine = with_units(cut(text, unit_bytes() / 8));
        let names = [self.name()];
        let own_cut =
            self.compare((&self.honest, &names), (&fine, &names), Rule::OwnUnits)?.without;
        let turned = with_units(cut(&turned, unit_bytes()));
        let fixed = self.compare((&self.honest, &names), (&turned, &names), Rule::OwnUnits)?;
        Ok(Multiplier { without: own_cut, with: fixed.with })
    }

    /// Data that misleads, as much as a half of the good data: other contributors' words in disorder.
    fn hide(&self) -> Result<Multiplier> {
        let harmful = |owner| {
            let others = self.honest.iter().filter(move |unit| unit.owner != self.name());
            let step = (self.lab.contributors.len() - 1) * 2;
            others.step_by(step).map(move |unit| {
                let mut words: Vec<&str> = unit.text.split_whitespace().collect();
                words.sort_by_key(|word| blake3(word.as_bytes()));
                Unit { owner, text: words.join(" ") }
            })
        };
        let both = |owner| self.honest.iter().cloned().chain(harmful(owner)).collect::<Vec<_>>();
        let (before, after) = (both(self.name()), both(SECOND_NAME));
        let names = [self.name(), SECOND_NAME];
        self.compare((&before, &names), (&after, &names), Rule::PerIdentity)
    }

    /// The attacker pays for outputs that recite its own text. Payout by fee, if it is the only
    /// developer, staker and node too, with the protocol's cut and without.
    fn self_deal(&self) -> Result<Multiplier> {
        let mut outputs = Vec::new();
        for unit in self.own().take(self.lab.settings.outputs) {
            let tokens = self.lab.tokenizer.encode(&unit.text)?;
            let (prompt, output) = tokens.split_at(tokens.len() / 2);
            let (prompt, output) = (prompt.to_vec(), output.to_vec());
            outputs.push(Output { about: self.attacker, prompt, output });
        }
        let side =
            Side { units: &self.honest, names: &[self.name()], outputs: &outputs, seed: self.seed };
        let rules = Economics::DEFAULT;
        let part = |bps: u32| f64::from(bps) / 10_000.0;
        let contributors = part(rules.fee_contributors_bps);
        let back = |share: f64| contributors * share + (1.0 - contributors);
        let net = 1.0 - part(rules.fee_platform_bps);
        Ok(Multiplier {
            without: back(self.lab.payout(&side, Rule::PerIdentity)?),
            with: net * back(self.lab.payout(&side, Rule::Quotient)?),
        })
    }

    /// Prompts hold a passage of the attacker's text; with the attack, the output repeats it.
    fn echo(&self) -> Result<Multiplier> {
        let text = self.lab.tokenizer.encode(&self.lab.contributors[self.attacker].text)?;
        let (mut before, mut after) = (Vec::new(), Vec::new());
        let others = self.outputs.iter().filter(|output| output.about != self.attacker);
        for (number, output) in others.enumerate() {
            let at = (number * 3 * PASSAGE) % (text.len() - PASSAGE);
            let passage = &text[at..at + PASSAGE];
            let prompt = [passage, &output.prompt].concat();
            let repeated = [passage, &output.output].concat();
            before.push(Output { prompt: prompt.clone(), ..output.clone() });
            after.push(Output { prompt, output: repeated, ..output.clone() });
        }
        let payout = |outputs: &[Output], rule| {
            let (units, names) = (&self.honest[..], &[self.name()][..]);
            self.lab.payout(&Side { units, names, outputs, seed: self.seed }, rule)
        };
        let ratio = |rule| {
            Ok::<_, Box<dyn std::error::Error>>(payout(&after, rule)? / payout(&before, rule)?)
        };
        Ok(Multiplier { without: ratio(Rule::PerIdentity)?, with: ratio(Rule::Quotient)? })
    }

    /// A phrase that stands in a unit of everybody's, and in half of the outputs. The attacker commits
    /// before all others instead of after them.
    fn boilerplate(&self) -> Result<Multiplier> {
        const PHRASE: &str = "This notice must be kept in all copies of the work. ";
        let is_own = |unit: &&Unit| unit.owner == self.name();
        let mut own: Vec<Unit> = self.honest.iter().filter(is_own).cloned().collect();
        own[0].text.insert_str(0, PHRASE);
        let others = self.honest.iter().filter(|unit| !is_own(unit));
        let marked: Vec<Unit> =
            others.map(|unit| Unit { text: format!("{PHRASE}{}", unit.text), ..*unit }).collect();
        let before = [&marked[..], &own].concat();
        let after = [&own[..], &marked].concat();
        let phrase = self.lab.tokenizer.encode(PHRASE)?;
        let mut outputs = self.outputs.to_vec();
        for output in outputs.iter_mut().step_by(2) {
            output.output.extend(&phrase);
        }
        let names = [self.name()];
        let spoken = Attempt { honest: before.clone(), outputs: Rc::new(outputs), ..*self };
        spoken.compare((&before, &names), (&after, &names), Rule::FirstClaim)
    }

    /// The attacker commits another contributor's units as its own, later.
    fn late_copy(&self) -> Result<Multiplier> {
        let victim = (self.attacker + 1) as u64 % self.lab.contributors.len() as u64 + 1;
        let mut after = self.honest.clone();
        let stolen = self.honest.iter().filter(|unit| unit.owner == victim);
        after.extend(stolen.map(|unit| Unit { owner: self.name(), text: unit.text.clone() }));
        let names = [self.name()];
        self.compare((&self.honest, &names), (&after, &names), Rule::PerIdentity)
    }
}

/// A seeded stream of choices.
struct Draw {
    salt: String,
    count: u64,
}

impl Draw {
    fn new(salt: &str) -> Self {
        Self { salt: salt.to_owned(), count: 0 }
    }

    fn below(&mut self, limit: usize) -> usize {
        self.count += 1;
        let hash = blake3(format!("{}#{}", self.salt, self.count).as_bytes());
        let word = hash.0.iter().take(8).fold(0u64, |word, byte| (word << 8) | u64::from(*byte));
        (word % limit as u64) as usize
    }
}
