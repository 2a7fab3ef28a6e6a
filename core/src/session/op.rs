//! Whose request to the disk or the resolver an operation is.

use std::net::{IpAddr, SocketAddr};

use crate::event::ResolveError;
use crate::id::{AnnounceId, FetchId, PeerSlot, TorrentId};
use crate::peer_source::PeerSource;
use crate::piece::{BlockRun, InfoHash, PieceIndex};
use crate::reach::{Namer, may_dial};

/// What waits for an operation. The owner may be gone when it completes; then the answer is dropped.
#[derive(Clone, Debug)]
pub(crate) enum OpOwner {
    /// A torrent.
    Torrent(TorrentId, TorrentOp),
    /// An announce over UDP that looks up its tracker.
    Announce(AnnounceId),
    /// A fetch over HTTP that looks up its host.
    Fetch(FetchId),
    /// A torrent that looks up a peer which is given by a name.
    Peer(TorrentId, NamedPeer),
    /// The DHT.
    Dht(DhtOp),
}

/// A peer that is given by a name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct NamedPeer {
    /// Where it listens.
    pub(crate) port: u16,
    /// Who names it.
    pub(crate) source: PeerSource,
    /// The same, as it decides which of the name's addresses may be dialled.
    pub(crate) namer: Namer,
    /// By which infohash it knows the torrent.
    pub(crate) infohash: InfoHash,
}

impl NamedPeer {
    /// Where the peer is, if its name was looked up: those addresses that may be dialled.
    pub(crate) fn addresses(self, found: Result<Vec<IpAddr>, ResolveError>) -> Vec<SocketAddr> {
        let found = found.unwrap_or_default().into_iter();
        let found = found.map(|ip| SocketAddr::new(ip, self.port));
        found.filter(|addr| may_dial(*addr, self.namer)).collect()
    }
}

/// What the DHT asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum DhtOp {
    /// The saved table of this node of ours.
    Load(u16),
    /// That table written.
    Save(u16),
    /// The addresses of a bootstrap host, whose port is this.
    Router(u16),
    /// The addresses of a node that a torrent names, whose port is this.
    Named(u16),
}

/// What a torrent asked for.
#[derive(Clone, Debug)]
pub(crate) enum TorrentOp {
    /// What an earlier session knew of it, which has only a magnet link; under which of its
    /// infohashes.
    LoadMetadata(InfoHash),
    /// That written.
    SaveMetadata,
    /// Its resume data, kept under this infohash.
    LoadResume(InfoHash),
    /// Its files' sizes.
    Open,
    /// Files copied that another torrent has.
    Reuse,
    /// Its wanted files made.
    Prepare,
    /// A piece hashed from disk, at its check.
    Check(PieceIndex),
    /// A piece hashed from disk when its hash has become known, after the check.
    CheckLate(PieceIndex),
    /// A piece verified and written: the piece and how many bytes of it are held.
    WritePiece(PieceIndex, u32),
    /// Blocks of an incomplete piece written early: how many bytes, for which attempt at it.
    WriteEarly { piece: PieceIndex, len: u32, attempt: u32 },
    /// A piece that was written early hashed from disk.
    HashPiece(PieceIndex),
    /// A piece that could not be read, tried again.
    ProbeRead,
    /// Blocks read for a peer.
    ReadForPeer(PeerSlot, BlockRun),
    /// So many bytes of a piece read for the hashes of its blocks, which peers asked for.
    ReadLeaves(u32),
    /// A part of a piece read from a file of another torrent.
    ReadFromOther,
    /// Its files looked at again before they are said to be complete.
    Look,
    /// What was written flushed.
    Sync,
    /// The resume data written.
    SaveResume,
    /// A state file deleted.
    Forget,
    /// The files closed, and deleted if it was asked for.
    Close,
}

/// What a request to the disk holds of the session's budgets until it is done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Held {
    /// Nothing that is counted.
    Nothing,
    /// One hash of a check.
    Check,
    /// So many bytes that are to be written.
    Write(usize),
    /// So many bytes that are read for peers.
    Read(usize),
}

impl TorrentOp {
    /// What it holds until it is done.
    pub(crate) fn held(&self) -> Held {
        match *self {
            TorrentOp::Check(_) => Held::Check,
            TorrentOp::WritePiece(_, len) | TorrentOp::WriteEarly { len, .. } => {
                Held::Write(len as usize)
            }
            TorrentOp::ReadForPeer(_, run) => Held::Read(run.length as usize),
            TorrentOp::ReadLeaves(length) => Held::Read(length as usize),
            _ => Held::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_name_that_a_stranger_gave_no_address_of_our_own_network_is_dialled() {
        let namer = Namer::Tracker(IpAddr::from([50, 0, 0, 1]));
        let infohash = InfoHash([1; 20]);
        let peer = NamedPeer { port: 6881, source: PeerSource::Tracker, namer, infohash };
        let found = [[50, 0, 0, 2], [127, 0, 0, 1], [192, 168, 1, 1]].map(IpAddr::from);
        assert_eq!(peer.addresses(Ok(found.to_vec())), [([50, 0, 0, 2], 6881).into()]);
        assert_eq!(peer.addresses(Err(ResolveError::NotFound)), []);
    }
}
