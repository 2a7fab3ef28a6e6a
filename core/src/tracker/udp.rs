//! The client of UDP trackers (BEP 15): one machine for all trackers of a session, which share a
//! socket.
//!
//! Each question gets an answer, an error, or is cancelled. A connection id is fetched when there
//! is none that was asked for within a minute, once for all who wait for it. Packets are sent again after
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
use crate::http::Url;
use crate::map::{HashKeys, Map};
use crate::packet::Packet;
use crate::random::SecretRng;
use crate::time::{Duration, Instant};

/// First time to wait for an answer; doubles each time (BEP 15, "time outs").
const FIRST_TIMEOUT: Duration = Duration::from_secs(15);

/// How often the time to wait is doubled at most (BEP 15, "time outs").
const MAX_DOUBLINGS: u32 = 8;

/// How long a connection id is used (BEP 15, "UDP connections / spoofing"). From when it was asked for:
/// when the tracker made it nobody knows, and the answer may have lain here while the host slept.
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
    transmits: VecDeque<Packet>,
    /// Questions that have gone out since this was asked for.
    sent: VecDeque<K>,
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
    Connecting { transaction: u32, timeouts: u32, sent_at: Instant, resend_at: Instant },
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
            sent: VecDeque::new(),
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

    /// The next question that has gone out, each time it does: its tracker may have heard it,
    /// whatever comes of it.
    pub fn poll_sent(&mut self) -> Option<K> {
        self.sent.pop_front()
    }

    /// Forgets a question. Nothing comes out for it any more.
    pub fn cancel(&mut self, key: K) {
        self.remove(key);
        self.sent.retain(|other| *other != key);
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
    pub fn poll_transmit(&mut self) -> Option<Packet> {
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
        let Some(to) = self.pending.get(&key).map(|pending| pending.to) else { return };
        // Its timer may come late: the host slept.
        let link = self.endpoints.get(&to).map(|endpoint| endpoint.link);
        if matches!(link, Some(Link::Connected { until, .. }) if until <= now) {
            self.disconnect(to);
        }
        let Some(pending) = self.pending.get_mut(&key) else { return };
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
                self.sent.push_back(key);
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
        let link = Link::Connecting { transaction, timeouts, sent_at: now, resend_at };
        self.endpoints.insert(to, Endpoint { link, waiting });
        self.timers.insert((resend_at, Timer::Connect(to)));
        let mut data = BytesMut::new();
        RequestPacket::Connect { transaction }.encode(&mut data);
        self.transmit(to, data);
    }

    fn connected(&mut self, now: Instant, from: SocketAddr, connection: u64) {
        let Some(endpoint) = self.endpoints.get_mut(&from) else { return };
        let Link::Connecting { transaction, sent_at, resend_at, .. } = endpoint.link else {
            return;
        };
        let until = sent_at + CONNECTION_LIFETIME;
        endpoint.link = Link::Connected { connection, until };
        let waiting = std::mem::take(&mut endpoint.waiting);
        self.transactions.remove(&transaction);
        self.timers.remove(&(resend_at, Timer::Connect(from)));
        self.timers.insert((until, Timer::Expire(from)));
        // If it is too old already, it is asked for anew.
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
        let waiting = std::mem::take(&mut endpoint.waiting);
        self.transactions.remove(&transaction);
        self.endpoints.remove(&addr);
        // Under another transaction id: an answer to the first request tells no time of the second.
        if !waiting.is_empty() {
            self.connect(now, addr, timeouts.saturating_add(1), waiting);
        }
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
            self.transmits.push_back(Packet { remote, data });
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
mod tests;
