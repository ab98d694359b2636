//! Which tokens of an output merely repeat its prompt.

use std::collections::BTreeMap;

/// A suffix automaton of the prompt: finds, for each end in the output, the longest run that the
/// prompt also holds, in time that grows with the two lengths and not with their product.
pub(crate) struct Echo {
    states: Vec<State>,
}

/// A set of runs that end at the same places of the prompt.
#[derive(Clone, Default)]
struct State {
    /// Length of the longest of them.
    len: usize,
    /// The state of the longest suffix that ends at more places.
    link: Option<usize>,
    next: BTreeMap<u32, usize>,
}

impl Echo {
    pub(crate) fn new(prompt: &[u32]) -> Self {
        let mut echo = Self { states: vec![State::default()] };
        let mut last = 0;
        for &token in prompt {
            last = echo.extend(last, token);
        }
        echo
    }

    /// Adds a token after the state of the whole text so far; gives the state of the new whole.
    fn extend(&mut self, last: usize, token: u32) -> usize {
        let whole = self.push(State { len: self.states[last].len + 1, ..State::default() });
        let mut at = Some(last);
        while let Some(state) = at.filter(|&state| !self.states[state].next.contains_key(&token)) {
            self.states[state].next.insert(token, whole);
            at = self.states[state].link;
        }
        self.states[whole].link = Some(match at {
            None => 0,
            Some(state) => self.split(state, token),
        });
        whole
    }

    /// The state of exactly the longest run of `state`, then `token`: split off if it is not there.
    fn split(&mut self, state: usize, token: u32) -> usize {
        let found = self.states[state].next[&token];
        let len = self.states[state].len + 1;
        if self.states[found].len == len {
            return found;
        }
        let copy = self.push(State { len, ..self.states[found].clone() });
        self.states[found].link = Some(copy);
        let mut at = Some(state);
        while let Some(state) = at.filter(|&s| self.states[s].next.get(&token) == Some(&found)) {
            self.states[state].next.insert(token, copy);
            at = self.states[state].link;
        }
        copy
    }

    fn push(&mut self, state: State) -> usize {
        self.states.push(state);
        self.states.len() - 1
    }

    /// Which output tokens lie in a run that the prompt also holds and that carries at least `least`
    /// thousandths of a bit: too much to be chance.
    pub(crate) fn mark(&self, output: &[u32], millibits: &[u64], least: u64) -> Vec<bool> {
        let sums: Vec<u64> = std::iter::once(0)
            .chain(millibits.iter().scan(0, |sum, bits| {
                *sum += bits;
                Some(*sum)
            }))
            .collect();
        let mut echo = vec![false; output.len()];
        let runs = self.runs(output);
        // From the end: the earliest start of a run that reaches to here.
        let mut from = output.len();
        for (at, run) in runs.into_iter().enumerate().rev() {
            let start = at + 1 - run;
            if run > 0 && sums[at + 1] - sums[start] >= least {
                from = from.min(start);
            }
            echo[at] = from <= at;
        }
        echo
    }

    /// Length of the longest run that ends at each output token and that the prompt holds.
    fn runs(&self, output: &[u32]) -> Vec<usize> {
        let (mut state, mut len) = (0, 0);
        let mut step = |token: &u32| {
            while !self.states[state].next.contains_key(token)
                && let Some(link) = self.states[state].link
            {
                state = link;
                len = self.states[state].len;
            }
            if let Some(&next) = self.states[state].next.get(token) {
                state = next;
                len += 1;
            }
            len
        };
        output.iter().map(&mut step).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// By comparing every output token with every prompt token.
    fn naive(prompt: &[u32], output: &[u32], millibits: &[u64], least: u64) -> Vec<bool> {
        let mut echo = vec![false; output.len()];
        for start in 0..output.len() {
            for end in start + 1..=output.len() {
                let run = &output[start..end];
                let is_held = prompt.windows(run.len()).any(|window| window == run);
                if is_held && millibits[start..end].iter().sum::<u64>() >= least {
                    echo[start..end].fill(true);
                }
            }
        }
        echo
    }

    proptest! {
        #[test]
        fn echoes_are_those_of_exhaustive_search(
            prompt in proptest::collection::vec(0u32..3, 0..24),
            output in proptest::collection::vec((0u32..3, 0u64..5), 0..24),
            least in 1u64..20,
        ) {
            let (output, millibits): (Vec<_>, Vec<_>) = output.into_iter().unzip();
            let found = Echo::new(&prompt).mark(&output, &millibits, least);
            prop_assert_eq!(found, naive(&prompt, &output, &millibits, least));
        }
    }

    #[test]
    fn a_long_echo_of_one_token_takes_no_square_of_time() {
        let tokens = vec![7; 1 << 16];
        let echo = Echo::new(&tokens).mark(&tokens, &vec![1; tokens.len()], 16);
        assert!(echo.iter().all(|echo| *echo));
    }
}
