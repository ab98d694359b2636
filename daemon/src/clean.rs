//! Strangers' text, without the characters that command a terminal or reorder a page.

/// Text for a page, which its template escapes: line ends and tabs stay, and what would command a reader
/// or turn the text around it becomes U+FFFD.
pub(crate) fn for_page(text: &str) -> String {
    let safe = |c| match c {
        '\n' | '\t' => c,
        c if is_unsafe(c) => '\u{fffd}',
        c => c,
    };
    text.chars().map(safe).collect()
}

/// Text for one line of a terminal: white space of any kind becomes a single space.
pub(crate) fn line(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    plain(&words.join(" "))
}

/// Text for a terminal: line ends stay, nothing else commands it.
pub(crate) fn plain(text: &str) -> String {
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
    fn what_commands_or_reorders_is_replaced() {
        let hostile = "</p><script>alert('x')</script>\" onload=\"\u{0}\u{1b}[2J\u{202e}é\n";
        let shown = for_page(hostile);
        assert!(!shown.contains(['\u{0}', '\u{1b}', '\u{202e}']), "{shown}");
        assert!(shown.starts_with("</p><script>") && shown.ends_with("é\n"), "{shown}");
        let shown = plain(hostile);
        assert!(!shown.chars().any(|c| c.is_control() && c != '\n'), "{shown:?}");
        assert_eq!(line("  two\r\n\twords \u{1b}[31m"), "two words \u{fffd}[31m");
    }
}
