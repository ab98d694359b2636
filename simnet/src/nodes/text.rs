//! Generated text: sentences of made-up words, the same for a seed, in which a small model finds
//! something to learn.

use crate::kernel::{Purpose, Stream, Streams};

/// Words of the language of a seed.
const WORDS: u32 = 2_000;
const CONSONANTS: &[u8] = b"bcdfghjklmnprstvwz";
const VOWELS: &[u8] = b"aeiou";
/// The stream of the words; those of packs have their numbers.
const LEXICON: u32 = u32::MAX;

/// The words of a seed.
pub(super) fn words(streams: &Streams) -> Vec<String> {
    let draws = &mut streams.stream(LEXICON, Purpose::Data);
    (0..WORDS).map(|_| word(draws)).collect()
}

fn word(draws: &mut Stream) -> String {
    let syllables = 1 + draws.below(3);
    let letters = (0..syllables).flat_map(|_| [pick(CONSONANTS, draws), pick(VOWELS, draws)]);
    letters.map(char::from).collect()
}

fn pick(from: &[u8], draws: &mut Stream) -> u8 {
    let place = draws.below(from.len() as u64);
    from[usize::try_from(place).expect("below a number in memory")]
}

/// Text of a length in bytes. A word's rank is the smaller of two draws, so that a few are common.
pub(super) fn text(words: &[String], draws: &mut Stream, length: usize) -> Vec<u8> {
    let mut text = String::with_capacity(length + 64);
    while text.len() < length {
        let sentence = 4 + draws.below(12);
        for place in 0..sentence {
            if place > 0 {
                text.push(' ');
            }
            let rank = draws.below(words.len() as u64).min(draws.below(words.len() as u64));
            text.push_str(&words[usize::try_from(rank).expect("below a number in memory")]);
        }
        text.push_str(".\n");
    }
    text.truncate(length);
    text.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_as_long_as_asked_and_the_same_for_a_seed() {
        let of = |seed| {
            let streams = Streams::new(seed);
            text(&words(&streams), &mut streams.stream(0, Purpose::Data), 5_000)
        };
        assert_eq!(of(7), of(7));
        assert_ne!(of(7), of(8));
        assert_eq!((of(7).len(), of(7).is_ascii()), (5_000, true));
    }
}
