//! When to stop.

use std::io::Read;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

/// How long a node whose parent is gone may take to stop by itself.
const GRACE: Duration = Duration::from_secs(5);

/// Completes on Ctrl-C or SIGTERM.
pub(crate) async fn interrupted() {
    let ctrl_c = async {
        if tokio::signal::ctrl_c().await.is_err() {
            tracing::warn!("Ctrl-C cannot be heard; stop the process with SIGTERM");
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        () = ctrl_c => {}
        () = terminated() => {}
    }
}

#[cfg(unix)]
async fn terminated() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut signal) => {
            signal.recv().await;
        }
        Err(_) => std::future::pending().await,
    }
}

#[cfg(not(unix))]
async fn terminated() {
    std::future::pending().await
}

/// Cancels when standard input ends: whoever started this process holds its other end, so it ends
/// with them however they die. A process that does not stop in time is ended.
pub(crate) fn stop_with_stdin() -> CancellationToken {
    let stop = CancellationToken::new();
    let told = stop.clone();
    std::thread::spawn(move || {
        let mut buffer = [0; 64];
        let mut stdin = std::io::stdin().lock();
        while stdin.read(&mut buffer).is_ok_and(|read| read > 0) {}
        told.cancel();
        std::thread::sleep(GRACE);
        std::process::exit(1);
    });
    stop
}
