//! Attributing outputs to oneself.

use protocol::record::{Body, Record};

use super::{Adversary, AdversaryKind, Profile, World};
use crate::units::Span;

/// Serves, and says that all of it came of its own data.
pub const FALSE_ATTRIBUTION: AdversaryKind = AdversaryKind(
    &Profile::new(
        "false-attribution",
        "Serves models, and attributes what it serves to itself.",
        |plan| Box::new(FalseAttribution { share: plan.strength, made: 0, forged: 0 }),
    )
    .with_model(),
);

/// Gives itself what its outputs owe to those whose data they came from.
struct FalseAttribution {
    /// Of all attributions.
    share: f64,
    made: u32,
    forged: u32,
}

impl Adversary for FalseAttribution {
    fn wants_to_serve(&self) -> bool {
        true
    }

    fn sign(&mut self, _: &mut dyn World, _: usize, mut record: Record) -> Vec<(Span, Record)> {
        let account = record.account;
        if let Body::Attribution(output) = &mut record.body {
            self.made += 1;
            if f64::from(self.forged + 1) <= f64::from(self.made) * self.share {
                self.forged += 1;
                output.shares = vec![(account, 1_000_000)];
            }
        }
        vec![(Span::ZERO, record)]
    }
}
