//! Blocks and pieces on their way to disk: what is written when, and what follows from what the disk
//! answers.
//!
//! A complete piece is verified and written in one go. Where memory is short, blocks are written before
//! their piece is complete; such a piece is hashed from disk at its end.

use crate::disk::{DiskDone, DiskRequest, WriteRequest};
use crate::id::StoreId;
use crate::piece::PieceIndex;
use crate::piece_hash::PieceHash;
use crate::session::op::TorrentOp;
use crate::torrent::content::Content;
use crate::torrent::download::Download;
use crate::torrent::step::{DiskResult, MetadataStep, PieceStep, Step};

/// What is said of a hybrid whose two kinds of hashes no content has.
const CONTRADICTION: &str =
    "its hashes of v1 and of v2 are of different content; nobody can have it";

impl Download {
    /// All blocks of a piece are here: it is verified and written. If a part of it is on disk already,
    /// the rest is written, then it is hashed there.
    pub(in crate::torrent) fn completed(
        &mut self,
        store: StoreId,
        content: &Content,
        piece: PieceIndex,
    ) -> Vec<Step> {
        if !self.assembly.was_written_early(piece) {
            return vec![Step::Piece(piece, PieceStep::Write)];
        }
        let mut steps = self.write_early(store, content, piece);
        steps.extend(self.hash_if_settled(piece));
        steps
    }

    /// The request that verifies and writes a complete piece.
    pub(in crate::torrent) fn write(
        &self,
        store: StoreId,
        content: &Content,
        piece: PieceIndex,
        expect: PieceHash,
    ) -> Step {
        // Padding takes no memory.
        let len = content.geometry().data_len_of(piece);
        let request = WriteRequest {
            store,
            spans: content.layout.piece_spans(piece),
            data: self.bytes_of(piece),
            expect: Some(expect),
        };
        Step::Disk(TorrentOp::WritePiece(piece, len), DiskRequest::Write(Box::new(request)))
    }

    /// Memory is short: writes the blocks of the piece that holds most, or gives up a suspect piece.
    ///
    /// A piece that failed is checked in memory the next time, one at a time: what comes back from a
    /// disk is no proof against a source.
    pub(in crate::torrent) fn relieve(&mut self, store: StoreId, content: &Content) -> Vec<Step> {
        let kept = self.assembly.first(|piece| self.picker.has_failed(piece));
        match self.assembly.largest(kept) {
            Some(piece) => self.write_early(store, content, piece),
            None => {
                let suspect = self.suspects.iter().next();
                suspect.map(|piece| Step::Piece(piece, PieceStep::Resolve)).into_iter().collect()
            }
        }
    }

    /// Takes the held blocks of a piece out, to be written.
    fn write_early(&mut self, store: StoreId, content: &Content, piece: PieceIndex) -> Vec<Step> {
        let held = self.assembly.held_bytes();
        let runs = self.assembly.take_for_early_write(self.picker.geometry(), piece);
        let freed = Step::Freed(held - self.assembly.held_bytes());
        let writes = runs.into_iter().map(|run| {
            let len = run.range.length;
            let spans = content.layout.spans(run.range);
            let request = WriteRequest { store, spans, data: run.data, expect: None };
            let op = TorrentOp::WriteEarly { piece, len, attempt: run.attempt };
            Step::Disk(op, DiskRequest::Write(Box::new(request)))
        });
        [freed].into_iter().chain(writes).collect()
    }

    /// Has a piece hashed from disk, if all of it went there before it could be verified.
    fn hash_if_settled(&self, piece: PieceIndex) -> Option<Step> {
        let is_settled = self.assembly.is_settled(piece) && self.assembly.was_written_early(piece);
        let verify = PieceStep::Verify(TorrentOp::HashPiece(piece));
        is_settled.then_some(Step::Piece(piece, verify))
    }

    /// An early write is done, or failed. One of an earlier attempt at the piece means nothing.
    pub(in crate::torrent) fn early_written(
        &mut self,
        piece: PieceIndex,
        attempt: u32,
        result: DiskResult,
    ) -> Vec<Step> {
        if !self.assembly.early_write_done(piece, attempt) {
            return Vec::new();
        }
        match result {
            Ok(_) => self.hash_if_settled(piece).into_iter().collect(),
            // Its bytes are gone from memory: the piece is fetched again once the disk works.
            Err(error) => vec![Step::Failed(*error), Step::Piece(piece, PieceStep::Forget)],
        }
    }

    /// A piece that was written early was hashed.
    pub(in crate::torrent) fn hashed_on_disk(piece: PieceIndex, result: DiskResult) -> Vec<Step> {
        match result {
            Ok(DiskDone::Done) => vec![Step::Piece(piece, PieceStep::Passed)],
            // Its sender may have lied, or the disk does: no peer is blamed yet.
            Ok(_) => vec![Step::Piece(piece, PieceStep::Lost), Step::Fill],
            Err(error) => vec![Step::Failed(*error), Step::Piece(piece, PieceStep::Forget)],
        }
    }

    /// A complete piece does not have its hash: its blocks are fetched again, as soon as it is known
    /// which or that this will not be known; a peer that is proven to have sent a wrong one is banned,
    /// no other.
    pub(in crate::torrent) fn wrong(
        &mut self,
        piece: PieceIndex,
        hash: Option<&PieceHash>,
    ) -> Vec<Step> {
        let data = self.bytes_of(piece);
        if hash.is_some_and(|hash| hash.is_contradicted_by(data.iter().map(AsRef::as_ref))) {
            // No peer can send what has both hashes: the fault is in the torrent.
            let why = format!("{CONTRADICTION} (piece {})", piece.0);
            return vec![
                Step::Piece(piece, PieceStep::Lost),
                Step::Metadata(MetadataStep::Unusable(why)),
            ];
        }
        let failed = self.failed(piece);
        let suspect = Step::Piece(piece, PieceStep::Suspect(failed.digests));
        failed.liar.map(Step::Ban).into_iter().chain([suspect]).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::disk::{DiskError, DiskErrorKind};
    use crate::id::Id as _;
    use crate::metainfo::create::{Creator, Protocol};
    use crate::picker::Picker;
    use crate::piece::{BLOCK_LEN, Block};
    use crate::piece_hash::PieceRoot;
    use crate::random::PolicyRng;
    use crate::torrent::AddTorrent;
    use crate::torrent::content::Choices;
    use crate::torrent::download::{Kept, Source};

    const PIECE: PieceIndex = PieceIndex(0);

    fn store() -> StoreId {
        StoreId::new(3, 0)
    }

    /// Two pieces, of two blocks and of one.
    fn content() -> Content {
        let mut creator = Creator::single_file("name", 40_000).with_protocol(Protocol::V1);
        creator.piece_length = 2 * BLOCK_LEN;
        let metainfo = Arc::new(creator.finish_with_content(&[7; 40_000]).expect("valid"));
        Content::new(metainfo.clone(), Choices::of(&mut AddTorrent::new(metainfo, "root")), None)
    }

    /// Of the same torrent as `content`, of which nothing is here.
    fn download(content: &Content) -> Download {
        let rng = PolicyRng::from_seed([1; 32]);
        Download::new(Picker::new(content.geometry().clone(), rng))
    }

    fn keep(download: &mut Download, block: Block) -> Option<Kept> {
        let data = bytes::Bytes::from(vec![7; block.length as usize]);
        download.keep(Source::LOCAL, None, block, data.into())
    }

    /// Has all blocks of the piece; what follows.
    fn complete(download: &mut Download, content: &Content) -> Vec<Step> {
        let blocks = (0..2).map(|number| content.geometry().block(PIECE, number));
        let kept: Vec<Kept> = blocks.filter_map(|block| keep(download, block)).collect();
        assert!(kept.last().expect("one was missing").completes_piece);
        download.completed(store(), content, PIECE)
    }

    fn failure() -> DiskResult {
        Err(Box::new(DiskError {
            kind: DiskErrorKind::Io,
            path: "a".into(),
            cause: "it failed".to_owned(),
        }))
    }

    #[test]
    fn a_complete_piece_is_written_at_once_and_only_if_it_has_its_hash() {
        let content = content();
        let mut download = download(&content);
        let steps = complete(&mut download, &content);
        assert!(matches!(steps[..], [Step::Piece(PIECE, PieceStep::Write)]), "{steps:?}");
        let hash = content.metainfo.expected_hash_with(PIECE, None).expect("of v1");
        let Step::Disk(op, DiskRequest::Write(write)) =
            download.write(store(), &content, PIECE, hash)
        else {
            panic!("no write");
        };
        let len = content.geometry().len_of(PIECE);
        assert!(matches!(op, TorrentOp::WritePiece(PIECE, held) if held == len));
        assert_eq!((write.store, write.expect), (store(), Some(hash)));
        assert_eq!(write.data.iter().map(bytes::Bytes::len).sum::<usize>(), len as usize);
    }

    #[test]
    fn a_piece_that_was_written_early_is_hashed_from_disk_when_all_of_it_is_there() {
        let content = content();
        let mut download = download(&content);
        assert!(download.relieve(store(), &content).is_empty(), "nothing is held");
        let first = content.geometry().block(PIECE, 0);
        keep(&mut download, first);
        let steps = download.relieve(store(), &content);
        let [Step::Freed(freed), Step::Disk(TorrentOp::WriteEarly { attempt, .. }, _)] = steps[..]
        else {
            panic!("{steps:?}");
        };
        assert_eq!((freed, download.held_bytes()), (BLOCK_LEN as usize, 0));
        let steps = complete(&mut download, &content);
        assert!(matches!(steps[..], [Step::Freed(_), Step::Disk(..)]), "{steps:?}");
        let done = |download: &mut Download, attempt| {
            download.early_written(PIECE, attempt, Ok(DiskDone::Done))
        };
        assert!(done(&mut download, attempt + 1).is_empty(), "of another attempt");
        assert!(done(&mut download, attempt).is_empty(), "a write is under way");
        let steps = done(&mut download, attempt);
        let hashes = |step: &Step| {
            let Step::Piece(PIECE, PieceStep::Verify(op)) = step else { return false };
            matches!(op, TorrentOp::HashPiece(PIECE))
        };
        assert!(steps.len() == 1 && hashes(&steps[0]), "{steps:?}");
    }

    #[test]
    fn an_early_write_that_fails_has_its_piece_fetched_again() {
        let content = content();
        let mut download = download(&content);
        keep(&mut download, content.geometry().block(PIECE, 0));
        let steps = download.relieve(store(), &content);
        let Step::Disk(TorrentOp::WriteEarly { attempt, .. }, _) = steps[1] else {
            panic!("{steps:?}");
        };
        let steps = download.early_written(PIECE, attempt, failure());
        let [Step::Failed(error), Step::Piece(PIECE, PieceStep::Forget)] = &steps[..] else {
            panic!("{steps:?}");
        };
        assert_eq!(*error, *failure().expect_err("it is one"));
    }

    #[test]
    fn what_comes_back_wrong_from_the_disk_is_lost_and_no_peer_is_blamed() {
        let wrong = Download::hashed_on_disk(PIECE, Ok(DiskDone::HashMismatch));
        let lost = matches!(wrong[..], [Step::Piece(PIECE, PieceStep::Lost), Step::Fill]);
        assert!(lost, "{wrong:?}");
        let right = Download::hashed_on_disk(PIECE, Ok(DiskDone::Done));
        assert!(matches!(right[..], [Step::Piece(PIECE, PieceStep::Passed)]), "{right:?}");
        let failed = Download::hashed_on_disk(PIECE, failure());
        assert!(matches!(failed[..], [Step::Failed(_), Step::Piece(PIECE, PieceStep::Forget)]));
    }

    #[test]
    fn content_that_has_one_hash_of_two_is_no_peers_fault() {
        let content = content();
        let mut download = download(&content);
        complete(&mut download, &content);
        let data = download.bytes_of(PIECE).concat();
        let sha1 = {
            use sha1::Digest as _;
            sha1::Sha1::digest(&data).into()
        };
        let root = PieceRoot { hash: [7; 32], layer: 0, length: data.len() as u32 };
        let contradicts = download.wrong(PIECE, Some(&PieceHash::Both(sha1, root)));
        let is_said = matches!(
            &contradicts[..],
            [Step::Piece(PIECE, PieceStep::Lost), Step::Metadata(MetadataStep::Unusable(why))] if why.ends_with("(piece 0)")
        );
        assert!(is_said, "{contradicts:?}");
        let wrong = download.wrong(PIECE, Some(&PieceHash::V1([9; 20])));
        assert!(matches!(wrong[..], [Step::Piece(PIECE, PieceStep::Suspect(_))]), "{wrong:?}");
    }
}
