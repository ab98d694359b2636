//! Whoever has the index makes the proofs.

use std::ops::Range;

use protocol::merkle::Tree;

use super::super::format::UNIT;
use super::super::index::SpanIndex;
use super::window::Section;
use super::{Commitment, Fraud, LEAF, Lookup, MAX_PROVED_TOKENS, ProofError, Side, Window};

/// An index with its trees: two bytes per token more.
#[derive(Debug)]
pub struct Prover<'a, B = Vec<u8>> {
    index: &'a SpanIndex<B>,
    commitment: Commitment,
    text: Tree,
    array: Tree,
    table: Tree,
}

impl<'a, B: AsRef<[u8]>> Prover<'a, B> {
    /// Hashes the index.
    pub fn new(index: &'a SpanIndex<B>) -> Self {
        let layout = index.layout();
        let leaf = |bytes: usize| LEAF as usize * bytes;
        let text = Section::tree(index.text_bytes(), leaf(layout.symbol.bytes()));
        let array = Section::tree(index.array_bytes(), leaf(layout.position.bytes()));
        let table = Section::tree(index.table_bytes(), UNIT);
        let commitment = Commitment {
            snapshot: index.snapshot(),
            vocab: index.vocab(),
            units: index.units() as u64,
            symbols: index.text().len() as u64,
            layout,
            text: text.root(),
            array: array.root(),
            table: table.root(),
        };
        Self { index, commitment, text, array, table }
    }

    /// What stands for this index.
    pub const fn commitment(&self) -> &Commitment {
        &self.commitment
    }

    /// Proves the place of a run of tokens.
    pub fn lookup(&self, query: &[u32], side: Side) -> Result<Lookup, ProofError> {
        self.check(query)?;
        let ranks = self.index.occurrences(query, u64::MAX - 1);
        let rank = if side == Side::Lower { ranks.start } else { ranks.end };
        let around = rank.saturating_sub(1)..(rank + 1).min(self.commitment.symbols);
        let entries = self.entries(around).ok_or(ProofError::Uncovered)?;
        let beside = |rank: Option<u64>| {
            let position = self.position(rank?)?;
            let shared = self.index.text().common(usize::try_from(position).ok()?, query) as u64;
            self.symbols(position..position + (shared + 1).min(query.len() as u64))
        };
        Ok(Lookup { rank, entries, left: beside(rank.checked_sub(1)), right: beside(Some(rank)) })
    }

    /// Shows that a run stands at a position.
    pub fn occurrence(&self, position: u64, length: usize) -> Result<Window, ProofError> {
        let end = position.checked_add(length as u64).ok_or(ProofError::Uncovered)?;
        let is_bounded = length <= MAX_PROVED_TOKENS;
        let window = is_bounded.then(|| self.symbols(position..end)).flatten();
        window.ok_or(ProofError::Uncovered)
    }

    /// Shows in which unit a position lies.
    pub fn unit(&self, position: u64) -> Result<Window, ProofError> {
        let is_there = position < self.commitment.symbols;
        let found = is_there.then(|| self.index.locate(position)).flatten();
        let (unit, _) = found.ok_or(ProofError::Uncovered)?;
        let end = (unit + 2).min(self.commitment.units);
        let table = Section::table(&self.commitment);
        let window = table.window(&self.table, self.index.table_bytes(), unit, end);
        window.ok_or(ProofError::Uncovered)
    }

    /// Looks for something wrong with the array: `None` when it is the sorted one. Takes eight bytes
    /// per symbol.
    ///
    /// The proof shows at most `reach` symbols of either text, as few as its judge can afford; where
    /// suffixes agree for longer, it shows their successors.
    pub fn find_fraud(&self, reach: usize) -> Option<Fraud> {
        let reach = reach.min(MAX_PROVED_TOKENS) as u64;
        let (text, array) = (self.index.text(), self.index.array());
        let symbols = text.len();
        let mut ranks = vec![u64::MAX; symbols];
        for (rank, position) in array.iter().enumerate().map(|(rank, at)| (rank as u64, at)) {
            let Some(place) = usize::try_from(position).ok().and_then(|at| ranks.get_mut(at))
            else {
                return Some(Fraud::OutOfRange { rank, entry: self.entry(rank)? });
            };
            if *place != u64::MAX {
                let ranks = [*place, rank];
                return Some(Fraud::Duplicate { ranks, entries: self.pair(ranks)? });
            }
            *place = rank;
        }
        let successor = |at: u64| ranks.get(at as usize + 1).copied();
        (0..symbols as u64 - 1).find_map(|rank| {
            let (a, b) = (self.position(rank)?, self.position(rank + 1)?);
            let (x, y) = (text.get(a as usize)?, text.get(b as usize)?);
            let is_wrong = x > y || x == y && x == 0 && a > b;
            let after = if x == y && x != 0 { successor(a).zip(successor(b)) } else { None };
            match after {
                Some((a, b)) if a > b => self.disorder([rank, rank + 1, a, b], reach),
                _ if is_wrong => self.order([rank, rank + 1], 1),
                _ => None,
            }
        })
    }

    /// Shows one of two neighbours, or of their successors, in the wrong order by the text, or all
    /// four when the text agrees for too long.
    fn disorder(&self, ranks: [u64; 4], reach: u64) -> Option<Fraud> {
        let [first, second, after_first, after_second] = ranks;
        let by_text = self.order([first, second], reach);
        by_text.or_else(|| self.order([after_second, after_first], reach)).or_else(|| {
            let entries = ranks.map(|rank| self.entry(rank));
            let [Some(a), Some(b), Some(c), Some(d)] = entries else { return None };
            let symbol = |rank| self.position(rank).and_then(|at| self.symbols(at..at + 1));
            let symbols = [symbol(first)?, symbol(second)?];
            Some(Fraud::Successors { ranks, entries: [a, b, c, d], symbols })
        })
    }

    /// Shows that the suffixes at two ascending ranks are in the wrong order, if they are and differ
    /// within `reach` symbols.
    fn order(&self, ranks: [u64; 2], reach: u64) -> Option<Fraud> {
        let text = self.index.text();
        let (a, b) = (self.position(ranks[0])?, self.position(ranks[1])?);
        let symbol = |position: u64, ahead: u64| text.get((position + ahead) as usize);
        let ends = |&ahead: &u64| {
            symbol(a, ahead) != symbol(b, ahead) || symbol(a, ahead).is_none_or(|s| s == 0)
        };
        let ahead = (0..reach).find(ends)?;
        let (x, y) = (symbol(a, ahead)?, symbol(b, ahead)?);
        if x < y || x == y && a < b {
            return None;
        }
        let texts = [self.symbols(a..a + ahead + 1)?, self.symbols(b..b + ahead + 1)?];
        Some(Fraud::Order { ranks, entries: self.pair(ranks)?, texts })
    }

    fn check(&self, query: &[u32]) -> Result<(), ProofError> {
        let is_right = !query.is_empty()
            && query.len() <= MAX_PROVED_TOKENS
            && query.iter().all(|&token| token < self.commitment.vocab);
        if is_right { Ok(()) } else { Err(ProofError::Query) }
    }

    fn position(&self, rank: u64) -> Option<u64> {
        self.index.array().get(usize::try_from(rank).ok()?)
    }

    fn entry(&self, rank: u64) -> Option<Window> {
        self.entries(rank..rank.checked_add(1)?)
    }

    fn pair(&self, ranks: [u64; 2]) -> Option<[Window; 2]> {
        Some([self.entry(ranks[0])?, self.entry(ranks[1])?])
    }

    fn entries(&self, ranks: Range<u64>) -> Option<Window> {
        let section = Section::array(&self.commitment);
        section.window(&self.array, self.index.array_bytes(), ranks.start, ranks.end)
    }

    fn symbols(&self, places: Range<u64>) -> Option<Window> {
        let section = Section::text(&self.commitment);
        section.window(&self.text, self.index.text_bytes(), places.start, places.end)
    }
}
