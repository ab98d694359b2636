//! `openledger serve` as people and their clients meet it: the binary, over HTTP, with a tiny model.

mod adapters;
mod answers;
mod bounds;
mod clients;
mod keys;
mod refusals;
mod serving;
mod tls;
