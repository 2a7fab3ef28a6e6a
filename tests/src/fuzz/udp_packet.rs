//! Packets of the UDP tracker protocol, and its client: any datagram is no packet, or one that is
//! written and read again as the same. A client that is fed datagrams in answer to its own ends
//! each question exactly once, with an answer that is sane or an error.
//!
//! For the client, the input is records: a byte that says what, then a datagram behind its length.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use bitswarm_core::Instant;
use bitswarm_core::encryption::EncryptionPolicy;
use bitswarm_core::http::Url;
use bitswarm_core::piece::{InfoHash, PeerId};
use bitswarm_core::random::SecretRng;
use bitswarm_core::tracker::packet::{RequestPacket, ResponsePacket};
use bitswarm_core::tracker::{AnnounceRequest, Answer, Question, UdpTracker};

use super::input::Input;
use super::tracker_answer::{check_announce, check_error};

/// See the module.
pub(super) fn run(data: &[u8]) {
    check_packets(data);
    Client::new().play(Input::new(data));
}

fn check_packets(data: &[u8]) {
    if let Some(packet) = RequestPacket::parse(data) {
        let mut bytes = Vec::new();
        packet.encode(&mut bytes);
        assert!(bytes.len() <= data.len());
        assert_eq!(RequestPacket::parse(&bytes), Some(packet));
    }
    if let Some(packet) = ResponsePacket::parse(data) {
        let mut bytes = Vec::new();
        packet.encode(&mut bytes);
        assert!(data.starts_with(&bytes));
        assert_eq!(ResponsePacket::parse(&bytes), Some(packet));
    }
}

struct Client {
    udp: UdpTracker<u8>,
    now: Instant,
    /// Questions that have no answer yet.
    open: BTreeSet<u8>,
    /// The last transaction of ours.
    transaction: [u8; 4],
}

impl Client {
    fn new() -> Self {
        Client {
            udp: UdpTracker::new(SecretRng::from_seed([3; 32])),
            now: Instant::ZERO,
            open: BTreeSet::new(),
            transaction: [0; 4],
        }
    }

    fn play(&mut self, mut input: Input<'_>) {
        while !input.is_empty() {
            let what = input.byte();
            match what % 8 {
                0 | 1 => self.ask(what),
                2 => self.udp.handle_timeout(self.now),
                3 => {
                    self.now += Duration::from_secs(u64::from(what));
                    self.udp.handle_timeout(self.now);
                }
                4 => {
                    let key = what >> 3 & 3;
                    self.udp.cancel(key);
                    self.open.remove(&key);
                }
                _ => self.datagram(what, input.run()),
            }
            self.drain();
        }
        self.now += Duration::from_secs(10_000);
        self.udp.handle_timeout(self.now);
        self.drain();
        assert!(self.open.is_empty() && self.udp.is_empty(), "all questions end: {:?}", self.open);
    }

    fn ask(&mut self, what: u8) {
        let key = what >> 3 & 3;
        let question = match what & 0x41 {
            0 => Question::Scrape(vec![InfoHash([1; 20]), InfoHash([2; 20])]),
            _ => announce().into(),
        };
        let url = Url::parse("udp://tracker.example:1/path?passkey").expect("it is a URL");
        let patience = Duration::from_secs(60);
        self.udp.ask(self.now, key, tracker(what), &url, question, patience);
        self.open.insert(key);
    }

    /// Most answer to the last transaction, because nobody guesses one.
    fn datagram(&mut self, what: u8, data: &[u8]) {
        let mut data = data.to_vec();
        if what & 8 == 0
            && let Some(place) = data.get_mut(4..8)
        {
            place.copy_from_slice(&self.transaction);
        }
        self.udp.handle_datagram(self.now, tracker(what), &data);
    }

    fn drain(&mut self) {
        while let Some(datagram) = self.udp.poll_transmit() {
            assert!(datagram.data.len() <= 1500, "it fits a packet");
            let packet = RequestPacket::parse(&datagram.data).expect("what is sent is a request");
            self.transaction = match packet {
                RequestPacket::Connect { transaction }
                | RequestPacket::Announce { transaction, .. }
                | RequestPacket::Scrape { transaction, .. } => transaction.to_be_bytes(),
            };
        }
        while let Some((key, result)) = self.udp.poll_output() {
            assert!(self.open.remove(&key), "a question ends once");
            match result {
                Ok(Answer::Announce(response)) => check_announce(&response, usize::MAX),
                Ok(Answer::Scrape(response)) => assert!(response.entries.len() <= 2),
                Err(error) => check_error(&error),
            }
        }
        assert_eq!(self.udp.len(), self.open.len());
    }
}

fn tracker(what: u8) -> SocketAddr {
    let addresses = ["192.0.2.1:6969", "[2001:db8::1]:6969"];
    addresses[usize::from(what >> 7)].parse().expect("it is an address")
}

/// A plain announce.
pub(super) fn announce() -> AnnounceRequest {
    AnnounceRequest {
        infohash: InfoHash([1; 20]),
        peer_id: PeerId([2; 20]),
        port: 6881,
        uploaded: 1,
        downloaded: 2,
        left: 3,
        event: None,
        numwant: Some(50),
        key: 7,
        tracker_id: None,
        ip: None,
        compact: true,
        encryption: EncryptionPolicy::Off,
    }
}
