//! No circles: a file that is read may send the reader on, but never back.
//!
//! A file *needs* another when it names something that the other defines. A re-export is a signpost:
//! it is followed to the definition, and is no need of the file in which it stands. What a file takes
//! from a module above it (`super::`, or the crate's root) is the room it lives in, and no need
//! either; only so may a type and its parts lie in one folder. Under these rules neither the files of
//! a crate nor its rooms, which are the folders and files directly below `src`, may need each other
//! in a circle. Methods are not seen, as they are called without a path.

use std::{
    collections::{BTreeMap, BTreeSet},
    slice,
};

use super::{
    code::{Code, Path},
    source::{self, Source},
};

/// Imports that are followed from one to the next, so that two which import each other end.
const HOPS: usize = 8;

struct Crate {
    modules: BTreeMap<Path, Code>,
}

type Needs = BTreeMap<String, BTreeSet<String>>;

impl Crate {
    /// Of files by their paths below `src`.
    fn of<'a>(files: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let named = files.into_iter().map(|(path, text)| {
            let path = path.trim_end_matches(".rs").trim_end_matches("/mod");
            let names = path.split('/').filter(|name| *name != "lib");
            (names.map(Into::into).collect(), Code::of(text))
        });
        Self { modules: named.collect() }
    }

    /// Modules that define what a path names for somebody in `at`, in so many hops.
    fn definers(&self, at: &[String], path: &[String], hops: usize) -> BTreeSet<Path> {
        let Some(first) = path.first() else { return BTreeSet::new() };
        let ups = path.iter().take_while(|name| *name == "super").count();
        match first.as_str() {
            "crate" => self.walk(&[], &path[1..], hops),
            "self" => self.walk(at, &path[1..], hops),
            "super" => self.walk(&at[..at.len().saturating_sub(ups)], &path[ups..], hops),
            _ => self.walk(at, path, hops),
        }
    }

    fn walk(&self, at: &[String], path: &[String], hops: usize) -> BTreeSet<Path> {
        let here = BTreeSet::from([at.to_vec()]);
        let Some(module) = self.modules.get(at) else { return BTreeSet::new() };
        let Some(name) = path.first().filter(|name| *name != "*") else { return here };
        let child = [at, slice::from_ref(name)].concat();
        if module.children.contains(name) && self.modules.contains_key(&child) {
            return self.walk(&child, &path[1..], hops);
        }
        if module.defines.contains(name) {
            return here;
        }
        let Some(hops) = hops.checked_sub(1) else { return BTreeSet::new() };
        let mut found = BTreeSet::new();
        for import in &module.imports {
            if import.name == *name {
                let whole = self.definers(at, &[&import.path, &path[1..]].concat(), hops);
                // Past an item there are its variants and functions, which are where the item is.
                let item = || self.definers(at, &import.path, hops);
                found.extend(if whole.is_empty() { item() } else { whole });
            } else if import.name == "*" {
                let below = &import.path[..import.path.len() - 1];
                found.extend(self.definers(at, &[below, path].concat(), hops));
            }
        }
        found
    }

    /// What each module needs of others.
    fn needs(&self) -> BTreeMap<&Path, BTreeSet<Path>> {
        let of = |(at, code): (&'_ Path, &Code)| {
            let is_signpost = |name: &str| name != "*" && !code.words.contains(name);
            let imported = code.imports.iter().filter(|i| !(i.is_public && is_signpost(&i.name)));
            let written = code.paths.iter().filter(|path| {
                matches!(path[0].as_str(), "crate" | "self" | "super")
                    || code.children.contains(&path[0])
            });
            let mut needed = BTreeSet::new();
            for path in imported.map(|import| &import.path).chain(written) {
                needed.extend(self.longest(at, path));
            }
            needed.retain(|other| !at.starts_with(other));
            needed
        };
        self.modules.iter().map(|(at, code)| (at, of((at, code)))).collect()
    }

    /// Definers of a path, or of what it begins with: `Type::function` is where `Type` is.
    fn longest(&self, at: &Path, path: &Path) -> BTreeSet<Path> {
        let prefixes =
            (1..=path.len()).rev().map(|length| self.definers(at, &path[..length], HOPS));
        prefixes.into_iter().find(|found| !found.is_empty()).unwrap_or_default()
    }

    /// The needs of files, or of rooms.
    fn graph(&self, name: impl Fn(&Path) -> String) -> Needs {
        let mut graph = Needs::new();
        for (from, others) in self.needs() {
            let entry = graph.entry(name(from)).or_default();
            entry.extend(others.iter().map(&name));
        }
        for (from, others) in &mut graph {
            others.remove(from);
        }
        graph
    }
}

/// Everything that can be reached from a node.
fn reached<'a>(graph: &'a Needs, from: &str) -> BTreeSet<&'a str> {
    let mut seen = BTreeSet::new();
    let mut open: Vec<&str> = graph.get(from).into_iter().flatten().map(String::as_str).collect();
    while let Some(next) = open.pop() {
        if seen.insert(next) {
            open.extend(graph.get(next).into_iter().flatten().map(String::as_str));
        }
    }
    seen
}

/// Groups of nodes that all reach each other, as text.
fn circles(graph: &Needs) -> BTreeSet<String> {
    let all: BTreeMap<&str, _> =
        graph.keys().map(|node| (node.as_str(), reached(graph, node))).collect();
    let group = |node: &&str| {
        let back = |other: &&&str| all.get(**other).is_some_and(|reached| reached.contains(node));
        let group: Vec<&str> = all[node].iter().filter(back).copied().collect();
        (!group.is_empty()).then(|| group.join(" <-> "))
    };
    all.keys().filter_map(group).collect()
}

fn found_in(member: &str, sources: &[Source]) -> Vec<String> {
    let prefix = format!("{member}/src/");
    // The binary beside a library sees the library from outside.
    let is_inside = |path: &&str| *path != "main.rs";
    let files = sources.iter().filter_map(|source| {
        let path = source.path.strip_prefix(&prefix).filter(is_inside)?;
        Some((path, source.text.as_str()))
    });
    let inside = Crate::of(files);
    let rooms = circles(&inside.graph(|path| path.first().cloned().unwrap_or_default()));
    let files = circles(&inside.graph(|path| path.join("/")));
    files.union(&rooms).map(|circle| format!("{member}: {circle}")).collect()
}

#[test]
fn modules_do_not_need_each_other() {
    let sources = source::all();
    let members = source::MEMBERS.iter().chain(&["compute/quality"]);
    let found: Vec<_> = members.flat_map(|member| found_in(member, &sources)).collect();
    source::assert_none(&found);
}

#[test]
fn a_circle_is_seen_however_it_is_written() {
    let circle = |a: &str, b: &str| {
        let inside = Crate::of([("lib.rs", "mod a;\nmod b;\n"), ("a.rs", a), ("b/mod.rs", b)]);
        circles(&inside.graph(|path| path.join("/"))).into_iter().collect::<Vec<_>>()
    };
    let (to_b, to_a) = ("use crate::b::B;\npub struct A(B);", "pub struct B;\n");
    assert_eq!(circle(to_b, to_a), [""; 0]);
    for back in ["use super::a::A;", "use crate::{a::{A as _}};", "fn f(_: crate::a::A) {}"] {
        assert_eq!(circle(to_b, &format!("{to_a}{back}\n")), ["a <-> b"], "{back}");
    }
    let in_a_test = "#[cfg(test)]\nmod tests { use crate::a::A; }\n";
    assert_eq!(circle(to_b, &format!("{to_a}{in_a_test}")), [""; 0]);
}

#[test]
fn a_re_export_is_followed_and_the_room_above_is_free() {
    let files = [
        ("lib.rs", "pub mod room;\npub mod user;\npub struct Root;\n"),
        ("room.rs", "mod part;\npub use part::Part;\npub struct Frame;\n"),
        ("room/part.rs", "use super::Frame;\nuse crate::Root;\npub struct Part(Frame, Root);\n"),
        ("user.rs", "use crate::room::Part;\npub fn user(_: Part) -> u8 { 0 }\n"),
    ];
    let graph = Crate::of(files).graph(|path| path.join("/"));
    let needs = |from: &str| graph[from].iter().map(String::as_str).collect::<Vec<_>>();
    assert_eq!(needs("user"), ["room/part"]);
    assert_eq!(needs("room"), [""; 0]);
    assert_eq!(needs("room/part"), [""; 0]);
}
