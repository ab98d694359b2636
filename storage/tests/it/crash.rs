//! A process is killed at random moments, again and again, over one directory. Whatever it had
//! acknowledged on its standard output has to be there when the directory is opened again.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use protocol::ids::Hash;
use storage::index::PinReason;
use storage::record_log::LogConfig;
use storage::{Position, Store, StoreConfig, hash_of};

use crate::support::{Numbers, runtime, test_bytes};

/// Names the directory to the child; absent in every other run of this binary.
const DIR: &str = "OPENLEDGER_CRASH_DIR";
/// The seed of the child's bytes.
const SEED: &str = "OPENLEDGER_CRASH_SEED";
const ROUNDS: u64 = 12;
const EPOCHS: u64 = 3;

fn config() -> StoreConfig {
    StoreConfig { log: LogConfig { segment_bytes: 2000 }, ..StoreConfig::default() }
}

/// Everything that a child ever acknowledged.
#[derive(Default)]
struct Acknowledged {
    blobs: BTreeMap<Hash, u64>,
    pins: Vec<Hash>,
    counter: u64,
    records: BTreeMap<Position, Hash>,
}

impl Acknowledged {
    /// Takes a line of the child; the last one may be cut, and then it acknowledges nothing.
    fn take(&mut self, line: &str) -> Option<()> {
        let mut words = line.strip_prefix("ack ")?.strip_suffix(" .")?.split(' ');
        match words.next()? {
            "blob" => {
                let hash = words.next()?.parse().ok()?;
                self.blobs.insert(hash, words.next()?.parse().ok()?);
            }
            "pin" => self.pins.push(words.next()?.parse().ok()?),
            "count" => self.counter = words.next()?.parse().ok()?,
            "record" => {
                let position = Position {
                    epoch: words.next()?.parse().ok()?,
                    segment: words.next()?.parse().ok()?,
                    offset: words.next()?.parse().ok()?,
                };
                self.records.insert(position, words.next()?.parse().ok()?);
            }
            _ => return None,
        }
        Some(())
    }

    async fn check(&self, dir: &Path) {
        let store = Store::open(dir, config()).await.unwrap();
        assert_eq!(store.broken_index(), None, "a kill is no damage");
        assert!(store.log().recovery().corrupt.is_empty(), "{:?}", store.log().recovery());
        for (hash, len) in &self.blobs {
            let bytes = store.blobs().get(*hash).await.unwrap();
            assert_eq!((hash_of(&bytes), bytes.len() as u64), (*hash, *len));
        }
        for hash in &self.pins {
            assert!(store.index().is_pinned(*hash).unwrap());
        }
        assert!(store.index().counter("acks").unwrap() >= self.counter);
        for (position, hash) in &self.records {
            assert_eq!(hash_of(&store.log().read(*position).unwrap()), *hash);
        }
        let readable = store.log().iter().unwrap().filter(Result::is_ok).count();
        assert!(readable >= self.records.len());
        store.close().await;
    }
}

/// Kills the child even when the parent's assertion fails.
struct Reaped(Child);

impl Drop for Reaped {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start_child(dir: &Path, seed: u64) -> Reaped {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crash::child_that_is_killed", "--nocapture", "--test-threads=1"])
        .env(DIR, dir)
        .env(SEED, seed.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    Reaped(child.unwrap())
}

#[test]
fn what_was_acknowledged_survives_kills() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = runtime();
    let mut acknowledged = Acknowledged::default();
    let mut numbers = Numbers(2026);
    for round in 0..ROUNDS {
        let mut child = start_child(dir.path(), round);
        let mut lines = BufReader::new(child.0.stdout.take().unwrap()).lines();
        let mut wanted = numbers.below(40);
        let mut before_kill = 0;
        while wanted > 0 {
            let line = lines.next().expect("the child works until it is killed").unwrap();
            let took = acknowledged.take(&line).is_some();
            wanted -= u64::from(took);
            before_kill += u64::from(took);
        }
        child.0.kill().unwrap();
        // What was acknowledged before the signal arrived is still in the pipe.
        for line in lines.map_while(Result::ok) {
            acknowledged.take(&line);
        }
        drop(child);
        runtime.block_on(acknowledged.check(dir.path()));
        assert!(round == 0 || before_kill > 0 || acknowledged.counter > 0);
    }
    assert!(acknowledged.blobs.len() > 20 && acknowledged.records.len() > 20);
}

/// The child: works and acknowledges until it is killed. Does nothing in an ordinary run.
#[test]
fn child_that_is_killed() {
    let (Ok(dir), Ok(seed)) = (std::env::var(DIR), std::env::var(SEED)) else { return };
    let seed: u64 = seed.parse().unwrap();
    runtime().block_on(async {
        let store = Store::open(Path::new(&dir), config()).await.unwrap();
        let mut numbers = Numbers(seed);
        loop {
            work(&store, &mut numbers).await;
        }
    });
}

async fn work(store: &Store, numbers: &mut Numbers) {
    match numbers.below(4) {
        0 => {
            let len = 1 + numbers.below(60_000);
            let hash = store.blobs().put(test_bytes(numbers.next(), len as usize)).await.unwrap();
            acknowledge(&format!("blob {hash} {len}"));
        }
        1 => {
            let hash = Hash(hash_of(&numbers.bytes(8)).0);
            store.index().pin(hash, PinReason::Own).unwrap();
            acknowledge(&format!("pin {hash}"));
        }
        2 => {
            let value = store.index().add_to_counter("acks", 1).unwrap();
            acknowledge(&format!("count {value}"));
        }
        _ => {
            let epoch = numbers.below(EPOCHS);
            let batch: Vec<_> = (0..1 + numbers.below(4))
                .map(|_| {
                    let len = 1 + numbers.below(300);
                    numbers.bytes(len as usize)
                })
                .collect();
            let positions = store.log().append_batch(epoch, &batch).unwrap();
            for (Position { epoch, segment, offset }, payload) in positions.iter().zip(&batch) {
                let hash = hash_of(payload);
                acknowledge(&format!("record {epoch} {segment} {offset} {hash}"));
            }
        }
    }
}

/// Writes a whole line past the test harness, which prints without ending its line.
fn acknowledge(what: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("\nack {what} .\n").as_bytes()).unwrap();
    out.flush().unwrap();
}
