//! Announces of one torrent: what trackers are told, and the peers they tell of.
//!
//! When and to whom is decided by [`TrackerList`]; here the numbers are filled in, and answers
//! become known peers, notices and status.

use std::net::{IpAddr, SocketAddr};

use crate::family::Family;
use crate::http::Scheme;
use crate::notice::TorrentNotice;
use crate::piece::{BLOCK_LEN, InfoHash};
use crate::random::PolicyRng;
use crate::session::Session;
use crate::session::announces::{AnnounceResult, Errand};
use crate::time::Instant;
use crate::torrent::Torrent;
use crate::torrent::peer_book::{Added, PeerSource};
use crate::tracker::TrackerStatus;
use crate::tracker::list::{Heard, TrackerKey, TrackerList};
use crate::tracker::{AnnounceEvent, AnnounceRequest, NamedBy};

/// With fewer peers than this a download asks trackers again early (chosen).
const ENOUGH_PEERS: usize = 30;

/// The trackers of one torrent, and whether they are to be spoken with now.
#[derive(Debug)]
pub(super) struct Announcer {
    list: TrackerList,
    state: State,
    /// The announce just made, with the other infohash of a hybrid.
    second: Option<Box<Errand>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// No tracker knows of us, or is to.
    Silent,
    Announcing,
    /// Trackers are told that we leave.
    Leaving,
}

impl Announcer {
    /// The torrent's trackers, in tiers.
    pub(super) fn new(tiers: Vec<Vec<String>>, rng: PolicyRng) -> Self {
        Announcer { list: TrackerList::new(&tiers, rng), state: State::Silent, second: None }
    }
}

impl Announcer {
    /// Further trackers, in tiers of their own; those that are known already count once.
    pub(super) fn add_trackers(&mut self, tiers: &[Vec<String>], by: NamedBy, now: Instant) {
        self.list.add_tiers(tiers, by, now);
    }
}

impl Torrent {
    pub(super) fn start_announcing(&mut self, session: &mut Session) {
        // A torrent that has just learnt its metadata is known to its trackers already.
        if self.announcer.state != State::Announcing {
            self.announcer.state = State::Announcing;
            self.announcer.list.restart(session.now);
        }
    }

    pub(super) fn stop_announcing(&mut self, session: &mut Session) {
        if self.announcer.state == State::Announcing {
            self.announcer.state = State::Leaving;
            self.announcer.list.stop(session.now);
            session.leaving.push(self.id);
        }
    }

    /// It became complete by downloading.
    pub(super) fn announce_completed(&mut self, session: &mut Session) {
        self.announcer.list.complete(session.now);
    }

    pub(super) fn announce_due_at(&self, session: &Session) -> Option<Instant> {
        if self.announcer.state == State::Silent || session.listeners_pending > 0 {
            return None;
        }
        self.announcer.list.poll_timeout()
    }

    pub(super) fn tracker_status(&self, now: Instant) -> Vec<TrackerStatus> {
        self.announcer.list.status(now).collect()
    }

    /// Whether every tracker that knew of us was told that we leave, or could not be.
    pub(super) fn has_left_trackers(&self) -> bool {
        match self.announcer.state {
            State::Silent => true,
            State::Announcing => false,
            State::Leaving => self.announcer.list.is_stopped(),
        }
    }

    /// The next announce that is due. None is before it is known where peers reach us. That of a
    /// hybrid comes twice, with each infohash: its peers may know only one of them (BEP 52).
    pub(crate) fn next_announce(&mut self, session: &mut Session) -> Option<Errand> {
        if let Some(second) = self.announcer.second.take() {
            return Some(*second);
        }
        self.announce_due_at(session).filter(|&at| at <= session.now)?;
        let need_peers = (self.is_downloading() || self.is_fetching_metadata())
            && self.peers.len() < ENOUGH_PEERS;
        let announce = self.announcer.list.poll(session.now, need_peers, session.families())?;
        let event = self.told_event(announce.event, announce.url.scheme());
        let request = AnnounceRequest {
            infohash: self.identity.primary(),
            peer_id: session.peer_id,
            port: session.listen_port(announce.family).unwrap_or(0),
            uploaded: self.traffic.totals().uploaded,
            downloaded: self.traffic.totals().downloaded,
            left: self.bytes_not_had(),
            event,
            numwant: Some(announce.numwant),
            key: session.announce_key,
            tracker_id: announce.tracker_id.clone(),
            ip: None,
            compact: true,
        };
        self.announcer.second = self.identity.other().map(|infohash| {
            let request = AnnounceRequest { infohash, ..request.clone() };
            Errand { announce: announce.clone(), request }.into()
        });
        Some(Errand { announce, request })
    }

    /// An announce, with either infohash, is on its way to this tracker.
    pub(crate) fn announce_sent(&mut self, tracker: TrackerKey) {
        self.announcer.list.handle_sent(tracker);
    }

    /// A tracker answered, or did not. What it says of the other infohash brings peers and changes
    /// nothing else.
    pub(crate) fn announced(
        &mut self,
        session: &mut Session,
        tracker: TrackerKey,
        infohash: InfoHash,
        result: AnnounceResult,
    ) {
        if infohash != self.identity.primary() {
            if let Ok(answer) = result {
                self.found_peers(session, infohash, PeerSource::Tracker, &answer.peers);
                self.look_up_listed_peers(session, infohash, answer.named_peers);
            }
            return;
        }
        let heard = self.announcer.list.handle_result(session.now, tracker, &result);
        if heard == Heard::Late {
            return;
        }
        let url = self.announcer.list.url(tracker).map(ToString::to_string).unwrap_or_default();
        match result {
            Ok(answer) => {
                self.book.recall_unreachable(session.now);
                self.found_peers(session, infohash, PeerSource::Tracker, &answer.peers);
                if let Some(ip) = answer.external_ip {
                    self.learn_address(session, ip);
                }
                let peers = answer.peers.len() + answer.named_peers.len();
                self.look_up_listed_peers(session, infohash, answer.named_peers);
                let warning = answer.warning;
                session.notify(self.id, TorrentNotice::TrackerAnswered { url, peers, warning });
            }
            Err(error) if heard == Heard::News => {
                let why = self.announcer.list.failure(tracker);
                let why = why.map_or_else(|| error.to_string(), str::to_owned);
                session.notify(self.id, TorrentNotice::TrackerFailed { url, why });
            }
            Err(_) => {}
        }
        self.end_if_idle(session);
    }

    /// Peers were found that know the torrent by this infohash.
    pub(super) fn found_peers(
        &mut self,
        session: &mut Session,
        infohash: InfoHash,
        source: PeerSource,
        peers: &[SocketAddr],
    ) {
        let of_v2 = self.identity.is_hybrid() && self.identity.is_v2(infohash);
        for &peer in peers {
            // Whoever knows both is dialled with that of v1, and tells (BEP 52, "upgrade path").
            if self.book.add(peer, source, session.now) == Added::New {
                self.book.set_of_v2(peer, of_v2);
            }
        }
        session.queue_connects(self.id);
    }

    /// What a tracker is told: a partial seed says at each announce that it is one, but when it leaves
    /// (BEP 21). UDP trackers have no word for that (BEP 15).
    fn told_event(&self, event: Option<AnnounceEvent>, scheme: Scheme) -> Option<AnnounceEvent> {
        let leaves = event == Some(AnnounceEvent::Stopped);
        match self.is_partial_seed() && scheme != Scheme::Udp && !leaves {
            true => Some(AnnounceEvent::Paused),
            false => event,
        }
    }

    /// Bytes of all pieces that are missing here, wanted or not: whoever wants a part only is no
    /// seed.
    fn bytes_not_had(&self) -> u64 {
        // Not known, but not 0: that would be a seed.
        let Some(content) = &self.content else { return BLOCK_LEN.into() };
        content.bytes_missing(self.download.picker.have())
    }

    /// A tracker told us our address as it sees it: canonical priorities depend on it (BEP 40).
    pub(crate) fn learn_address(&mut self, session: &mut Session, ip: IpAddr) {
        let known = if ip.is_ipv4() { &mut session.external[0] } else { &mut session.external[1] };
        if known.replace(ip) != Some(ip) {
            session.notify(self.id, TorrentNotice::ExternalAddress { ip });
        }
        let ours = session.external.iter().flatten().map(|&ip| {
            let port = session.listen_port(Family::of(ip)).unwrap_or(0);
            SocketAddr::new(ip, port)
        });
        let ours: Vec<SocketAddr> = ours.collect();
        self.book.set_external(&ours);
    }
}
