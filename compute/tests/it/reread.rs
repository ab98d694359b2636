//! Reading answers again: what a model really said stands, whatever was written over its context, and what it did
//! not say does not.

use compute::device::Engine;
use compute::formats::Checkpoint;
use compute::serve::{Claimed, Generation, Generator, Reread, Sampling};
use protocol::params::Params;

use super::fixture;

/// More than twice what the model reads at once, so that answers begin anew in between.
const LONG: u32 = 150;

fn drawn(temperature_ppm: u32, seed: u64) -> Sampling {
    Sampling { tokens: LONG, temperature_ppm, top: 40, top_p_ppm: 900_000, seed }
}

fn generator(checkpoint: &Checkpoint) -> Generator {
    Generator::new(&Engine::cpu(), checkpoint).unwrap()
}

fn answer(model: &Generator, sampling: &Sampling) -> Generation {
    let prompt: Vec<u32> = (5..25).collect();
    let mut generation = model.begin(&prompt, sampling, None).unwrap();
    // In steps, as it is paid for.
    for most in [1, 33, LONG] {
        model.advance(&mut generation, most, &mut |_| true).unwrap();
    }
    assert_eq!(generation.output().len(), LONG as usize);
    generation
}

/// The answer as it is, but for what is given.
fn reread(model: &Generator, of: &Generation, output: &[u32], sampling: &Sampling) -> Reread {
    let (prompt, activations) = (of.prompt(), of.activations());
    let claimed = Claimed { prompt, output, sampling, activations: &activations };
    model.reread(&claimed).unwrap()
}

fn is_believed(found: Reread) -> bool {
    let limits = Params::mainnet().attribution;
    found.slack_ppm <= limits.max_token_slack_ppm
        && found.distance_ppm <= limits.max_activation_distance_ppm
}

#[test]
fn what_the_model_said_is_believed_and_what_was_edited_is_not() {
    let model = generator(&fixture::checkpoint());
    assert!(2 * fixture::checkpoint().config().context < LONG);
    for sampling in [drawn(0, 1), drawn(800_000, 2), drawn(1_500_000, 3)] {
        let said = answer(&model, &sampling);
        let honest = reread(&model, &said, said.output(), &sampling);
        assert!(is_believed(honest), "{honest:?}");
        for place in [0, 77, LONG as usize - 1] {
            let mut output = said.output().to_vec();
            output[place] = (output[place] + 1) % fixture::checkpoint().config().vocab;
            let edited = reread(&model, &said, &output, &sampling);
            assert!(!is_believed(edited), "token {place}: {edited:?}");
        }
        let short = reread(&model, &said, &said.output()[..60], &sampling);
        assert!(!is_believed(short), "the digest is of the whole answer");
    }
    let sampling = drawn(800_000, 4);
    let said = answer(&model, &sampling);
    let reseeded = reread(&model, &said, said.output(), &drawn(800_000, 5));
    assert!(!is_believed(reseeded), "{reseeded:?}");
}

#[test]
fn slightly_other_weights_are_told_by_the_digest_where_the_tokens_are_the_same() {
    let checkpoint = fixture::checkpoint();
    let rounded = checkpoint.values().iter().map(|value| (value * 256.0).round() / 256.0).collect();
    let rounded =
        Checkpoint::from_values(checkpoint.config(), checkpoint.tokenizer(), rounded).unwrap();
    let sampling = Sampling { tokens: 1, ..drawn(0, 1) };
    let other = generator(&rounded);
    let mut said = other.begin(&[7, 9, 11], &sampling, None).unwrap();
    other.advance(&mut said, 1, &mut |_| true).unwrap();
    let found = reread(&generator(&checkpoint), &said, said.output(), &sampling);
    let limits = Params::mainnet().attribution;
    assert!(found.distance_ppm > limits.max_activation_distance_ppm, "{found:?}");
}
