//! How a torrent stands, in the words of its progress line.

use std::time::Duration;

use bitswarm_core::torrent::{Bottleneck, TorrentState, TorrentStatus, TrackerStatus};

use crate::units::{Rate, Span};
use crate::watch::tracker_host;

/// How far a torrent is: bytes done, of how many.
pub(crate) fn extent(status: &TorrentStatus) -> (u64, u64) {
    match status.state {
        TorrentState::Metadata => {
            let known = status.metadata.unwrap_or_default();
            // Of a size that is not known nothing is there.
            (known.received_bytes.into(), known.size_bytes.max(1).into())
        }
        TorrentState::Checking => (status.done_bytes, status.total_bytes),
        // Nothing is wanted of what is only shared: then it counts what is there.
        _ if status.wanted_bytes == 0 && status.pieces > 0 => {
            let have = u128::from(status.total_bytes) * u128::from(status.pieces_have);
            let bytes = have / u128::from(status.pieces);
            (u64::try_from(bytes).unwrap_or(u64::MAX), status.total_bytes)
        }
        _ => (status.done_bytes, status.wanted_bytes),
    }
}

/// What is said beside the bar: rates, peers, time left, and what limits it now. Short, so that it
/// fits on a terminal of 80 columns.
pub(crate) fn words(status: &TorrentStatus) -> String {
    let (down, up) = (Rate(status.down_bytes_per_s), Rate(status.up_bytes_per_s));
    let peers = match status.peers {
        1 => "1 peer".to_owned(),
        n => format!("{n} peers"),
    };
    match status.state {
        TorrentState::Checking => "checking".to_owned(),
        TorrentState::Metadata => metadata(status, &peers),
        TorrentState::Downloading => {
            // Whole seconds, and none is never the truth while something is missing.
            let eta = status.eta.map(|eta| Span(eta.max(Duration::from_secs(1))));
            let eta = eta.map(|eta| format!(" ETA {eta}")).unwrap_or_default();
            format!("↓{down} ↑{up} {peers}{eta} [{}]", limit(status))
        }
        TorrentState::Seeding => format!("↑{up} {peers} seeding"),
        TorrentState::Paused => "paused".to_owned(),
        TorrentState::DiskFailed => match &status.disk_error {
            Some(error) => format!("waiting for the disk: {error}"),
            None => "waiting for the disk".to_owned(),
        },
        TorrentState::Stopping => "stopping".to_owned(),
    }
}

/// How the search for the metadata stands.
fn metadata(status: &TorrentStatus, peers: &str) -> String {
    let known = status.metadata.unwrap_or_default();
    match (status.peers, known.sources) {
        (0, _) => {
            format!("metadata: no peers yet, {} known [{}]", status.known_peers, limit(status))
        }
        (_, sources) => format!("metadata: asking {peers}, {sources} have it"),
    }
}

/// The word for what limits it, with the reason where the trackers know it.
fn limit(status: &TorrentStatus) -> String {
    let word = status.bottleneck.word();
    match (status.bottleneck, tracker_trouble(&status.trackers, status.known_peers)) {
        (Bottleneck::NoPeers, Some(trouble)) => format!("{word}: {trouble}"),
        _ => word.to_owned(),
    }
}

/// Why the trackers are of no help, unless one of them is or may still be.
fn tracker_trouble(trackers: &[TrackerStatus], known_peers: usize) -> Option<String> {
    let Some(first) = trackers.first() else {
        let none_known = "no tracker; --tracker or --peer names one";
        return Some(if known_peers == 0 { none_known } else { "none can be reached" }.to_owned());
    };
    if trackers.iter().any(|tracker| tracker.last.is_none()) {
        return None;
    }
    if trackers.iter().any(|tracker| matches!(tracker.last, Some(Ok(_)))) {
        return Some("the tracker knows of none we can reach".to_owned());
    }
    // One that can never be asked explains nothing if there is another.
    let asked = trackers.iter().find(|tracker| tracker.next_announce.is_some()).unwrap_or(first);
    match &asked.last {
        Some(Err(why)) => Some(format!("{}: {why}", tracker_host(&asked.url))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tracker(last: Option<Result<usize, String>>) -> TrackerStatus {
        TrackerStatus {
            url: "http://t.example/key/announce".to_owned(),
            tier: 0,
            last,
            next_announce: None,
            complete: None,
            incomplete: None,
        }
    }

    #[test]
    fn no_peers_is_explained_by_the_trackers() {
        let failed = || tracker(Some(Err("no such host".to_owned())));
        assert_eq!(
            tracker_trouble(&[failed(), failed()], 0).as_deref(),
            Some("t.example: no such host")
        );
        assert_eq!(tracker_trouble(&[failed(), tracker(None)], 0), None);
        let answered = tracker_trouble(&[failed(), tracker(Some(Ok(0)))], 0);
        assert!(answered.unwrap().contains("knows"));
        assert!(tracker_trouble(&[], 0).unwrap().contains("--peer"));
        assert!(!tracker_trouble(&[], 1).unwrap().contains("--peer"), "one was named");
    }
}
