//! Real processes from end to end: an adapter that five nodes train, of which one is killed, and its base, which one
//! of them offers too. Both are talked to through a gateway that holds neither, by the clients that people have.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use daemon::network::{NETWORK_FILE, NetworkFile};
use protocol::Amount;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::cli_base::file_of;
use super::cli_bought::{Gateway, done, redeemed, sponsor};
use super::clients::conversations;
use super::process::until;

/// A demo that goes on behind its report.
struct Demo(Child);

impl Drop for Demo {
    fn drop(&mut self) {
        // It may be gone already, where the test failed for that reason.
        let _ = kill_process(Pid::from_child(&self.0), Signal::INT);
        let _ = self.0.wait();
    }
}

impl Demo {
    /// Runs the demo in a folder over a base, and waits for what it reports.
    fn start(dir: &Path, base: &Path) -> (Self, Value) {
        let log = dir.join("log");
        let demo = Command::new(env!("CARGO_BIN_EXE_openledger"))
            .args(["demo", "--small", "--honest", "--keep", "--json", "--block-ms", "500"])
            .args(["--kill", "3@train", "--base"])
            .arg(base)
            .env("TMPDIR", dir)
            .stdout(Stdio::piped())
            .stderr(File::create(&log).unwrap())
            .spawn();
        let mut demo = Self(demo.unwrap());
        let mut report = String::new();
        BufReader::new(demo.0.stdout.take().unwrap()).read_line(&mut report).unwrap();
        let said = || fs::read_to_string(&log).unwrap();
        let report = serde_json::from_str(&report).unwrap_or_else(|_| panic!("{}", said()));
        assert_eq!(said().matches("is killed and started again").count(), 1);
        (demo, report)
    }
}

/// The folder of the node that serves what was trained.
fn server(dir: &Path) -> PathBuf {
    let mut folders = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    folders.find(|path| path.is_dir()).unwrap().join("node1")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_adapter_and_its_base_are_talked_to_from_another_machine() {
    let _turn = crate::WHOLE_MACHINE.lock().await;
    let (dir, files) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (_demo, report) = Demo::start(dir.path(), &file_of(files.path(), 512));
    assert_eq!((&report["conserved"], &report["verified_root"]), (&true.into(), &true.into()));

    let server = server(dir.path());
    let base = done(&server, &["model", "publish", "tiny", "--price-in", "9", "--price-out", "70"]);
    assert_eq!(base["model"], 2, "beside the adapter");
    let network = server.join(NETWORK_FILE);
    let home = files.path().join("gateway");
    let sponsor = sponsor(&NetworkFile::read(&network).unwrap()).await;
    let gateway = Gateway::start(&home, &network, &server).await;
    gateway.node.enrol(&sponsor, Amount(1_000 * Amount::ONE_OPEN.0)).await;
    let door = json!({
        "url": gateway.url, "key": gateway.key, "models": ["model-1", "model-2"],
    });
    let sum = conversations(&door).iter().sum::<u128>();
    let paid = until(|| async { redeemed(&home).filter(|redeemed| *redeemed == sum) });
    assert_eq!(paid.await, sum);

    let adapter = files.path().join("adapter");
    done(&server, &["model", "export", "1", adapter.to_str().unwrap()]);
    for file in ["adapter_config.json", "adapter_model.safetensors"] {
        assert!(adapter.join(file).exists(), "{file}");
    }
}
