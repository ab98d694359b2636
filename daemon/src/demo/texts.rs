//! The texts that the demo publishes, and what it holds back of each.

use std::path::Path;

use anyhow::{Context, Result, bail};
use compute::model::ModelConfig;

use crate::ingest::{Document, clean, read};

/// Part of each document that is held back, at its end, in percent.
const HELD_OUT_PERCENT: usize = 10;
/// Contributors at most.
const MAX_CONTRIBUTORS: usize = 16;
/// Bytes of a prompt at most: no token stands for less than one, and what a model does not read at once is refused.
const PROMPT_BYTES: usize = ModelConfig::nano().context as usize;
/// Bytes of one contributor's text in the small setting.
const SMALL_BYTES: usize = 48 << 10;

/// The text of one contributor.
#[derive(Debug, Clone)]
pub(super) struct Corpus {
    pub(super) name: String,
    /// The part that is published.
    pub(super) documents: Vec<Document>,
    /// The part that is not: for prompts and for the loss.
    pub(super) held_out: Vec<String>,
}

macro_rules! text {
    ($folder:literal, $file:literal) => {
        ($file, include_str!(concat!("../../data/demo/", $folder, "/", $file)))
    };
}

/// The checked-in texts.
const TEXTS: [(&str, [(&str, &str); 8]); 3] = [
    (
        "bierce",
        [
            text!("bierce", "devils-dictionary-01.txt"),
            text!("bierce", "devils-dictionary-02.txt"),
            text!("bierce", "devils-dictionary-03.txt"),
            text!("bierce", "devils-dictionary-04.txt"),
            text!("bierce", "devils-dictionary-05.txt"),
            text!("bierce", "devils-dictionary-06.txt"),
            text!("bierce", "devils-dictionary-07.txt"),
            text!("bierce", "devils-dictionary-08.txt"),
        ],
    ),
    (
        "jargon",
        [
            text!("jargon", "jargon-file-01.txt"),
            text!("jargon", "jargon-file-02.txt"),
            text!("jargon", "jargon-file-03.txt"),
            text!("jargon", "jargon-file-04.txt"),
            text!("jargon", "jargon-file-05.txt"),
            text!("jargon", "jargon-file-06.txt"),
            text!("jargon", "jargon-file-07.txt"),
            text!("jargon", "jargon-file-08.txt"),
        ],
    ),
    (
        "king-james",
        [
            text!("king-james", "genesis-exodus-01.txt"),
            text!("king-james", "genesis-exodus-02.txt"),
            text!("king-james", "genesis-exodus-03.txt"),
            text!("king-james", "genesis-exodus-04.txt"),
            text!("king-james", "genesis-exodus-05.txt"),
            text!("king-james", "genesis-exodus-06.txt"),
            text!("king-james", "genesis-exodus-07.txt"),
            text!("king-james", "genesis-exodus-08.txt"),
        ],
    ),
];

/// A corpus for each contributor: those of a folder, one sub-folder each, or the checked-in ones.
pub(super) fn corpora(data: Option<&Path>, is_small: bool) -> Result<Vec<Corpus>> {
    let all = match data {
        Some(dir) => from_dir(dir)?,
        None => TEXTS.iter().map(|(name, files)| built_in(name, files)).collect(),
    };
    let all = if is_small { all.into_iter().map(shortened).collect() } else { all };
    Ok(all.into_iter().map(|(name, documents)| hold_out(name, documents)).collect())
}

type Source = (String, Vec<Document>);

fn built_in(name: &str, files: &[(&str, &str)]) -> Source {
    let document =
        |(name, text): &(&str, &str)| Document { name: (*name).to_owned(), text: clean(text) };
    (name.to_owned(), files.iter().map(document).collect())
}

fn from_dir(dir: &Path) -> Result<Vec<Source>> {
    let shown = dir.display();
    let entries = std::fs::read_dir(dir).with_context(|| format!("cannot read {shown}"))?;
    let mut folders = entries
        .filter_map(Result::ok)
        .filter(|entry| entry.path().is_dir())
        .map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path()))
        .collect::<Vec<_>>();
    folders.sort();
    if folders.len() < 2 || folders.len() > MAX_CONTRIBUTORS {
        bail!(
            "{shown} has {} sub-folders; the demo needs 2 to {MAX_CONTRIBUTORS}, one for each \
             contributor, with .txt or .md files in them",
            folders.len()
        );
    }
    folders.into_iter().map(|(name, path)| Ok((name, read(&[path])?.0))).collect()
}

fn shortened((name, documents): Source) -> Source {
    let mut left = SMALL_BYTES;
    let mut kept = Vec::new();
    for document in documents {
        let text = prefix(&document.text, left).to_owned();
        left -= text.len();
        if !text.is_empty() {
            kept.push(Document { text, ..document });
        }
    }
    (name, kept)
}

/// The longest prefix of at most `bytes` bytes.
fn prefix(text: &str, bytes: usize) -> &str {
    let mut end = bytes.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

fn hold_out(name: String, documents: Vec<Document>) -> Corpus {
    let (mut published, mut held_out) = (Vec::new(), Vec::new());
    for document in documents {
        let at = document.text.len() - document.text.len() * HELD_OUT_PERCENT / 100;
        let head = prefix(&document.text, at);
        // Not inside a line, where there are lines.
        let cut = head.rfind('\n').map_or(head.len(), |newline| newline + 1);
        let cut = if cut * 2 < head.len() { head.len() } else { cut };
        held_out.push(document.text[cut..].to_owned());
        published.push(Document { text: document.text[..cut].to_owned(), ..document });
    }
    held_out.retain(|text| !text.trim().is_empty());
    Corpus { name, documents: published, held_out }
}

impl Corpus {
    /// `count` prompts from the text that was held back, spread over it by the seed.
    pub(super) fn prompts(&self, count: usize, seed: u64) -> Vec<String> {
        let text: Vec<char> = self.held_out.concat().chars().collect();
        let room = text.len().saturating_sub(PROMPT_BYTES);
        let offset = usize::try_from(seed % 97).unwrap_or_default();
        let prompt = |index: usize| {
            let part = room / count.max(1);
            let at = (index * part + part * offset / 97).min(room);
            // From the beginning of a word.
            let space = text[at..].iter().position(|c| c.is_whitespace()).unwrap_or(0);
            let at = if at == 0 { 0 } else { (at + space + 1).min(room) };
            let mut bytes = 0;
            let fits = |c: &&char| {
                bytes += c.len_utf8();
                bytes <= PROMPT_BYTES
            };
            text[at..].iter().take_while(fits).collect()
        };
        (0..count).map(prompt).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_published_and_what_is_held_out_make_the_text() {
        for corpus in corpora(None, false).unwrap() {
            let published: usize = corpus.documents.iter().map(|d| d.text.len()).sum();
            let held_out: usize = corpus.held_out.iter().map(String::len).sum();
            let percent = held_out * 100 / (published + held_out);
            assert!((9..=12).contains(&percent), "{}: {percent} %", corpus.name);
            assert!((180_000..260_000).contains(&(published + held_out)));
            let prompts = corpus.prompts(3, 5);
            assert_eq!(prompts.len(), 3);
            assert_ne!(prompts[0], prompts[1]);
            let all_text: String = corpus.documents.iter().map(|d| d.text.as_str()).collect();
            for prompt in prompts {
                assert!((PROMPT_BYTES / 2..=PROMPT_BYTES).contains(&prompt.len()));
                assert!(!all_text.contains(&prompt), "a prompt is not published");
            }
        }
    }

    #[test]
    fn the_small_setting_is_small() {
        for corpus in corpora(None, true).unwrap() {
            let bytes: usize = corpus.documents.iter().map(|d| d.text.len()).sum();
            assert!(bytes <= SMALL_BYTES);
        }
    }

    #[test]
    fn a_folder_without_contributors_says_what_it_needs() {
        let dir = tempfile::tempdir().unwrap();
        let error = corpora(Some(dir.path()), false).unwrap_err().to_string();
        assert!(error.contains("one for each contributor"), "{error}");
        for name in ["a", "b"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
            std::fs::write(dir.path().join(name).join("x.txt"), "eins zwei drei\n").unwrap();
        }
        assert_eq!(corpora(Some(dir.path()), false).unwrap().len(), 2);
    }
}
