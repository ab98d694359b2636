//! Payloads of events, by number: an event carries four bytes.

/// Values under numbers that are used again.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    slots: Vec<Option<T>>,
    free: Vec<u32>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { slots: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slab<T> {
    /// Keeps a value; its number.
    ///
    /// # Panics
    /// When four billion values are kept at once.
    pub(crate) fn put(&mut self, value: T) -> u32 {
        if let Some(number) = self.free.pop() {
            self.slots[number as usize] = Some(value);
            return number;
        }
        let number = u32::try_from(self.slots.len()).expect("fewer than four billion payloads");
        self.slots.push(Some(value));
        number
    }

    /// Takes a value out; `None` when it is gone.
    pub(crate) fn take(&mut self, number: u32) -> Option<T> {
        let value = self.slots.get_mut(number as usize)?.take()?;
        self.free.push(number);
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_used_again_and_a_value_is_taken_once() {
        let mut slab = Slab::default();
        let (a, b) = (slab.put("a"), slab.put("b"));
        assert_eq!((slab.take(a), slab.take(a)), (Some("a"), None));
        assert_eq!(slab.put("c"), a);
        assert_eq!((slab.take(b), slab.take(a), slab.take(99)), (Some("b"), Some("c"), None));
    }
}
