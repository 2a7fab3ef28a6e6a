//! What we answer others (BEP 5, 32, 33, 44, 51).
//!
//! An answer to an address that has proven nothing is at most [`AMPLIFICATION`] times as long as
//! the question, an address that asks too often gets no answer, and nothing is stored without a token: we
//! are no use for flooding others (defences 25 and 26). Whom a contact list is made of is the
//! caller's to say.

use std::net::SocketAddr;

use super::krpc::contact_len;
use super::krpc::{Body, Contact, ErrorCode, Message, Method, Query, RawItem, Response, Want};
use super::limiter::Limiter;
use super::node_id::NodeId;
use super::store::item::{Item, ItemError};
use super::store::items::ItemStore;
use super::store::peers::{PeerStore, SAMPLE_INTERVAL};
use super::table::K;
use super::token::Tokens;
use crate::random::SecretRng;
use crate::time::Instant;

/// Longest answer to an unproven address, in lengths of the question (defence S12).
pub const AMPLIFICATION: usize = 3;

/// Longest answer to anybody, in bytes (chosen: it fits one packet on nearly every path).
const LONGEST: usize = 1400;

/// Peers in an answer (chosen).
const MOST_VALUES: usize = 50;

/// What every answer needs, in bytes: keys, id, address, version, the frame around.
const FRAME: usize = 110;

/// Answers queries and keeps what it is given.
#[derive(Debug)]
pub(super) struct Server {
    tokens: Tokens,
    pub(super) limiter: Limiter,
    pub(super) peers: PeerStore,
    pub(super) items: ItemStore,
}

/// A query and who asks it.
#[derive(Debug)]
pub(super) struct Question<'a> {
    pub(super) now: Instant,
    pub(super) from: SocketAddr,
    /// Length of the datagram in bytes.
    pub(super) len: usize,
    pub(super) transaction: &'a [u8],
    pub(super) query: Query<'a>,
}

/// What a server says of itself in each answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Identity<'a> {
    pub(super) id: NodeId,
    pub(super) version: &'a [u8],
}

impl Server {
    pub(super) fn new(now: Instant, rng: &mut SecretRng) -> Self {
        Server {
            tokens: Tokens::new(rng),
            limiter: Limiter::new(now),
            peers: PeerStore::default(),
            items: ItemStore::default(),
        }
    }

    /// The answer to a query. `closest` names the nodes of a family that are closest to a place.
    pub(super) fn answer(
        &mut self,
        question: &Question<'_>,
        us: Identity<'_>,
        rng: &mut SecretRng,
        closest: impl Fn(&NodeId, bool) -> Vec<Contact>,
    ) -> Option<bytes::BytesMut> {
        let Question { now, from, len, query, .. } = question;
        let budget = self.budget(*now, *from, *len);
        let reply = match query.method {
            Method::AnnouncePeer { infohash, port, seed, token } => {
                let peer = SocketAddr::new(from.ip(), port.unwrap_or(from.port()));
                self.take_peer(question, infohash, peer, seed, token)
            }
            Method::Put { item, cas, token } => self.take_item(question, &item, cas, token),
            Method::Unknown { target: None } => Err(ErrorCode::MethodUnknown),
            _ => Ok(()),
        };
        if let Err(code) = reply {
            return self.fit(question, us, Body::Error(code), budget);
        }
        let token = self.tokens.issue(*now, from.ip());
        let mut response = Response::new(us.id);
        let item = match query.method {
            Method::Get { target, .. } => self.items.get(*now, &target).cloned(),
            _ => None,
        };
        self.fill(question, &mut response, &token, item.as_ref(), budget, rng);
        let room = budget.saturating_sub(FRAME + response_len(&response));
        self.add_contacts(question, &mut response, room, closest);
        self.fit(question, us, Body::Response(Box::new(response)), budget)
    }

    /// The error to a query of `len` bytes that cannot be understood; `None` if it may not be sent.
    pub(super) fn refuse(
        &mut self,
        now: Instant,
        from: SocketAddr,
        len: usize,
        transaction: &[u8],
        code: ErrorCode,
        us: Identity<'_>,
    ) -> Option<bytes::BytesMut> {
        let body = Body::Error(code);
        let bytes = message(transaction, us, from, body).encode();
        let is_short = bytes.len() <= self.budget(now, from, len);
        (is_short && self.limiter.may_send(now, from, bytes.len())).then_some(bytes)
    }

    /// How long the answer to a query of `len` bytes may be.
    fn budget(&self, now: Instant, from: SocketAddr, len: usize) -> usize {
        let proven = self.limiter.is_proven(now, from);
        if proven { LONGEST } else { (len * AMPLIFICATION).min(LONGEST) }
    }

    fn take_peer(
        &mut self,
        question: &Question<'_>,
        infohash: NodeId,
        peer: SocketAddr,
        seed: bool,
        token: &[u8],
    ) -> Result<(), ErrorCode> {
        self.check_token(question, token)?;
        match self.peers.announce(question.now, infohash, peer, seed) {
            true => Ok(()),
            false => Err(ErrorCode::Server),
        }
    }

    fn take_item(
        &mut self,
        question: &Question<'_>,
        raw: &RawItem<'_>,
        cas: Option<i64>,
        token: &[u8],
    ) -> Result<(), ErrorCode> {
        // First the token: verifying a signature costs more than hashing.
        self.check_token(question, token)?;
        let salt = raw.signed.map_or(&[][..], |signed| signed.salt);
        let item = Item::verify(raw, salt).map_err(ItemError::code)?;
        self.items.put(question.now, question.from.ip(), item, cas)
    }

    fn check_token(&mut self, question: &Question<'_>, token: &[u8]) -> Result<(), ErrorCode> {
        if !self.tokens.check(question.now, question.from.ip(), token) {
            return Err(ErrorCode::Protocol);
        }
        self.limiter.prove(question.now, question.from);
        Ok(())
    }

    /// Puts in what was asked for, as far as there is room.
    fn fill<'a>(
        &mut self,
        question: &Question<'_>,
        response: &mut Response<'a>,
        token: &'a [u8],
        item: Option<&'a Item>,
        budget: usize,
        rng: &mut SecretRng,
    ) {
        let now = question.now;
        let v6 = question.from.is_ipv6();
        let room = budget.saturating_sub(FRAME);
        match question.query.method {
            Method::GetPeers { infohash, no_seeds, scrape } => {
                if self.peers.has_room(now, &infohash, question.from) {
                    response.token = Some(token);
                }
                if scrape && room > 2 * 300 {
                    response.blooms = self.peers.filters(now, &infohash);
                }
                // Half of what is left is for contacts.
                let left = room.saturating_sub(response_len(response)) / 2;
                let most = (left / if v6 { 21 } else { 8 }).min(MOST_VALUES);
                response.values = self.peers.peers(&infohash, v6, no_seeds, most, rng);
            }
            Method::Get { seq, .. } => {
                response.token = Some(token);
                let Some(item) = item else { return };
                response.seq = item.seq();
                let known = seq.is_some_and(|seq| item.seq().is_some_and(|own| own <= seq));
                let raw = item.raw();
                if !known && raw.value.len() + 170 < room {
                    // The salt is not repeated (BEP 44).
                    let signed =
                        raw.signed.map(|signed| super::krpc::RawSigned { salt: &[], ..signed });
                    response.item = Some(RawItem { signed, ..raw });
                }
            }
            Method::SampleInfohashes { .. } => {
                let (samples, num) = self.peers.samples(now, rng);
                let most = room.saturating_sub(60) / 2 / 20;
                response.samples = Some(samples.iter().take(most).copied().collect());
                response.num = u64::try_from(num).ok();
                response.interval = Some(SAMPLE_INTERVAL.as_secs());
            }
            _ => {}
        }
    }

    /// Adds contacts, as far as there is room, if the query asks for a place.
    fn add_contacts(
        &self,
        question: &Question<'_>,
        response: &mut Response<'_>,
        room: usize,
        closest: impl Fn(&NodeId, bool) -> Vec<Contact>,
    ) {
        let target = match question.query.method {
            Method::FindNode { target }
            | Method::Get { target, .. }
            | Method::SampleInfohashes { target }
            | Method::Unknown { target: Some(target) } => target,
            Method::GetPeers { infohash, .. } => infohash,
            _ => return,
        };
        let v6 = question.from.is_ipv6();
        let want = question.query.want.unwrap_or(Want { v4: !v6, v6 });
        let families = usize::from(want.v4) + usize::from(want.v6);
        let share = room.saturating_sub(12 * families) / families.max(1);
        let list = |v6: bool| {
            let mut contacts = closest(&target, v6);
            contacts.truncate((share / contact_len(v6)).min(K));
            contacts
        };
        if want.v4 {
            response.nodes = list(false);
        }
        if want.v6 {
            response.nodes6 = list(true);
        }
    }

    /// The datagram, made as short as it must be; `None` if it may not be sent.
    fn fit(
        &mut self,
        question: &Question<'_>,
        us: Identity<'_>,
        body: Body<'_>,
        budget: usize,
    ) -> Option<bytes::BytesMut> {
        let mut message = message(question.transaction, us, question.from, body);
        let mut bytes = message.encode();
        while bytes.len() > budget {
            let Body::Response(response) = &mut message.body else { return None };
            let shortened = response.nodes6.pop().or_else(|| response.nodes.pop()).is_some()
                || response.values.pop().is_some()
                || response.samples.as_mut().is_some_and(|samples| samples.pop().is_some())
                || response.item.take().is_some()
                || response.blooms.take().is_some();
            if !shortened {
                return None;
            }
            bytes = message.encode();
        }
        let may_send = self.limiter.may_send(question.now, question.from, bytes.len());
        may_send.then_some(bytes)
    }
}

fn message<'a>(
    transaction: &'a [u8],
    us: Identity<'a>,
    from: SocketAddr,
    body: Body<'a>,
) -> Message<'a> {
    Message {
        transaction,
        version: Some(us.version),
        read_only: false,
        your_addr: Some(from),
        body,
    }
}

/// About how many bytes the fields that are set take.
fn response_len(response: &Response<'_>) -> usize {
    let addr = |addr: &SocketAddr| if addr.is_ipv6() { 21 } else { 8 };
    response.token.map_or(0, |token| token.len() + 12)
        + response.values.iter().map(addr).sum::<usize>()
        + if response.values.is_empty() { 0 } else { 12 }
        + if response.blooms.is_some() { 2 * 270 } else { 0 }
        + response
            .item
            .as_ref()
            .map_or(0, |item| item.value.len() + 5 + if item.signed.is_some() { 140 } else { 0 })
        + response.seq.map_or(0, |_| 28)
        + response.samples.as_ref().map_or(0, |samples| samples.len() * 20 + 60)
}
