//! Which bytes of a torrent's content are padding: zeros that are neither stored nor transferred nor
//! counted (BEP 47, "padding files"; BEP 52, "upgrade path").
//!
//! Padding lies mostly between the end of a file and the end of its piece, but another client's may
//! begin and end anywhere, and be longer than a piece. Kept are its runs, as few as can be. Looking up a
//! place is a binary search; nothing here knows pieces or blocks, see [`Geometry`](crate::piece::Geometry).

use std::ops::Range;

/// The padding of one torrent. There is some.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Padding {
    /// In ascending order; no two touch.
    runs: Vec<Run>,
    /// Bytes of all runs.
    total: u64,
}

/// Consecutive bytes of padding. How many is the difference to the next run's `before`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Run {
    /// Its offset in the content.
    start: u64,
    /// Bytes of padding before it.
    before: u64,
}

impl Padding {
    /// The padding among files, each given in order by its length in bytes and whether it is padding.
    /// `None` if there is none.
    pub fn of_files(files: impl IntoIterator<Item = (u64, bool)>) -> Option<Self> {
        let mut padding = Padding { runs: Vec::new(), total: 0 };
        let (mut at, mut goes_on) = (0_u64, false);
        for (length, is_padding) in files.into_iter().filter(|(length, _)| *length > 0) {
            if is_padding {
                if !goes_on {
                    padding.runs.push(Run { start: at, before: padding.total });
                }
                padding.total = padding.total.saturating_add(length);
            }
            goes_on = is_padding;
            at = at.saturating_add(length);
        }
        padding.runs.shrink_to_fit();
        (padding.total > 0).then_some(padding)
    }

    /// Bytes of padding in all.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The runs of padding, as offsets in the content, in order.
    pub fn runs(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        (0..self.runs.len()).filter_map(|index| self.run(index))
    }

    /// How many bytes of a range of the content are padding.
    pub fn bytes_in(&self, range: Range<u64>) -> u64 {
        self.before(range.end).saturating_sub(self.before(range.start))
    }

    /// What is left of a range of the content without the padding at its beginning and its end. Empty
    /// if it is nothing else.
    pub fn trim(&self, range: Range<u64>) -> Range<u64> {
        let first = self.run_at(range.start).map_or(range.start, |run| run.end.min(range.end));
        if first >= range.end {
            return first..first;
        }
        let last = range.end - 1;
        first..self.run_at(last).map_or(range.end, |run| run.start.max(first))
    }

    /// Bytes of padding before an offset.
    fn before(&self, offset: u64) -> u64 {
        let after = self.runs.partition_point(|run| run.start < offset);
        let Some(run) = after.checked_sub(1).and_then(|index| self.run(index)) else { return 0 };
        let before = self.runs.get(after - 1).map_or(0, |run| run.before);
        before + (offset.min(run.end) - run.start)
    }

    /// The run that has the byte at this offset.
    fn run_at(&self, offset: u64) -> Option<Range<u64>> {
        let after = self.runs.partition_point(|run| run.start <= offset);
        self.run(after.checked_sub(1)?).filter(|run| run.contains(&offset))
    }

    fn run(&self, index: usize) -> Option<Range<u64>> {
        let run = self.runs.get(index)?;
        let after = self.runs.get(index + 1).map_or(self.total, |next| next.before);
        Some(run.start..run.start.saturating_add(after - run.before))
    }
}

#[cfg(test)]
mod tests {
    use quickcheck::quickcheck;

    use super::*;

    /// Whether each byte of the content is padding.
    fn bytes(files: &[(u8, bool)]) -> Vec<bool> {
        files.iter().flat_map(|&(length, is)| vec![is; usize::from(length)]).collect()
    }

    fn padding(files: &[(u8, bool)]) -> Option<Padding> {
        Padding::of_files(files.iter().map(|&(length, is)| (u64::from(length), is)))
    }

    #[test]
    fn runs_that_touch_are_one() {
        let files =
            [(3, false), (2, true), (0, false), (4, true), (1, false), (0, true), (5, true)];
        let padding = padding(&files).unwrap();
        assert_eq!(padding.runs().collect::<Vec<_>>(), [3..9, 10..15]);
        assert_eq!((padding.total(), padding.bytes_in(8..12)), (11, 3));
        assert_eq!(
            (padding.trim(0..15), padding.trim(4..12), padding.trim(3..9)),
            (0..10, 9..10, 9..9)
        );
    }

    #[test]
    fn files_without_padding_have_none() {
        assert_eq!(padding(&[]), None);
        assert_eq!(padding(&[(7, false), (0, true)]), None);
    }

    quickcheck! {
        fn any_range_is_counted_and_trimmed_as_its_bytes_say(
            files: Vec<(u8, bool)>, from: u16, length: u16
        ) -> bool {
            let bytes = bytes(&files);
            let Some(padding) = padding(&files) else { return !bytes.contains(&true) };
            let from = usize::from(from) % bytes.len();
            let to = from + usize::from(length) % (bytes.len() - from + 1);
            let range = &bytes[from..to];
            let counted = range.iter().filter(|is| **is).count() as u64;
            let trimmed = padding.trim(from as u64..to as u64);
            let expected = match range.iter().position(|is| !is) {
                None => trimmed.clone().is_empty(),
                Some(first) => {
                    let last = range.iter().rposition(|is| !is).unwrap();
                    trimmed == ((from + first) as u64..(from + last) as u64 + 1)
                }
            };
            padding.bytes_in(from as u64..to as u64) == counted
                && expected
                && padding.runs().map(|run| run.end - run.start).sum::<u64>() == padding.total()
        }
    }
}
