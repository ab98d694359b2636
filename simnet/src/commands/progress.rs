//! Progress on the terminal: virtual time, speed-up, events per second, memory, what is left.

use std::{
    io::{self, IsTerminal as _},
    time::Instant,
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use simnet::{Progress, output::resident_memory, units::Span};

/// A bar on standard error; hidden where that is no terminal.
pub(crate) fn bar(template: &str) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(Some(1), ProgressDrawTarget::stderr());
    let style = ProgressStyle::with_template(template).expect("the template is well formed");
    bar.set_style(style);
    bar
}

/// The bar of one run.
pub(crate) fn run_bar() -> ProgressBar {
    bar("{bar:24} block {pos}/{len}  {msg}  eta {eta}")
}

/// Shows how far one run is.
pub(crate) fn show(bar: &ProgressBar, progress: &Progress, started: Instant) {
    bar.set_length(progress.blocks.max(progress.block.0));
    bar.set_position(progress.block.0);
    if bar.is_hidden() {
        return;
    }
    let wall = started.elapsed().as_micros().max(1);
    let events = u128::from(progress.events) * 1_000_000 / wall;
    let speed_up = u128::from(progress.time.0) / wall;
    let memory = resident_memory().map_or(String::new(), |bytes| format!("  {} MiB", bytes >> 20));
    let time = Span(progress.time.0 / 1_000_000 * 1_000_000);
    let (epoch, pending) = (progress.epoch, progress.pending);
    bar.set_message(format!(
        "epoch {epoch} at {time}  {speed_up}x  {events} events/s  {pending} pending{memory}"
    ));
}
