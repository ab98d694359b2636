//! One test binary: the same suites over the stores on disk and in memory, properties against naive
//! oracles, hostile input, and processes that are killed at random moments.

mod blobs;
mod crash;
mod health;
mod index;
mod packs;
mod record_log;
mod support;
