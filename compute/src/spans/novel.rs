//! What an output says beyond repeating its prompt.

use super::echo::Echo;
use super::evidence::{Snapshot, SpanParams};
use super::index::SpanIndex;

/// By how much an echo has to exceed that of [`SpanParams`] before influence disregards it: a name or a
/// turn of phrase that stands in prompt and output belongs to what both are about.
const MARGIN: u64 = 4;

/// The output without the runs that its prompt holds too, if they are long enough; its last token if
/// nothing else is left.
pub(super) fn novel<B: AsRef<[u8]>>(
    parts: &[SpanIndex<B>],
    prompt: &[u32],
    output: &[u32],
    params: SpanParams,
) -> Vec<u32> {
    let snapshot = Snapshot::new(parts);
    let millibits: Vec<u64> = output.iter().map(|&t| snapshot.token_millibits(t)).collect();
    let least = params.echo_millibits.saturating_mul(MARGIN);
    let echo = Echo::new(prompt).mark(output, &millibits, least);
    let mut novel: Vec<u32> =
        output.iter().zip(echo).filter(|(_, echo)| !echo).map(|(&token, _)| token).collect();
    if novel.is_empty() {
        novel.extend(output.last());
    }
    novel
}

#[cfg(test)]
mod tests {
    use protocol::Hash;

    use super::*;
    use crate::spans::{SpanUnit, Spans};

    #[test]
    fn long_echoes_are_left_out_and_short_ones_stay() {
        let text: Vec<u32> = (0..256).collect();
        let unit = SpanUnit { hash: Hash([1; 32]), tokens: &text };
        let index = SpanIndex::build(Hash::ZERO, 256, &[unit]).unwrap();
        // Eight bits a token: an echo of two tokens, so eight of them count as one here.
        let params = SpanParams { echo_millibits: 15_000, ..SpanParams::DEFAULT };
        let prompt: Vec<u32> = (10..40).collect();
        let novel = |output: &[u32]| index.without_echo(&prompt, output, params);
        assert_eq!(novel(&[1, 20, 21, 22, 23, 24, 25, 26, 27, 2]), [1, 2]);
        assert_eq!(novel(&[1, 20, 21, 22, 23, 24, 2]), [1, 20, 21, 22, 23, 24, 2]);
        assert_eq!(novel(&prompt), [39], "something has to be attributed");
        assert!(novel(&[]).is_empty());
        assert_eq!(index.without_echo(&[], &prompt, params), prompt);
    }
}
