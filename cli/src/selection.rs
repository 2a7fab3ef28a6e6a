//! Which files of a torrent: `1,3-5`, counted from 1 as `--list` shows them.
//!
//! Ranges are kept as ranges (a list such as `1-4000000000` costs nothing until it meets a torrent).

use std::ops::RangeInclusive;

use bitswarm_core::metainfo::FileRanges;

/// A choice of files by number.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Selection(Vec<RangeInclusive<u32>>);

impl Selection {
    /// Parses `1,3-5`; numbers count from 1.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let ranges = text.split(',').map(|part| parse_range(part.trim())).collect::<Option<_>>();
        ranges.map(Selection).ok_or_else(|| "write file numbers such as 1,3-5".to_owned())
    }

    /// Whether the file with this number is chosen.
    pub(crate) fn contains(&self, number: u32) -> bool {
        self.0.iter().any(|range| range.contains(&number))
    }

    /// The same choice, counted from 0 as the engine does.
    pub(crate) fn zero_based(&self) -> Option<FileRanges> {
        FileRanges::new(self.0.iter().map(|range| range.start() - 1..=range.end() - 1)).ok()
    }

    /// The largest number named.
    pub(crate) fn largest(&self) -> u32 {
        self.0.iter().map(|range| *range.end()).max().unwrap_or(0)
    }
}

fn parse_range(part: &str) -> Option<RangeInclusive<u32>> {
    let (first, last) = part.split_once('-').unwrap_or((part, part));
    let number = |s: &str| s.bytes().all(|b| b.is_ascii_digit()).then(|| s.parse().ok()).flatten();
    let (first, last): (u32, u32) = (number(first)?, number(last)?);
    (1 <= first && first <= last).then_some(first..=last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_and_single_numbers_join() {
        let selection = Selection::parse("1,3-5, 9").unwrap();
        let chosen: Vec<u32> = (0..12).filter(|&n| selection.contains(n)).collect();
        assert_eq!(chosen, [1, 3, 4, 5, 9]);
        assert_eq!(selection.largest(), 9);
        assert_eq!(Selection::parse("1-4294967295").unwrap().largest(), u32::MAX);
    }

    #[test]
    fn what_names_no_file_is_refused() {
        for text in ["", "0", "0-3", "5-3", "1,,2", "a", "1-", "-1", "+1", "4294967296", "1-2-3"] {
            assert!(Selection::parse(text).is_err(), "{text:?}");
        }
    }
}
