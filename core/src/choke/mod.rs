//! Whom to unchoke (BEP 3, "choking and optimistic unchoking").
//!
//! A pure function of a snapshot. While leeching, the peers we download from fastest get the slots
//! (tit-for-tat), peers that snub us come last, and every fifth slot (at least one) is optimistic:
//! it goes to the peer that has waited longest, newcomers waiting three times as fast. A wait counts less
//! the more a peer took than it gave: givers lose their wait with each slot they earn, so in plain
//! turns nearly all optimistic slots would be free riders'. While seeding, the slots go round: a
//! holder keeps its slot for a share of bytes or time and then goes behind all peers that wait, so
//! speed alone cannot hold a seed's slots (defence 20). A peer that has a slot and asks for nothing loses it
//! within seconds while others wait, and then waits behind newcomers (defence 41).
//!
//! Invariants: only interested peers are unchoked, never more than there are slots; no slot stays
//! empty while somebody waits; every interested peer is unchoked in bounded time (L5); the same
//! snapshot and generator give the same decision. Not here: when to decide.

pub mod accounts;
pub mod spread;

use std::cmp::Reverse;
use std::net::IpAddr;

use crate::random::PolicyRng;
use crate::time::{Duration, Instant};

/// What a decision needs to know of a peer.
#[derive(Clone, Copy, Debug)]
pub struct PeerSnapshot<K> {
    /// Names the peer in the decision.
    pub key: K,
    /// Whether it is interested in us.
    pub interested: bool,
    /// Whether we choke it.
    pub am_choking: bool,
    /// Whether it holds an optimistic slot, by the last decision.
    pub optimistic: bool,
    /// Whether it owes us blocks and has not sent any for long.
    pub snubs_us: bool,
    /// Bytes per second from it to us.
    pub down_bytes_per_s: u64,
    /// Bytes per second from us to it.
    pub up_bytes_per_s: u64,
    /// When the connection was established.
    pub connected_at: Instant,
    /// When it was last unchoked; `None` if it never was. Best remembered across reconnections, or
    /// those count as newcomers again.
    pub unchoked_at: Option<Instant>,
    /// Bytes sent to it since it was last unchoked.
    pub uploaded_since_unchoke: u64,
    /// How many of its slots in a row it let lie idle, asking for nothing, up to the last or present one.
    pub idled: u8,
    /// Bytes of blocks ever sent to it, across reconnections.
    pub uploaded: u64,
    /// Bytes of blocks it ever sent us, across reconnections.
    pub downloaded: u64,
    /// Peers of one group are taken for one user when slots are given for nothing in return.
    pub group: AddressGroup,
}

/// What a decision needs to know of the torrent.
#[derive(Clone, Copy, Debug)]
pub struct State {
    /// The present.
    pub now: Instant,
    /// Whether we still download.
    pub mode: Mode,
    /// Peers to unchoke at most, the optimistic ones among them.
    pub slots: usize,
    /// Whether the optimistic slots go to others now (every 30 seconds).
    pub rotate_optimistic: bool,
    /// Length of the torrent's pieces in bytes; a seed's share is counted in them.
    pub piece_len: u32,
}

/// What slots are given for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// For what the peer gives us.
    Leeching,
    /// In turn.
    Seeding,
}

/// What is to change. Lists are in ascending order of keys.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Decision<K> {
    /// To choke. To be done before the others are unchoked.
    pub choke: Vec<K>,
    /// To unchoke.
    pub unchoke: Vec<K>,
    /// All who hold an optimistic slot from now on, changed or not.
    pub optimistic: Vec<K>,
}

/// One user's addresses, as far as addresses tell: an IPv4 address, or an IPv6 /64.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct AddressGroup(u128);

/// A slot is kept at least this long while seeding (chosen: a decision's interval. A minute, and a fast
/// seed with few slots gives most of what it sends to a few).
const SHARE_LEAST: Duration = Duration::from_secs(10);
/// One who has a slot and asks for nothing for so long lets it lie idle (chosen: many round trips).
pub const ASKS_NOTHING_MOST: Duration = Duration::from_secs(5);
/// One who asks and takes nothing keeps it so long (chosen).
const IDLE_MOST: Duration = Duration::from_secs(60);
/// A slot is kept at most this long while others wait (chosen).
const SHARE_MOST: Duration = Duration::from_secs(180);
/// Pieces that are a share (chosen: enough to have something to trade).
const SHARE_PIECES: u64 = 8;
/// Every how many slots one is optimistic (chosen; BEP 3 has one of four).
const SLOTS_PER_OPTIMISTIC: usize = 5;
/// How much faster a newcomer's wait counts. BEP 3: "three times as likely".
const NEWCOMER_FACTOR: u32 = 3;
/// Pieces that a leech lends to one who gives nothing (chosen: enough to have something to trade).
const LENT_PIECES: u64 = 2;
/// In how many parts of it a wait counts (chosen: fine enough, and small beside 64 bits of time).
const CREDIT_UNITS: u128 = 1024;
/// How much slower a wait counts at most, however much was taken and not given (chosen).
const TAKER_FACTOR: u64 = 16;
/// How much slower, in powers of two, the wait of one counts for each slot in a row that it let lie idle, and
/// how many count (chosen: once may be chance; a crowd of idlers goes behind newcomers, and each still
/// gets its turn).
const IDLER_BITS: u8 = 2;
const IDLED_MOST: u8 = 3;

/// Decides who is unchoked from now on. O(n) in peers, O(n log n) in interested peers.
pub fn decide<K: Copy + Ord>(
    peers: &[PeerSnapshot<K>],
    state: &State,
    rng: &mut PolicyRng,
) -> Decision<K> {
    let mut candidates: Vec<_> = peers
        .iter()
        .filter(|peer| peer.interested)
        .map(|peer| Candidate { peer, lot: rng.next_u64() })
        .collect();
    let (mut chosen, mut optimistic) = match state.mode {
        Mode::Leeching => choose_leeching(&mut candidates, state),
        Mode::Seeding => (choose_in_turn(&mut candidates, state), Vec::new()),
    };
    chosen.sort_unstable();
    optimistic.sort_unstable();
    let is_chosen = |key: &K| chosen.binary_search(key).is_ok();
    let with = |am_choking: bool| {
        let keys = peers.iter().filter(move |peer| peer.am_choking == am_choking);
        keys.map(|peer| peer.key)
    };
    let mut unchoke: Vec<_> = with(true).filter(is_chosen).collect();
    let mut choke: Vec<_> = with(false).filter(|key| !is_chosen(key)).collect();
    unchoke.sort_unstable();
    choke.sort_unstable();
    Decision { choke, unchoke, optimistic }
}

/// Whether a peer that has just become interested may be unchoked at once, without waiting for the
/// next decision: there is a free slot. `unchoked` counts all peers that we do not choke.
pub const fn may_unchoke_at_once(unchoked: usize, slots: usize) -> bool {
    unchoked < slots
}

#[cfg(test)]
impl<K> PeerSnapshot<K> {
    /// An interested, choked peer that nothing passed to or from, for tests to change.
    pub(crate) fn sample(key: K) -> Self {
        PeerSnapshot {
            key,
            interested: true,
            am_choking: true,
            optimistic: false,
            snubs_us: false,
            down_bytes_per_s: 0,
            up_bytes_per_s: 0,
            connected_at: Instant::ZERO,
            unchoked_at: None,
            uploaded_since_unchoke: 0,
            idled: 0,
            uploaded: 0,
            downloaded: 0,
            group: AddressGroup::of([10, 0, 0, 1].into()),
        }
    }
}

impl AddressGroup {
    /// The group of an address.
    pub fn of(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(v4) => AddressGroup(v4.to_ipv6_mapped().to_bits()),
            IpAddr::V6(v6) => AddressGroup(v6.to_bits() >> 64 << 64),
        }
    }
}

/// An interested peer.
struct Candidate<'a, K> {
    peer: &'a PeerSnapshot<K>,
    /// Decides between those who are otherwise equal.
    lot: u64,
}

impl<K: Copy + Ord> Candidate<'_, K> {
    /// Ascending: whom to prefer while leeching. Peers that give us nothing take turns.
    fn merit(&self, state: &State) -> impl Ord + use<K> {
        let peer = self.peer;
        (peer.snubs_us, Reverse(peer.down_bytes_per_s), peer.optimistic, self.turn(state))
    }

    /// Ascending: whose turn it is. First those who have a slot and not yet their share, then those
    /// who wait, then those who had their share.
    fn turn(&self, state: &State) -> impl Ord + use<K> {
        let peer = self.peer;
        let (class, first) = if peer.am_choking {
            (1, self.merited_nanos(state))
        } else if self.had_share(state) || self.only_takes(state) || peer.idled > 0 {
            (2, peer.up_bytes_per_s.into())
        } else {
            (0, peer.up_bytes_per_s.into())
        };
        (class, Reverse(first), self.lot, peer.key)
    }

    /// Ascending: who gets an optimistic slot.
    fn patience(&self, state: &State) -> impl Ord + use<K> {
        (!self.peer.am_choking, Reverse(self.merited_nanos(state)), self.lot, self.peer.key)
    }

    /// How long it has waited, as far as that counts: with a leech by what it gave for what it took, a
    /// piece being lent to everybody.
    fn merited_nanos(&self, state: &State) -> u128 {
        if self.peer.idled > 0 {
            return self.waited_nanos(state) >> (IDLER_BITS * self.peer.idled.min(IDLED_MOST));
        }
        if state.mode == Mode::Seeding {
            return self.waited_nanos(state);
        }
        let credit = |bytes: u64| bytes.saturating_add(state.piece_len.into()).max(1);
        let gave = credit(self.peer.downloaded);
        let took = credit(self.peer.uploaded).clamp(gave, gave.saturating_mul(TAKER_FACTOR));
        let counts = u128::from(gave) * CREDIT_UNITS / u128::from(took);
        self.waited_nanos(state) * counts / CREDIT_UNITS
    }

    /// Whether it gives a leech nothing now, and owes it more than is lent to anybody.
    fn only_takes(&self, state: &State) -> bool {
        let owes = self.peer.uploaded.saturating_sub(self.peer.downloaded);
        state.mode == Mode::Leeching
            && self.peer.down_bytes_per_s == 0
            && owes >= LENT_PIECES * u64::from(state.piece_len)
    }

    fn waited_nanos(&self, state: &State) -> u128 {
        let since = |at| (state.now - at).as_nanos();
        match self.peer.unchoked_at {
            Some(at) => since(at),
            None => since(self.peer.connected_at) * u128::from(NEWCOMER_FACTOR),
        }
    }

    fn had_share(&self, state: &State) -> bool {
        let peer = self.peer;
        let held = state.now - peer.unchoked_at.unwrap_or(peer.connected_at);
        let share = SHARE_PIECES * u64::from(state.piece_len);
        held >= SHARE_MOST
            || held >= SHARE_LEAST && peer.uploaded_since_unchoke >= share
            || held >= IDLE_MOST && peer.up_bytes_per_s == 0
    }
}

/// Returns all who are chosen, and those of them who hold optimistic slots.
fn choose_leeching<K: Copy + Ord>(
    candidates: &mut [Candidate<'_, K>],
    state: &State,
) -> (Vec<K>, Vec<K>) {
    let slots = state.slots.min(candidates.len());
    let optimistic_slots = (state.slots / SLOTS_PER_OPTIMISTIC).max(1).min(slots);
    candidates.sort_unstable_by_key(|candidate| candidate.merit(state));
    let (regular, others) = candidates.split_at_mut(slots - optimistic_slots);
    let mut chosen = keys(regular);
    // Between rotations a peer keeps its optimistic slot, unless it has earned a regular one or has had
    // enough.
    others.sort_unstable_by_key(|candidate| {
        let has_had_it = candidate.only_takes(state) || candidate.peer.idled > 0;
        let stays = !state.rotate_optimistic && !has_had_it;
        let keeps = candidate.peer.optimistic && stays;
        (!keeps, candidate.patience(state))
    });
    let optimistic = one_per_group(others, optimistic_slots);
    chosen.extend(&optimistic);
    (chosen, optimistic)
}

fn choose_in_turn<K: Copy + Ord>(candidates: &mut [Candidate<'_, K>], state: &State) -> Vec<K> {
    candidates.sort_unstable_by_key(|candidate| candidate.turn(state));
    one_per_group(candidates, state.slots)
}

/// The first `slots` candidates of different groups; if there are fewer groups than slots, the
/// first of the others too.
fn one_per_group<K: Copy + Ord>(candidates: &[Candidate<'_, K>], slots: usize) -> Vec<K> {
    if candidates.len() <= slots {
        return keys(candidates);
    }
    // The first candidate of each group, found by sorting: no map whose order could leak.
    let mut by_group: Vec<_> =
        candidates.iter().enumerate().map(|(at, candidate)| (candidate.peer.group, at)).collect();
    by_group.sort_unstable();
    let mut repeats = vec![false; candidates.len()];
    for pair in by_group.windows(2) {
        if let [(group, _), (next_group, at)] = pair {
            repeats[*at] = group == next_group;
        }
    }
    let pass = |repeated: bool| {
        candidates.iter().zip(&repeats).filter(move |&(_, repeats)| *repeats == repeated)
    };
    pass(false).chain(pass(true)).take(slots).map(|(candidate, _)| candidate.peer.key).collect()
}

fn keys<K: Copy>(candidates: &[Candidate<'_, K>]) -> Vec<K> {
    candidates.iter().map(|candidate| candidate.peer.key).collect()
}

#[cfg(test)]
mod tests;
