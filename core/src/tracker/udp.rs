//! The client of UDP trackers (BEP 15): one machine for all trackers of a session, which share a
//! socket.
//!
//! Each question gets an answer, an error, or is cancelled. A connection id is fetched when there
//! is none younger than a minute, once for all who wait for it. Packets are sent again after
//! 15 * 2^n seconds, as BEP 15 has it; how long that goes on is bounded per question, because a
//! list of trackers has others to try. An answer counts only if its transaction id, which nobody
//! can guess, and its source address fit (defence 26).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;

use bytes::BytesMut;

use super::announce::AnnounceResponse;
use super::error::{TrackerError, shown_text};
use super::packet::{self, RequestPacket, ResponsePacket};
use super::question::{Answer, Question};
use super::scrape::ScrapeResponse;
use crate::event::Datagram;
use crate::http::Url;
use crate::map::{HashKeys, Map};
use crate::random::SecretRng;
use crate::time::{Duration, Instant};

/// First time to wait for an answer; doubles each time (BEP 15, "time outs").
const FIRST_TIMEOUT: Duration = Duration::from_secs(15);

/// How often the time to wait is doubled at most (BEP 15, "time outs").
const MAX_DOUBLINGS: u32 = 8;

/// How long a connection id is used (BEP 15, "UDP connections / spoofing").
const CONNECTION_LIFETIME: Duration = Duration::from_secs(60);

/// Questions under way at once; past it, new ones fail with [`TrackerError::Busy`] (chosen).
const MAX_PENDING: usize = 4096;

/// Datagrams waiting to be sent; past it, new ones are dropped, to be sent again in time (chosen).
const MAX_QUEUED: usize = 2 * MAX_PENDING;

/// The client of all UDP trackers. `K` names a question to its asker.
#[derive(Debug)]
pub struct UdpTracker<K> {
    rng: SecretRng,
    pending: BTreeMap<K, Pending>,
    endpoints: BTreeMap<SocketAddr, Endpoint<K>>,
    transactions: Map<u32, Transaction<K>>,
    timers: BTreeSet<(Instant, Timer<K>)>,
    transmits: VecDeque<Datagram>,
    outputs: VecDeque<(K, Result<Answer, TrackerError>)>,
}

/// A question under way.
#[derive(Debug)]
struct Pending {
    to: SocketAddr,
    url_data: Box<str>,
    question: Question,
    transaction: u32,
    /// How often it has timed out.
    timeouts: u32,
    /// When it is sent again; `None` while it waits for a connection id.
    resend_at: Option<Instant>,
    give_up_at: Instant,
}

/// A tracker's address.
#[derive(Debug)]
struct Endpoint<K> {
    link: Link,
    /// Questions that wait for a connection id.
    waiting: BTreeSet<K>,
}

#[derive(Clone, Copy, Debug)]
enum Link {
    Connecting { transaction: u32, timeouts: u32, resend_at: Instant },
    Connected { connection: u64, until: Instant },
}

/// Whom an answer is for.
#[derive(Clone, Copy, Debug)]
struct Transaction<K> {
    from: SocketAddr,
    /// `None`: the connect request of that address.
    key: Option<K>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Timer<K> {
    /// The connect request is to be sent again.
    Connect(SocketAddr),
    /// The connection id expires.
    Expire(SocketAddr),
    Resend(K),
    GiveUp(K),
}

impl<K: Copy + Ord> UdpTracker<K> {
    /// A client with nothing under way.
    pub fn new(mut rng: SecretRng) -> Self {
        let keys = HashKeys::draw(&mut rng);
        UdpTracker {
            rng,
            pending: BTreeMap::new(),
            endpoints: BTreeMap::new(),
            transactions: Map::with_hasher(keys),
            timers: BTreeSet::new(),
            transmits: VecDeque::new(),
            outputs: VecDeque::new(),
        }
    }

    /// Asks the tracker at `to`, one of the addresses of `url`'s host. The answer, or an error
    /// after `patience` at the latest, comes out of [`UdpTracker::poll_output`] under `key`; a
    /// question under the same key is replaced.
    pub fn ask(
        &mut self,
        now: Instant,
        key: K,
        to: SocketAddr,
        url: &Url,
        question: Question,
        patience: Duration,
    ) {
        self.cancel(key);
        if self.pending.len() >= MAX_PENDING {
            self.outputs.push_back((key, Err(TrackerError::Busy)));
            return;
        }
        let to = canonical(to);
        let transaction = self.begin_transaction(to, Some(key));
        let give_up_at = now + patience;
        self.timers.insert((give_up_at, Timer::GiveUp(key)));
        let url_data = if url.target() == "/" { "" } else { url.target() }.into();
        let pending = Pending {
            to,
            url_data,
            question,
            transaction,
            timeouts: 0,
            resend_at: None,
            give_up_at,
        };
        self.pending.insert(key, pending);
        self.send(now, key);
    }

    /// Forgets a question. Nothing comes out for it any more.
    pub fn cancel(&mut self, key: K) {
        self.remove(key);
        self.outputs.retain(|(other, _)| *other != key);
    }

    /// A datagram came in. False: it is none of ours.
    pub fn handle_datagram(&mut self, now: Instant, from: SocketAddr, data: &[u8]) -> bool {
        let from = canonical(from);
        let Some(packet) = ResponsePacket::parse(data) else { return false };
        let Some(&Transaction { from: expected, key }) =
            self.transactions.get(&packet.transaction())
        else {
            return false;
        };
        if from != expected {
            return false;
        }
        match (packet, key) {
            (ResponsePacket::Connect { connection, .. }, None) => {
                self.connected(now, from, connection);
            }
            (ResponsePacket::Error { message, .. }, None) => self.connect_refused(from, message),
            (packet, Some(key)) => self.answered(key, from, packet),
            _ => return false,
        }
        true
    }

    /// The time of [`UdpTracker::poll_timeout`] has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(&(at, timer)) = self.timers.first()
            && at <= now
        {
            self.timers.pop_first();
            match timer {
                Timer::Connect(addr) => self.connect_timed_out(now, addr),
                Timer::Expire(addr) => {
                    self.endpoints.remove(&addr);
                }
                Timer::Resend(key) => self.timed_out(now, key),
                Timer::GiveUp(key) => self.finish(key, Err(TrackerError::TimedOut)),
            }
        }
    }

    /// When to call [`UdpTracker::handle_timeout`]; changes with every other call.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// The next datagram to send.
    pub fn poll_transmit(&mut self) -> Option<Datagram> {
        self.transmits.pop_front()
    }

    /// The next question that is done, and what came of it.
    pub fn poll_output(&mut self) -> Option<(K, Result<Answer, TrackerError>)> {
        self.outputs.pop_front()
    }

    /// How many questions are under way.
    pub fn len(&self) -> usize {
        self.pending.len()
    }

    /// Whether no question is under way.
    pub fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// Sends a question, or asks for a connection id first.
    fn send(&mut self, now: Instant, key: K) {
        let Some(pending) = self.pending.get_mut(&key) else { return };
        let to = pending.to;
        let Some(endpoint) = self.endpoints.get_mut(&to) else {
            let timeouts = pending.timeouts;
            return self.connect(now, to, timeouts, BTreeSet::from([key]));
        };
        match endpoint.link {
            Link::Connected { connection, .. } => {
                let resend_at = now + timeout_after(pending.timeouts);
                pending.resend_at = Some(resend_at);
                self.timers.insert((resend_at, Timer::Resend(key)));
                let data = pending.encode(connection);
                self.transmit(to, data);
            }
            Link::Connecting { .. } => {
                endpoint.waiting.insert(key);
            }
        }
    }

    fn connect(&mut self, now: Instant, to: SocketAddr, timeouts: u32, waiting: BTreeSet<K>) {
        let transaction = self.begin_transaction(to, None);
        let resend_at = now + timeout_after(timeouts);
        let link = Link::Connecting { transaction, timeouts, resend_at };
        self.endpoints.insert(to, Endpoint { link, waiting });
        self.send_connect(to, transaction, resend_at);
    }

    fn send_connect(&mut self, to: SocketAddr, transaction: u32, resend_at: Instant) {
        self.timers.insert((resend_at, Timer::Connect(to)));
        let mut data = BytesMut::new();
        RequestPacket::Connect { transaction }.encode(&mut data);
        self.transmit(to, data);
    }

    fn connected(&mut self, now: Instant, from: SocketAddr, connection: u64) {
        let Some(endpoint) = self.endpoints.get_mut(&from) else { return };
        let Link::Connecting { transaction, resend_at, .. } = endpoint.link else { return };
        let until = now + CONNECTION_LIFETIME;
        endpoint.link = Link::Connected { connection, until };
        let waiting = std::mem::take(&mut endpoint.waiting);
        self.transactions.remove(&transaction);
        self.timers.remove(&(resend_at, Timer::Connect(from)));
        self.timers.insert((until, Timer::Expire(from)));
        for key in waiting {
            self.send(now, key);
        }
    }

    fn connect_refused(&mut self, from: SocketAddr, message: &[u8]) {
        let Some(endpoint) = self.endpoints.remove(&from) else { return };
        if let Link::Connecting { transaction, resend_at, .. } = endpoint.link {
            self.transactions.remove(&transaction);
            self.timers.remove(&(resend_at, Timer::Connect(from)));
        }
        for key in endpoint.waiting {
            self.finish(key, Err(refused(message)));
        }
    }

    fn connect_timed_out(&mut self, now: Instant, addr: SocketAddr) {
        let Some(endpoint) = self.endpoints.get_mut(&addr) else { return };
        let Link::Connecting { transaction, timeouts, .. } = endpoint.link else { return };
        if endpoint.waiting.is_empty() {
            self.transactions.remove(&transaction);
            self.endpoints.remove(&addr);
            return;
        }
        let timeouts = timeouts.saturating_add(1);
        let resend_at = now + timeout_after(timeouts);
        endpoint.link = Link::Connecting { transaction, timeouts, resend_at };
        self.send_connect(addr, transaction, resend_at);
    }

    fn timed_out(&mut self, now: Instant, key: K) {
        let Some(pending) = self.pending.get_mut(&key) else { return };
        pending.resend_at = None;
        pending.timeouts = pending.timeouts.saturating_add(1);
        self.send(now, key);
    }

    fn answered(&mut self, key: K, from: SocketAddr, packet: ResponsePacket<'_>) {
        let Some(pending) = self.pending.get(&key) else { return };
        let result = match (packet, &pending.question) {
            (
                ResponsePacket::Announce { interval, leechers, seeders, peers, .. },
                Question::Announce(_),
            ) => {
                let mut response = AnnounceResponse::new(Duration::from_secs(interval.into()));
                response.complete = Some(seeders.into());
                response.incomplete = Some(leechers.into());
                match from {
                    SocketAddr::V4(_) => response.push_compact_v4(peers),
                    SocketAddr::V6(_) => response.push_compact_v6(peers),
                }
                Ok(Answer::Announce(response))
            }
            (ResponsePacket::Scrape { numbers, .. }, Question::Scrape(infohashes)) => {
                let entries = packet::scrape_entries(infohashes, numbers);
                Ok(Answer::Scrape(ScrapeResponse { entries }))
            }
            (ResponsePacket::Error { message, .. }, _) => {
                // It may be the connection id that the tracker does not like.
                self.disconnect(from);
                Err(refused(message))
            }
            _ => return,
        };
        self.finish(key, result);
    }

    fn finish(&mut self, key: K, result: Result<Answer, TrackerError>) {
        if self.remove(key) {
            self.outputs.push_back((key, result));
        }
    }

    /// Forgets a question and all that refers to it.
    fn remove(&mut self, key: K) -> bool {
        let Some(pending) = self.pending.remove(&key) else { return false };
        self.transactions.remove(&pending.transaction);
        self.timers.remove(&(pending.give_up_at, Timer::GiveUp(key)));
        if let Some(resend_at) = pending.resend_at {
            self.timers.remove(&(resend_at, Timer::Resend(key)));
        }
        if let Some(endpoint) = self.endpoints.get_mut(&pending.to) {
            endpoint.waiting.remove(&key);
        }
        true
    }

    /// Forgets the connection id of an address.
    fn disconnect(&mut self, addr: SocketAddr) {
        let link = self.endpoints.get(&addr).map(|endpoint| endpoint.link);
        if let Some(Link::Connected { until, .. }) = link {
            self.timers.remove(&(until, Timer::Expire(addr)));
            self.endpoints.remove(&addr);
        }
    }

    /// A transaction id that is not in use.
    fn begin_transaction(&mut self, from: SocketAddr, key: Option<K>) -> u32 {
        loop {
            let transaction = self.rng.next_u32();
            if !self.transactions.contains_key(&transaction) {
                self.transactions.insert(transaction, Transaction { from, key });
                return transaction;
            }
        }
    }

    fn transmit(&mut self, remote: SocketAddr, data: BytesMut) {
        if self.transmits.len() < MAX_QUEUED {
            self.transmits.push_back(Datagram { remote, data });
        }
    }
}

impl Pending {
    fn encode(&self, connection: u64) -> BytesMut {
        let mut data = BytesMut::new();
        let transaction = self.transaction;
        match &self.question {
            Question::Announce(request) => {
                let request = request.clone();
                RequestPacket::Announce { connection, transaction, request }.encode(&mut data);
                packet::push_url_data(&mut data, &self.url_data);
            }
            Question::Scrape(infohashes) => {
                let infohashes = infohashes.clone();
                RequestPacket::Scrape { connection, transaction, infohashes }.encode(&mut data);
            }
        }
        data
    }
}

/// How long to wait for an answer after so many that did not come.
fn timeout_after(timeouts: u32) -> Duration {
    FIRST_TIMEOUT * (1 << timeouts.min(MAX_DOUBLINGS))
}

/// A socket for both families shows IPv4 addresses in IPv6 form.
fn canonical(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(addr.ip().to_canonical(), addr.port())
}

fn refused(message: &[u8]) -> TrackerError {
    TrackerError::Refused { reason: shown_text(message), retry: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::piece::{InfoHash, PeerId};
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
        AnnounceRequest {
            infohash: InfoHash([1; 20]),
            peer_id: PeerId([2; 20]),
            port: 6881,
            uploaded: 0,
            downloaded: 0,
            left: 1,
            event: None,
            numwant: None,
            key: 0,
            tracker_id: None,
            ip: None,
            compact: true,
        }
        .into()
    }

    impl Ladder {
        fn new() -> Self {
            Ladder { client: UdpTracker::new(SecretRng::from_seed([3; 32])) }
        }

        fn ask(
            &mut self,
            at: u64,
            key: u8,
            to: SocketAddr,
            question: Question,
            patience: Duration,
        ) {
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
        let Some(RequestPacket::Announce { transaction, .. }) =
            RequestPacket::parse(&datagram.data)
        else {
            panic!()
        };
        ladder.recv(2, answer(transaction, &[1, 2, 3, 4, 0, 80, 9, 9]));
        let Ok(Answer::Announce(response)) = ladder.expect_output(7) else { panic!() };
        assert_eq!(response.interval, Duration::from_secs(1800));
        assert_eq!((response.complete, response.incomplete), (Some(2), Some(1)));
        assert_eq!(response.peers, ["1.2.3.4:80".parse().unwrap()]);
        assert!(ladder.client.is_empty());
        ladder.timeout(61);
        assert_eq!(ladder.client.poll_timeout(), None);
    }

    #[test]
    fn connect_times_out_as_in_the_example_of_bep_15() {
        let mut ladder = Ladder::new();
        ladder.ask(0, 1, addr(), announce(), LONG);
        let transaction = ladder.expect_connect();
        let mut at = 0;
        for wait in [15, 30, 60, 120, 240, 480, 960, 1920, 3840, 3840] {
            at += wait;
            ladder.timeout(at);
            assert_eq!(ladder.expect_connect(), transaction);
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
        ladder.timeout(61);
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
        ladder.ask(60, 3, addr(), announce(), LONG);
        let third = ladder.expect_announce(5);
        ladder.recv(60, answer(third, &[]));
        assert!(ladder.expect_output(3).is_ok());
        ladder.timeout(61);
        ladder.ask(61, 4, addr(), announce(), LONG);
        ladder.expect_connect();
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
}
