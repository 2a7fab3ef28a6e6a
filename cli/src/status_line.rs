//! How a torrent stands, as its progress line shows it.

use std::time::Duration;

use bitswarm_core::torrent::{Bottleneck, TorrentState, TorrentStatus, TrackerStatus};

use crate::goals::tracker_host;
use crate::progress::{Activity, Facts, Tone};
use crate::units::{Size, counted};

/// What is known of the search for peers in the DHT.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Dht {
    /// Nodes that we know.
    pub(crate) nodes: usize,
    /// Peers of this torrent that the last search has found, if one is done.
    pub(crate) found: Option<usize>,
}

/// All that its line shows. `dht` is there if peers are looked for in the DHT.
pub(crate) fn facts(status: &TorrentStatus, dht: Option<Dht>) -> Facts {
    let (done, total) = extent(status);
    let is_fetching = matches!(status.state, TorrentState::Downloading | TorrentState::Metadata);
    let has_peers = is_fetching || status.state == TorrentState::Seeding;
    Facts {
        activity: activity(status),
        done,
        total,
        down: (status.state == TorrentState::Downloading).then_some(status.down_bytes_per_s),
        up: has_peers.then_some(status.up_bytes_per_s).filter(|_| total.is_some()),
        // In words, while the metadata is asked for.
        peers: (has_peers && status.state != TorrentState::Metadata).then_some(status.peers),
        // Whole seconds, and none is never the truth while something is missing.
        eta: status.eta.filter(|_| is_fetching).map(|eta| eta.max(Duration::from_secs(1))),
        note: words(status, dht),
        tone: match status.state {
            TorrentState::DiskFailed => Tone::Bad,
            TorrentState::Downloading | TorrentState::Metadata => Tone::Slow,
            _ => Tone::Plain,
        },
    }
}

/// The last word on a torrent when its run ends.
pub(crate) fn last_facts(status: &TorrentStatus, is_done: bool) -> Facts {
    let (done, total) = extent(status);
    let (received, sent) = (Size(status.downloaded_bytes), Size(status.uploaded_bytes));
    let how = if is_done { "done" } else { "stopped" };
    let note = match status.downloaded_bytes {
        0 => format!("{how}, sent {sent}"),
        _ => format!("{how}, received {received}, sent {sent}"),
    };
    let activity = if is_done { Activity::Resting } else { Activity::Waiting };
    Facts { activity, done, total, note, ..Facts::default() }
}

fn activity(status: &TorrentStatus) -> Activity {
    let moves = status.down_bytes_per_s > 0 || status.up_bytes_per_s > 0;
    match status.state {
        TorrentState::Checking => Activity::Moving,
        _ if moves => Activity::Moving,
        TorrentState::Downloading | TorrentState::Metadata | TorrentState::DiskFailed => {
            Activity::Waiting
        }
        TorrentState::Seeding | TorrentState::Paused | TorrentState::Stopping => Activity::Resting,
    }
}

/// How far a torrent is: bytes done, of how many, if that is known.
fn extent(status: &TorrentStatus) -> (u64, Option<u64>) {
    match status.state {
        TorrentState::Metadata => {
            let known = status.metadata.unwrap_or_default();
            let size = Some(u64::from(known.size_bytes)).filter(|&size| size > 0);
            (known.received_bytes.into(), size)
        }
        TorrentState::Checking => (status.done_bytes, Some(status.total_bytes)),
        // Nothing is wanted of what is only shared: then it counts what is there.
        _ if status.wanted_bytes == 0 && status.pieces > 0 => {
            let have = u128::from(status.total_bytes) * u128::from(status.pieces_have);
            let bytes = have / u128::from(status.pieces);
            (u64::try_from(bytes).unwrap_or(u64::MAX), Some(status.total_bytes))
        }
        _ => (status.done_bytes, Some(status.wanted_bytes)),
    }
}

/// What is said beside bar and figures: what the torrent does, or what keeps it from being faster.
pub(crate) fn words(status: &TorrentStatus, dht: Option<Dht>) -> String {
    match status.state {
        TorrentState::Checking => "checking".to_owned(),
        TorrentState::Metadata => metadata(status, dht),
        TorrentState::Downloading => format!("[{}]", limit(status, dht)),
        TorrentState::Seeding => match dht.filter(|_| status.peers == 0) {
            Some(dht) => format!("seeding ({})", in_words(dht.nodes)),
            None => "seeding".to_owned(),
        },
        TorrentState::Paused => "paused".to_owned(),
        TorrentState::DiskFailed => match &status.disk_error {
            Some(error) => format!("waiting for the disk: {error}"),
            None => "waiting for the disk".to_owned(),
        },
        TorrentState::Stopping => "stopping".to_owned(),
    }
}

/// How the search for the metadata stands.
fn metadata(status: &TorrentStatus, dht: Option<Dht>) -> String {
    let known = status.metadata.unwrap_or_default();
    let peers = match status.peers {
        0 => {
            let limit = limit(status, dht);
            return format!("metadata: no peers yet, {} known [{limit}]", status.known_peers);
        }
        count => counted(count, "peer", "peers"),
    };
    match known.sources {
        1 => format!("metadata: asking {peers}, 1 has it"),
        sources => format!("metadata: asking {peers}, {sources} have it"),
    }
}

/// The word for what limits it, with the reason where the trackers or the DHT know it.
fn limit(status: &TorrentStatus, dht: Option<Dht>) -> String {
    let word = status.bottleneck.word();
    if status.bottleneck != Bottleneck::NoPeers {
        return word.to_owned();
    }
    let trouble = match dht {
        // Without a tracker the DHT is where peers are looked for.
        Some(_) if status.trackers.is_empty() => None,
        _ => tracker_trouble(&status.trackers, status.known_peers),
    };
    let reasons: Vec<String> = trouble.into_iter().chain(dht.map(search_in_words)).collect();
    match reasons.is_empty() {
        true => word.to_owned(),
        false => format!("{word}: {}", reasons.join("; ")),
    }
}

/// `DHT: 120 nodes`
pub(crate) fn in_words(nodes: usize) -> String {
    match nodes {
        0 => "DHT: no node yet".to_owned(),
        1 => "DHT: 1 node".to_owned(),
        count => format!("DHT: {count} nodes"),
    }
}

/// `DHT: 120 nodes, no peer`
fn search_in_words(dht: Dht) -> String {
    let nodes = in_words(dht.nodes);
    match dht.found {
        _ if dht.nodes == 0 => nodes,
        None => format!("{nodes}, searching"),
        Some(0) => format!("{nodes}, no peer"),
        Some(1) => format!("{nodes}, 1 peer"),
        Some(count) => format!("{nodes}, {count} peers"),
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
    fn the_search_in_the_dht_is_said_in_words() {
        let said = |nodes, found| search_in_words(Dht { nodes, found });
        assert_eq!(said(0, None), "DHT: no node yet");
        assert_eq!(said(120, None), "DHT: 120 nodes, searching");
        assert_eq!(said(120, Some(0)), "DHT: 120 nodes, no peer");
        assert_eq!(said(1, Some(1)), "DHT: 1 node, 1 peer");
        assert_eq!(said(2, Some(3)), "DHT: 2 nodes, 3 peers");
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
