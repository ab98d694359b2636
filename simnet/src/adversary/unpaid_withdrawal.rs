//! Taking back a deposit that answers were promised from.

use protocol::{BlockNumber, chain::Transaction};

use super::{Adversary, AdversaryKind, Profile, World};

/// Uses others' models and withdraws what was to pay for it.
pub const UNPAID_WITHDRAWAL: AdversaryKind = AdversaryKind(
    &Profile::new(
        "unpaid-withdrawal",
        "Uses models, and withdraws the deposit before the server has redeemed.",
        |plan| Box::new(UnpaidWithdrawal { per_block: plan.strength, due: 0.0 }),
    )
    .with_model(),
);

/// A consumer that asks for its deposit back as soon as there is one, goes on asking questions all the
/// time, and takes the deposit in the first block in which it may.
struct UnpaidWithdrawal {
    /// Questions per block.
    per_block: f64,
    /// Questions that are due, with what is left of a whole one.
    due: f64,
}

impl Adversary for UnpaidWithdrawal {
    fn act(&mut self, world: &mut dyn World, members: &[u32], block: BlockNumber) {
        let own = members.first().and_then(|member| world.coalition(*member as usize));
        let Some(own) = own else { return };
        self.due += self.per_block;
        while self.due >= 1.0 {
            self.due -= 1.0;
            world.use_others_model(own);
        }
        let escrow = world.chain().escrow;
        let deposits: Vec<_> = world.chain().deposits_of(world.consumer(own)).collect();
        for (payee, deposit) in deposits {
            if deposit.balance.0 == 0 {
                continue;
            }
            match deposit.withdrawal {
                Some((from, until)) if (from..=until).contains(&block) => {
                    world.consume(own, Transaction::Withdraw { escrow, payee });
                }
                Some((_, until)) if block <= until => {}
                _ => world.consume(own, Transaction::RequestWithdrawal { escrow, payee }),
            }
        }
    }
}
