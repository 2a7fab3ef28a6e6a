//! Which files of a torrent: `1,3-5`, counted from 1 as `--list` shows them; `4-` is all from there on.
//!
//! Ranges are kept as ranges (a list such as `1-4000000000` costs nothing until it meets a torrent).

use std::ops::RangeInclusive;

use bitswarm_core::metainfo::FileRanges;

/// A choice of files by number.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Selection {
    ranges: Vec<RangeInclusive<u32>>,
    /// The largest number named.
    largest: u32,
}

impl Selection {
    /// Parses `1,3-5`; numbers count from 1.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut selection = Selection { ranges: Vec::new(), largest: 0 };
        for part in text.split(',') {
            let (first, last) = parse_range(part.trim())
                .ok_or_else(|| "write file numbers such as 1,3-5 or 4-".to_owned())?;
            selection.largest = selection.largest.max(last.unwrap_or(first));
            selection.ranges.push(first..=last.unwrap_or(u32::MAX));
        }
        Ok(selection)
    }

    /// Whether the file with this number is chosen.
    pub(crate) fn contains(&self, number: u32) -> bool {
        self.ranges.iter().any(|range| range.contains(&number))
    }

    /// The same choice, counted from 0 as the engine does.
    pub(crate) fn zero_based(&self) -> Option<FileRanges> {
        // What has no end has none there either.
        let last = |last: u32| if last == u32::MAX { last } else { last - 1 };
        let ranges = self.ranges.iter().map(|range| range.start() - 1..=last(*range.end()));
        FileRanges::new(ranges).ok()
    }

    /// The largest number named.
    pub(crate) fn largest(&self) -> u32 {
        self.largest
    }
}

/// The first and the last, if it has one.
fn parse_range(part: &str) -> Option<(u32, Option<u32>)> {
    let number = |s: &str| s.bytes().all(|b| b.is_ascii_digit()).then(|| s.parse().ok()).flatten();
    let (first, last): (u32, Option<u32>) = match part.split_once('-') {
        None => (number(part)?, Some(number(part)?)),
        Some((first, "")) => (number(first)?, None),
        Some((first, last)) => (number(first)?, Some(number(last)?)),
    };
    (first >= 1 && last.is_none_or(|last| first <= last)).then_some((first, last))
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
    fn a_range_without_an_end_goes_to_the_last_file() {
        let selection = Selection::parse("2,4-").unwrap();
        let chosen: Vec<u32> = (0..7).filter(|&n| selection.contains(n)).collect();
        assert_eq!((chosen, selection.largest()), (vec![2, 4, 5, 6], 4));
        let engine = selection.zero_based().unwrap();
        assert_eq!((engine.to_string(), engine.from_one()), ("1,3-".into(), "2,4-".into()));
        assert_eq!(Selection::parse(&engine.from_one()).unwrap(), selection);
    }

    #[test]
    fn what_names_no_file_is_refused() {
        for text in ["", "0", "0-3", "5-3", "1,,2", "a", "-", "-1", "+1", "4294967296", "1-2-3"] {
            assert!(Selection::parse(text).is_err(), "{text:?}");
        }
    }
}
