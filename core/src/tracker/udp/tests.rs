//! The UDP client, on ladders of packets.

use super::*;
use crate::piece::InfoHash;
use crate::tracker::announce::AnnounceRequest;
use quickcheck::quickcheck;

const LONG: Duration = Duration::from_secs(100_000);

/// A client and the tracker's side of a ladder. Times are in seconds.
struct Ladder {
    client: UdpTracker<u8>,
}

fn addr() -> SocketAddr {
    "10.0.0.1:80".parse().unwrap()
}

fn announce() -> Question {
    AnnounceRequest::sample().into()
}

impl Ladder {
    fn new() -> Self {
        Ladder { client: UdpTracker::new(SecretRng::from_seed([3; 32])) }
    }

    fn ask(&mut self, at: u64, key: u8, to: SocketAddr, question: Question, patience: Duration) {
        let url = Url::parse("udp://tracker.example:80/announce").unwrap();
        self.client.ask(Instant::from_secs(at), key, to, &url, question, patience);
    }

    /// The one packet that is sent.
    fn sent(&mut self) -> RequestPacket {
        let datagram = self.client.poll_transmit().expect("something to send");
        RequestPacket::parse(&datagram.data).unwrap()
    }

    fn expect_connect(&mut self) -> u32 {
        match self.sent() {
            RequestPacket::Connect { transaction } => transaction,
            other => panic!("{other:?}"),
        }
    }

    fn expect_announce(&mut self, wanted: u64) -> u32 {
        match self.sent() {
            RequestPacket::Announce { connection, transaction, .. } => {
                assert_eq!(connection, wanted);
                transaction
            }
            other => panic!("{other:?}"),
        }
    }

    fn expect_silence(&mut self) {
        assert_eq!(self.client.poll_transmit(), None);
        assert_eq!(self.client.poll_output(), None);
    }

    fn recv_from(&mut self, at: u64, from: SocketAddr, packet: ResponsePacket<'_>) -> bool {
        let mut data = Vec::new();
        packet.encode(&mut data);
        self.client.handle_datagram(Instant::from_secs(at), from, &data)
    }

    fn recv(&mut self, at: u64, packet: ResponsePacket<'_>) {
        assert!(self.recv_from(at, addr(), packet));
    }

    fn recv_connect(&mut self, at: u64, transaction: u32, connection: u64) {
        self.recv(at, ResponsePacket::Connect { transaction, connection });
    }

    /// Waits for the next timeout, which must be at `at`.
    fn timeout(&mut self, at: u64) {
        assert_eq!(self.client.poll_timeout(), Some(Instant::from_secs(at)));
        self.client.handle_timeout(Instant::from_secs(at));
    }

    fn expect_output(&mut self, key: u8) -> Result<Answer, TrackerError> {
        let (done, result) = self.client.poll_output().expect("an output");
        assert_eq!(done, key);
        result
    }
}

fn answer(transaction: u32, peers: &[u8]) -> ResponsePacket<'_> {
    ResponsePacket::Announce { transaction, interval: 1800, leechers: 1, seeders: 2, peers }
}

#[test]
fn announce_connects_first_and_is_answered() {
    let mut ladder = Ladder::new();
    ladder.ask(0, 7, addr(), announce(), LONG);
    let connect = ladder.expect_connect();
    ladder.expect_silence();
    ladder.recv_connect(1, connect, 0xc0);
    let datagram = ladder.client.poll_transmit().unwrap();
    assert_eq!(datagram.remote, addr());
    assert_eq!(&datagram.data[98..], b"\x02\x09/announce");
    let Some(RequestPacket::Announce { transaction, .. }) = RequestPacket::parse(&datagram.data)
    else {
        panic!()
    };
    ladder.recv(2, answer(transaction, &[1, 2, 3, 4, 0, 80, 9, 9]));
    let Ok(Answer::Announce(response)) = ladder.expect_output(7) else { panic!() };
    assert_eq!(response.interval, Duration::from_secs(1800));
    assert_eq!((response.complete, response.incomplete), (Some(2), Some(1)));
    assert_eq!(response.peers, ["1.2.3.4:80".parse().unwrap()]);
    assert!(ladder.client.is_empty());
    ladder.timeout(60);
    assert_eq!(ladder.client.poll_timeout(), None);
}

#[test]
fn connect_times_out_as_in_the_example_of_bep_15() {
    let mut ladder = Ladder::new();
    ladder.ask(0, 1, addr(), announce(), LONG);
    let mut transaction = ladder.expect_connect();
    let mut at = 0;
    for wait in [15, 30, 60, 120, 240, 480, 960, 1920, 3840, 3840] {
        at += wait;
        ladder.timeout(at);
        let before = std::mem::replace(&mut transaction, ladder.expect_connect());
        let late = ResponsePacket::Connect { transaction: before, connection: 5 };
        assert!(!ladder.recv_from(at, addr(), late), "how old it is cannot be known");
        ladder.expect_silence();
    }
}

#[test]
fn announce_times_out_as_in_the_example_of_bep_15() {
    let mut ladder = Ladder::new();
    ladder.ask(0, 1, addr(), announce(), LONG);
    let connect = ladder.expect_connect();
    ladder.recv_connect(1, connect, 5);
    // The example has the client wait a second here; this one does not.
    ladder.expect_announce(5);
    ladder.timeout(16);
    ladder.expect_announce(5);
    ladder.timeout(46);
    ladder.expect_announce(5);
    ladder.timeout(60);
    ladder.expect_silence();
    ladder.timeout(106);
    ladder.expect_connect();
    ladder.timeout(226);
    let connect = ladder.expect_connect();
    ladder.recv_connect(227, connect, 6);
    let transaction = ladder.expect_announce(6);
    ladder.recv(228, answer(transaction, &[]));
    assert!(ladder.expect_output(1).is_ok());
}

#[test]
fn connection_id_is_shared_and_used_for_a_minute() {
    let mut ladder = Ladder::new();
    ladder.ask(0, 1, addr(), announce(), LONG);
    ladder.ask(0, 2, addr(), announce(), LONG);
    let connect = ladder.expect_connect();
    ladder.expect_silence();
    ladder.recv_connect(1, connect, 5);
    let first = ladder.expect_announce(5);
    let second = ladder.expect_announce(5);
    assert_ne!(first, second);
    ladder.recv(2, answer(second, &[]));
    ladder.recv(2, answer(first, &[]));
    assert!(ladder.expect_output(2).is_ok());
    assert!(ladder.expect_output(1).is_ok());
    ladder.ask(59, 3, addr(), announce(), LONG);
    let third = ladder.expect_announce(5);
    ladder.recv(59, answer(third, &[]));
    assert!(ladder.expect_output(3).is_ok());
    ladder.timeout(60);
    ladder.ask(60, 4, addr(), announce(), LONG);
    ladder.expect_connect();
}

/// Found by the simulator's seed 4013646: the host slept while the answer lay in its socket.
#[test]
fn connection_id_that_is_heard_of_too_late_is_not_used() {
    let mut ladder = Ladder::new();
    ladder.ask(0, 1, addr(), announce(), LONG);
    ladder.ask(0, 2, addr(), announce(), LONG);
    let connect = ladder.expect_connect();
    ladder.recv_connect(128, connect, 99);
    let connect = ladder.expect_connect();
    ladder.expect_silence();
    ladder.recv_connect(129, connect, 100);
    ladder.expect_announce(100);
    ladder.expect_announce(100);
}

/// Found by the simulator's seed 2103: after a sleep the id was used before its timer was looked at.
#[test]
fn connection_id_that_expired_unnoticed_is_not_used() {
    let mut ladder = Ladder::new();
    ladder.ask(0, 1, addr(), announce(), LONG);
    let connect = ladder.expect_connect();
    ladder.recv_connect(1, connect, 99);
    let transaction = ladder.expect_announce(99);
    ladder.recv(2, answer(transaction, &[]));
    ladder.expect_output(1).unwrap();
    ladder.ask(61, 2, addr(), announce(), LONG);
    let connect = ladder.expect_connect();
    ladder.recv_connect(62, connect, 100);
    ladder.expect_announce(100);
}

#[test]
fn answer_from_another_address_or_with_another_transaction_is_not_taken() {
    let mut ladder = Ladder::new();
    ladder.ask(0, 1, addr(), announce(), LONG);
    let transaction = ladder.expect_connect();
    let packet = ResponsePacket::Connect { transaction, connection: 5 };
    assert!(!ladder.recv_from(1, "10.0.0.2:80".parse().unwrap(), packet.clone()));
    assert!(!ladder.recv_from(1, "10.0.0.1:81".parse().unwrap(), packet.clone()));
    let wrong = ResponsePacket::Connect { transaction: transaction ^ 1, connection: 5 };
    assert!(!ladder.recv_from(1, addr(), wrong));
    assert!(!ladder.recv_from(1, addr(), answer(transaction, &[])));
    ladder.expect_silence();
    assert!(ladder.recv_from(1, "[::ffff:10.0.0.1]:80".parse().unwrap(), packet));
    let announce = ladder.expect_announce(5);
    assert!(!ladder.recv_from(2, "10.0.0.2:80".parse().unwrap(), answer(announce, &[])));
    ladder.expect_silence();
}

#[test]
fn refusal_ends_the_question_and_the_connection() {
    let mut ladder = Ladder::new();
    ladder.ask(0, 1, addr(), announce(), LONG);
    let connect = ladder.expect_connect();
    ladder.recv_connect(1, connect, 5);
    let transaction = ladder.expect_announce(5);
    ladder.recv(2, ResponsePacket::Error { transaction, message: b"no\x1b" });
    let refusal = TrackerError::Refused { reason: "no".to_owned(), retry: None };
    assert_eq!(ladder.expect_output(1), Err(refusal.clone()));
    ladder.ask(3, 2, addr(), announce(), LONG);
    let transaction = ladder.expect_connect();
    ladder.recv(4, ResponsePacket::Error { transaction, message: b"no" });
    assert_eq!(ladder.expect_output(2), Err(refusal));
    assert_eq!(ladder.client.poll_timeout(), None);
}

#[test]
fn patience_ends_a_question_and_cancel_forgets_it() {
    let mut ladder = Ladder::new();
    ladder.ask(0, 1, addr(), announce(), Duration::from_secs(20));
    ladder.ask(0, 2, addr(), announce(), LONG);
    ladder.expect_connect();
    ladder.timeout(15);
    ladder.expect_connect();
    ladder.timeout(20);
    assert_eq!(ladder.expect_output(1), Err(TrackerError::TimedOut));
    ladder.client.cancel(2);
    ladder.timeout(45);
    ladder.expect_silence();
    assert_eq!(ladder.client.poll_timeout(), None);
}

#[test]
fn scrape_pairs_numbers_with_torrents() {
    let mut ladder = Ladder::new();
    let hashes = vec![InfoHash([1; 20]), InfoHash([2; 20])];
    ladder.ask(0, 1, addr(), Question::Scrape(hashes), LONG);
    let connect = ladder.expect_connect();
    ladder.recv_connect(1, connect, 5);
    let RequestPacket::Scrape { transaction, infohashes, .. } = ladder.sent() else { panic!() };
    assert_eq!(infohashes.len(), 2);
    let numbers = [0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0];
    ladder.recv(2, ResponsePacket::Scrape { transaction, numbers: &numbers });
    let Ok(Answer::Scrape(response)) = ladder.expect_output(1) else { panic!() };
    let [entry] = response.entries[..] else { panic!() };
    assert_eq!((entry.complete, entry.downloaded, entry.incomplete), (1, 2, 3));
}

#[test]
fn questions_past_the_bound_are_refused() {
    let mut client = UdpTracker::new(SecretRng::from_seed([3; 32]));
    let url = Url::parse("udp://t:80").unwrap();
    for key in 0..=MAX_PENDING {
        client.ask(Instant::ZERO, key, addr(), &url, announce(), LONG);
    }
    assert_eq!(client.len(), MAX_PENDING);
    assert_eq!(client.poll_output(), Some((MAX_PENDING, Err(TrackerError::Busy))));
    for key in 0..MAX_PENDING {
        client.cancel(key);
    }
    assert!(client.is_empty() && client.transactions.len() == 1);
}

quickcheck! {
    fn arbitrary_datagrams_change_nothing(datagrams: Vec<Vec<u8>>) -> bool {
        let mut ladder = Ladder::new();
        ladder.ask(0, 1, addr(), announce(), LONG);
        ladder.expect_connect();
        let taken = datagrams.iter().any(|data| {
            ladder.client.handle_datagram(Instant::ZERO, addr(), data)
        });
        ladder.expect_silence();
        !taken && ladder.client.len() == 1
    }

    fn arbitrary_answers_are_taken_or_ignored(action: u8, bytes: Vec<u8>) -> bool {
        let mut ladder = Ladder::new();
        ladder.ask(0, 1, addr(), announce(), LONG);
        let connect = ladder.expect_connect();
        ladder.recv_connect(1, connect, 5);
        let transaction = ladder.expect_announce(5);
        let data = [&[0, 0, 0, action % 4], &transaction.to_be_bytes()[..], &bytes].concat();
        ladder.client.handle_datagram(Instant::ZERO, addr(), &data);
        ladder.client.is_empty() == ladder.client.poll_output().is_some()
    }
}
