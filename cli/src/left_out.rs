//! Parts of a run that fail while the rest goes on: one input of several, one torrent, one address.
//!
//! Each is told at once, in a line that names it. The code of the first is the run's, if nothing
//! worse ends it.

use crate::exit::Failure;
use crate::progress::Progress;
use crate::report::report;

/// What was left out of a run so far.
#[derive(Debug, Default)]
pub(crate) struct LeftOut {
    first: Option<Failure>,
    /// Where there are bars that the lines go above.
    progress: Option<Progress>,
}

impl LeftOut {
    /// From now on there are bars.
    pub(crate) fn tell_above(&mut self, progress: &Progress) {
        self.progress = Some(progress.clone());
    }

    /// Leaves out a part and tells why.
    pub(crate) fn add(&mut self, failure: Failure) {
        match &self.progress {
            Some(progress) => progress.above_bars(|| report(&failure)),
            None => report(&failure),
        }
        self.first.get_or_insert(failure.said());
    }

    /// Keeps what is there, and leaves out what is not.
    pub(crate) fn keep<T>(&mut self, part: Result<T, Failure>) -> Option<T> {
        part.map_err(|failure| self.add(failure)).ok()
    }

    /// How the run ends of which these parts failed.
    pub(crate) fn verdict(&mut self) -> Result<(), Failure> {
        self.first.clone().map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Code;

    #[test]
    fn the_first_that_fails_decides_the_code_and_is_told_once() {
        let mut left_out = LeftOut::default();
        assert_eq!(left_out.keep(Ok(1)), Some(1));
        assert_eq!(left_out.verdict(), Ok(()));
        assert_eq!(left_out.keep::<()>(Err(Failure::new(Code::File, "a"))), None);
        assert_eq!(left_out.keep::<()>(Err(Failure::new(Code::BadInput, "b"))), None);
        let failure = left_out.verdict().unwrap_err();
        assert_eq!((failure.code, failure.is_said()), (Code::File, true));
    }
}
