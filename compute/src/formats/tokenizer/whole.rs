//! An answer's text as its tokens come.

use super::{Tokenizer, TokenizerError};

/// The most tokens that are held back in the hope that they become a character: UTF-8 has no longer ones.
const MOST_HELD: usize = 4;

/// Gives out whole characters: a token may end in the middle of one, whose rest comes with the next.
#[derive(Debug, Clone, Default)]
pub struct WholeText {
    held: Vec<u32>,
}

impl WholeText {
    /// What can be shown once `token` has come; nothing while a character lacks a part.
    pub fn push(&mut self, tokenizer: &Tokenizer, token: u32) -> Result<String, TokenizerError> {
        self.held.push(token);
        let text = tokenizer.decode(&self.held)?;
        if text.ends_with('\u{fffd}') && self.held.len() < MOST_HELD {
            return Ok(String::new());
        }
        self.held.clear();
        Ok(text)
    }

    /// What is left at the end, a broken character as U+FFFD.
    pub fn rest(&mut self, tokenizer: &Tokenizer) -> Result<String, TokenizerError> {
        tokenizer.decode(&std::mem::take(&mut self.held))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_come_whole_and_nothing_is_lost() {
        let texts = ["só é ‘naïve’ — 漢字 🙂🙂", "plain"];
        let tokenizer = Tokenizer::train(texts.into_iter(), 300).unwrap();
        for text in texts {
            let (mut whole, mut said) = (WholeText::default(), String::new());
            for token in tokenizer.encode(text).unwrap() {
                let more = whole.push(&tokenizer, token).unwrap();
                assert!(!more.contains('\u{fffd}'), "{more:?}");
                said += &more;
            }
            assert_eq!(said, text);
            assert_eq!(whole.rest(&tokenizer).unwrap(), "");
        }
        let half = tokenizer.encode("🙂").unwrap()[0];
        let mut whole = WholeText::default();
        let held = (0..9).filter(|_| whole.push(&tokenizer, half).unwrap().is_empty()).count();
        assert_eq!(held, 7, "what never becomes a character is not held for ever");
    }
}
