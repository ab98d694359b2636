//! Where money is decided nothing is swallowed: what cannot happen is an error with a name.
//!
//! An amount that silently becomes zero, or silently stays at the largest number, is a payment that
//! is lost or invented without a word.

use super::source::{Source, assert_none, violations};

/// Files in which amounts are added, split and paid.
const SETTLEMENT: [&str; 1] = ["protocol/src/settle"];
/// Files on which these, and what a machine promises, depend.
const RULES: [&str; 1] = ["protocol/src/rules"];

/// What makes a number of a failure.
const SWALLOWS: [&str; 5] =
    [".unwrap_or(0)", ".unwrap_or_default()", ".unwrap_or(Amount", "::MAX)", ".wrapping_"];

/// What puts anything in the place of what is missing, or a number in that of an overflow. The rules may,
/// where they compare block numbers.
const IN_SETTLEMENT: [&str; 2] = [".unwrap_or", ".saturating_"];

#[test]
fn where_money_is_decided_nothing_is_swallowed() {
    let is_bad = |source: &Source, code: &str| {
        let has_any = |list: &[&str]| list.iter().any(|swallow| code.contains(swallow));
        let is_settling = source.is_in(&SETTLEMENT);
        is_settling && has_any(&IN_SETTLEMENT)
            || has_any(&SWALLOWS) && (is_settling || source.is_in(&RULES))
    };
    assert_none(&violations(is_bad));
}
