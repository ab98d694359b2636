//! Tells the program of which commit it is: `run.json` has to say what made it.
//!
//! `SIMNET_COMMIT` wins where it is set, for builds outside of a checkout. Without git, or outside of
//! a checkout, nothing is told and the build goes on.

use std::{env, path::Path, process::Command};

/// What a result depends on: this crate, and those that it simulates.
const SOURCES: [&str; 9] = [
    "src",
    "data",
    "Cargo.toml",
    "build.rs",
    "../Cargo.lock",
    "../contracts-abi",
    "../protocol",
    "../storage",
    "../compute",
];

fn main() {
    println!("cargo::rerun-if-env-changed=SIMNET_COMMIT");
    if env::var_os("SIMNET_COMMIT").is_some() {
        return;
    }
    let Some(head) = git(&["rev-parse", "--path-format=absolute", "--git-path", "logs/HEAD"])
    else {
        return;
    };
    // The checkout of somebody else who has these sources as files is not ours.
    if git(&["ls-files", "--error-unmatch", "Cargo.toml"]).is_none() {
        return;
    }
    let known = SOURCES.into_iter().filter(|path| Path::new(path).exists());
    let known: Vec<_> = known.collect();
    known.iter().copied().chain([head.as_str()]).for_each(|path| {
        println!("cargo::rerun-if-changed={path}");
    });
    let Some(commit) = git(&["rev-parse", "HEAD"]) else { return };
    // Sources that are not in the commit make a result that it does not repeat.
    let status = [&["status", "--porcelain", "--"][..], &known].concat();
    let dirty = if git(&status).is_none_or(|changed| changed.is_empty()) { "" } else { "-dirty" };
    println!("cargo::rustc-env=SIMNET_COMMIT={commit}{dirty}");
}

/// What git says; `None` where there is none, or no checkout.
fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git").args(args).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
