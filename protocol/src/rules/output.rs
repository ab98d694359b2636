//! A paid output: its price, who checks its attribution, and which attributions divide a fee.

use super::{after_inclusion, included_in};
use crate::{
    ask::Ask,
    chain::{ChainView, ModelPublication},
    draw::{self, Seats},
    ids::{AccountId, Amount},
    math::{PPM, mul_div},
    record::{AttributionBody, Body, VerifiedRecord},
};

/// The price of one use: `Tin·Rin/1000 + Tout·Rout/1000 + Fuse`, rounded down; `None` on overflow.
pub fn price(offer: &ModelPublication, tokens_in: u32, tokens_out: u32) -> Option<Amount> {
    let prompt = mul_div(u128::from(tokens_in), offer.price_in.0, 1000)?;
    let output = mul_div(u128::from(tokens_out), offer.price_out.0, 1000)?;
    Amount(prompt).checked_add(Amount(output))?.checked_add(offer.price_use)
}

/// How many tokens of an answer a price pays for, of at most so many; `None` where not even the prompt is paid.
pub fn tokens_paid(
    offer: &ModelPublication,
    tokens_in: u32,
    most: u32,
    paid: Amount,
) -> Option<u32> {
    let rest = paid.checked_sub(price(offer, tokens_in, 0)?)?;
    // `Tout·Rout/1000` is rounded down, so all that stays below the next unit is paid.
    let next = rest.0.checked_add(1);
    let below = next.and_then(|next| mul_div(next, 1000, offer.price_out.0));
    let tokens = below.and_then(|tokens| u32::try_from(tokens).ok()).unwrap_or(most).min(most);
    let is_paid = price(offer, tokens_in, tokens).is_some_and(|due| due <= paid);
    Some(if is_paid { tokens } else { tokens.saturating_sub(1) })
}

/// Who audits an attribution, of those that count in the epoch in which it was fixed; `None` until the
/// block after that exists, and of an output of a base, of which nothing is attributed. An output is named by
/// its receipt, which no record about it can change.
pub fn attribution_auditors(chain: &ChainView, record: &VerifiedRecord) -> Option<Seats> {
    if !is_attributed(chain, record) {
        return None;
    }
    let beacon = after_inclusion(chain, record)?;
    let counting = chain.seats_in(chain.schedule.epoch_of(included_in(chain, record)?));
    let (made, count) = (record.record(), chain.params().training.auditors);
    Some(draw::attribution_auditors(&beacon, &made.subject, made.account, &counting, count))
}

/// Whether a record says what its transcript says: that its receipt's request was asked, the same shares, and
/// as many tokens as were paid for. One that its own transcript contradicts is wrong, whatever repeating it would
/// find. Were it not bound to what was asked, a server would choose the seed, or a prompt, by which its own data is
/// paid.
pub fn follows_transcript(
    body: &AttributionBody,
    ask: &Ask,
    shares: &[(AccountId, u32)],
    tokens_in: usize,
    tokens_out: usize,
) -> bool {
    let receipt = &body.receipt.receipt;
    let is_asked = receipt.request == ask.digest()
        && receipt.payer == ask.payer
        && receipt.model == ask.model
        && body.tokens_out <= ask.max_tokens;
    is_asked
        && body.shares == shares
        && u32::try_from(tokens_in) == Ok(body.tokens_in)
        && u32::try_from(tokens_out) == Ok(body.tokens_out)
}

/// Whether anybody contributed to the model of an output, as far as the network can tell: nobody did to a base.
pub(crate) fn is_attributed(chain: &ChainView, record: &VerifiedRecord) -> bool {
    let made = record.record();
    match &made.body {
        Body::Attribution(body) => chain.base_in(body.model, made.epoch).is_none(),
        _ => true,
    }
}

/// Whether the shares of an attribution are well formed: sorted, distinct, summing to a million; of a base's
/// output there are none.
pub(crate) fn shares_are_whole(
    chain: &ChainView,
    record: &VerifiedRecord,
    body: &AttributionBody,
) -> bool {
    if !is_attributed(chain, record) {
        return body.shares.is_empty();
    }
    let sum = body.shares.iter().fold(0u64, |sum, (_, ppm)| sum.saturating_add(u64::from(*ppm)));
    let is_sorted = body.shares.is_sorted_by(|(a, _), (b, _)| a < b);
    is_sorted && sum == u64::from(PPM)
}
