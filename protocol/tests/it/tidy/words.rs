//! Words that help: no documentation that repeats a name, no citation that nobody can follow, and
//! files that have one subject.

use std::collections::BTreeMap;

use super::{
    code::{self, Code},
    source::{self, Exception, Source, assert_only},
};

/// Fewer words than this say what the name beside them says: "Which.", "The cause."
const WORDS: usize = 3;

/// Public types of one file. Half of all files have none or one and nine in ten at most four; a file
/// with more than this many has two subjects, unless its subject is a list of shapes.
const NOUNS: usize = 8;

/// Documentation comments of a file: the line on which each begins, and its words.
fn docs(source: &Source) -> Vec<(usize, String)> {
    let mut found: Vec<(usize, String)> = vec![];
    let mut is_open = false;
    for (number, line) in source.product() {
        let line = line.trim_start();
        let doc = line.strip_prefix("///").or_else(|| line.strip_prefix("//!"));
        match (doc, found.last_mut().filter(|_| is_open)) {
            (Some(doc), Some((_, words))) => *words += doc,
            (Some(doc), None) => found.push((number, doc.to_owned())),
            (None, _) => {}
        }
        is_open = doc.is_some();
    }
    found
}

fn is_shipped(source: &&Source) -> bool {
    source.path.contains("/src/")
}

/// Documentation of one or two words. The list may only shrink.
const STUBS: [Exception; 0] = [];

#[test]
fn documentation_says_more_than_a_name() {
    let sources = source::all();
    let mut found = vec![];
    for source in sources.iter().filter(is_shipped) {
        let short = |words: &String| words.split_whitespace().count() < WORDS;
        let stubs = docs(source).into_iter().filter(|(_, words)| short(words));
        found.extend(stubs.map(|(at, words)| format!("{}:{at}:{words}", source.path)));
    }
    assert_only(found, &STUBS);
}

/// Names of documents in a line, as far as they look like files of prose.
fn cited(line: &str) -> impl Iterator<Item = &str> {
    let is_part = |c: char| c.is_alphanumeric() || "_-./".contains(c);
    let words = line.split(move |c| !is_part(c)).map(|word| word.trim_end_matches('.'));
    words.filter(|word| word.ends_with(".md") && word.len() > 3)
}

#[test]
fn no_comment_cites_a_document_that_is_not_here() {
    let mut found = vec![];
    let all = source::ending_with(&[".rs", ".sol", ".toml"]);
    for source in all.iter().filter(|source| !source.is_rule()) {
        let folder = source.path.rsplit_once('/').map_or("", |(folder, _)| folder);
        for (number, line) in source.text.lines().enumerate() {
            let comment = line.find("//").map(|at| &line[at..]).unwrap_or_default();
            let is_here = |name: &&str| {
                let above = folder.match_indices('/').map(|(at, _)| &folder[..at]);
                let roots = above.chain([folder, ""]).map(|root| format!("{root}/{name}"));
                roots.into_iter().any(|path| source::exists(path.trim_start_matches('/')))
            };
            let missing = cited(comment).filter(|name| !is_here(name)).map(str::to_owned);
            let design = comment.contains("DESIGN").then(|| "DESIGN".to_owned());
            let places = missing.chain(design);
            found.extend(places.map(|name| format!("{}:{}: {name}", source.path, number + 1)));
        }
    }
    source::assert_none(&found);
}

/// Files whose subject is a list of shapes, and what the list is of. The list may only shrink.
const LISTS: [Exception; 6] = [
    // What goes into a machine and what comes out.
    ("protocol/src/node/io.rs", ""),
    // Bodies of the API, by what they are about.
    ("daemon/src/api/types/attribution.rs", ""),
    ("daemon/src/api/types/model.rs", ""),
    ("daemon/src/api/types/money.rs", ""),
    // Sections of a scenario file, and of a report.
    ("simnet/src/scenario/mod.rs", ""),
    ("simnet/src/report.rs", ""),
];

#[test]
fn a_file_has_few_public_types() {
    const KINDS: [&str; 5] = ["struct", "enum", "trait", "type", "union"];
    let mut found = BTreeMap::new();
    for source in source::all().iter().filter(is_shipped) {
        let text = Code::of(&source.text).text;
        let public = text.lines().filter(|line| line.starts_with("pub "));
        let nouns =
            public.filter(|line| code::item(line).is_some_and(|(kind, _)| KINDS.contains(&kind)));
        found.insert(source.path.clone(), nouns.count());
    }
    let many = found.into_iter().filter(|(_, nouns)| *nouns > NOUNS);
    assert_only(
        many.map(|(path, nouns)| format!("{path}: {nouns} public types")).collect(),
        &LISTS,
    );
}

#[test]
fn documents_are_recognised() {
    let line = "// as in compute.md §4.1, README.md and docs/a-b.md. Not a.mdx or .md";
    assert_eq!(cited(line).collect::<Vec<_>>(), ["compute.md", "README.md", "docs/a-b.md"]);
}
