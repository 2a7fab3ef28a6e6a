//! What happens during download and seed, as JSON objects: see docs/CLI.md, "JSON".

use std::net::SocketAddr;

use bitswarm_core::action::SocketKind;
use bitswarm_core::notice::TorrentNotice;
use bitswarm_core::piece::InfoHash;
use bitswarm_core::torrent::{TorrentState, TorrentStatus};
use serde_json::Value;

use crate::output::Object;

/// A socket is open.
pub(crate) fn listening(kind: SocketKind, addr: SocketAddr) -> Object {
    let kind = match kind {
        SocketKind::TcpListener => "tcp",
        SocketKind::Udp | SocketKind::Multicast => "udp",
    };
    Object::event("listening").with("kind", kind).with("addr", addr.to_string())
}

/// An object about one torrent.
pub(crate) fn event(name: &str, infohash: &InfoHash) -> Object {
    Object::event(name).with("infohash_v1", infohash.to_string())
}

/// What a notice says; `None` where other objects say it better.
pub(crate) fn notice(what: &TorrentNotice, infohash: &InfoHash) -> Option<Object> {
    let event = |name| event(name, infohash);
    Some(match what {
        TorrentNotice::Checked { have, pieces, from_resume } => event("checked")
            .with("pieces_have", *have)
            .with("pieces", *pieces)
            .with("from_resume", *from_resume),
        TorrentNotice::MetadataReceived { name, total_bytes, pieces } => event("metadata")
            .with("name", name.as_str())
            .with("total", *total_bytes)
            .with("pieces", *pieces),
        TorrentNotice::MetadataUnusable { why } => {
            event("metadata_unusable").with("why", why.as_str())
        }
        TorrentNotice::NothingSelected { selected, by_link, files } => event("nothing_selected")
            .with("selected", selected.as_str())
            .with("by_link", *by_link)
            .with("files", *files),
        TorrentNotice::MetadataTooLong { bytes, limit } => {
            event("metadata_too_long").with("bytes", *bytes).with("limit", *limit)
        }
        TorrentNotice::PeerConnected { addr, incoming, transport, encryption } => {
            event("peer_connected")
                .with("addr", addr.to_string())
                .with("incoming", *incoming)
                .with("transport", transport.to_string())
                .with("encryption", encryption.word())
        }
        TorrentNotice::PeerBanned { addr, why } => {
            event("peer_banned").with("addr", addr.to_string()).with("why", why.to_string())
        }
        TorrentNotice::PeerViolated { addr, violation, disconnected, not_shown } => {
            event("peer_violated")
                .with("addr", addr.to_string())
                .with("why", violation.to_string())
                .with("disconnected", *disconnected)
                .with("untold", *not_shown)
        }
        TorrentNotice::TrackerAnswered { url, peers, warning } => event("tracker_answered")
            .with("url", url.as_str())
            .with("peers", *peers)
            .with("warning", warning.as_deref()),
        TorrentNotice::TrackerFailed { url, why } => {
            event("tracker_failed").with("url", url.as_str()).with("why", why.as_str())
        }
        TorrentNotice::DhtAnswered { peers, stored } => {
            event("dht_answered").with("peers", *peers).with("stored", *stored)
        }
        TorrentNotice::ExternalAddress { ip } => {
            event("external_address").with("ip", ip.to_string())
        }
        TorrentNotice::DiskFailed { error } => event("disk_failed")
            .with("path", error.path.to_string_lossy())
            .with("why", error.to_string()),
        TorrentNotice::DiskRecovered => event("disk_recovered"),
        TorrentNotice::Finished
        | TorrentNotice::Saved
        | TorrentNotice::Paused
        | TorrentNotice::Resumed
        | TorrentNotice::Removed => return None,
    })
}

/// How a torrent stands, under the given event's name.
pub(crate) fn status(name: &str, status: &TorrentStatus) -> Object {
    let object = event(name, &status.infohash);
    standing(status).into_iter().fold(object, |object, (field, value)| object.with(field, value))
}

/// The fields of which any may change.
pub(crate) fn standing(status: &TorrentStatus) -> [(&'static str, Value); 18] {
    let limit = match status.bottleneck.word() {
        "" => Value::Null,
        word => word.into(),
    };
    [
        ("state", state(status.state).into()),
        ("limit", limit),
        ("done", status.done_bytes.into()),
        ("wanted", status.wanted_bytes.into()),
        ("total", status.total_bytes.into()),
        ("pieces_have", status.pieces_have.into()),
        ("pieces", status.pieces.into()),
        ("down_rate", status.down_bytes_per_s.into()),
        ("up_rate", status.up_bytes_per_s.into()),
        ("downloaded", status.downloaded_bytes.into()),
        ("uploaded", status.uploaded_bytes.into()),
        ("peers", status.peers.into()),
        ("utp_peers", status.utp_peers.into()),
        ("seeds", status.seeds.into()),
        ("encrypted", status.encrypted.into()),
        ("known_peers", status.known_peers.into()),
        ("metadata_sources", status.metadata.map(|metadata| metadata.sources).into()),
        ("eta", status.eta.map(|eta| eta.as_secs()).into()),
    ]
}

fn state(state: TorrentState) -> &'static str {
    match state {
        TorrentState::Metadata => "metadata",
        TorrentState::Checking => "checking",
        TorrentState::Downloading => "downloading",
        TorrentState::Seeding => "seeding",
        TorrentState::Paused => "paused",
        TorrentState::DiskFailed => "disk_failed",
        TorrentState::Stopping => "stopping",
    }
}
