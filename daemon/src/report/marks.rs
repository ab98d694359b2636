//! Text cut at its marks, and the letters that stand for owners.

use protocol::AccountId;

use crate::api::types::AttributionReport;

/// Owners that have a colour of their own; the rest share one.
pub(super) const COLOURS: usize = 8;

/// A mark: its number, its first byte, the first byte after it.
pub(super) type Mark = (usize, usize, usize);

/// A stretch of text, and the number of what marks it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece<'a> {
    pub(super) text: &'a str,
    pub(super) mark: Option<usize>,
}

/// Cuts a text at its marks, whose outer white space is not drawn. Where they overlap the earlier
/// wins; what lies outside the text or goes through a character is left out, so that no record can
/// stop a page.
pub(super) fn pieces<'a>(text: &'a str, marks: &[Mark]) -> Vec<Piece<'a>> {
    let mut marks = marks.to_vec();
    marks.sort_by_key(|(_, from, to)| (*from, std::cmp::Reverse(*to)));
    let mut pieces = Vec::new();
    let mut at = 0;
    // Empty pieces are dropped at the end: every arm may push without looking at lengths.
    for (number, from, to) in marks {
        let from = from.max(at);
        let Some(marked) = text.get(from..to) else { continue };
        let (bare, end) = (marked.trim_start(), from + marked.trim_end().len());
        let start = to - bare.len();
        if let (Some(before), Some(marked)) = (text.get(at..start), text.get(start..end)) {
            pieces.push(Piece { text: before, mark: None });
            pieces.push(Piece { text: marked, mark: Some(number) });
            at = end;
        }
    }
    pieces.push(Piece { text: text.get(at..).unwrap_or_default(), mark: None });
    pieces.retain(|piece| !piece.text.is_empty());
    pieces
}

/// A part of a long text, around its first mark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Excerpt<'a> {
    pub(super) text: &'a str,
    pub(super) marks: Vec<Mark>,
    pub(super) is_cut_before: bool,
    pub(super) is_cut_after: bool,
}

/// At most `max` bytes and a little, a quarter of them before the first mark; without white space at
/// its end.
pub(super) fn excerpt<'a>(text: &'a str, marks: &[Mark], max: usize) -> Excerpt<'a> {
    let first = marks.iter().map(|(_, from, _)| *from).min().unwrap_or(0);
    let fits = text.len() <= max;
    let lead = if fits { 0 } else { first.min(text.len()).saturating_sub(max / 4) };
    let start = word(text, lead);
    let end = if fits { text.len() } else { word(text, (start + max).min(text.len())) };
    let shown = text.get(start..end).unwrap_or_default().trim_end();
    let inside = |(number, from, to): &Mark| {
        let (from, to) = ((*from).max(start), (*to).min(start + shown.len()));
        (from < to).then(|| (*number, from - start, to - start))
    };
    Excerpt {
        text: shown,
        marks: marks.iter().filter_map(inside).collect(),
        is_cut_before: start > 0,
        is_cut_after: end < text.len(),
    }
}

/// The start of the word that a byte lies in, if it is near; else the start of the character.
fn word(text: &str, at: usize) -> usize {
    const NEAR: usize = 24;
    let at = text.floor_char_boundary(at);
    if at == 0 || at == text.len() {
        return at;
    }
    let from = text.floor_char_boundary(at.saturating_sub(NEAR));
    let space = text.get(from..at).and_then(|near| near.rfind(char::is_whitespace));
    space.map_or(at, |space| from + space + 1)
}

/// Which letter and which colour stand for whom: those with most come first.
#[derive(Debug)]
pub(super) struct Legend(Vec<AccountId>);

impl Legend {
    pub(super) fn of(report: &AttributionReport) -> Self {
        let mut accounts: Vec<_> = report.contributors.iter().map(|c| c.account).collect();
        let units = report.units.iter().map(|unit| unit.owner);
        for owner in report.spans.iter().map(|span| span.owner).chain(units) {
            if !accounts.contains(&owner) {
                accounts.push(owner);
            }
        }
        Self(accounts)
    }

    fn rank(&self, account: AccountId) -> usize {
        self.0.iter().position(|known| *known == account).unwrap_or(self.0.len())
    }

    /// The number of the colour, up to [`COLOURS`], which is the colour of all the rest.
    pub(super) fn colour(&self, account: AccountId) -> usize {
        self.rank(account).min(COLOURS)
    }

    /// `A` to `Z`, then `A1` to `Z1`, and so on.
    pub(super) fn letter(&self, account: AccountId) -> String {
        let rank = self.rank(account);
        let letter = char::from(b'A' + u8::try_from(rank % 26).unwrap_or_default());
        if rank < 26 { letter.to_string() } else { format!("{letter}{}", rank / 26) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlaps_and_nonsense_do_not_lose_text() {
        let text = "Größe zählt";
        let marks = [(0, 0, 3), (1, 2, 7), (2, 8, 99), (3, 3, 4), (4, 8, 10)];
        let cut = pieces(text, &marks);
        assert_eq!(cut.iter().map(|piece| piece.text).collect::<String>(), text);
        assert_eq!(cut[0], Piece { text: "Gr", mark: None });
        assert_eq!(cut[1], Piece { text: "öße", mark: Some(1) });
        let spaced = pieces("a b c", &[(4, 1, 4)]);
        assert_eq!(spaced[1], Piece { text: "b", mark: Some(4) }, "white space is not drawn");
    }

    #[test]
    fn an_excerpt_begins_before_its_mark_and_at_a_word() {
        let text = format!("{}the marked words{}", "word ".repeat(50), " and more".repeat(50));
        let from = text.find("marked").unwrap();
        let cut = excerpt(&text, &[(7, from, from + 12)], 100);
        assert!(cut.is_cut_before && cut.is_cut_after);
        assert!(cut.text.starts_with("word ") && cut.text.len() <= 125, "{cut:?}");
        let (number, from, to) = cut.marks[0];
        assert_eq!((number, &cut.text[from..to]), (7, "marked words"));
        let whole = excerpt("short \n", &[(0, 1, 6)], 100);
        assert_eq!((whole.text, whole.is_cut_before, whole.is_cut_after), ("short", false, false));
        assert_eq!(whole.marks, [(0, 1, 5)]);
    }

    #[test]
    fn any_two_marks_leave_the_text_whole() {
        let text = "aé\u{fffd} 🦀z";
        let ends: Vec<usize> = (0..=text.len() + 1).collect();
        for (a, b) in ends.iter().flat_map(|a| ends.iter().map(move |b| (*a, *b))) {
            for (c, d) in [(0, 3), (2, 6), (4, 12), (b, a)] {
                let marks = [(0, a, b), (1, c, d)];
                let whole: String = pieces(text, &marks).iter().map(|piece| piece.text).collect();
                assert_eq!(whole, text);
                for max in 1..text.len() {
                    assert!(text.contains(excerpt(text, &marks, max).text));
                }
            }
        }
    }
}
