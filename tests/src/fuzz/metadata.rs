//! Metadata from peers (BEP 9). A payload is refused or a message that is written and read again as
//! the same. Peers that lie about sizes, send what they like and reject what they like are played
//! against the fetch: what it asks for there is, what it ends with has the infohash, what it holds
//! and whom it accuses is bounded by what was said. Those who fetch from us get a few times all.
//!
//! The whole input is a message; then its first byte says how the world is, and the rest is a
//! program of records.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::LazyLock;
use std::time::Duration;

use bitswarm_core::Instant;
use bitswarm_core::extension::metadata::{
    METADATA_PIECE_LEN, MetadataFetch, MetadataMessage, MetadataUploads, Received,
};
use bitswarm_core::infohashes::InfoHashes;
use bitswarm_core::piece::{InfoHash, InfoHashV2};
use bytes::Bytes;
use sha1::{Digest, Sha1};
use sha2::Sha256;

use super::input::Input;
use crate::sim::bencode::Value as Strict;

/// Sizes past this are not believed here.
const LIMIT: u32 = 160 << 10;
/// How long the true metadata is: of one piece, and of three of which the last is odd.
const SIZES: [u32; 2] = [1000, 2 * METADATA_PIECE_LEN + 77];
/// Pieces that one peer owes at once.
const MOST_OWED: usize = 8;
/// Most events of an input.
const MOST_STEPS: usize = 400;

static TRUTH: LazyLock<[Bytes; 2]> = LazyLock::new(|| {
    SIZES.map(|size| (0..size).map(|at| (at * 7 / 5) as u8).collect::<Vec<u8>>().into())
});

/// See the module.
pub(super) fn run(data: &[u8]) {
    let payload = Bytes::copy_from_slice(data);
    if let Ok(message) = MetadataMessage::decode(&payload) {
        check_message(&message, &payload);
    }
    let mut input = Input::new(data);
    let seed = input.byte();
    Fetch::new(usize::from(seed & 1)).play(input.clone());
    upload(u32::from(seed) * 5, input);
}

fn check_message(message: &MetadataMessage, payload: &Bytes) {
    if let MetadataMessage::Data { data, .. } = message {
        assert!(payload.ends_with(data) && data.len() < payload.len());
    }
    Strict::parse(&message.header()).expect("what is written is strict bencoding");
    let again = MetadataMessage::decode(&message.encode());
    assert_eq!(again.as_ref(), Ok(message));
}

/// A fetch, and what its peers were asked and said.
struct Fetch {
    fetch: MetadataFetch,
    truth: &'static Bytes,
    now: Instant,
    /// What each peer claims the size to be, and has not sent of what it was asked for.
    peers: BTreeMap<SocketAddr, (u32, Vec<u32>)>,
    /// Who has sent only what is true.
    liars: BTreeMap<SocketAddr, bool>,
    complete: bool,
}

impl Fetch {
    fn new(which: usize) -> Self {
        let truth = &TRUTH[which];
        // The longer one is known by both hashes, as that of a hybrid may be.
        let expected = InfoHashes {
            v1: Some(InfoHash(Sha1::digest(truth).into())),
            v2: (which == 1).then(|| InfoHashV2(Sha256::digest(truth).into())),
        };
        Fetch {
            fetch: MetadataFetch::new(expected, LIMIT),
            truth,
            now: Instant::ZERO,
            peers: BTreeMap::new(),
            liars: BTreeMap::new(),
            complete: false,
        }
    }

    fn play(&mut self, mut input: Input<'_>) {
        let mut steps = 0;
        while !input.is_empty() && steps < MOST_STEPS && !self.complete {
            steps += 1;
            self.step(&mut input);
            self.check();
        }
        if !self.complete {
            self.end_well();
        }
    }

    fn step(&mut self, input: &mut Input<'_>) {
        let what = input.byte();
        let peer = addr(what >> 4);
        match what & 15 {
            0 => self.offer(peer, self.truth.len() as u32),
            1 => self.offer(peer, input.u32()),
            2 => {
                let odd = [0, 1, LIMIT, LIMIT + 1, 1 << 31, u32::MAX][input.below(6)];
                self.offer(peer, odd);
            }
            3 => {
                self.fetch.remove(peer);
                self.peers.remove(&peer);
            }
            4 | 5 => self.ask(),
            6..=8 => self.answer(peer, input.byte(), None),
            9 => {
                let flip = input.u16();
                self.answer(peer, input.byte(), Some(flip));
            }
            10 => {
                let piece = self.owed(peer, input.byte()).unwrap_or_else(|| input.u32());
                self.fetch.rejected(self.now, peer, piece);
                self.settle(peer, piece);
            }
            11 => self.pass(Duration::from_millis(u64::from(input.u16()))),
            12 => self.pass_to_timeout(),
            13 => self.fetch.handle_timeout(self.now),
            14 => {
                let (piece, size) = (u32::from(input.byte()), input.u32());
                let data = input.run();
                let size = (what & 16 != 0).then_some(size);
                self.receive(peer, piece, size, data);
            }
            _ => {
                let payload = Bytes::copy_from_slice(input.run());
                self.hear(peer, &payload);
            }
        }
    }

    fn offer(&mut self, peer: SocketAddr, size: u32) {
        let is_believed = self.fetch.offered(peer, size);
        assert_eq!(is_believed, (1..=LIMIT).contains(&size));
        if !is_believed {
            self.peers.remove(&peer);
        } else if self.peers.get(&peer).is_none_or(|(known, _)| *known != size) {
            self.peers.insert(peer, (size, Vec::new()));
        }
    }

    /// Asks for everything that is to be asked for now.
    fn ask(&mut self) {
        let mut count = 0;
        while let Some((peer, piece)) = self.fetch.next_request(self.now) {
            count += 1;
            assert!(count <= 16 * MOST_OWED, "no end of requests");
            let (size, owed) = self.peers.get_mut(&peer).expect("only those who offered are asked");
            assert!(u64::from(piece) * u64::from(METADATA_PIECE_LEN) < u64::from(*size));
            owed.push(piece);
        }
        let progress = self.fetch.progress();
        assert!(progress.asked <= progress.sources);
    }

    /// A peer gives a piece that it owes: the true one if its size is right, or not.
    fn answer(&mut self, peer: SocketAddr, which: u8, flip: Option<u16>) {
        let Some(piece) = self.owed(peer, which) else { return };
        let size = self.peers[&peer].0 as usize;
        let start = piece as usize * METADATA_PIECE_LEN as usize;
        let end = size.min(start + METADATA_PIECE_LEN as usize);
        let mut data: Vec<u8> =
            (start..end).map(|at| self.truth.get(at).copied().unwrap_or(0)).collect();
        if let Some(flip) = flip {
            let at = usize::from(flip) % data.len();
            data[at] ^= 1;
        }
        self.receive(peer, piece, None, &data);
    }

    fn hear(&mut self, peer: SocketAddr, payload: &Bytes) {
        match MetadataMessage::decode(payload) {
            Ok(MetadataMessage::Data { piece, total_size, data }) => {
                self.receive(peer, piece, total_size, &data);
            }
            Ok(MetadataMessage::Reject { piece }) => {
                self.fetch.rejected(self.now, peer, piece);
                self.settle(peer, piece);
            }
            _ => {}
        }
    }

    fn receive(&mut self, peer: SocketAddr, piece: u32, size: Option<u32>, data: &[u8]) {
        let was_owed = self.peers.get(&peer).is_some_and(|(_, owed)| owed.contains(&piece));
        let start = piece.saturating_mul(METADATA_PIECE_LEN) as usize;
        let is_true = self.truth.get(start..).is_some_and(|rest| rest.starts_with(data))
            && self.peers.get(&peer).is_some_and(|(size, _)| *size as usize == self.truth.len());
        *self.liars.entry(peer).or_default() |= !is_true;
        let before = self.fetch.progress().received_bytes as usize;
        let received = self.fetch.received(self.now, peer, piece, size, data);
        if received != Received::Unasked {
            assert!(was_owed, "what nobody asked for is taken");
        }
        self.settle(peer, piece);
        assert!(self.fetch.progress().received_bytes as usize <= before + data.len());
        match received {
            Received::Complete(metadata) => {
                assert_eq!(metadata, *self.truth);
                self.complete = true;
            }
            Received::Failed(Some(liar)) => {
                assert!(self.liars.get(&liar) == Some(&true), "{liar} said nothing wrong");
                self.peers.remove(&liar);
            }
            Received::TwoTorrents => panic!("the hashes are of one"),
            Received::Failed(None) | Received::Accepted | Received::Unasked => {}
        }
    }

    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        let mut turns = 0;
        while let Some(at) = self.fetch.poll_timeout(self.now).filter(|at| *at <= until) {
            turns += 1;
            assert!(turns < 1000, "time does not get on");
            self.now = self.now.max(at);
            self.fetch.handle_timeout(self.now);
        }
        self.now = until;
    }

    fn pass_to_timeout(&mut self) {
        if let Some(at) = self.fetch.poll_timeout(self.now) {
            self.now = self.now.max(at);
            self.fetch.handle_timeout(self.now);
            let next = self.fetch.poll_timeout(self.now);
            assert!(next.is_none_or(|next| next > self.now), "it spins");
        }
    }

    fn owed(&self, peer: SocketAddr, which: u8) -> Option<u32> {
        let (_, owed) = self.peers.get(&peer)?;
        owed.get(usize::from(which) % owed.len().max(1)).copied()
    }

    fn settle(&mut self, peer: SocketAddr, piece: u32) {
        if let Some((_, owed)) = self.peers.get_mut(&peer) {
            owed.retain(|other| *other != piece);
        }
    }

    fn check(&self) {
        let progress = self.fetch.progress();
        assert!(progress.sources <= self.peers.len());
        assert!(progress.received_bytes <= progress.size_bytes && progress.size_bytes <= LIMIT);
    }

    /// Whatever was said before: with the liars gone, one honest peer that answers is enough.
    fn end_well(&mut self) {
        for peer in self.peers.keys().copied().collect::<Vec<_>>() {
            self.fetch.remove(peer);
        }
        self.peers.clear();
        let honest = addr(200);
        self.offer(honest, self.truth.len() as u32);
        for _ in 0..20 {
            self.ask();
            while !self.complete && self.owed(honest, 0).is_some() {
                self.answer(honest, 0, None);
            }
            if self.complete {
                return;
            }
            self.pass(Duration::from_secs(61));
        }
        panic!("an honest peer is not enough");
    }
}

/// Somebody fetches from us: no more than three times all in a minute, and only what there is.
fn upload(pieces: u32, mut input: Input<'_>) {
    let mut uploads = MetadataUploads::default();
    let mut now = Instant::ZERO;
    let (mut admitted, mut sent) = (0, 0);
    let mut minutes = 1;
    while !input.is_empty() {
        match input.below(4) {
            0 => {
                now += Duration::from_secs(u64::from(input.byte()));
                minutes += 1;
            }
            1 => {
                let piece = uploads.pop();
                assert!(piece.is_none_or(|piece| piece < pieces));
                sent += u32::from(piece.is_some());
            }
            2 => {
                admitted +=
                    u32::from(uploads.request(now, u32::from(input.u16()), pieces, || true));
            }
            _ => {
                for piece in 0..u32::from(input.byte()) {
                    admitted += u32::from(uploads.request(now, piece, pieces, || true));
                }
            }
        }
        assert!(admitted <= minutes * 3 * pieces && admitted - sent <= 256);
        assert_eq!(uploads.is_ready(), admitted > sent);
    }
}

fn addr(who: u8) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, who], 6881))
}
