//! Uses that are answered, and what their consumers pay for them step by step.

use std::collections::BTreeMap;

use protocol::{
    ModelId,
    chain::ChainView,
    eip712::EvmKey,
    purchase::{Payment, Purchase},
    ranges::Ranges,
    receipt::{Receipt, SignedReceipt},
};

use crate::kernel::Time;

/// A request of a consumer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request {
    pub(super) id: u64,
    pub(super) model: ModelId,
    pub(super) consumer: u32,
    pub(super) since: Time,
    pub(super) is_dealt: bool,
    /// For how many blocks it waited for the consumer's deposit.
    pub(super) waited: u32,
}

/// The uses of a market that are under way, by the number of their request.
#[derive(Debug, Default)]
pub(super) struct Uses(BTreeMap<u64, Use>);

/// A use, as its consumer knows it.
#[derive(Debug)]
pub(super) struct Use {
    pub(super) request: Request,
    pub(super) purchase: Purchase,
    signed: Option<SignedReceipt>,
    /// The payment that the server has not answered yet.
    next: Option<(Receipt, Ranges)>,
}

impl Use {
    /// The receipt that its consumer signed last.
    pub(super) fn receipt(&self) -> Option<&SignedReceipt> {
        self.signed.as_ref()
    }
}

impl Uses {
    /// A use that was quoted.
    pub(super) fn begin(&mut self, request: Request, purchase: Purchase) {
        self.0.insert(request.id, Use { request, purchase, signed: None, next: None });
    }

    pub(super) fn get(&self, request: u64) -> Option<&Use> {
        self.0.get(&request)
    }

    /// It is over.
    pub(super) fn end(&mut self, request: u64) -> Option<Use> {
        self.0.remove(&request)
    }

    /// Pays for a use up to a token.
    pub(super) fn pay(
        &mut self,
        view: &ChainView,
        (request, tokens): (u64, u32),
        key: &EvmKey,
        payment: &Payment,
    ) -> Option<SignedReceipt> {
        let one = self.0.get_mut(&request)?;
        let (receipt, ranges) = one.purchase.pay(tokens, payment)?;
        one.next = Some((receipt.clone(), ranges));
        let signed = receipt.sign(&view.domain, key).expect("RFC 6979 finds a nonce");
        one.signed = Some(signed.clone());
        Some(signed)
    }

    /// The server took the last payment, and all that is paid for is read at once: up to which token it is to be
    /// paid for next.
    pub(super) fn taken(&mut self, request: u64, tokens: u32) -> Option<u32> {
        let one = self.0.get_mut(&request)?;
        let kept = one.purchase.taken(one.next.take()?, tokens);
        kept.expect("both sides apply one rule to one offer");
        one.purchase.heard(tokens).expect("what is paid for may come");
        one.purchase.due()
    }
}
