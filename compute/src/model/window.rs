//! Sequences cut to what a model can read at once, and batches of such runs.

use burn::tensor::{Device, Int, Tensor, TensorData};

/// Tokens of one batch, padding included.
const BATCH_TOKENS: usize = 512;

/// A run of a sequence: the model reads `inputs` and is asked for `targets`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Window<'a> {
    pub(crate) inputs: &'a [u32],
    pub(crate) targets: &'a [u32],
    /// How many of the last targets count towards the loss.
    pub(crate) counted: usize,
}

/// Cuts a unit into as few runs as fit into `context`, of lengths that differ by at most one. Each
/// token but the first is a target exactly once.
pub(crate) fn unit(tokens: &[u32], context: usize) -> Vec<Window<'_>> {
    let targets = tokens.len().saturating_sub(1);
    let runs = targets.div_ceil(context);
    (0..runs)
        .map(|run| {
            let (from, to) = (run * targets / runs, (run + 1) * targets / runs);
            Window {
                inputs: &tokens[from..to],
                targets: &tokens[from + 1..=to],
                counted: to - from,
            }
        })
        .collect()
}

/// Cuts a prompt with its output, from the end, so that every output token is a target exactly once
/// and has as much of what precedes it as fits.
pub(crate) fn output(sequence: &[u32], prompt: usize, context: usize) -> Vec<Window<'_>> {
    let first = prompt.max(1);
    let mut windows = Vec::new();
    // From the end backwards, so that what does not fit shortens the context of the earliest tokens.
    let mut end = sequence.len();
    while end > first {
        let from = (end - 1).saturating_sub(context);
        let counted = (end - first).min(end - 1 - from);
        windows.push(Window {
            inputs: &sequence[from..end - 1],
            targets: &sequence[from + 1..end],
            counted,
        });
        end -= counted;
    }
    windows.reverse();
    windows
}

/// How many of the next windows fit into one padded batch, of which at most a quarter is padding.
pub(crate) fn batch_size(windows: &[(usize, Window<'_>)]) -> usize {
    let (mut longest, mut tokens) = (0, 0);
    let fits = windows.iter().enumerate().take_while(|(count, (_, window))| {
        longest = window.inputs.len().max(longest);
        tokens += window.inputs.len();
        let padded = (count + 1) * longest;
        padded <= BATCH_TOKENS && (padded - tokens) * 4 <= padded
    });
    fits.count().max(1)
}

/// Inputs, targets and the mask of counted targets, `[windows, time]`. Padding comes last, so no
/// counted position sees it.
pub(crate) fn padded(
    batch: &[(usize, Window<'_>)],
    time: usize,
    device: &Device,
) -> (Tensor<2, Int>, Tensor<2, Int>, Tensor<2>) {
    let shape = [batch.len(), time];
    let pad = |row: &[u32]| -> Vec<i32> {
        let ids = row.iter().map(|&token| token as i32);
        ids.chain(std::iter::repeat_n(0, time - row.len())).collect()
    };
    let ids = |rows: Vec<i32>| Tensor::from_data(TensorData::new(rows, shape), device);
    let inputs = ids(batch.iter().flat_map(|(_, w)| pad(w.inputs)).collect());
    let targets = ids(batch.iter().flat_map(|(_, w)| pad(w.targets)).collect());
    let mask: Vec<f32> = batch
        .iter()
        .flat_map(|(_, w)| {
            let skipped = w.targets.len() - w.counted;
            (0..time).map(move |t| f32::from(u8::from(t >= skipped && t < skipped + w.counted)))
        })
        .collect();
    (inputs, targets, Tensor::from_data(TensorData::new(mask, shape), device))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_token_of_a_unit_but_the_first_is_a_target_once(len in 0u32..700, context in 1usize..200) {
            let tokens: Vec<u32> = (0..len).collect();
            let windows = unit(&tokens, context);
            let seen: Vec<u32> = windows.iter().flat_map(|w| w.targets.to_vec()).collect();
            prop_assert_eq!(&seen[..], tokens.get(1..).unwrap_or(&[]));
            for w in &windows {
                prop_assert!(w.inputs.len() == w.targets.len() && w.inputs.len() <= context);
                prop_assert!(w.inputs.iter().zip(w.targets).all(|(i, t)| i + 1 == *t));
            }
        }

        #[test]
        fn every_token_of_an_output_counts_once(prompt in 0usize..60, len in 0usize..90, context in 1usize..50) {
            let sequence: Vec<u32> = (0..(prompt + len) as u32).collect();
            let windows = output(&sequence, prompt, context);
            let counted: Vec<u32> = windows
                .iter()
                .flat_map(|w| w.targets[w.targets.len() - w.counted..].to_vec())
                .collect();
            prop_assert_eq!(&counted[..], sequence.get(prompt.max(1)..).unwrap_or(&[]));
            prop_assert!(windows.iter().all(|w| w.inputs.len() <= context));
        }
    }
}
