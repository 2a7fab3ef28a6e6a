//! The plain case: some clients seed, others leech, a tracker brings them together, and in the end
//! every leech has the content, byte for byte.

use std::path::PathBuf;
use std::time::Duration;

use super::client::{Client, Peer, Task};
use super::lab::until;
use super::{Bitswarm, Content, Creator, Lab, Need, Outcome, Seat, Torrent, Tracker};

/// Who gives what to whom.
#[derive(Clone, Debug)]
pub struct Transfer<'a> {
    /// Clients that have the content.
    pub seeds: &'a [Client],
    /// Clients that want it.
    pub leeches: &'a [Client],
    /// Who makes the .torrent file.
    pub creator: Creator,
    /// Bytes in a piece.
    pub piece_length: u64,
    /// Whose tracker.
    pub tracker: Whose,
    /// Whether the leeches get a magnet link instead of the .torrent file.
    pub by_magnet: bool,
    /// Whether all speak uTP with each other.
    pub over_utp: bool,
    /// Longest it may take, from the start of the last leech.
    pub within: Duration,
}

/// Whose tracker brings the peers together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Whose {
    /// The harness's own, asked over HTTP.
    Independent,
    /// The harness's own, asked over UDP (BEP 15).
    IndependentUdp,
    /// `bitswarm tracker`, asked over HTTP.
    BitswarmHttp,
    /// `bitswarm tracker`, asked over UDP (BEP 15).
    BitswarmUdp,
}

impl<'a> Transfer<'a> {
    /// From `seeds` to `leeches`, with the harness's tracker and a torrent by `creator`.
    pub fn new(seeds: &'a [Client], leeches: &'a [Client], creator: Creator) -> Self {
        Transfer {
            seeds,
            leeches,
            creator,
            piece_length: 64 << 10,
            tracker: Whose::Independent,
            by_magnet: false,
            over_utp: false,
            within: Duration::from_secs(90),
        }
    }

    /// What it takes.
    pub fn needs(&self) -> Vec<Need> {
        let clients = self.seeds.iter().chain(self.leeches).flat_map(|client| client.needs());
        clients.chain(self.creator.needs()).copied().collect()
    }

    /// Carries it out.
    pub fn run(&self, lab: &Lab, content: Content) -> Outcome {
        let tracker = AnyTracker::start(lab, self.tracker)?;
        let url = tracker.url();
        let torrent = Torrent::create(lab, content, self.creator, self.piece_length, &url)?;
        let mut seeds = Vec::new();
        for client in self.seeds {
            let task = Task { utp: self.over_utp, ..Task::seed(&torrent) };
            let seed = client.start(lab, &task)?;
            tracker.expect(&torrent, seed.seat());
            seeds.push(seed);
        }
        let mut leeches: Vec<(Client, PathBuf, Box<dyn Peer>)> = Vec::new();
        for client in self.leeches {
            let root = lab.make_dir("download")?;
            let mut task = Task { utp: self.over_utp, ..Task::leech(&torrent, &root) };
            if self.by_magnet {
                let escaped = url.replace(':', "%3A").replace('/', "%2F");
                task = task.by_magnet(&format!("&dn=magnet&tr={escaped}"));
            }
            let peer = client.start(lab, &task)?;
            leeches.push((*client, root, peer));
        }
        for (client, root, mut peer) in leeches {
            until(&format!("{client:?} to complete"), self.within, || {
                for seed in &mut seeds {
                    seed.process().ensure_running()?;
                }
                Ok(peer.is_complete()?.then_some(()))
            })?;
            peer.stop()?;
            let same = match client.makes_empty_files() {
                true => torrent.content.compare(&root),
                false => torrent.content.compare_but_for_empty_files(&root),
            };
            same.map_err(|error| format!("{client:?}: {error}"))?;
        }
        Ok(())
    }
}

enum AnyTracker {
    Independent(Tracker, Whose),
    Bitswarm(Bitswarm, Whose),
}

impl AnyTracker {
    fn start(lab: &Lab, whose: Whose) -> Outcome<AnyTracker> {
        Ok(match whose {
            Whose::Independent | Whose::IndependentUdp => {
                AnyTracker::Independent(Tracker::start(lab)?, whose)
            }
            Whose::BitswarmHttp | Whose::BitswarmUdp => {
                AnyTracker::Bitswarm(Bitswarm::tracker(lab)?, whose)
            }
        })
    }

    /// Names a seed to the leeches before it has announced itself: Transmission takes seconds.
    fn expect(&self, torrent: &Torrent, seat: Seat) {
        if let AnyTracker::Independent(tracker, _) = self {
            tracker.add_peer(torrent.infohash, seat.addr());
        }
    }

    fn url(&self) -> String {
        match self {
            AnyTracker::Independent(tracker, Whose::IndependentUdp) => tracker.udp_url(),
            AnyTracker::Independent(tracker, _) => tracker.url(),
            AnyTracker::Bitswarm(tracker, Whose::BitswarmUdp) => {
                format!("udp://{}/announce", tracker.seat().addr())
            }
            AnyTracker::Bitswarm(tracker, _) => {
                format!("http://{}/announce", tracker.seat().addr())
            }
        }
    }
}
