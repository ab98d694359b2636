//! Serving for money, and saying nothing of whose data it was.

use protocol::{
    chain::Transaction,
    record::{Body, Record},
};

use super::{Adversary, AdversaryKind, Profile, World};
use crate::units::Span;

/// Serves and redeems, and withholds attributions.
pub const WITHHELD_ATTRIBUTION: AdversaryKind = AdversaryKind(
    &Profile::new(
        "withheld-attribution",
        "Serves models, redeems the receipts, and withholds attributions.",
        |plan| Box::new(WithheldAttribution { share: plan.strength, made: 0, withheld: 0 }),
    )
    .with_model(),
);

/// Answers the consumer and has the fee redeemed, but signs only some of its attributions, so that what
/// others would get of it is left over.
struct WithheldAttribution {
    /// Of all attributions.
    share: f64,
    made: u32,
    withheld: u32,
}

impl Adversary for WithheldAttribution {
    fn wants_to_serve(&self) -> bool {
        true
    }

    fn sign(&mut self, world: &mut dyn World, node: usize, record: Record) -> Vec<(Span, Record)> {
        let Body::Attribution(body) = &record.body else { return vec![(Span::ZERO, record)] };
        self.made += 1;
        if f64::from(self.withheld + 1) > f64::from(self.made) * self.share {
            return vec![(Span::ZERO, record)];
        }
        self.withheld += 1;
        world.submit(node, Transaction::Redeem(body.receipt.clone()));
        Vec::new()
    }
}
