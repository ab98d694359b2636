//! How the program ends when something goes wrong, what it says, and what it leaves behind. That it
//! ends with 0, 2, 3 and 4 is tested beside the commands, in `cli`.

use std::{fs, path::Path};

use crate::cli::{TINY, simnet, with};

/// Bad input: the exit code is 2, and the message has every one of some words.
#[track_caller]
fn refused(dir: &Path, args: &[&str], words: &[&str]) {
    let (code, _, error) = simnet(dir, args);
    assert_eq!(code, 2, "{args:?}: {error}");
    for word in words {
        assert!(error.contains(word), "{args:?}: {word} is not in {error}");
    }
}

#[test]
fn a_crash_ends_with_5_and_keeps_the_scenario_that_repeats_it() {
    let dir = with(TINY);
    let args = ["run", "a.toml", "--out", "r", "--crash-at", "3m"];
    let (code, _, error) = simnet(dir.path(), &args);
    assert_eq!(code, 5, "{error}");
    assert!(error.contains("the simulated network crashed at 180 s: --crash-at"), "{error}");
    assert!(error.contains("`simnet run r/crash-7.toml` repeats it"), "{error}");
    let kept = fs::read_to_string(dir.path().join("r/crash-7.toml")).unwrap();
    assert!(kept.starts_with("# the simulated network crashed"));
    assert_eq!(simnet(dir.path(), &["run", "r/crash-7.toml"]).0, 0);
}

#[test]
fn time_that_overflows_is_refused() {
    let dir = with(TINY);
    let last = ["--set", "chain.block=1h", "--set", "chain.epoch_blocks=100000"];
    let last = [&["run", "a.toml", "--set", "epochs=10000"], &last[..]].concat();
    refused(dir.path(), &last, &["of virtual time; at most 36500d is possible"]);
    let slow = ["run", "a.toml", "--set", "chain.block=8766h"];
    refused(dir.path(), &slow, &["chain.block is 8766h; at most 1h is possible"]);
    let coarse = ["run", "a.toml", "--set", "quantum=1h"];
    refused(dir.path(), &coarse, &["quantum is 1h; at most 2s is possible"]);
    let many = ["run", "a.toml", "--set", "epochs=9223372036854775807"];
    refused(dir.path(), &many, &["epochs is 9223372036854775807; at most 10000 is possible"]);
    let late = ["run", "a.toml", "--set", "net.pull=9999999999h"];
    refused(dir.path(), &late, &["net.pull"]);
}

#[test]
fn memory_that_a_scenario_exceeds_is_said_before_it_starts() {
    let dir = with(TINY);
    let args = ["run", "a.toml", "--memory", "1MiB", "--out", "r"];
    let words = ["a.toml needs about", "may use 1MiB", "allow more with --memory "];
    refused(dir.path(), &args, &words);
    assert!(!dir.path().join("r").exists(), "nothing was begun");
}

#[test]
fn a_data_file_without_sources_is_refused_with_what_it_lacks() {
    let text = format!("{TINY}[net]\nunderlay = \"matrix\"\ndata = \"own.toml\"\n");
    let dir = with(&text);
    let own = dir.path().join("own.toml");
    let set = "[[set]]\nname = 'x'\nwhat = 'w'\nunit = 'ms'\nkind = 'measured'\nurl = 'u'\n\
               retrieved = '2026-01-01'\n";
    fs::write(&own, format!("{set}values = {{ EU-EU = 1 }}\n")).unwrap();
    refused(dir.path(), &["run", "a.toml"], &["own.toml", "every set needs", "`source`"]);
    fs::write(&own, format!("{set}source = ''\nvalues = {{ EU-EU = 1 }}\n")).unwrap();
    let words = ["the set x of own.toml does not say its source"];
    refused(dir.path(), &["run", "a.toml"], &words);
    refused(dir.path(), &["check", "a.toml"], &words);
}

#[test]
fn an_impossible_scenario_is_refused_with_what_would_be_possible() {
    let dir = with(TINY);
    let many = ["run", "a.toml", "--set", "holding.replicas=9"];
    refused(dir.path(), &many, &["9 replicas need at least as many nodes; there are 8"]);
    let absent = ["run", "a.toml", "--set", "net.underlay=matrix", "--set", "net.data=none.toml"];
    refused(dir.path(), &absent, &["cannot read none.toml"]);
}

/// A file that cannot hold a byte stands in for the full disk.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_named_and_what_was_written_is_kept_and_marked() {
    use std::os::unix::fs::symlink;
    let dir = with(TINY);
    let results = dir.path().join("r");
    fs::create_dir(&results).unwrap();
    symlink("/dev/full", results.join("nodes.csv.part")).unwrap();
    let args = ["run", "a.toml", "--out", "r"];
    refused(dir.path(), &args, &["cannot write r/nodes.csv: No space left", "free some space"]);
    assert!(results.join("run.json").exists() && results.join("epochs.csv").exists());
    assert!(fs::read_to_string(results.join("PARTIAL.txt")).unwrap().contains("disk was full"));
    let (code, _, error) = simnet(dir.path(), &["compare", "r", "r"]);
    assert_eq!(code, 0);
    assert!(error.contains("r is partial: Not all of these results"), "{error}");

    assert_eq!(simnet(dir.path(), &args).0, 0);
    assert!(results.join("nodes.csv").exists() && !results.join("PARTIAL.txt").exists());
}

#[cfg(target_os = "linux")]
mod interrupted {
    use std::{
        process::{Child, Command, Output, Stdio},
        thread,
    };

    use super::*;

    /// Starts the program, sends it Ctrl-C as soon as it listens, and waits for its end.
    fn interrupt(dir: &Path, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_simnet"));
        command.current_dir(dir).args(args).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().unwrap();
        while !listens(&child) {
            thread::yield_now();
        }
        let pid = child.id().to_string();
        assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
        child.wait_with_output().unwrap()
    }

    /// Whether a process has a handler of Ctrl-C.
    fn listens(child: &Child) -> bool {
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
        let sigint = 1 << 1;
        u64::from_str_radix(caught.trim(), 16).unwrap() & sigint != 0
    }

    #[test]
    fn a_run_ends_with_130_and_its_results_are_marked_as_partial() {
        let dir = with(TINY);
        let long = ["run", "a.toml", "--set", "epochs=5000", "--out", "r"];
        let output = interrupt(dir.path(), &long);
        assert_eq!(output.status.code(), Some(130), "{output:?}");
        let out = String::from_utf8(output.stdout).unwrap();
        assert!(out.contains("stopped early: these results are partial"), "{out}");
        let read = |name: &str| fs::read_to_string(dir.path().join("r").join(name)).unwrap();
        let run: serde_json::Value = serde_json::from_str(&read("run.json")).unwrap();
        assert_eq!(run["is_complete"], false);
        assert!(read("PARTIAL.txt").contains("This run was stopped at"));
        assert!(read("report.html").contains("all of these results are partial"));
    }

    #[test]
    fn a_sweep_ends_with_130_and_says_how_far_it_is() {
        let dir = with(&format!("{TINY}[sweep]\nseeds = 5000\n"));
        let output = interrupt(dir.path(), &["sweep", "a.toml", "--out", "s", "--jobs", "1"]);
        assert_eq!(output.status.code(), Some(130), "{output:?}");
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains("the same command goes on"), "{error}");
        let why = fs::read_to_string(dir.path().join("s/PARTIAL.txt")).unwrap();
        assert!(why.contains("of 5000 runs are done"), "{why}");
    }
}
