//! A choice of files by number: `0,2,4-6` (BEP 53, "so"). Which file has which number is said in
//! `numbering`.
//!
//! Ranges stay ranges: a list such as `0-4000000000` costs nothing until it meets a torrent
//! (defence 33). They are kept sorted and joined where they touch.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use super::limits::MAX_FILES;

/// Most ranges accepted in a choice: no torrent has more files.
const MAX_RANGES: usize = MAX_FILES;

/// Files of a torrent, by their index from 0. Never empty.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct FileRanges(Vec<RangeInclusive<u32>>);

/// A choice of files that is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FileRangesError {
    /// It is empty, has something that is no number, or a range that ends before it begins.
    NotAList,
    /// It has more ranges than a torrent may have files.
    TooMany,
}

impl FileRanges {
    /// These ranges; an error if there is none.
    pub fn new(
        ranges: impl IntoIterator<Item = RangeInclusive<u32>>,
    ) -> Result<Self, FileRangesError> {
        let mut sorted: Vec<_> = ranges.into_iter().take(MAX_RANGES + 1).collect();
        if sorted.len() > MAX_RANGES {
            return Err(FileRangesError::TooMany);
        }
        if sorted.is_empty() || sorted.iter().any(RangeInclusive::is_empty) {
            return Err(FileRangesError::NotAList);
        }
        sorted.sort_by_key(|range| *range.start());
        let mut joined: Vec<RangeInclusive<u32>> = Vec::with_capacity(sorted.len());
        for range in sorted {
            match joined.last_mut() {
                Some(last) if *range.start() <= last.end().saturating_add(1) => {
                    *last = *last.start()..=*last.end().max(range.end());
                }
                _ => joined.push(range),
            }
        }
        Ok(FileRanges(joined))
    }

    /// Whether a file is chosen. O(log ranges).
    pub fn contains(&self, index: usize) -> bool {
        let Ok(index) = u32::try_from(index) else { return false };
        let after = self.0.partition_point(|range| *range.start() <= index);
        after.checked_sub(1).and_then(|at| self.0.get(at)).is_some_and(|r| r.contains(&index))
    }

    /// The same choice with numbers from 1, as people count files.
    pub fn from_one(&self) -> String {
        let one_more = |number: &u32| u64::from(*number) + 1;
        let ranges = self.0.iter().map(|range| match (range.start(), range.end()) {
            (first, last) if first == last => one_more(first).to_string(),
            (first, &u32::MAX) => format!("{}-", one_more(first)),
            (first, last) => format!("{}-{}", one_more(first), one_more(last)),
        });
        ranges.collect::<Vec<_>>().join(",")
    }

    /// The largest index chosen.
    pub fn largest(&self) -> u32 {
        self.0.last().map_or(0, |range| *range.end())
    }

    /// The largest index that has to be there: of a range without an end its first.
    pub fn largest_named(&self) -> u32 {
        self.0.last().map_or(0, |range| match *range.end() {
            u32::MAX => *range.start(),
            end => end,
        })
    }
}

impl FromStr for FileRanges {
    type Err = FileRangesError;

    /// Reads `0,2,4-6`; `4-` is all from there on. Spaces, and commas with nothing between them, do
    /// not matter.
    fn from_str(text: &str) -> Result<Self, FileRangesError> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        let ranges = parts.take(MAX_RANGES + 1).map(parse_range);
        FileRanges::new(ranges.collect::<Option<Vec<_>>>().ok_or(FileRangesError::NotAList)?)
    }
}

impl fmt::Display for FileRanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, range) in self.0.iter().enumerate() {
            let comma = if number == 0 { "" } else { "," };
            match (range.start(), range.end()) {
                (first, last) if first == last => write!(f, "{comma}{first}")?,
                (first, &u32::MAX) => write!(f, "{comma}{first}-")?,
                (first, last) => write!(f, "{comma}{first}-{last}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for FileRangesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FileRangesError::NotAList => f.write_str("not a list of file numbers such as 0,2,4-6"),
            FileRangesError::TooMany => {
                write!(f, "more than {MAX_RANGES} ranges of file numbers")
            }
        }
    }
}

impl std::error::Error for FileRangesError {}

fn parse_range(part: &str) -> Option<RangeInclusive<u32>> {
    let (first, last) = part.split_once('-').unwrap_or((part, part));
    let number = |s: &str| s.bytes().all(|b| b.is_ascii_digit()).then(|| s.parse().ok()).flatten();
    let (first, last) = (first.trim(), last.trim());
    let last = if last.is_empty() { u32::MAX } else { number(last)? };
    Some(number(first)?..=last)
}

#[cfg(test)]
mod tests {
    use quickcheck::{TestResult, quickcheck};

    use super::*;

    #[test]
    fn ranges_that_touch_are_one() {
        let ranges: FileRanges = "7,0,2,4-6,3-4".parse().unwrap();
        assert_eq!(ranges.to_string(), "0,2-7");
        let chosen: Vec<usize> = (0..10).filter(|&index| ranges.contains(index)).collect();
        assert_eq!(chosen, [0, 2, 3, 4, 5, 6, 7]);
        let all: FileRanges = "0-4294967295,3".parse().unwrap();
        assert!(all.contains(4_000_000_000) && !all.contains(5_000_000_000));
        assert_eq!((ranges.from_one(), all.from_one()), ("1,3-8".into(), "1-".into()));
    }

    #[test]
    fn what_names_no_file_is_refused() {
        for text in ["", ",", "a", "-", "-1", "5-3", "+1", "4294967296", "1-2-3", "1 2"] {
            assert_eq!(text.parse::<FileRanges>(), Err(FileRangesError::NotAList), "{text:?}");
        }
    }

    #[test]
    fn a_choice_may_have_as_many_ranges_as_a_torrent_files() {
        let every_other = |count: u32| FileRanges::new((0..count).map(|n| 2 * n..=2 * n));
        let most = u32::try_from(MAX_FILES).unwrap();
        let many = every_other(most).unwrap();
        assert_eq!(many.to_string().parse(), Ok(many));
        let error = every_other(most + 1).unwrap_err();
        assert_eq!(error, FileRangesError::TooMany);
        assert!(error.to_string().contains(&MAX_FILES.to_string()), "{error}");
    }

    quickcheck! {
        fn text_and_back_is_the_same_choice(pairs: Vec<(u8, u8)>) -> TestResult {
            let ranges = pairs.iter().map(|&(a, b)| u32::from(a.min(b))..=u32::from(a.max(b)));
            let Ok(choice) = FileRanges::new(ranges.clone()) else {
                return TestResult::from_bool(pairs.is_empty());
            };
            let same = (0..300).all(|index| {
                choice.contains(index) == ranges.clone().any(|r| r.contains(&(index as u32)))
            });
            TestResult::from_bool(same && choice.to_string().parse() == Ok(choice))
        }
    }
}
