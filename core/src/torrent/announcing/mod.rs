//! A torrent makes itself known, and hears of peers: by trackers and by the DHT.
//!
//! When and to whom is decided by [`Trackers`] and [`DhtLookups`]; what a tracker's answer means for the
//! rest of the torrent is its [`Heard`]. The torrent fills in its numbers, dials and notifies.

pub(super) mod dht;
pub(super) mod trackers;

use std::net::{IpAddr, SocketAddr};

use crate::dht::{Announce, DhtRequest, DhtRequestId, NodeId};
use crate::encryption::EncryptionPolicy;
use crate::family::Family;
use crate::notice::TorrentNotice;
use crate::piece::{BLOCK_LEN, InfoHash, PeerId};
use crate::random::PolicyRng;
use crate::time::Instant;
use crate::torrent::announcing::dht::DhtLookups;
use crate::torrent::announcing::trackers::{Answer, Trackers};
use crate::tracker::AnnounceRequest;
use crate::tracker::announce_job::{AnnounceJob, AnnounceResult};
use crate::tracker::list::TrackerKey;

/// Where a torrent is made known.
#[derive(Debug)]
pub(super) struct Announcing {
    pub(super) trackers: Trackers,
    pub(super) dht: DhtLookups,
}

/// What trackers are told of a torrent and of us.
#[derive(Clone, Copy, Debug)]
pub(super) struct Numbers {
    pub(super) infohash: InfoHash,
    pub(super) peer_id: PeerId,
    /// Tells our announces apart from others' behind the same address (BEP 7, `key`).
    pub(super) key: u32,
    /// Bytes in this session.
    pub(super) uploaded: u64,
    pub(super) downloaded: u64,
    /// Bytes that are missing, once it is known how many there are.
    pub(super) left: Option<u64>,
    pub(super) encryption: EncryptionPolicy,
}

/// How a torrent is announced in the DHT.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lookup {
    /// One that wants nothing more looks for no peer that does not either; but it is no seed.
    pub(super) is_finished: bool,
    pub(super) has_everything: bool,
    /// Where peers reach us, if that is not the port of our datagrams.
    pub(super) port: Option<u16>,
}

/// What leaving brings with it.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Left {
    /// Whether any tracker is to be told that we leave.
    pub(super) trackers: bool,
    /// The lookup in the DHT that is of no use any more.
    pub(super) lookup: Option<DhtRequestId>,
}

/// What a tracker's answer means.
#[derive(Default, PartialEq, Debug)]
pub(super) struct Heard {
    /// Peers that know the torrent by the infohash that was announced.
    pub(super) peers: Vec<SocketAddr>,
    /// The same, by name and port.
    pub(super) named_peers: Vec<(String, u16)>,
    /// Where the tracker answered from.
    pub(super) tracker: Option<IpAddr>,
    /// Whether it gave an answer.
    pub(super) is_answer: bool,
    /// Our address as the tracker sees it.
    pub(super) external_ip: Option<IpAddr>,
    /// What is said of it.
    pub(super) notice: Option<TorrentNotice>,
    /// Whether it came too late to mean anything.
    pub(super) is_late: bool,
}

impl Announcing {
    /// Nowhere yet.
    pub(super) fn new(rng: PolicyRng) -> Self {
        Announcing { trackers: Trackers::new(rng), dht: DhtLookups::default() }
    }

    /// Leaves trackers and the DHT, until it is active again.
    pub(super) fn leave(&mut self, now: Instant) -> Left {
        Left { trackers: self.trackers.stop(now), lookup: self.dht.leave() }
    }

    /// The announce that is due, if one is; `port` tells where peers reach us.
    pub(super) fn next(
        &mut self,
        now: Instant,
        standing: trackers::Standing,
        numbers: impl FnOnce() -> Numbers,
        port: impl Fn(Family) -> Option<u16>,
    ) -> Option<AnnounceJob> {
        self.trackers.next(now, standing, |announce| {
            let torrent = numbers();
            AnnounceRequest {
                infohash: torrent.infohash,
                peer_id: torrent.peer_id,
                port: port(announce.family).unwrap_or(0),
                uploaded: torrent.uploaded,
                downloaded: torrent.downloaded,
                // Not known, but not 0: that would be a seed.
                left: torrent.left.unwrap_or(BLOCK_LEN.into()),
                event: None,
                numwant: None,
                key: torrent.key,
                tracker_id: None,
                ip: None,
                compact: true,
                encryption: torrent.encryption,
            }
        })
    }

    /// What to look for in the DHT, which has grown so large, if that is due; by the infohash whose turn it is
    /// of `primary` and `other`.
    pub(super) fn next_lookup(
        &self,
        now: Instant,
        growth: usize,
        (primary, other): (InfoHash, Option<InfoHash>),
        lookup: impl FnOnce() -> Lookup,
    ) -> Option<DhtRequest> {
        self.dht.due_at(now, growth).filter(|at| *at <= now)?;
        let lookup = lookup();
        Some(DhtRequest::Peers {
            infohash: NodeId::from(self.looked_for(primary, other)),
            no_seeds: lookup.is_finished,
            announce: Some(Announce { port: lookup.port, seed: lookup.has_everything }),
            enough: None,
        })
    }

    /// By which of its infohashes the torrent is looked for in the DHT.
    pub(super) fn looked_for(&self, primary: InfoHash, other: Option<InfoHash>) -> InfoHash {
        other.filter(|_| self.dht.is_second()).unwrap_or(primary)
    }

    /// A tracker answered the announce of an infohash, or did not. What it says of another than the
    /// `primary` one brings peers and changes nothing else.
    pub(super) fn answered(
        &mut self,
        now: Instant,
        tracker: TrackerKey,
        is_primary: bool,
        result: AnnounceResult,
    ) -> Heard {
        let answer = match is_primary {
            true => Some(self.trackers.answered(now, tracker, &result)),
            false => None,
        };
        let url = match answer {
            Some(Answer::Late) => return Heard { is_late: true, ..Heard::default() },
            Some(Answer::Failed { url, why }) => {
                let notice = Some(TorrentNotice::TrackerFailed { url, why });
                return Heard { notice, ..Heard::default() };
            }
            Some(Answer::OtherFamilyLeft) => return Heard::default(),
            Some(Answer::Heard { url }) => Some(url),
            None => None,
        };
        let Ok(answer) = result else { return Heard::default() };
        let peers = answer.peers.len() + answer.named_peers.len();
        let warning = answer.warning;
        Heard {
            peers: answer.peers,
            named_peers: answer.named_peers,
            tracker: answer.answered_by,
            is_answer: true,
            external_ip: answer.external_ip.filter(|_| is_primary),
            notice: url.map(|url| TorrentNotice::TrackerAnswered { url, peers, warning }),
            is_late: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Duration;
    use crate::torrent::announcing::trackers::tests::standing;
    use crate::tracker::AnnounceEvent;
    use crate::tracker::{AnnounceResponse, NamedBy, TrackerError};

    const URL: &str = "http://a.example/announce";

    /// A torrent that has just been announced, and to which tracker.
    fn announced() -> (Announcing, TrackerKey) {
        let mut announcing = Announcing::new(PolicyRng::from_seed([1; 32]));
        announcing.trackers.add(&[vec![URL.to_owned()]], NamedBy::User, Instant::ZERO);
        announcing.trackers.start(Instant::ZERO);
        let job =
            announcing.trackers.next(Instant::ZERO, standing(), |_| AnnounceRequest::sample());
        let tracker = job.expect("it is due").announce.tracker;
        announcing.trackers.sent(tracker);
        (announcing, tracker)
    }

    fn answer() -> AnnounceResult {
        Ok(AnnounceResponse {
            interval: Duration::from_secs(1800),
            min_interval: None,
            tracker_id: None,
            complete: None,
            incomplete: None,
            peers: vec![([50, 0, 0, 1], 6881).into()],
            named_peers: vec![("peer.example".to_owned(), 6881)],
            warning: None,
            external_ip: Some([50, 0, 0, 9].into()),
            answered_by: None,
        })
    }

    #[test]
    fn an_answer_brings_peers_our_address_and_word_for_the_user() {
        let (mut announcing, tracker) = announced();
        let heard = announcing.answered(Instant::ZERO, tracker, true, answer());
        assert!(heard.is_answer && !heard.is_late);
        assert_eq!((heard.peers.len(), heard.named_peers.len()), (1, 1));
        assert_eq!(heard.external_ip, Some([50, 0, 0, 9].into()));
        let notice = TorrentNotice::TrackerAnswered { url: URL.into(), peers: 2, warning: None };
        assert_eq!(heard.notice, Some(notice));
        let again = announcing.answered(Instant::ZERO, tracker, true, answer());
        assert_eq!(again, Heard { is_late: true, ..Heard::default() });
    }

    #[test]
    fn an_answer_for_the_other_infohash_brings_peers_alone() {
        let (mut announcing, tracker) = announced();
        let heard = announcing.answered(Instant::ZERO, tracker, false, answer());
        assert!(heard.is_answer && heard.peers.len() == 1);
        assert_eq!((heard.external_ip, heard.notice), (None, None));
    }

    #[test]
    fn a_failure_is_shown_and_leaving_is_told_to_trackers_once() {
        let (mut announcing, tracker) = announced();
        let failure = Err(TrackerError::Status(500));
        let heard = announcing.answered(Instant::ZERO, tracker, true, failure);
        assert!(!heard.is_answer && !heard.is_late);
        assert!(matches!(heard.notice, Some(TorrentNotice::TrackerFailed { .. })));
        assert_eq!(announcing.leave(Instant::ZERO), Left { trackers: true, lookup: None });
        assert_eq!(announcing.leave(Instant::ZERO), Left { trackers: false, lookup: None });
    }

    #[test]
    fn trackers_are_told_our_port_and_that_something_is_missing_while_it_is_not_known_how_much() {
        for (left, told) in [(None, u64::from(BLOCK_LEN)), (Some(0), 0), (Some(7), 7)] {
            let mut announcing = Announcing::new(PolicyRng::from_seed([1; 32]));
            announcing.trackers.add(&[vec![URL.to_owned()]], NamedBy::User, Instant::ZERO);
            let numbers = Numbers {
                infohash: InfoHash([1; 20]),
                peer_id: PeerId([2; 20]),
                key: 3,
                uploaded: 4,
                downloaded: 5,
                left,
                encryption: EncryptionPolicy::Prefer,
            };
            let next = |announcing: &mut Announcing| {
                announcing.next(Instant::ZERO, standing(), || numbers, |_| Some(6881))
            };
            assert_eq!(announcing.trackers.due_at(), None, "it has not begun");
            announcing.trackers.start(Instant::ZERO);
            let request = next(&mut announcing).expect("it is due").request;
            assert_eq!((request.left, request.port, request.key), (told, 6881, 3));
            assert_eq!(request.event, Some(AnnounceEvent::Started));
        }
    }

    #[test]
    fn a_lookup_in_the_dht_says_what_the_torrent_is_looking_for() {
        let (announcing, _) = announced();
        let infohash = InfoHash([1; 20]);
        let lookup = Lookup { is_finished: true, has_everything: false, port: Some(6881) };
        let request = announcing.next_lookup(Instant::ZERO, 0, (infohash, None), || lookup);
        let announce = Some(Announce { port: Some(6881), seed: false });
        let infohash = NodeId::from(infohash);
        let wanted = DhtRequest::Peers { infohash, no_seeds: true, announce, enough: None };
        assert_eq!(request, Some(wanted));
    }

    #[test]
    fn a_hybrid_is_looked_for_by_its_first_infohash_first() {
        let (announcing, _) = announced();
        let (first, other) = (InfoHash([1; 20]), InfoHash([2; 20]));
        assert_eq!(announcing.looked_for(first, Some(other)), first);
    }
}
