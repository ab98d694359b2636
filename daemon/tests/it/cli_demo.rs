//! The demo leaves no process behind, however it ends.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

/// The demo with a folder of its own: one that is killed cannot put its folder away.
fn demo(dir: &Path) -> Command {
    let mut demo = Command::new(env!("CARGO_BIN_EXE_openledger"));
    demo.args(["demo", "--small", "--json"]).env("TMPDIR", dir);
    demo
}

/// Starts the demo and waits until its nodes run; their processes.
fn start(dir: &Path) -> (Child, Vec<Pid>) {
    let mut demo = demo(dir).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(demo.stderr.take().unwrap()).lines();
    let said = lines.map_while(Result::ok).find_map(|line| {
        let (_, pids) = line.split_once("nodes run as processes ")?;
        Some(pids.split(", ").map(|pid| pid.trim().parse().unwrap()).collect::<Vec<i32>>())
    });
    let pids = said.expect("the demo names its processes");
    assert_eq!(pids.len(), 5);
    (demo, pids.into_iter().map(|pid| Pid::from_raw(pid).unwrap()).collect())
}

fn assert_gone(pids: &[Pid]) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while pids.iter().any(|pid| test_kill_process(*pid).is_ok()) {
        assert!(Instant::now() < deadline, "a node outlived the demo");
        std::thread::yield_now();
    }
}

#[test]
fn ctrl_c_ends_every_process() {
    let _turn = crate::WHOLE_MACHINE.blocking_lock();
    let dir = tempfile::tempdir().unwrap();
    let (mut demo, pids) = start(dir.path());
    kill_process(Pid::from_child(&demo), Signal::INT).unwrap();
    assert_eq!(demo.wait().unwrap().code(), Some(1));
    assert_gone(&pids);
    assert_eq!(dir.path().read_dir().unwrap().count(), 0, "its folder is put away");
}

#[test]
fn a_killed_demo_takes_its_nodes_along() {
    let _turn = crate::WHOLE_MACHINE.blocking_lock();
    let dir = tempfile::tempdir().unwrap();
    let (mut demo, pids) = start(dir.path());
    demo.kill().unwrap();
    demo.wait().unwrap();
    assert_gone(&pids);
}

#[test]
fn nodes_that_are_killed_lose_nothing() {
    let _turn = crate::WHOLE_MACHINE.blocking_lock();
    let dir = tempfile::tempdir().unwrap();
    let demo = demo(dir.path())
        .args(["--block-ms", "500", "--kill", "2@publish,4@train,1@settle"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&demo.stderr);
    assert!(demo.status.success(), "{said}");
    let last = String::from_utf8_lossy(&demo.stdout);
    let last = last.lines().last().unwrap_or_default();
    let report: serde_json::Value = serde_json::from_str(last).unwrap();
    assert_eq!(report["conserved"], true, "{report}");
    assert_eq!(report["verified_root"], true, "{report}");
    let refused = &report["false_settlement"];
    assert_eq!(refused["lost"], "1000000000000000000000", "{report}");
    assert!(refused["fell"].as_u64() > refused["proposed"].as_u64(), "{report}");
    assert_eq!(said.matches("is killed and started again").count(), 3);
}
