//! Integration tests of the daemon: one binary, one module per area.

mod keys;
mod loopback;
mod net;
mod net_data;
mod net_foreign;
mod net_support;
