//! Strangers' text, made harmless.

/// Text for HTML, between tags or in a quoted attribute. Characters that a page may not hold, or
/// that would turn the text around them, become U+FFFD.
pub(super) fn html(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / 8);
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' => out.push(c),
            c if is_unsafe(c) => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// Text for one line of a terminal: white space of any kind becomes a single space.
pub(super) fn line(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    plain(&words.join(" "))
}

/// Text for a terminal: line ends stay, nothing else commands it.
pub(super) fn plain(text: &str) -> String {
    let safe = |c| match c {
        '\n' => '\n',
        '\t' => ' ',
        c if is_unsafe(c) => '\u{fffd}',
        c => c,
    };
    text.chars().map(safe).collect()
}

/// Control characters, and those that order text from right to left.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}')
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{2066}'..='\u{2069}' | '\u{fffe}' | '\u{ffff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_leaves_its_place() {
        let hostile = "</p><script>alert('x')</script>\" onload=\"\u{0}\u{1b}[2J\u{202e}é\n";
        let safe = html(hostile);
        assert!(!safe.contains(['<', '>', '"', '\'', '\u{0}', '\u{1b}', '\u{202e}']), "{safe}");
        assert!(safe.contains("&lt;script&gt;") && safe.ends_with("é\n"), "{safe}");
        assert_eq!(html("a & b"), "a &amp; b");
        let shown = plain(hostile);
        assert!(!shown.chars().any(|c| c.is_control() && c != '\n'), "{shown:?}");
        assert_eq!(line("  two\r\n\twords \u{1b}[31m"), "two words \u{fffd}[31m");
    }
}
