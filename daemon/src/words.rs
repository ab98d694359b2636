//! Errors and amounts in words.

use protocol::Amount;

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

/// Something else where an amount was to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0} is no amount of OPEN; write it like 12 or 0.25")]
pub(crate) struct NoAmount(String);

/// Reads an amount that somebody gave in OPEN, like `12` or `0.25`.
///
/// # Errors
/// [`NoAmount`] for anything else, and for more than there can be.
pub(crate) fn open_amount(text: &str) -> Result<Amount, NoAmount> {
    let wrong = || NoAmount(text.to_owned());
    let (whole, rest) = text.split_once('.').unwrap_or((text, ""));
    let is_number = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || rest.len() > 18 || !is_number(whole) || !is_number(rest) {
        return Err(wrong());
    }
    let (whole, rest) = (whole.parse::<u128>(), format!("{rest:0<18}").parse::<u128>());
    let (Ok(whole), Ok(rest)) = (whole, rest) else { return Err(wrong()) };
    let whole = whole.checked_mul(Amount::ONE_OPEN.0);
    whole.and_then(|whole| whole.checked_add(rest)).map(Amount).ok_or_else(wrong)
}

/// An amount in OPEN, with as many decimals as tell something.
pub(crate) fn amount_in_open(amount: Amount) -> String {
    let (whole, rest) = (amount.0 / Amount::ONE_OPEN.0, amount.0 % Amount::ONE_OPEN.0);
    let decimals = format!("{:06}", rest / 1_000_000_000_000);
    let decimals = decimals.trim_end_matches('0');
    match (decimals.is_empty(), rest) {
        (true, 0) => format!("{whole} OPEN"),
        (true, _) if whole == 0 => "less than 0.000001 OPEN".to_owned(),
        (true, _) => format!("{whole} OPEN"),
        (false, _) => format!("{whole}.{decimals} OPEN"),
    }
}

#[cfg(test)]
mod tests {
    use anyhow::{Context, anyhow};

    use super::*;

    #[test]
    fn amounts_are_readable_and_never_zero_when_they_are_not() {
        assert_eq!(amount_in_open(Amount::ZERO), "0 OPEN");
        assert_eq!(amount_in_open(Amount(1)), "less than 0.000001 OPEN");
        assert_eq!(amount_in_open(Amount(1_500_000_000_000_000_000)), "1.5 OPEN");
        assert_eq!(amount_in_open(Amount(20 * Amount::ONE_OPEN.0)), "20 OPEN");
    }

    #[test]
    fn an_amount_is_read_to_the_last_unit_and_nothing_else_is_one() {
        let smallest = "0.000000000000000001";
        for (text, units) in [
            ("0", 0),
            (smallest, 1),
            ("1.5", 1_500_000_000_000_000_000),
            ("2.", 2 * Amount::ONE_OPEN.0),
        ] {
            assert_eq!(open_amount(text), Ok(Amount(units)));
        }
        for text in
            ["", ".5", "-1", "1e3", "1,5", "0.0000000000000000001", "+1", &u128::MAX.to_string()]
        {
            assert!(open_amount(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_was_quoted_is_not_said_again() {
        let quoted = anyhow!("no space").context("cannot write x: no space");
        assert_eq!(explain(&quoted), "cannot write x: no space");
        let plain = Err::<(), _>(anyhow!("no space")).context("cannot write x").unwrap_err();
        assert_eq!(explain(&plain), "cannot write x: no space");
    }
}
