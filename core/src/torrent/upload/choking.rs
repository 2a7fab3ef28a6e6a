//! When it is decided which peers to unchoke: in a rhythm while any is interested, and soon after
//! something has changed.

use crate::choke::{self, ASKS_NOTHING_MOST, Decision, Mode, PeerSnapshot, State};
use crate::config::Choking as Config;
use crate::random::PolicyRng;
use crate::time::{Duration, Instant};

/// Wait before a decision that an event asks for (chosen: bounds the work of flapping peers).
const SOON: Duration = Duration::from_secs(1);

/// The rhythm of the decisions.
#[derive(Debug)]
pub(in crate::torrent) struct Choking {
    at: Option<Instant>,
    /// When to look whether a peer lets its slot lie idle.
    look_at: Option<Instant>,
    /// When the optimistic slots go to others.
    optimistic_at: Instant,
}

/// What a decision depends on besides the peers.
#[derive(Clone, Copy, Debug)]
pub(in crate::torrent) struct Situation {
    pub(in crate::torrent) is_seeding: bool,
    /// Whether the disk gives nothing that could be uploaded.
    pub(in crate::torrent) cannot_read: bool,
    pub(in crate::torrent) piece_len: u32,
    /// Whether any peer wants something of us, one that cannot be unchoked included.
    pub(in crate::torrent) is_any_interested: bool,
}

impl Choking {
    /// No decision is due.
    pub(super) fn new(now: Instant) -> Self {
        Choking { at: None, look_at: None, optimistic_at: now }
    }

    /// When the next decision is due.
    pub(in crate::torrent) fn due_at(&self) -> Option<Instant> {
        self.at
    }

    /// When it is to be looked whether a peer lets its slot lie idle.
    pub(in crate::torrent) fn look_at(&self) -> Option<Instant> {
        self.look_at
    }

    /// A peer was unchoked: it is looked soon what it does with its slot.
    pub(in crate::torrent) fn unchoked(&mut self, now: Instant) {
        self.look_at.get_or_insert(now + ASKS_NOTHING_MOST);
    }

    /// It is looked now; whether to decide, if these are the peers. It is looked again while some have slots
    /// that others wait for: a slot may lie idle at any time.
    pub(in crate::torrent) fn look<K>(&mut self, now: Instant, peers: &[PeerSnapshot<K>]) -> bool {
        let is_waited = peers.iter().any(|peer| peer.interested && peer.am_choking);
        let has_slots = peers.iter().any(|peer| !peer.am_choking);
        self.look_at = (is_waited && has_slots).then_some(now + ASKS_NOTHING_MOST);
        is_waited && peers.iter().any(|peer| peer.idled > 0 && !peer.am_choking)
    }

    /// Something has changed: decides soon.
    pub(in crate::torrent) fn soon(&mut self, now: Instant) {
        let soon = now + SOON;
        self.at = Some(self.at.map_or(soon, |at| at.min(soon)));
    }

    /// A peer wants something of us: keeps the rhythm, and looks soon whether a slot lies idle.
    pub(in crate::torrent) fn interested(&mut self, now: Instant, config: &Config) {
        self.look_at.get_or_insert(now + ASKS_NOTHING_MOST);
        self.at.get_or_insert(now + config.interval);
    }

    /// There is nothing to decide.
    pub(in crate::torrent) fn stop(&mut self) {
        self.at = None;
        self.look_at = None;
    }

    /// Decides which peers may download from now on.
    pub(in crate::torrent) fn decide<K: Copy + Ord>(
        &mut self,
        now: Instant,
        config: &Config,
        peers: &[PeerSnapshot<K>],
        situation: Situation,
        rng: &mut PolicyRng,
    ) -> Decision<K> {
        let rotate_optimistic = now >= self.optimistic_at;
        if rotate_optimistic {
            self.optimistic_at = now + config.optimistic_interval;
        }
        let state = State {
            now,
            mode: if situation.is_seeding { Mode::Seeding } else { Mode::Leeching },
            slots: if situation.cannot_read { 0 } else { config.slots },
            rotate_optimistic,
            piece_len: situation.piece_len,
        };
        self.at = situation.is_any_interested.then_some(now + config.interval);
        choke::decide(peers, &state, rng)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    const SITUATION: Situation = Situation {
        is_seeding: true,
        cannot_read: false,
        piece_len: 1 << 18,
        is_any_interested: true,
    };

    #[test]
    fn decisions_keep_a_rhythm_while_peers_are_interested_and_an_event_hastens_the_next() {
        let (config, now) = (config::Config::default().choking, Instant::from_secs(100));
        let mut choking = Choking::new(now);
        assert_eq!(choking.due_at(), None);
        choking.interested(now, &config);
        assert_eq!(choking.due_at(), Some(now + config.interval));
        choking.soon(now);
        choking.interested(now, &config);
        assert_eq!(choking.due_at(), Some(now + SOON));
        let mut rng = PolicyRng::from_seed([1; 32]);
        let decide = |choking: &mut Choking, situation, rng: &mut PolicyRng| {
            drop(choking.decide::<u32>(now + SOON, &config, &[], situation, rng));
        };
        decide(&mut choking, SITUATION, &mut rng);
        assert_eq!(choking.due_at(), Some(now + SOON + config.interval));
        let nobody = Situation { is_any_interested: false, ..SITUATION };
        decide(&mut choking, nobody, &mut rng);
        assert_eq!(choking.due_at(), None);
    }

    fn snapshot(key: u32, am_choking: bool, idled: u8) -> PeerSnapshot<u32> {
        PeerSnapshot { am_choking, idled, ..PeerSnapshot::sample(key) }
    }

    #[test]
    fn a_slot_that_begins_to_lie_idle_at_any_time_is_found_within_seconds() {
        let now = Instant::from_secs(100);
        let mut choking = Choking::new(now);
        choking.unchoked(now);
        let mut at = choking.look_at().expect("it is looked what the peer does");
        for _ in 0..10 {
            assert!(!choking.look(at, &[snapshot(1, false, 0), snapshot(2, true, 0)]));
            let next = choking.look_at().expect("others wait");
            assert_eq!(next, at + ASKS_NOTHING_MOST);
            at = next;
        }
        assert!(choking.look(at, &[snapshot(1, false, 1), snapshot(2, true, 0)]));
        assert!(!choking.look(at, &[snapshot(1, false, 1)]));
        assert_eq!(choking.look_at(), None, "nobody waits");
        choking.interested(at, &config::Config::default().choking);
        assert_eq!(choking.look_at(), Some(at + ASKS_NOTHING_MOST), "somebody does");
    }
}
