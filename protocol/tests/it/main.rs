//! The protocol as a whole, without sockets: scenarios on an in-memory network, hostile input,
//! golden vectors, and the rules of the workspace.

mod awaited;
mod bases;
mod chain;
mod disputes;
mod enrol;
mod golden;
mod hostile;
mod jobs;
mod net;
mod orders;
mod replaced;
mod runs;
mod scenarios;
mod serving;
mod settlement;
mod standing;
mod steps;
mod tidy;
mod weight;
