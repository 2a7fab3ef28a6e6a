//! The way of a torrent to running: the files' sizes, the check, what may be written.

use std::path::Path;

use crate::bitfield::Bitfield;
use crate::disk::{DiskDone, DiskRequest, FileStat};
use crate::id::StoreId;
use crate::piece::PieceIndex;
use crate::session::op::TorrentOp;
use crate::storage::resume::Trust;
use crate::time::Instant;
use crate::torrent::content::Content;
use crate::torrent::disk::checker::{Checker, is_absence};
use crate::torrent::disk::claims::Verdict;
use crate::torrent::disk::{Files, padding_pieces};
use crate::torrent::lifecycle::Phase;
use crate::torrent::step::{DiskResult, MetadataStep, PieceStep, Step};

impl Files {
    // The check.

    /// The files' sizes are known, or not: without them nothing can be claimed, and each retry of the
    /// disk looks again.
    pub(in crate::torrent) fn opened(&mut self, phase: Phase, result: DiskResult) -> Vec<Step> {
        if phase != Phase::Opening {
            return Vec::new();
        }
        let stats = match result {
            Ok(DiskDone::Files(stats)) => stats,
            Ok(_) => Vec::new(),
            Err(error) => return vec![Step::Failed(*error)],
        };
        self.retry.clear();
        vec![Step::Check(stats)]
    }

    /// The files are as they are: which pieces are here, and which are to be hashed.
    pub(in crate::torrent) fn found(
        &mut self,
        content: &Content,
        stats: Vec<Option<FileStat>>,
    ) -> Trust {
        let mut trust = self.saving.trust(content, &stats);
        let resume = self.saving.recorded();
        self.claims.found(content, stats, resume);
        // Whatever the resume data says.
        self.claims.skip_short(content, &mut trust.have);
        self.claims.distrust(content, &mut trust);
        trust
    }

    /// Hashes these pieces, as far as they may be there. `without_hash` takes those out that have no
    /// hash yet, and says which they are; `have` is what is here without being hashed.
    pub(in crate::torrent) fn hash(
        &mut self,
        content: &Content,
        have: &Bitfield,
        mut check: Bitfield,
        without_hash: impl FnOnce(&mut Bitfield) -> Vec<PieceIndex>,
    ) -> Vec<Step> {
        self.claims.skip_short(content, &mut check);
        for piece in without_hash(&mut check) {
            self.claims.count(content, piece, None);
        }
        padding_pieces::leave_samples(content, have, &mut check);
        self.checker = Checker::new(&check);
        let mut steps = vec![Step::Enter(Phase::Checking)];
        match self.checker.is_done() {
            true => steps.extend(self.checked()),
            false => steps.push(Step::QueueCheck),
        }
        steps
    }

    /// The next piece to hash, and whether more are waiting.
    pub(in crate::torrent) fn check_next(&mut self) -> (Option<PieceIndex>, bool) {
        if self.retry.due_at().is_some() {
            return (None, false);
        }
        let next = self.checker.start_next();
        (next, self.checker.has_more())
    }

    /// A piece was hashed, or is not there; one that the disk does not give is tried again.
    pub(in crate::torrent) fn piece_checked(
        &mut self,
        phase: Phase,
        content: &Content,
        piece: PieceIndex,
        result: DiskResult,
    ) -> Vec<Step> {
        let mut steps = Vec::new();
        match result {
            Err(error) if phase == Phase::Checking && !is_absence(error.kind) => {
                self.checker.put_back(piece);
                return vec![Step::Failed(*error)];
            }
            Err(_) => self.checker.finish_one(),
            Ok(done) => {
                self.checker.finish_one();
                self.claims.count(content, piece, Some(&done));
                steps.push(Step::Works);
                if matches!(done, DiskDone::Done | DiskDone::Zeros { is_right: true }) {
                    let same = padding_pieces::same_as(content, piece);
                    steps.push(Step::Have([piece].into_iter().chain(same).collect()));
                }
            }
        }
        if phase == Phase::Checking && self.checker.is_done() {
            steps.extend(self.checked());
        }
        steps
    }

    /// A piece whose hash came late was hashed, or is not there.
    pub(in crate::torrent) fn piece_checked_late(
        &mut self,
        content: &Content,
        piece: PieceIndex,
        result: DiskResult,
    ) -> Vec<Step> {
        self.claims.count_late(content, piece, result.as_ref().ok());
        let is_here = matches!(result, Ok(DiskDone::Done | DiskDone::Zeros { is_right: true }));
        let settled = if is_here { Step::Piece(piece, PieceStep::Passed) } else { Step::Fill };
        let mut steps = vec![settled, Step::Metadata(MetadataStep::CheckLate)];
        if self.claims.can_decide(content) {
            steps.extend([Step::Enter(Phase::Checking), Step::Judge]);
        }
        steps
    }

    /// The check is done.
    fn checked(&mut self) -> Option<Step> {
        let (hashed, _) = self.checker.progress();
        match self.claims.checked(hashed)? {
            true => Some(Step::Run),
            false => Some(Step::Judge),
        }
    }

    // What may be written.

    /// Judges what is to be written. `lacks` tells the pieces that are missing, `is_others` the files that
    /// other torrents write.
    pub(in crate::torrent) fn judge(
        &mut self,
        content: &Content,
        is_duplicate: bool,
        lacks: impl Fn(PieceIndex) -> bool,
        is_others: impl Fn(&Path) -> bool,
    ) -> Vec<Step> {
        if is_duplicate {
            self.claims.leave_to_other();
            return vec![Step::Run];
        }
        match self.claims.judge(content, lacks, is_others) {
            None => Vec::new(),
            Some(Verdict::Undecided) => vec![Step::Run],
            Some(Verdict::Refused { error, is_late: true }) => vec![Step::Refuse(error)],
            Some(Verdict::Refused { error, is_late: false }) => {
                vec![Step::Checked, Step::Refuse(error)]
            }
            // Named in resume data before they are made.
            Some(Verdict::Allowed { places, is_news: true }) => {
                vec![Step::Claim(places), Step::Enter(Phase::Claiming), Step::Save]
            }
            Some(Verdict::Allowed { places, is_news: false }) => {
                vec![Step::Claim(places), Step::MayWrite]
            }
        }
    }

    /// What could be copied from other torrents is.
    pub(in crate::torrent) fn reused(
        &mut self,
        phase: Phase,
        content: &Content,
        have: &Bitfield,
        result: DiskResult,
    ) -> Vec<Step> {
        match result {
            _ if phase != Phase::Reusing => Vec::new(),
            Ok(DiskDone::Files(stats)) => {
                vec![Step::Hash(self.claims.copied(content, have, stats))]
            }
            // What could be copied is not known: it is fetched.
            _ => vec![Step::Run],
        }
    }

    // What is to be made.

    /// The torrent runs: finds out what is to be made, if it is known whether it may be. `lacks` tells the
    /// pieces that are missing.
    pub(in crate::torrent) fn prepare(
        &mut self,
        now: Instant,
        content: &Content,
        lacks: impl Fn(PieceIndex) -> bool,
        is_finished: bool,
    ) -> Option<Step> {
        if self.claims.is_undecided() {
            return None;
        }
        let hashed = self.claims.prepare(content, lacks);
        if hashed > 0 {
            self.saving.mark_dirty(now);
        }
        let is_preparing = self.claims.is_preparing();
        self.saving.resumed(is_finished && !is_preparing, hashed > 0);
        is_preparing.then_some(Step::Prepare)
    }

    /// Has made what is to be made.
    pub(in crate::torrent) fn preparation(
        &mut self,
        store: StoreId,
        content: &Content,
        have: &Bitfield,
    ) -> Step {
        let (files, links) = self.claims.next_preparation(content, have);
        let allocation = content.allocation;
        Step::Disk(TorrentOp::Prepare, DiskRequest::Prepare { store, files, allocation, links })
    }

    /// The wanted files are made, or could not be.
    pub(in crate::torrent) fn prepared(&mut self, now: Instant, result: DiskResult) -> Vec<Step> {
        if let Err(error) = result {
            self.claims.preparation_failed();
            // Resume data names files that were not made: what comes to lie there is not ours.
            self.saving.mark_dirty(now);
            return vec![Step::Failed(*error)];
        }
        if self.claims.prepared() {
            self.saving.mark_dirty(now);
        }
        match self.retry.has_failed_writes() {
            true => vec![Step::Finish],
            false => vec![Step::Works, Step::Finish],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{DiskError, DiskErrorKind};
    use crate::id::Id as _;
    use crate::torrent::content;

    fn empty() -> Vec<Option<FileStat>> {
        vec![None; 3]
    }

    fn failure(kind: DiskErrorKind) -> DiskResult {
        Err(Box::new(DiskError { kind, path: "name".into(), cause: "it failed".to_owned() }))
    }

    /// Files that are about to be checked.
    fn checking(content: &Content) -> Files {
        let mut files = Files::new(true);
        files
            .found(content, [20_000, 10_000, 30_000].map(|len| Some(FileStat::new(len, 0))).into());
        let check = Bitfield::full(content.geometry().pieces());
        let nothing = Bitfield::new(content.geometry().pieces());
        let steps = files.hash(content, &nothing, check, |_| Vec::new());
        assert!(matches!(steps[..], [Step::Enter(Phase::Checking), Step::QueueCheck]), "{steps:?}");
        files
    }

    #[test]
    fn files_that_cannot_be_looked_at_are_no_news_but_in_the_phase_of_opening() {
        let mut files = Files::new(false);
        let failed = files.opened(Phase::Opening, failure(DiskErrorKind::Io));
        assert!(matches!(failed[..], [Step::Failed(_)]), "{failed:?}");
        let opened = files.opened(Phase::Opening, Ok(DiskDone::Files(empty())));
        assert!(matches!(opened[..], [Step::Check(_)]), "{opened:?}");
        let late = Phase::Ending { remove: None, closing: false };
        assert!(files.opened(late, Ok(DiskDone::Files(empty()))).is_empty());
    }

    #[test]
    fn where_nothing_is_there_is_nothing_to_hash_and_it_is_judged_what_may_be_written() {
        let content = content::tests::content();
        let mut files = Files::new(false);
        let trust = files.found(&content, empty());
        assert!(trust.have.is_none());
        let steps = files.hash(&content, &trust.have, trust.check, |_| Vec::new());
        assert!(matches!(steps[..], [Step::Enter(Phase::Checking), Step::Judge]), "{steps:?}");
        let steps = files.judge(&content, false, |_| true, |_| false);
        let [Step::Claim(places), Step::Enter(Phase::Claiming), Step::Save] = &steps[..] else {
            panic!("{steps:?}");
        };
        assert_eq!(places.len(), 3);
        let mut duplicate = Files::new(false);
        let steps = duplicate.judge(&content, true, |_| true, |_| false);
        assert!(matches!(steps[..], [Step::Run]), "{steps:?}");
    }

    #[test]
    fn pieces_are_hashed_one_by_one_and_tried_again_where_the_disk_fails() {
        let content = content::tests::content();
        let mut files = checking(&content);
        let (Some(first), true) = files.check_next() else { panic!("there is more") };
        let failed =
            files.piece_checked(Phase::Checking, &content, first, failure(DiskErrorKind::Io));
        assert!(matches!(failed[..], [Step::Failed(_)]), "{failed:?}");
        for number in 0..content.geometry().pieces() {
            let (Some(piece), _) = files.check_next() else { panic!("{number} is left") };
            let steps = files.piece_checked(Phase::Checking, &content, piece, Ok(DiskDone::Done));
            let is_last = number + 1 == content.geometry().pieces();
            let [Step::Works, Step::Have(pieces), rest @ ..] = &steps[..] else {
                panic!("{steps:?}");
            };
            assert_eq!(pieces[..], [piece]);
            assert_eq!(rest.len(), usize::from(is_last), "{rest:?}");
        }
        assert_eq!(files.check_next(), (None, false));
    }

    #[test]
    fn what_could_not_be_made_is_made_when_the_disk_works() {
        let content = content::tests::content();
        let (mut files, nothing) = (Files::new(false), Bitfield::new(4));
        files.found(&content, empty());
        let check = Bitfield::new(content.geometry().pieces());
        files.hash(&content, &nothing, check, |_| Vec::new());
        files.judge(&content, false, |_| true, |_| false);
        files.claims.begin_running();
        let step = files.prepare(Instant::ZERO, &content, |_| true, false);
        assert!(matches!(step, Some(Step::Prepare)), "{step:?}");
        let store = StoreId::new(0, 0);
        assert!(matches!(files.preparation(store, &content, &nothing), Step::Disk(..)));
        let failed = files.prepared(Instant::ZERO, failure(DiskErrorKind::Full));
        assert!(matches!(failed[..], [Step::Failed(_)]), "{failed:?}");
        assert!(matches!(files.preparation(store, &content, &nothing), Step::Disk(..)));
        let steps = files.prepared(Instant::ZERO, Ok(DiskDone::Done));
        assert!(matches!(steps[..], [Step::Works, Step::Finish]), "{steps:?}");
    }

    #[test]
    fn a_piece_that_is_hashed_late_is_ours_or_fetched() {
        let content = content::tests::content();
        let late = |result| {
            let mut files = Files::new(false);
            files.piece_checked_late(&content, PieceIndex(0), result)
        };
        let passed = |steps: &[Step]| {
            matches!(
                steps,
                [
                    Step::Piece(PieceIndex(0), PieceStep::Passed),
                    Step::Metadata(MetadataStep::CheckLate)
                ]
            )
        };
        assert!(passed(&late(Ok(DiskDone::Done))));
        assert!(passed(&late(Ok(DiskDone::Zeros { is_right: true }))));
        for wrong in [Ok(DiskDone::HashMismatch), failure(DiskErrorKind::NotFound)] {
            let steps = late(wrong);
            assert!(
                matches!(steps[..], [Step::Fill, Step::Metadata(MetadataStep::CheckLate)]),
                "{steps:?}"
            );
        }
    }
}
