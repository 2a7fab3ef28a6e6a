//! Everything that can change an engine's state, as a value.

use std::net::SocketAddr;
use std::path::PathBuf;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::command::Command;
use crate::config::RateLimits;
use crate::disk::Allocation;
use crate::event::Event;
use crate::id::{ConnId, SocketId};
use crate::metainfo::{FileRanges, Magnet, Metainfo, MetainfoError, PathRules};
use crate::priority::{FilePriority, PieceOrder};
use crate::torrent::{AddTorrent, TorrentSource};

/// A call of an [`Engine`](crate::Engine) method that changes its state; each variant is the
/// method of that name. `E` is [`Event`] and `C` [`Command`], or a reference to one where it is only
/// written.
#[derive(Debug, Serialize, Deserialize)]
pub enum Input<E = Event, C = Command> {
    /// `handle`
    Event(E),
    /// `accept`
    Accept {
        /// The listener.
        socket: SocketId,
        /// Who connected.
        from: SocketAddr,
    },
    /// `gather`, into empty segments
    Gather {
        /// For which connection.
        conn: ConnId,
        /// How many bytes.
        limit: usize,
    },
    /// `gather_datagrams`, into an empty buffer
    GatherDatagrams {
        /// For which socket.
        socket: SocketId,
        /// How many at once.
        segments: usize,
    },
    /// `command` with [`Command::AddTorrent`]
    AddTorrent(Box<RecordedTorrent>),
    /// `command` with any other
    Command(C),
}

/// An [`AddTorrent`] with its metainfo as the bytes of its file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RecordedTorrent {
    source: RecordedSource,
    root: PathBuf,
    trackers: Vec<String>,
    peers: Vec<SocketAddr>,
    files: Vec<FilePriority>,
    only: Option<FileRanges>,
    order: PieceOrder,
    limits: RateLimits,
    allocation: Allocation,
    paused: bool,
    recheck: bool,
    overwrite: bool,
    follow_top_link: bool,
    metadata_only: bool,
    share_only: bool,
    idle_if_complete: bool,
}

/// A metainfo file, or the text of a magnet link.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum RecordedSource {
    Metainfo(Bytes),
    Magnet(String),
}

impl From<&AddTorrent> for RecordedTorrent {
    fn from(add: &AddTorrent) -> Self {
        // Every field by name: one that is added must be recorded too.
        let AddTorrent {
            source,
            root,
            trackers,
            peers,
            files,
            only,
            order,
            limits,
            allocation,
            paused,
            recheck,
            overwrite,
            follow_top_link,
            metadata_only,
            share_only,
            idle_if_complete,
        } = add;
        RecordedTorrent {
            source: match source {
                TorrentSource::Metainfo(metainfo) => RecordedSource::Metainfo(metainfo.to_bytes()),
                TorrentSource::Magnet(magnet) => RecordedSource::Magnet(magnet.to_string()),
            },
            root: root.clone(),
            trackers: trackers.clone(),
            peers: peers.clone(),
            files: files.clone(),
            only: only.clone(),
            order: *order,
            limits: *limits,
            allocation: *allocation,
            paused: *paused,
            recheck: *recheck,
            overwrite: *overwrite,
            follow_top_link: *follow_top_link,
            metadata_only: *metadata_only,
            share_only: *share_only,
            idle_if_complete: *idle_if_complete,
        }
    }
}

impl RecordedTorrent {
    /// What was recorded, with names made safe by the rules of the system it was recorded on.
    pub(super) fn into_add(self, rules: PathRules) -> Result<AddTorrent, MetainfoError> {
        let source = match self.source {
            RecordedSource::Metainfo(bytes) => Metainfo::from_bytes(bytes, rules)?.into(),
            // What was recorded was read once; if not, it is no torrent.
            RecordedSource::Magnet(text) => {
                text.parse::<Magnet>().map_err(|_| MetainfoError::Missing("info"))?.into()
            }
        };
        Ok(AddTorrent {
            source,
            root: self.root,
            trackers: self.trackers,
            peers: self.peers,
            files: self.files,
            only: self.only,
            order: self.order,
            limits: self.limits,
            allocation: self.allocation,
            paused: self.paused,
            recheck: self.recheck,
            overwrite: self.overwrite,
            follow_top_link: self.follow_top_link,
            metadata_only: self.metadata_only,
            share_only: self.share_only,
            idle_if_complete: self.idle_if_complete,
        })
    }
}
