//! What a torrent is to do next and in order, as its machines say.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::bitfield::Bitfield;
use crate::disk::{DiskDone, DiskError, DiskRequest, FileStat};
use crate::metainfo::Metainfo;
use crate::notice::TorrentNotice;
use crate::piece::{PieceIndex, Sha256Hash};
use crate::session::op::TorrentOp;
use crate::torrent::lifecycle::Phase;

/// What a disk request has come to.
pub(super) type DiskResult = Result<DiskDone, Box<DiskError>>;

/// One step. The torrent carries it out; what comes of it may bring others.
#[derive(Debug)]
pub(super) enum Step {
    /// Go on to this phase.
    Enter(Phase),
    /// Tell the user.
    Notify(TorrentNotice),
    /// Request something of the disk.
    Disk(TorrentOp, DiskRequest),
    /// Have the files looked at.
    Open,
    /// The files are as they are: find out what is to be hashed.
    Check(Vec<Option<FileStat>>),
    /// Hash these pieces, as far as they may be there.
    Hash(Bitfield),
    /// Wait in line for hashing.
    QueueCheck,
    /// These pieces are here.
    Have(Vec<PieceIndex>),
    /// It is known what is here.
    Checked,
    /// Judge what is to be written.
    Judge,
    /// No other torrent of the session may write these files.
    Claim(Vec<PathBuf>),
    /// What is to be written may be, and is named in resume data.
    MayWrite,
    /// Something that is to be written is not ours: nothing is done.
    Refuse(DiskError),
    /// Go on with peers.
    Run,
    /// Make what is to be made.
    Prepare,
    /// If everything wanted is here: say so.
    Finish,
    /// Flush what was written; the save follows.
    Save,
    /// What was complete was changed meanwhile: let no peer and no torrent have it, and check again.
    CheckAgain(Vec<Option<FileStat>>),
    /// The disk failed.
    Failed(DiskError),
    /// Something that failed has worked.
    Works,
    /// Something of a piece.
    Piece(PieceIndex, PieceStep),
    /// So many bytes of blocks are held in memory no more.
    Freed(usize),
    /// Ban the peers with this address: they sent wrong data.
    Ban(SocketAddr),
    /// Something about what the torrent is.
    Metadata(MetadataStep),
    /// Go on with the next piece of another torrent's file, if none is under way.
    NextLocal,
    /// Read the next part of the piece that is read from another torrent's file.
    ReadLocal,
    /// No torrent is to wait for files of this one.
    SettleShared,
    /// Which peers may download may have changed.
    ChokeSoon,
    /// Request blocks of all peers.
    Request,
    /// Request blocks of the peers that had nothing to give: there may be more to pick.
    Fill,
}

/// A step on the way to knowing what the torrent is.
#[derive(Debug)]
pub(super) enum MetadataStep {
    /// Send the requests for metadata, or for layers, that are due.
    Ask,
    /// It is known what the torrent is: everything else begins.
    Learn(Box<Metainfo>),
    /// Nothing can be done with what the torrent is said to be, for this reason: every peer would give the
    /// same.
    Unusable(String),
    /// Have what was learnt of the layers kept for the next session, if there is anything new.
    KeepLayers,
    /// Every layer is known: the metainfo is whole, and kept so.
    LayersComplete,
    /// No more than the metadata was wanted, and it is here, with as much of its layers as there is.
    Done,
    /// Hash the next pieces whose hashes came late.
    CheckLate,
}

/// A step that concerns one piece.
#[derive(Debug)]
pub(super) enum PieceStep {
    /// Have it verified and written: all of its blocks are here.
    Write,
    /// Have it hashed from disk, for this.
    Verify(TorrentOp),
    /// It is verified and on disk: it is ours, and peers may know.
    Passed,
    /// It does not have its hash.
    Wrong,
    /// Its blocks hash to these; find out which of them are wrong, if that can be.
    Suspect(Vec<Sha256Hash>),
    /// Of a suspect piece it is known what can be known: fetch the wrong blocks again.
    Resolve,
    /// It is wrong, and it is not known where.
    Lost,
    /// Fetch it again.
    Forget,
    /// It was verified, or lost: what reads it from another torrent's file may go on.
    Settled,
}
