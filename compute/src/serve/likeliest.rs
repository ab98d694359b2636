//! The likeliest tokens, without putting the whole vocabulary in order.

use std::cmp::Ordering;

/// So many tokens with the greatest logits, the greatest first; ties go to the lower id, and what is no
/// number comes last. None asked for: all tokens.
pub(super) fn likeliest(logits: &[f32], count: usize) -> Vec<(f32, u32)> {
    let count = if count == 0 { logits.len() } else { count.min(logits.len()) };
    // More than are wanted, so that they are seldom thinned out.
    let room = count.saturating_mul(4).max(64).min(logits.len());
    let mut kept: Vec<(f32, u32)> = Vec::with_capacity(room + 1);
    let mut least = None;
    for (logit, id) in logits.iter().zip(0..) {
        let logit = if logit.is_finite() { *logit } else { f32::MIN };
        // Of equal ones the earlier stays.
        if least.is_some_and(|least| logit.total_cmp(&least) != Ordering::Greater) {
            continue;
        }
        kept.push((logit, id));
        if kept.len() > room && count < room {
            kept.select_nth_unstable_by(count - 1, order);
            kept.truncate(count);
            least = Some(kept[count - 1].0);
        }
    }
    kept.sort_unstable_by(order);
    kept.truncate(count);
    kept
}

fn order(a: &(f32, u32), b: &(f32, u32)) -> Ordering {
    b.0.total_cmp(&a.0).then(a.1.cmp(&b.1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_first_of_all_in_order(
            logits in prop::collection::vec(
                prop_oneof![-2i8..2, Just(100i8)].prop_map(|value| match value {
                    100 => f32::NAN,
                    value => f32::from(value) * 0.5,
                }),
                1..400,
            ),
            count in 0usize..500,
        ) {
            let mut all: Vec<(f32, u32)> = logits
                .iter()
                .zip(0..)
                .map(|(logit, id)| (if logit.is_finite() { *logit } else { f32::MIN }, id))
                .collect();
            all.sort_by(order);
            if count > 0 {
                all.truncate(count);
            }
            prop_assert_eq!(likeliest(&logits, count), all);
        }
    }
}
