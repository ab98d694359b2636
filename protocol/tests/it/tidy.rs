//! Rules of the workspace that no lint has.
//!
//! A rule that the code does not keep yet has a list of exceptions beside it. The lists only shrink:
//! an exception that is no longer needed fails the test.

mod circles;
mod code;
mod lines;
mod money;
mod source;
mod words;
