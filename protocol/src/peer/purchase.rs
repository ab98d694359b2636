//! What a consumer decides who buys an answer: the other side of [`crate::usage`].
//!
//! It believes the chain about the price, and nobody about what it has promised. It pays for the beginning, and
//! for the next tokens when half of those that are paid for have come. A server that quotes, counts or bills
//! otherwise is in breach, and has had one step of payment at most that it did not answer for.

use super::usage::FromServer;
use crate::{
    ask::Ask,
    chain::ModelPublication,
    ids::{AccountId, Amount, Digest, EvmAddress},
    limits::PAID_AHEAD_TOKENS,
    ranges::Ranges,
    receipt::Receipt,
    rules::{price, tokens_paid},
};

/// What a server did that it must not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Breach {
    /// It quotes another payee, or lengths that what was asked does not have.
    #[error("it quotes what nobody asked for: another payee, or other lengths")]
    Quote,
    /// It answers a payment that there is not.
    #[error("it speaks of a payment that it was not given")]
    NoPayment,
    /// It takes a payment and would give less for it.
    #[error("it takes money for more tokens than it would give")]
    TooFew,
    /// It counts fewer tokens than before, or more than were paid for.
    #[error("it counts tokens that it was not paid for")]
    Count,
    /// It bills more than it was paid.
    #[error("it bills more than it was paid for")]
    Bill,
    /// It sends what does not belong there.
    #[error("it says what does not belong there")]
    OutOfTurn,
}

/// Who pays, through which escrow, and from which promise on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Payment {
    /// The contract that pays.
    pub escrow: EvmAddress,
    /// The consumer, who signs the receipts.
    pub payer: EvmAddress,
    /// All that it has promised this server so far.
    pub promised: Amount,
    /// The number of the use between the two.
    pub nonce: u64,
}

/// A use, as far as it is paid and has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Purchase {
    offer: ModelPublication,
    tokens_in: u32,
    tokens_out: u32,
    question: Digest,
    /// The last receipt that the server took, with the ranges that pay by it.
    paid: Option<(Receipt, Ranges)>,
    /// Tokens of the answer that are paid for, and that have come.
    covered: u32,
    heard: u32,
}

impl Purchase {
    /// Holds a quote against what was asked and what the chain says: the purchase, and what the server says that it
    /// was promised before.
    ///
    /// # Errors
    /// [`Breach`] where it is none, or not of this.
    pub fn quoted(
        ask: &Ask,
        offer: &ModelPublication,
        quoted: &FromServer,
    ) -> Result<(Self, Amount), Breach> {
        let FromServer::Quoted { payee, promised, tokens_in, tokens_out } = *quoted else {
            return Err(Breach::OutOfTurn);
        };
        // No token is shorter than a byte.
        let is_length = usize::try_from(tokens_in).is_ok_and(|n| n <= ask.prompt.most_tokens());
        let is_fair = payee == offer.server && (1..=ask.max_tokens).contains(&tokens_out);
        if !is_length || !is_fair {
            return Err(Breach::Quote);
        }
        Ok((Self::new(*offer, (tokens_in, tokens_out), ask.digest()), promised))
    }

    /// A use that reads and gives so many tokens at most, of which nothing is paid.
    pub const fn new(
        offer: ModelPublication,
        (tokens_in, tokens_out): (u32, u32),
        question: Digest,
    ) -> Self {
        Self { offer, tokens_in, tokens_out, question, paid: None, covered: 0, heard: 0 }
    }

    /// Who is paid.
    pub const fn payee(&self) -> AccountId {
        self.offer.server
    }

    /// Tokens of the prompt.
    pub const fn tokens_in(&self) -> u32 {
        self.tokens_in
    }

    /// Most tokens of the answer.
    pub const fn tokens_out(&self) -> u32 {
        self.tokens_out
    }

    /// The most that it can come to cost; `None` where that is no number.
    pub fn most(&self) -> Option<Amount> {
        price(&self.offer, self.tokens_in, self.tokens_out)
    }

    /// The last receipt that the server took.
    pub fn receipt(&self) -> Option<&Receipt> {
        self.paid.as_ref().map(|(receipt, _)| receipt)
    }

    /// What was paid so far.
    pub fn spent(&self) -> Amount {
        self.receipt().map_or(Amount::ZERO, |receipt| receipt.price)
    }

    /// Up to which token it is to be paid for now; `None` while enough is paid ahead, and at the end.
    pub fn due(&self) -> Option<u32> {
        let left = self.covered.saturating_sub(self.heard);
        let is_due = left <= PAID_AHEAD_TOKENS / 2 && self.covered < self.tokens_out;
        is_due.then(|| self.covered.saturating_add(PAID_AHEAD_TOKENS).min(self.tokens_out))
    }

    /// The receipt that pays for it up to a token, and the ranges that pay by it; `None` where that is no number,
    /// or nothing would be paid that is not paid yet.
    pub fn pay(&self, tokens: u32, by: &Payment) -> Option<(Receipt, Ranges)> {
        let all = price(&self.offer, self.tokens_in, tokens.min(self.tokens_out))?;
        let to = by.promised.checked_add(all.checked_sub(self.spent())?)?;
        if let Some((last, ranges)) = &self.paid {
            return ranges.raised(last, (by.promised, to));
        }
        let receipt = Receipt {
            escrow: by.escrow,
            payer: by.payer,
            payee: self.offer.server,
            model: self.offer.model,
            cumulative: to,
            price: all,
            nonce: by.nonce,
            request: self.question,
        };
        Some((receipt, Ranges::default()))
    }

    /// The server took a payment, and says up to which token the answer is paid for now.
    ///
    /// # Errors
    /// [`Breach::TooFew`] where it says fewer than that payment is worth.
    pub fn taken(&mut self, paid: (Receipt, Ranges), said: u32) -> Result<(), Breach> {
        let worth = tokens_paid(&self.offer, self.tokens_in, self.tokens_out, paid.0.price);
        let worth = worth.unwrap_or(self.covered);
        if said < worth {
            return Err(Breach::TooFew);
        }
        (self.paid, self.covered) = (Some(paid), worth);
        Ok(())
    }

    /// So many tokens of the answer have come.
    ///
    /// # Errors
    /// [`Breach::Count`] where they are fewer than before, or were not paid for.
    pub const fn heard(&mut self, tokens: u32) -> Result<(), Breach> {
        if tokens < self.heard || tokens > self.covered {
            return Err(Breach::Count);
        }
        self.heard = tokens;
        Ok(())
    }

    /// The server says that the answer is complete, how long it is and what it cost.
    ///
    /// # Errors
    /// [`Breach`] where that is more than was paid for.
    pub fn done(&mut self, tokens: u32, cost: Amount) -> Result<(), Breach> {
        self.heard(tokens)?;
        if cost > self.spent() { Err(Breach::Bill) } else { Ok(()) }
    }
}

/// Whether a server is gone on from what it says that it was promised: what it was signed, or the chain has paid it,
/// and no more.
pub fn is_promised(claimed: Amount, signed: Amount, redeemed: Amount) -> bool {
    claimed <= signed.max(redeemed)
}

/// What to put into a deposit so that `needed` and the next uses like it are covered, where so much lies in deposits
/// already and no more than `most` may; `None` where not even this use can be.
pub fn to_deposit(needed: Amount, lies: Amount, most: Amount) -> Option<Amount> {
    let ahead = Amount(needed.0.max(1).saturating_mul(USES_PER_DEPOSIT));
    let amount = ahead.min(most.saturating_sub(lies));
    (amount >= needed && amount > Amount::ZERO).then_some(amount)
}

/// Uses of the same price that a deposit is made for, so that not every one needs a transaction.
const USES_PER_DEPOSIT: u128 = 10;

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;
    use crate::{
        ask::Prompt,
        ids::{Hash, ModelId},
    };

    const OFFER: ModelPublication = ModelPublication {
        model: ModelId(1),
        checkpoint: Hash::ZERO,
        sketch_root: Digest::ZERO,
        server: AccountId(7),
        price_in: Amount(1000),
        price_out: Amount(2000),
        price_use: Amount(5),
    };

    fn ask() -> Ask {
        Ask {
            payer: EvmAddress([1; 20]),
            model: ModelId(1),
            prompt: Prompt::Text("once".to_string()),
            max_tokens: 100,
            temperature_ppm: 0,
            top_p_ppm: 0,
            top_k: 0,
            seed: 0,
        }
    }

    fn quote(payee: u64, tokens_in: u32, tokens_out: u32) -> FromServer {
        let (payee, promised) = (AccountId(payee), Amount(50));
        FromServer::Quoted { payee, promised, tokens_in, tokens_out }
    }

    fn payment(promised: u128) -> Payment {
        let (escrow, payer) = (EvmAddress([2; 20]), EvmAddress([1; 20]));
        Payment { escrow, payer, promised: Amount(promised), nonce: 3 }
    }

    fn purchase() -> Purchase {
        Purchase::quoted(&ask(), &OFFER, &quote(7, 4, 100)).unwrap().0
    }

    #[test]
    fn a_quote_is_held_against_what_was_asked() {
        let read = |said| Purchase::quoted(&ask(), &OFFER, &said).map(|(_, promised)| promised);
        assert_eq!(read(quote(7, 4, 100)), Ok(Amount(50)));
        for wrong in [quote(8, 4, 100), quote(7, 6, 100), quote(7, 4, 101), quote(7, 4, 0)] {
            assert_eq!(read(wrong), Err(Breach::Quote));
        }
        assert_eq!(read(FromServer::Paid { tokens: 1 }), Err(Breach::OutOfTurn));
    }

    #[test]
    fn it_is_paid_ahead_by_a_few_tokens_and_no_more() {
        let mut one = purchase();
        assert_eq!(one.most(), Some(Amount(209)));
        let (mut promised, mut steps) = (50, alloc::vec![]);
        for heard in 0..=100 {
            while let Some(tokens) = one.due() {
                let paid = one.pay(tokens, &payment(promised)).unwrap();
                promised = paid.0.cumulative.0;
                one.taken(paid, tokens).unwrap();
                steps.push((heard, tokens));
            }
            assert_eq!(one.heard(heard), Ok(()));
        }
        assert_eq!(steps, [(0, 32), (17, 64), (49, 96), (81, 100)]);
        assert_eq!((one.spent(), promised), (Amount(209), 259));
        assert_eq!(one.pay(100, &payment(promised)), None, "all of it is paid");
        assert_eq!(one.done(100, Amount(209)), Ok(()));
    }

    #[test]
    fn what_is_free_is_paid_once_with_nothing() {
        let offer = ModelPublication {
            price_in: Amount::ZERO,
            price_out: Amount::ZERO,
            price_use: Amount::ZERO,
            ..OFFER
        };
        let mut one = Purchase::quoted(&ask(), &offer, &quote(7, 4, 100)).unwrap().0;
        let paid = one.pay(one.due().unwrap(), &payment(50)).unwrap();
        assert_eq!((paid.0.price, paid.0.cumulative), (Amount::ZERO, Amount(50)));
        one.taken(paid, 100).unwrap();
        assert_eq!(one.due(), None);
        assert_eq!(one.heard(100), Ok(()));
    }

    #[test]
    fn a_server_that_gives_less_counts_more_or_bills_more_is_in_breach() {
        let mut one = purchase();
        let paid = one.pay(32, &payment(50)).unwrap();
        assert_eq!(one.taken(paid.clone(), 31), Err(Breach::TooFew));
        assert_eq!(one.spent(), Amount::ZERO);
        assert_eq!(one.heard(1), Err(Breach::Count), "nothing was taken");
        one.taken(paid, 40).unwrap();
        assert_eq!(one.heard(32), Ok(()));
        assert_eq!(one.heard(33), Err(Breach::Count), "more than was paid, whatever it says");
        assert_eq!(one.heard(31), Err(Breach::Count));
        assert_eq!(one.done(32, Amount(74)), Err(Breach::Bill));
        assert_eq!(one.done(32, Amount(73)), Ok(()));
    }

    #[test]
    fn no_server_is_believed_about_promises_and_no_deposit_is_beyond_its_cap() {
        assert!(is_promised(Amount(5), Amount(5), Amount(0)));
        assert!(is_promised(Amount(5), Amount(0), Amount(5)));
        assert!(!is_promised(Amount(6), Amount(5), Amount(5)));
        let deposit = |needed, lies, most| to_deposit(Amount(needed), Amount(lies), Amount(most));
        assert_eq!(deposit(7, 0, 1_000), Some(Amount(70)));
        assert_eq!(deposit(7, 950, 1_000), Some(Amount(50)));
        assert_eq!(deposit(7, 994, 1_000), None);
        assert_eq!(deposit(7, 2_000, 1_000), None);
        assert_eq!(deposit(u128::MAX, 0, u128::MAX), Some(Amount(u128::MAX)));
        assert_eq!(deposit(0, 0, 0), None);
    }
}
