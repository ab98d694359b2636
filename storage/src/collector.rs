//! Deletion, which iroh-blobs offers only as garbage collection on a timer.
//!
//! A timer races with writers: a blob that is tagged while the collector lists tags may be swept.
//! So the collector sleeps until a deletion asks for it, runs once with everything but the named
//! blobs protected, and reports back. The caller keeps writers out meanwhile.

use std::collections::HashSet;
use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use iroh_blobs::Hash;
use iroh_blobs::store::{GcConfig, ProtectCb, ProtectOutcome};
use tokio::sync::watch;

use crate::error::StoreError;

/// Asks for collections and waits for them.
#[derive(Debug)]
pub(crate) struct Collector {
    protected: Arc<Mutex<HashSet<Hash>>>,
    /// Number of the newest collection that was asked for.
    asked: watch::Sender<u64>,
    /// Number of the newest collection that has ended.
    ended: watch::Receiver<u64>,
}

type Protecting<'a> = Pin<Box<dyn Future<Output = ProtectOutcome> + Send + Sync + 'a>>;

/// Gives a closure the type that the store wants.
fn callback<F>(closure: F) -> ProtectCb
where
    F: for<'a> Fn(&'a mut HashSet<Hash>) -> Protecting<'a> + Send + Sync + 'static,
{
    Arc::new(closure)
}

impl Collector {
    /// A collector, and what the store has to be configured with.
    pub(crate) fn new() -> (Self, GcConfig) {
        let protected = Arc::new(Mutex::new(HashSet::new()));
        let (asked, asked_rx) = watch::channel(0);
        let (ended_tx, ended) = watch::channel(0);
        let shared = Arc::clone(&protected);
        let ended_tx = Arc::new(ended_tx);
        let started = Arc::new(AtomicU64::new(0));
        // The store calls this before each collection, so a call also says that the one before
        // has ended.
        let add_protected = callback(move |live| {
            let (mut asked, started) = (asked_rx.clone(), Arc::clone(&started));
            let (ended, protected) = (Arc::clone(&ended_tx), Arc::clone(&shared));
            Box::pin(async move {
                let last = started.load(Ordering::SeqCst);
                ended.send_replace(last);
                let Ok(run) = asked.wait_for(|run| *run > last).await.map(|run| *run) else {
                    // The store is being dropped; nothing is to be collected any more.
                    return pending().await;
                };
                started.store(run, Ordering::SeqCst);
                live.extend(protected.lock().unwrap_or_else(PoisonError::into_inner).iter());
                ProtectOutcome::Continue
            })
        });
        let interval = Duration::from_millis(1);
        let config = GcConfig { interval, add_protected: Some(add_protected) };
        (Self { protected, asked, ended }, config)
    }

    /// Sweeps every blob that is not in `protected`. One caller at a time.
    pub(crate) async fn collect(&self, protected: HashSet<Hash>) -> Result<(), StoreError> {
        *self.protected.lock().unwrap_or_else(PoisonError::into_inner) = protected;
        let run = *self.asked.borrow() + 1;
        self.asked.send_replace(run);
        let mut ended = self.ended.clone();
        ended.wait_for(|last| *last >= run).await.map_err(|_| StoreError::Closed)?;
        Ok(())
    }
}
