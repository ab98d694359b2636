//! What happens at a time, in four bytes: a kind and a number.

/// An event of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    /// The chain makes a block.
    Mine,
    /// A transaction reaches the chain.
    Submit(u32),
    /// A node sees a new block.
    Block,
    /// A record of another reaches a node.
    Arrival(u32),
    /// A record of a node's own is durable, and goes out.
    Durable(u32),
    /// A job is finished.
    Done(u32),
    /// A node that came back in a session asks a peer for what it missed.
    Sync(u32),
    /// A node's session ends.
    Leave(u32),
    /// A node comes.
    Return,
    /// A fault strikes.
    Fault(u32),
    /// A consumer wants something from a model.
    Demand,
    /// A consumer's request reaches a node.
    Ask(u32),
    /// A consumer's payment for more of an answer reaches a node.
    Pay(u32),
}

impl Event {
    /// The largest number that an event carries.
    pub(super) const MAX: u32 = (1 << 28) - 1;

    pub(super) const fn bits(self) -> u32 {
        let (kind, number) = match self {
            Self::Mine => (0, 0),
            Self::Submit(number) => (1, number),
            Self::Block => (2, 0),
            Self::Arrival(number) => (3, number),
            Self::Durable(number) => (11, number),
            Self::Done(number) => (4, number),
            Self::Sync(number) => (5, number),
            Self::Leave(number) => (6, number),
            Self::Return => (7, 0),
            Self::Fault(number) => (8, number),
            Self::Demand => (9, 0),
            Self::Ask(number) => (10, number),
            Self::Pay(number) => (12, number),
        };
        assert!(number <= Self::MAX, "a run has fewer than 2^28 records and pending payloads");
        kind << 28 | number
    }

    pub(super) const fn from_bits(bits: u32) -> Self {
        let number = bits & Self::MAX;
        match bits >> 28 {
            0 => Self::Mine,
            1 => Self::Submit(number),
            2 => Self::Block,
            3 => Self::Arrival(number),
            4 => Self::Done(number),
            5 => Self::Sync(number),
            6 => Self::Leave(number),
            7 => Self::Return,
            8 => Self::Fault(number),
            9 => Self::Demand,
            10 => Self::Ask(number),
            12 => Self::Pay(number),
            _ => Self::Durable(number),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_survive_their_four_bytes() {
        let number = Event::MAX;
        let events = [
            Event::Mine,
            Event::Submit(number),
            Event::Block,
            Event::Arrival(1),
            Event::Durable(number),
            Event::Done(0),
            Event::Sync(7),
            Event::Leave(number),
            Event::Return,
            Event::Fault(3),
            Event::Demand,
            Event::Ask(number),
            Event::Pay(2),
        ];
        assert!(events.into_iter().all(|event| Event::from_bits(event.bits()) == event));
    }
}
