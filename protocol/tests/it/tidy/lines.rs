//! Rules about single lines, and how many of them there are.

use super::source::{self, Source, assert_none, violations};

const MAX_FILE: usize = 600;
const MAX_FUNCTION: usize = 70;

#[test]
fn files_and_functions_are_short() {
    let mut found = vec![];
    for source in source::all() {
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

/// Or code that nobody compiles looks as if it did something.
#[test]
fn every_file_is_a_module_of_its_crate() {
    let all = source::all();
    let is_named = |path: &str, name: &str| {
        let declared = format!("mod {name};");
        let parent = all.iter().find(|source| source.path == path);
        parent.is_some_and(|parent| parent.text.lines().any(|line| line.ends_with(&declared)))
    };
    let orphans = all.iter().filter_map(|source| {
        let (folder, file) = source.path.rsplit_once('/')?;
        let name = file.strip_suffix(".rs")?;
        let is_root = ["lib", "main", "mod"].contains(&name);
        let parents = ["/mod.rs", "/lib.rs", "/main.rs", ".rs"].map(|end| format!("{folder}{end}"));
        let is_owned = is_root || parents.iter().any(|parent| is_named(parent, name));
        let is_source = source.path.contains("/src/");
        (is_source && !is_owned).then(|| format!("{}: no module names it", source.path))
    });
    assert_none(&orphans.collect::<Vec<_>>());
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
    let homes: [(&str, &[&str]); 10] = [
        ("libp2p", &["daemon/"]),
        ("iroh", &["daemon/"]),
        ("iroh_blobs", &["storage/", "daemon/"]),
        ("burn", &["compute/"]),
        ("candle_core", &["compute/"]),
        ("minijinja", &["compute/"]),
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
    let files: std::collections::BTreeSet<_> = source::all()
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
