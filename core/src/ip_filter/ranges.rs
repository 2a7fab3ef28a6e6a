//! Ranges of addresses as numbers: sorted, apart from each other, searched by halves.

use serde::{Deserialize, Serialize};

/// A number that addresses of a family are.
pub(super) trait Number: Copy + Ord {
    /// The next one, if there is one.
    fn next(self) -> Option<Self>;
}

impl Number for u32 {
    fn next(self) -> Option<Self> {
        self.checked_add(1)
    }
}

impl Number for u128 {
    fn next(self) -> Option<Self> {
        self.checked_add(1)
    }
}

/// The ranges of a family, both ends included. Between two of them lies at least one number.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Ranges<T>(Vec<(T, T)>);

impl<T> Default for Ranges<T> {
    fn default() -> Self {
        Ranges(Vec::new())
    }
}

impl<T: Number> Ranges<T> {
    /// Of ranges in any order, each with its lower end first.
    pub(super) fn new(mut ranges: Vec<(T, T)>) -> Self {
        ranges.sort_unstable();
        ranges.dedup_by(|next, before| {
            let touches = before.1.next().is_none_or(|follows| next.0 <= follows);
            if touches {
                before.1 = before.1.max(next.1);
            }
            touches
        });
        ranges.shrink_to_fit();
        Ranges(ranges)
    }

    pub(super) fn contains(&self, number: T) -> bool {
        let after = self.0.partition_point(|(first, _)| *first <= number);
        let before = after.checked_sub(1).and_then(|at| self.0.get(at));
        before.is_some_and(|(_, last)| number <= *last)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn into_inner(self) -> Vec<(T, T)> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_touch_are_one() {
        let merged = |ranges: &[(u32, u32)]| Ranges::new(ranges.to_vec()).into_inner();
        assert_eq!(merged(&[(5, 6), (1, 2), (3, 4)]), [(1, 6)]);
        assert_eq!(merged(&[(1, 9), (2, 3), (11, 11)]), [(1, 9), (11, 11)]);
        assert_eq!(merged(&[(0, u32::MAX), (7, 7)]), [(0, u32::MAX)]);
    }
}
