//! An attribution, or a statement, for people: a page that stands alone, and text for the terminal.
//!
//! Everything that the record quotes (prompt, output, units, names of documents) was written by
//! strangers. The template escapes it, and the page forbids itself every script and every
//! request; the terminal gets no control character of it.

mod csv;
mod document;
mod html;
mod marks;
pub(crate) mod statement;
mod terminal;
mod words;

pub(crate) use self::html::page;
pub(crate) use self::terminal::{Paint, text};

#[cfg(test)]
pub(crate) mod sample;
