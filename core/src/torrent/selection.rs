//! Which files of a torrent are wanted, by the numbers that they have
//! ([`metainfo::numbering`](crate::metainfo)).
//!
//! Numbers that there are no files for are ignored as long as one is left. A choice of which nothing is
//! left is an error: neither nothing nor everything is what somebody meant by it.

use crate::metainfo::FileRanges;
use crate::priority::FilePriority;

/// Nothing is left of a choice of files.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct NothingSelected;

/// The priorities of a torrent's files, of which these are chosen; empty if all are.
pub(crate) fn priorities(
    files: usize,
    chosen: &FileRanges,
) -> Result<Vec<FilePriority>, NothingSelected> {
    let count = (0..files).filter(|number| chosen.contains(*number)).count();
    if count == 0 {
        return Err(NothingSelected);
    }
    if count == files {
        return Ok(Vec::new());
    }
    let priority = |number| match chosen.contains(number) {
        true => FilePriority::Normal,
        false => FilePriority::Skip,
    };
    Ok((0..files).map(priority).collect())
}

/// Whether priorities are given and nothing is wanted by them.
pub(crate) fn skips_all(priorities: &[FilePriority]) -> bool {
    !priorities.is_empty() && priorities.iter().all(|&priority| priority == FilePriority::Skip)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_three(chosen: &str) -> Result<Vec<FilePriority>, NothingSelected> {
        priorities(3, &chosen.parse().unwrap())
    }

    #[test]
    fn what_is_chosen_is_wanted_and_a_choice_of_all_is_none() {
        use FilePriority::{Normal, Skip};
        assert_eq!(of_three("1"), Ok(vec![Skip, Normal, Skip]));
        assert_eq!(of_three("0,2-9"), Ok(vec![Normal, Skip, Normal]), "there is no file 3");
        assert_eq!(of_three("0-4000000000"), Ok(Vec::new()));
    }

    #[test]
    fn a_choice_of_which_nothing_is_left_is_an_error() {
        assert_eq!(of_three("3"), Err(NothingSelected));
        assert_eq!(priorities(0, &"0-7".parse().unwrap()), Err(NothingSelected));
        assert!(skips_all(&[FilePriority::Skip; 2]));
        assert!(!skips_all(&[]) && !skips_all(&[FilePriority::Skip, FilePriority::Low]));
    }
}
