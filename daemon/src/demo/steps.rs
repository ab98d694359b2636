//! The steps of the demo, each of which gives what it found.

pub(super) mod data;
pub(super) mod lie;
pub(super) mod model;
pub(super) mod money;
pub(super) mod nodes;
