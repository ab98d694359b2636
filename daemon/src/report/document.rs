//! The frame of a page that stands alone: one file without scripts, fonts or requests, for a screen or for
//! paper.

use maud::{DOCTYPE, Markup, PreEscaped, html};

const STYLE: &str = include_str!("style.css");
/// No script, no request, whatever the text in the page tries.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; \
                      form-action 'none'";

/// What a page says first.
pub(super) struct Head {
    /// The title of the window.
    pub(super) title: String,
    /// A line above the heading: what it is about.
    pub(super) eyebrow: String,
    pub(super) heading: String,
    /// The result in one sentence.
    pub(super) finding: String,
}

/// A whole page.
pub(super) fn document(head: &Head, body: &Markup) -> String {
    let Head { title, eyebrow, heading, finding } = head;
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="referrer" content="no-referrer";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                main {
                    header.top {
                        p.eyebrow { (eyebrow) }
                        h1 { (heading) }
                        p.finding { (finding) }
                    }
                    (body)
                    footer {
                        "Made by openledger " (env!("CARGO_PKG_VERSION"))
                        ". This page needs no network and runs no script."
                    }
                }
            }
        }
    };
    page.into_string()
}
