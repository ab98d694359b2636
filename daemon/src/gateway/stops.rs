//! Stop strings: found in a text that comes in parts, none of whose characters is ever shown.

/// What is looked for, and the end of the text that may be the beginning of it.
#[derive(Debug)]
pub(crate) struct Stops {
    strings: Vec<String>,
    held: String,
}

/// What may be shown of the text so far.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) text: String,
    /// Whether a stop string came after it: the answer ends there.
    pub(crate) is_stopped: bool,
}

impl Stops {
    /// Looks for any of these, none of which is empty.
    pub(crate) fn new(strings: Vec<String>) -> Self {
        Self { strings, held: String::new() }
    }

    /// The next part of the text. Of several stop strings the one that is complete first counts, as if the
    /// text came letter by letter.
    pub(crate) fn push(&mut self, text: &str) -> Shown {
        self.held.push_str(text);
        let find = |stop: &String| self.held.find(stop).map(|at| (at + stop.len(), at));
        if let Some((_, at)) = self.strings.iter().filter_map(find).min() {
            self.held.truncate(at);
            return Shown { text: std::mem::take(&mut self.held), is_stopped: true };
        }
        let kept = self.held.split_off(self.begun());
        Shown { text: std::mem::replace(&mut self.held, kept), is_stopped: false }
    }

    /// What was held back, when no more text comes.
    pub(crate) fn rest(&mut self) -> String {
        std::mem::take(&mut self.held)
    }

    /// Where a stop string may have begun whose end has not come.
    fn begun(&self) -> usize {
        let longest = self.strings.iter().map(String::len).max().unwrap_or_default();
        let from = self.held.floor_char_boundary(self.held.len().saturating_sub(longest));
        let is_begun = |at: &usize| {
            let end = &self.held[*at..];
            self.strings.iter().any(|stop| stop.starts_with(end))
        };
        let places = self.held[from..].char_indices().map(|(at, _)| from + at);
        places.into_iter().find(is_begun).unwrap_or(self.held.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is shown of a text, cut after each of the characters whose bit is set.
    fn shown(strings: &[&str], text: &str, cuts: u32) -> (String, bool) {
        let mut stops = Stops::new(strings.iter().map(|stop| (*stop).to_owned()).collect());
        let mut all = String::new();
        let mut part = String::new();
        for (number, letter) in text.chars().enumerate() {
            part.push(letter);
            if cuts >> number & 1 == 1 {
                let shown = stops.push(&std::mem::take(&mut part));
                all.push_str(&shown.text);
                if shown.is_stopped {
                    return (all, true);
                }
            }
        }
        let shown = stops.push(&part);
        all.push_str(&shown.text);
        if !shown.is_stopped {
            all.push_str(&stops.rest());
        }
        (all, shown.is_stopped)
    }

    /// The same by looking at every beginning of the text.
    fn expected(strings: &[&str], text: &str) -> (String, bool) {
        for (at, letter) in text.char_indices() {
            let head = &text[..at + letter.len_utf8()];
            let ends = strings.iter().filter(|stop| head.ends_with(**stop));
            if let Some(stop) = ends.max_by_key(|stop| stop.len()) {
                return (head[..head.len() - stop.len()].to_owned(), true);
            }
        }
        (text.to_owned(), false)
    }

    #[test]
    fn however_the_text_is_cut_it_ends_before_the_first_stop_string() {
        let sets: [&[&str]; 7] = [
            &["ab"],
            &["aab", "b"],
            &["abcde", "bcd"],
            &["ää", "b"],
            &["aaa"],
            &["cab", "ab"],
            &[],
        ];
        let texts = ["aabab", "abcdeab", "aaaab", "xäbää", "äaäää", "cacab", "abcd", ""];
        for (strings, text) in sets.iter().flat_map(|set| texts.map(|text| (set, text))) {
            for cuts in 0..1 << text.chars().count() {
                let found = shown(strings, text, cuts);
                assert_eq!(found, expected(strings, text), "{strings:?} in {text:?}, cut {cuts:b}");
            }
        }
    }

    #[test]
    fn no_more_is_held_back_than_a_stop_string_needs() {
        let mut stops = Stops::new(vec!["\nUser:".to_owned()]);
        let mut push = |text: &str| stops.push(text).text;
        assert_eq!(push("Hello"), "Hello");
        assert_eq!(push(" there\nUs"), " there");
        assert_eq!(push("e"), "");
        assert_eq!(push("d it\n"), "\nUsed it");
        assert_eq!(stops.rest(), "\n");
    }
}
