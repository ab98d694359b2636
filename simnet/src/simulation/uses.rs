//! Uses that are answered, and what their consumers pay for them step by step.

use std::collections::BTreeMap;

use protocol::{
    Amount, ModelId,
    chain::ChainView,
    eip712::EvmKey,
    node::Input,
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
#[derive(Debug, Clone)]
pub(super) struct Use {
    pub(super) request: Request,
    /// The last receipt that the server took, and which promises pay by it.
    pub(super) receipt: SignedReceipt,
    ranges: Ranges,
    /// The next one, which it has not answered yet.
    next: Option<(SignedReceipt, Ranges)>,
}

impl Uses {
    /// A use that is paid for as far as its first receipt goes.
    pub(super) fn begin(&mut self, request: Request, receipt: SignedReceipt) {
        let (ranges, next) = (Ranges::default(), None);
        self.0.insert(request.id, Use { request, receipt, ranges, next });
    }

    pub(super) fn get(&self, request: u64) -> Option<&Use> {
        self.0.get(&request)
    }

    /// It is over.
    pub(super) fn end(&mut self, request: u64) -> Option<Use> {
        self.0.remove(&request)
    }

    /// The server took the last payment.
    pub(super) fn taken(&mut self, request: u64) {
        if let Some(one) = self.0.get_mut(&request)
            && let Some((receipt, ranges)) = one.next.take()
        {
            (one.receipt, one.ranges) = (receipt, ranges);
        }
    }

    /// Pays so much in all for a use, by what lies above `promised`: what the server's machine is given.
    pub(super) fn pay(
        &mut self,
        view: &ChainView,
        request: u64,
        key: &EvmKey,
        (price, promised): (Amount, Amount),
    ) -> Option<Input> {
        let one = self.0.get_mut(&request)?;
        let last: &Receipt = &one.receipt.receipt;
        let due = price.checked_sub(last.price).filter(|due| *due > Amount::ZERO)?;
        let raised = one.ranges.raised(last, (promised, promised.checked_add(due)?))?;
        let receipt = raised.0.sign(&view.domain, key).expect("RFC 6979 finds a nonce");
        one.next = Some((receipt.clone(), raised.1));
        Some(Input::Raise { request, receipt })
    }
}
