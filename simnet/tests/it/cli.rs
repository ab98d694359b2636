//! The program: its exit codes, and what it says.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

pub(crate) const TINY: &str = "name = \"tiny\"\nepochs = 1\n[population]\nnodes = 8\n[workload]\npacks = 6\n\
                    contributors = 2\n";

pub(crate) fn simnet(dir: &Path, args: &[&str]) -> (i32, String, String) {
    let ran = Command::new(env!("CARGO_BIN_EXE_simnet")).current_dir(dir).args(args).output();
    let Output { status, stdout, stderr } = ran.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

pub(crate) fn with(text: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a.toml"), text).unwrap();
    dir
}

#[test]
fn a_run_ends_with_0_and_a_failed_check_with_3() {
    let dir = with(&format!("{TINY}[check]\ndurability = \"== 1\"\n"));
    let (code, out, _) = simnet(dir.path(), &["run", "a.toml"]);
    assert_eq!(code, 0, "{out}");
    assert!(out.contains("durability is 1, wanted == 1"));
    let dir = with(&format!("{TINY}[check]\nreplicas_live = \"< 0.5\"\n"));
    let (code, out, _) = simnet(dir.path(), &["run", "a.toml", "--out", "r"]);
    assert_eq!(code, 3);
    assert!(out.contains("FAIL replicas_live is 1, wanted < 0.5"), "{out}");
    assert!(dir.path().join("r/report.html").exists(), "what failed is written all the same");
}

#[test]
fn an_object_for_programs_is_one_line() {
    let dir = with(TINY);
    let (code, out, _) = simnet(dir.path(), &["run", "a.toml", "--json"]);
    assert_eq!((code, out.lines().count()), (0, 1), "{out}");
    let run: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(run["trace"].as_str().map(str::len), Some(64), "{run}");
}

#[test]
fn bad_input_ends_with_2_and_says_what_is_right() {
    let dir = with("[net]\nlos = 1\n");
    let (code, _, error) = simnet(dir.path(), &["run", "a.toml"]);
    assert_eq!(
        (code, error.as_str()),
        (2, "simnet: a.toml:2: there is no `net.los`; did you mean `net.loss`?\n")
    );
    let dir = with(TINY);
    for (args, says) in [
        (vec!["run", "a.toml", "--set", "population.nodes=0"], "must be at least 1"),
        (vec!["run", "b.toml"], "cannot read b.toml"),
        (vec!["run", "a.toml", "--memory", "1MiB"], "--memory"),
        (vec!["sweep", "a.toml", "--out", "s"], "has no [sweep]"),
        (vec!["replay", "nowhere"], "has to be the --out folder of a run"),
        (vec!["compare", "nowhere", "nowhere"], "has no results"),
        (vec!["explain", "net.los"], "did you mean `net.loss`?"),
        (
            vec!["run", "a.toml", "--set", "net.underlay=matrix", "--set", "net.data=rtt"],
            "no data set",
        ),
        (
            vec!["check", "a.toml", "--set", "net.underlay=matrix", "--set", "net.data=rtt"],
            "no data set",
        ),
        (vec!["new", "a"], "cannot write a.toml"),
        (vec!["new", "../a"], "letters, digits"),
    ] {
        let (code, _, error) = simnet(dir.path(), &args);
        assert_eq!(code, 2, "{args:?}: {error}");
        assert!(error.contains(says), "{args:?}: {error}");
    }
}

#[test]
fn a_word_of_a_key_is_explained_as_the_key_is() {
    let dir = tempfile::tempdir().unwrap();
    let explain = |name| simnet(dir.path(), &["explain", name]);
    assert_eq!(explain("event.do"), explain("event.N.do"));
    assert_eq!(explain("event.0.do"), explain("event.N.do"));
    assert!(explain("rpc-outage").1.starts_with("event.N.do = \"rpc-outage\": Nodes neither see"));
    assert!(explain("population.preset").1.contains("measured: access-ookla-2025"));
}

#[test]
fn what_cannot_be_compared_or_replayed_says_why() {
    let dir = with(&format!("{TINY}[sweep]\nnet.loss = [0.0, 0.1]\n"));
    assert_eq!(simnet(dir.path(), &["run", "a.toml", "--out", "r"]).0, 0);
    let (code, out, _) = simnet(dir.path(), &["sweep", "a.toml", "--out", "s"]);
    assert_eq!(code, 0);
    assert!(out.contains("net.loss=0.1") && out.contains("honest_unpaid"), "{out}");
    let (code, _, error) = simnet(dir.path(), &["compare", "r", "s"]);
    assert_eq!(code, 2);
    assert!(error.contains("one scenario without a sweep, the second points like net.loss="));
    let (code, _, error) = simnet(dir.path(), &["replay", "s"]);
    assert_eq!(code, 2);
    assert!(error.contains("s is a sweep; a run is replayed"), "{error}");
    let (_, _, error) = simnet(dir.path(), &["run", "none.toml"]);
    assert_eq!(error.matches("No such file").count(), 1, "{error}");
}

#[test]
fn a_replay_gives_the_trace_again_and_shows_one_node() {
    let dir = with(TINY);
    assert_eq!(simnet(dir.path(), &["run", "a.toml", "--out", "r"]).0, 0);
    let (code, _, error) = simnet(dir.path(), &["replay", "r"]);
    assert_eq!(code, 0, "{error}");
    assert!(error.contains("the trace is the same as before"));
    // A node of which nothing was drawn so early is silent.
    let shown = ["0", "1", "2", "3"].map(|node| {
        let args = ["replay", "r", "--node", node, "--until", "5m"];
        let (code, out, _) = simnet(dir.path(), &args);
        assert_eq!(code, 0);
        assert!(out.lines().any(|line| line.contains("<- Block")));
        out
    });
    assert!(shown.concat().contains("-> Submit(Include"), "{shown:?}");
    assert_eq!(simnet(dir.path(), &["replay", "r", "--node", "8"]).0, 2);
    // A result that another build wrote.
    let path = dir.path().join("r/run.json");
    let text = fs::read_to_string(&path).unwrap();
    let trace = text.split("\"trace\": \"").nth(1).unwrap()[..64].to_owned();
    fs::write(&path, text.replace(&trace, &"0".repeat(64))).unwrap();
    assert_eq!(simnet(dir.path(), &["replay", "r"]).0, 4);
}

#[test]
fn equal_runs_are_found_equal() {
    let dir = with(TINY);
    let (code, out, _) = simnet(dir.path(), &["check", "a.toml", "--determinism"]);
    assert_eq!(code, 0);
    assert!(out.contains("two runs are equal"));
}

#[test]
fn a_new_scenario_runs_and_a_sweep_of_it_compares_with_itself() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(simnet(dir.path(), &["new", "mine"]).0, 0);
    let small = [
        "--set",
        "population.nodes=8",
        "--set",
        "workload.packs=6",
        "--set",
        "epochs=1",
        "--set",
        "workload.contributors=2",
        "--set",
        "sweep.seeds=2",
    ];
    let (code, out, error) =
        simnet(dir.path(), &[&["sweep", "mine.toml", "--out", "s"][..], &small].concat());
    assert_eq!(code, 0, "{out}{error}");
    for name in ["summary.csv", "summary.parquet", "report.html", "runs.jsonl", "sweep.toml"] {
        assert!(dir.path().join("s").join(name).exists(), "{name}");
    }
    let (code, out, _) = simnet(dir.path(), &["compare", "s", "s"]);
    assert_eq!(code, 0);
    assert!(out.contains("compared seed by seed") && out.contains("+0.0 % to +0.0 %"), "{out}");
    let (code, out, _) = simnet(dir.path(), &["plot", "s"]);
    assert_eq!(code, 0);
    assert!(out.contains("report.html"));
}
