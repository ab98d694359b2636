//! The files of the workspace, and how a rule reports.

use std::{
    fs,
    path::{Path, PathBuf},
};

pub(super) const MEMBERS: [&str; 6] =
    ["protocol", "storage", "compute", "contracts-abi", "daemon", "simnet"];

pub(super) struct Source {
    /// From the top of the workspace, with slashes.
    pub(super) path: String,
    pub(super) text: String,
}

impl Source {
    /// The lines before the unit tests, numbered from one.
    pub(super) fn product(&self) -> impl Iterator<Item = (usize, &str)> {
        let end = self.text.find("#[cfg(test)]\nmod ").unwrap_or(self.text.len());
        self.text[..end].lines().enumerate().map(|(i, line)| (i + 1, line))
    }

    pub(super) fn is_in(&self, folders: &[&str]) -> bool {
        folders.iter().any(|folder| self.path.starts_with(folder))
    }

    pub(super) fn is_test(&self) -> bool {
        self.path.contains("/tests/")
    }

    /// The rules name what they forbid.
    pub(super) fn is_rule(&self) -> bool {
        self.path.contains("tests/it/tidy")
    }
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

fn collect(folder: &Path, root: &Path, endings: &[&str], found: &mut Vec<Source>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if name != "target" && name != "node_modules" && !name.starts_with('.') {
                collect(&path, root, endings, found);
            }
        } else if endings.iter().any(|ending| name.ends_with(ending)) {
            let relative = path.strip_prefix(root).unwrap().to_string_lossy().replace('\\', "/");
            found.push(Source { path: relative, text: fs::read_to_string(&path).unwrap() });
        }
    }
}

/// Files of the six crates with one of some endings.
pub(super) fn ending_with(endings: &[&str]) -> Vec<Source> {
    let root = workspace();
    let mut found = vec![];
    for member in MEMBERS {
        collect(&root.join(member), &root, endings, &mut found);
    }
    found
}

/// Whether there is such a file, from the top of the workspace.
pub(super) fn exists(path: &str) -> bool {
    workspace().join(path).exists()
}

/// All Rust of the six crates.
pub(super) fn all() -> Vec<Source> {
    ending_with(&[".rs"])
}

/// Lines that break a rule, with their places.
pub(super) fn violations(rule: impl Fn(&Source, &str) -> bool) -> Vec<String> {
    let sources = all();
    let mut found = vec![];
    for source in sources.iter().filter(|source| !source.is_rule()) {
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
pub(super) fn assert_none(found: &[String]) {
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

/// A place that breaks a rule on purpose, or does not keep it yet: its file, and what is found there.
pub(super) type Exception = (&'static str, &'static str);

/// Nothing but known exceptions, each of which is still needed: the list can only shrink.
#[track_caller]
pub(super) fn assert_only(found: Vec<String>, known: &[Exception]) {
    let is =
        |line: &String, (file, what): &Exception| line.starts_with(file) && line.contains(what);
    let is_idle = |exception: &&Exception| !found.iter().any(|line| is(line, exception));
    let idle = known.iter().filter(is_idle);
    let idle = idle.map(|(file, what)| format!("{file}: no longer an exception: {what}"));
    let new = found.iter().filter(|line| !known.iter().any(|exception| is(line, exception)));
    assert_none(&new.cloned().chain(idle).collect::<Vec<_>>());
}
