//! Errors in words.

/// An error with its causes, each said once: many errors quote their cause, and name it as well.
pub(crate) fn explain(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use anyhow::{Context, anyhow};

    use super::*;

    #[test]
    fn what_was_quoted_is_not_said_again() {
        let quoted = anyhow!("no space").context("cannot write x: no space");
        assert_eq!(explain(&quoted), "cannot write x: no space");
        let plain = Err::<(), _>(anyhow!("no space")).context("cannot write x").unwrap_err();
        assert_eq!(explain(&plain), "cannot write x: no space");
    }
}
