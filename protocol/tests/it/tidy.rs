//! Rules of the workspace that no lint has.

use std::{
    fs,
    path::{Path, PathBuf},
};

const MAX_FILE: usize = 600;
const MAX_FUNCTION: usize = 70;

struct Source {
    path: String,
    text: String,
}

impl Source {
    /// The lines before the unit tests, numbered from one.
    fn product(&self) -> impl Iterator<Item = (usize, &str)> {
        let tests = |line: &&str| !line.starts_with("#[cfg(test)]\nmod");
        let end = self.text.find("#[cfg(test)]\nmod ").unwrap_or(self.text.len());
        self.text[..end].lines().filter(tests).enumerate().map(|(i, line)| (i + 1, line))
    }

    fn is_in(&self, folders: &[&str]) -> bool {
        folders.iter().any(|folder| self.path.starts_with(folder))
    }

    fn is_test(&self) -> bool {
        self.path.contains("/tests/")
    }
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

fn collect(folder: &Path, root: &Path, found: &mut Vec<Source>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if name != "target" && name != "node_modules" && !name.starts_with('.') {
                collect(&path, root, found);
            }
        } else if name.ends_with(".rs") {
            let relative = path.strip_prefix(root).unwrap().to_string_lossy().replace('\\', "/");
            found.push(Source { path: relative, text: fs::read_to_string(&path).unwrap() });
        }
    }
}

fn sources() -> Vec<Source> {
    let root = workspace();
    let mut found = vec![];
    for member in ["protocol", "storage", "compute", "contracts-abi", "daemon", "simnet"] {
        collect(&root.join(member), &root, &mut found);
    }
    found
}

/// Lines that break a rule, with their places.
fn violations(rule: impl Fn(&Source, &str) -> bool) -> Vec<String> {
    let sources = sources();
    let mut found = vec![];
    for source in sources.iter().filter(|source| !source.path.ends_with("tests/it/tidy.rs")) {
        for (number, line) in source.product() {
            let code = line.trim_start();
            if !code.starts_with("//") && rule(source, code) {
                found.push(format!("{}:{number}: {code}", source.path));
            }
        }
    }
    found
}

#[track_caller]
fn assert_none(found: &[String]) {
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn files_and_functions_are_short() {
    let mut found = vec![];
    for source in sources() {
        let lines: Vec<_> = source.text.lines().collect();
        if lines.len() > MAX_FILE {
            found.push(format!("{}:{}: the file is too long", source.path, lines.len()));
        }
        for (start, line) in lines.iter().enumerate() {
            let code = line.trim_start();
            let is_function = (code.starts_with("fn ") || code.contains(" fn "))
                && !code.starts_with("//")
                && !code.contains('"');
            let indent = line.len() - code.len();
            let close = format!("{}}}", " ".repeat(indent));
            if is_function && !code.ends_with(';') && !code.ends_with('}') {
                let length = lines[start..].iter().position(|line| *line == close).unwrap_or(0);
                if length + 1 > MAX_FUNCTION {
                    found.push(format!("{}:{}: {} lines", source.path, start + 1, length + 1));
                }
            }
        }
    }
    assert_none(&found);
}

#[test]
fn nothing_that_decides_iterates_in_random_order() {
    let is_bad = |source: &Source, code: &str| {
        source.is_in(&["protocol/", "simnet/"])
            && (code.contains("HashMap") || code.contains("HashSet"))
    };
    assert_none(&violations(is_bad));
}

#[test]
fn the_core_neither_unwraps_nor_knows_std() {
    let is_bad = |source: &Source, code: &str| {
        source.is_in(&["protocol/src/"]) && (code.contains(".unwrap()") || code.contains("std::"))
    };
    assert_none(&violations(is_bad));
}

/// Uses of a crate, as a path or in a manifest's `use`.
fn uses(code: &str, name: &str) -> bool {
    let is_word = |at: usize| {
        let before = code[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':' || c == '"')
    };
    let path = format!("{name}::");
    code.match_indices(&path).any(|(at, _)| is_word(at)) || code == format!("use {name};")
}

#[test]
fn each_outer_library_has_one_home() {
    let homes: [(&str, &[&str]); 8] = [
        ("libp2p", &["daemon/"]),
        ("iroh", &["daemon/"]),
        ("iroh_blobs", &["storage/", "daemon/"]),
        ("burn", &["compute/"]),
        ("wgpu", &["compute/"]),
        ("alloy", &["contracts-abi/"]),
        ("revm", &["contracts-abi/"]),
        ("clap", &["daemon/", "simnet/"]),
    ];
    for (name, folders) in homes {
        assert_none(&violations(|source, code| uses(code, name) && !source.is_in(folders)));
    }
}

#[test]
fn only_simulations_choose_how_signatures_are_checked() {
    let is_bad = |source: &Source, code: &str| {
        let chooses = code.contains("verify_with(") || code.contains("Recover for");
        chooses && !source.is_in(&["protocol/src/", "simnet/"])
    };
    assert_none(&violations(is_bad));
}

#[test]
fn sled_is_known_to_one_file_of_storage() {
    let files: std::collections::BTreeSet<_> = sources()
        .into_iter()
        .filter(|source| source.product().any(|(_, line)| uses(line.trim_start(), "sled")))
        .map(|source| source.path)
        .collect();
    assert!(files.len() <= 1 && files.iter().all(|f| f.starts_with("storage/src/")), "{files:?}");
}

#[test]
fn nothing_is_ignored_or_left_to_do() {
    let todo = ["todo", "!("].concat();
    let unimplemented = ["unimplemented", "!("].concat();
    let is_bad = |_: &Source, code: &str| {
        code.contains("#[ignore") || code.contains(&todo) || code.contains(&unimplemented)
    };
    assert_none(&violations(is_bad));
}

#[test]
fn tests_do_not_sleep() {
    let is_bad = |source: &Source, code: &str| source.is_test() && code.contains("thread::sleep");
    assert_none(&violations(is_bad));
}
