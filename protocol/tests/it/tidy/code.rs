//! Reads Rust as far as the rules need it: what is code, which names a file defines, imports and says.

use std::collections::BTreeSet;

/// A path as it is written: `crate::a::B` as three names.
pub(super) type Path = Vec<String>;

/// One name that a `use` brings in; `*` stands for all.
#[derive(Debug, PartialEq)]
pub(super) struct Import {
    pub(super) path: Path,
    pub(super) name: String,
    pub(super) is_public: bool,
}

/// What a file says, without its comments, literals and unit tests.
pub(super) struct Code {
    /// Line for line as long as the file.
    pub(super) text: String,
    /// Items that stand at the left margin, inline modules among them.
    pub(super) defines: BTreeSet<String>,
    /// Modules in files of their own.
    pub(super) children: BTreeSet<String>,
    pub(super) imports: Vec<Import>,
    /// Paths of two names or more outside imports.
    pub(super) paths: Vec<Path>,
    /// Every word outside imports.
    pub(super) words: BTreeSet<String>,
}

impl Code {
    pub(super) fn of(file: &str) -> Self {
        let text = without_tests(without_prose(file));
        let (imports, body) = imports(&text);
        let mut defines = BTreeSet::new();
        let mut children = BTreeSet::new();
        for line in body.lines() {
            match item(line) {
                Some(("mod", name)) if line.ends_with(';') => children.insert(name.into()),
                Some((_, name)) => defines.insert(name.into()),
                None => false,
            };
        }
        let words = body.split(|c| !is_word(c)).map(Into::into).collect();
        Self { defines, children, imports, paths: paths(&body), words, text }
    }
}

/// Keyword and name of the item that begins on a line at the left margin.
pub(super) fn item(line: &str) -> Option<(&str, &str)> {
    const QUALIFIERS: [&str; 4] = ["async", "const", "unsafe", "default"];
    const KINDS: [&str; 10] = [
        "fn",
        "struct",
        "enum",
        "trait",
        "type",
        "const",
        "static",
        "union",
        "mod",
        "macro_rules!",
    ];
    if line.starts_with(char::is_whitespace) {
        return None;
    }
    let mut words = line.split_whitespace().peekable();
    words.next_if(|word| word.starts_with("pub"));
    loop {
        let word = words.next()?;
        let name = words.peek()?.split(|c| !is_word(c)).next()?;
        if KINDS.contains(&word) && !KINDS[..4].contains(&name) && !QUALIFIERS.contains(&name) {
            return (!name.is_empty()).then_some((word, name));
        }
        if !QUALIFIERS.contains(&word) {
            return None;
        }
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The text with blanks in place of comments and literals.
pub(super) fn without_prose(file: &str) -> String {
    let chars: Vec<char> = file.chars().collect();
    let mut text = String::with_capacity(file.len());
    let mut at = 0;
    while at < chars.len() {
        let end = end_of_prose(&chars, at);
        text.extend(chars[at..end].iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
        if end == at {
            text.push(chars[at]);
        }
        at = end.max(at + 1);
    }
    text
}

/// Where the comment or literal that begins at `at` ends; `at` where none begins.
fn end_of_prose(chars: &[char], at: usize) -> usize {
    let has = |ahead: usize, c: char| chars.get(at + ahead) == Some(&c);
    let is_inside_word = at > 0 && is_word(chars[at - 1]) && chars[at - 1] != 'b';
    match chars[at] {
        '/' if has(1, '/') => find(chars, at, "\n"),
        '/' if has(1, '*') => find(chars, at, "*/") + 2,
        '"' => end_of_string(chars, at + 1),
        'r' if !is_inside_word => {
            let hashes = chars[at + 1..].iter().take_while(|c| **c == '#').count();
            if !has(1 + hashes, '"') {
                return at;
            }
            let close = format!("\"{}", "#".repeat(hashes));
            find(chars, at + hashes + 2, &close) + close.len()
        }
        '\'' if has(1, '\\') => find(chars, at + 3, "'") + 1,
        '\'' if has(2, '\'') => at + 3,
        _ => at,
    }
    .min(chars.len())
}

fn find(chars: &[char], from: usize, what: &str) -> usize {
    let what: Vec<char> = what.chars().collect();
    let rest = chars.get(from..).unwrap_or_default();
    rest.windows(what.len()).position(|seen| seen == what).map_or(chars.len(), |at| from + at)
}

fn end_of_string(chars: &[char], mut at: usize) -> usize {
    while at < chars.len() && chars[at] != '"' {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    at + 1
}

/// The text with blanks in place of items under `#[cfg(test)]`.
fn without_tests(mut text: String) -> String {
    while let Some(start) = text.find("#[cfg(test)]").or_else(|| text.find("#[cfg(all(test")) {
        let mut depth = 0_u32;
        let end = text[start..].char_indices().find_map(|(at, c)| {
            match c {
                '{' => depth += 1,
                '}' => depth = depth.saturating_sub(1),
                _ => {}
            }
            (depth == 0 && (c == '}' || c == ';')).then_some(start + at + 1)
        });
        let end = end.unwrap_or(text.len());
        let blank = text[start..end].chars().map(|c| if c == '\n' { '\n' } else { ' ' });
        text = [&text[..start], &blank.collect::<String>(), &text[end..]].concat();
    }
    text
}

/// All imports, and the text without them.
fn imports(text: &str) -> (Vec<Import>, String) {
    let mut found = vec![];
    let mut body = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(line) = rest.split_inclusive('\n').next() {
        let code = line.trim_start();
        let (is_public, tree) = match code.split_once("use ") {
            Some(("", tree)) => (false, tree),
            Some((before, tree)) if is_visibility(before) => (true, tree),
            _ => {
                body.push_str(line);
                rest = &rest[line.len()..];
                continue;
            }
        };
        let start = line.len() - tree.len();
        let end = rest.find(';').unwrap_or(rest.len() - 1);
        expand(&rest[start..end], &[], is_public, &mut found);
        rest = &rest[end + 1..];
    }
    (found, body)
}

fn is_visibility(before: &str) -> bool {
    before == "pub " || (before.starts_with("pub(") && before.ends_with(") "))
}

/// `a::{b, c as d}` as the imports `a::b` and `a::c`, the latter by the name `d`.
fn expand(tree: &str, before: &[String], is_public: bool, found: &mut Vec<Import>) {
    let tree = tree.trim();
    let parts = split_at_commas(tree);
    if parts.len() > 1 {
        parts.into_iter().for_each(|part| expand(part, before, is_public, found));
        return;
    }
    let names = |text: &str| -> Path {
        let own = text.split("::").map(str::trim).filter(|name| !name.is_empty());
        before.iter().cloned().chain(own.map(Into::into)).collect()
    };
    if let Some((head, inner)) = tree.split_once('{') {
        let inner = inner.rsplit_once('}').map_or(inner, |(inner, _)| inner);
        return expand(inner, &names(head), is_public, found);
    }
    let (written, alias) = tree.split_once(" as ").map_or((tree, None), |(a, b)| (a, Some(b)));
    let mut path = names(written);
    path.pop_if(|last| last == "self");
    let name = alias.map(|alias| alias.trim().to_owned()).or_else(|| path.last().cloned());
    found.extend(name.filter(|_| !tree.is_empty()).map(|name| Import { path, name, is_public }));
}

fn split_at_commas(tree: &str) -> Vec<&str> {
    let mut depth = 0_i32;
    let is_cut = move |c: char| {
        depth += i32::from(c == '{') - i32::from(c == '}');
        c == ',' && depth == 0
    };
    tree.split(is_cut).filter(|part| !part.trim().is_empty()).collect()
}

/// Runs of names with `::` between them.
fn paths(body: &str) -> Vec<Path> {
    let is_part = |c: char| is_word(c) || c == ':' || c == '$';
    let runs = body.split(|c| !is_part(c)).filter(|run| run.contains("::"));
    let pieces = runs.flat_map(|run| run.split(": ")).map(|run| run.trim_matches(':'));
    pieces
        .map(|run| run.split("::").map(|name| name.trim_matches('$').to_owned()).collect::<Path>())
        .filter(|path| path.len() > 1 && path.iter().all(|name| !name.is_empty()))
        .collect()
}

#[test]
fn prose_and_tests_are_no_code() {
    let file = "let a = 'x'; // b\nlet c: &'d str = \"e\\\"f\"; /* g\nh */ r#\"i\"j\"#;\n\
                #[cfg(test)]\nmod k { fn l() {} }\nfn m() {}";
    let code = Code::of(file);
    let words: Vec<_> =
        code.words.iter().map(String::as_str).filter(|word| word.len() == 1).collect();
    assert_eq!(words, ["a", "c", "d", "m"]);
    assert_eq!(code.text.lines().count(), file.lines().count());
}

#[test]
fn imports_are_read_with_braces_aliases_and_visibility() {
    let code = Code::of("use a::{self, b::{C, D as E}};\npub(crate) use super::f::*;\nuse g;\n");
    let read: Vec<_> =
        code.imports.iter().map(|i| (i.path.join("::"), i.name.as_str(), i.is_public)).collect();
    let expected = [
        ("a", "a", false),
        ("a::b::C", "C", false),
        ("a::b::D", "E", false),
        ("super::f::*", "*", true),
        ("g", "g", false),
    ];
    assert_eq!(read, expected.map(|(path, name, is_public)| (path.into(), name, is_public)));
}

#[test]
fn definitions_and_paths_are_read() {
    let code = Code::of(
        "pub(crate) const fn a() {}\nmod b;\nmod c { fn inner() {} }\npub const D: E = f::G::h();\n\
         impl<T: super::i::J> K for L { fn m(&self) {} }\nmacro_rules! n { () => { $crate::o::p() } }\n",
    );
    assert_eq!(code.defines, ["D", "a", "c", "n"].map(String::from).into());
    assert_eq!(code.children, ["b"].map(String::from).into());
    let read: Vec<_> = code.paths.iter().map(|path| path.join("::")).collect();
    assert_eq!(read, ["f::G::h", "super::i::J", "crate::o::p"]);
}
