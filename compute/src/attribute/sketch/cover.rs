//! Parts that must cover a snapshot exactly once.

use protocol::Hash;

/// Why the results of shards don't make up the result for a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CoverError {
    /// The snapshot has no units.
    #[error("the snapshot holds no units: there is nothing to attribute to")]
    NoUnits,
    /// A part belongs to other sketches.
    #[error("a part belongs to spec {found}, not to {expected}")]
    Spec {
        /// The spec asked for.
        expected: Hash,
        /// The part's spec.
        found: Hash,
    },
    /// A part answers another query.
    #[error("a part answers query {found}, not {expected}")]
    Query {
        /// The query asked for.
        expected: Hash,
        /// The part's query.
        found: Hash,
    },
    /// No part covers a unit.
    #[error("no part covers unit {0}")]
    Missing(u32),
    /// Two parts cover a unit, or a part reaches beyond the snapshot.
    #[error("unit {0} is covered twice or is not part of the snapshot")]
    Surplus(u32),
    /// A part's values are not as many as its range asks for.
    #[error("the part from unit {0} on has another shape than its spec")]
    Shape(u32),
}

/// Checks that ranges `(first, units)`, sorted, cover `0..units` exactly once.
pub(crate) fn cover(
    units: u32,
    ranges: impl Iterator<Item = (u32, u32)>,
) -> Result<(), CoverError> {
    if units == 0 {
        return Err(CoverError::NoUnits);
    }
    let mut next = 0u32;
    for (first, count) in ranges.filter(|(_, count)| *count > 0) {
        if first > next {
            return Err(CoverError::Missing(next));
        }
        if first < next {
            return Err(CoverError::Surplus(first));
        }
        next = match first.checked_add(count) {
            Some(end) if end <= units => end,
            _ => return Err(CoverError::Surplus(units)),
        };
    }
    match next < units {
        true => Err(CoverError::Missing(next)),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_cover_exactly_or_say_what_is_wrong() {
        let check = |units, ranges: &[(u32, u32)]| cover(units, ranges.iter().copied());
        assert_eq!(check(5, &[(0, 2), (2, 0), (2, 3)]), Ok(()));
        assert_eq!(check(0, &[]), Err(CoverError::NoUnits));
        assert_eq!(check(5, &[]), Err(CoverError::Missing(0)));
        assert_eq!(check(5, &[(0, 2), (3, 2)]), Err(CoverError::Missing(2)));
        assert_eq!(check(5, &[(0, 2), (2, 2)]), Err(CoverError::Missing(4)));
        assert_eq!(check(5, &[(0, 3), (2, 3)]), Err(CoverError::Surplus(2)));
        assert_eq!(check(5, &[(0, 6)]), Err(CoverError::Surplus(5)));
        assert_eq!(check(5, &[(0, u32::MAX), (u32::MAX, 9)]), Err(CoverError::Surplus(5)));
    }
}
