//! What a torrent is to do for its files, next and in order.

use std::path::PathBuf;

use crate::bitfield::Bitfield;
use crate::disk::{DiskError, DiskRequest, FileStat};
use crate::notice::TorrentNotice;
use crate::piece::PieceIndex;
use crate::session::op::TorrentOp;
use crate::torrent::lifecycle::Phase;

/// One step. The torrent carries it out; what comes of it may bring others.
#[derive(Debug)]
pub(in crate::torrent) enum Step {
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
    /// Have a complete piece verified and written.
    Write(PieceIndex),
    /// Have a piece hashed from disk, for this.
    Verify(PieceIndex, TorrentOp),
    /// Fetch a piece again.
    Forget(PieceIndex),
    /// No torrent is to wait for files of this one.
    SettleShared,
    /// Which peers may download may have changed.
    ChokeSoon,
    /// Request blocks of all peers.
    Request,
}
