//! What follows from a datagram, and from one that does not come.

use std::net::SocketAddr;

use super::krpc::{
    self, Body, Contact, ErrorCode, Message, Method, Query, Response, Unreadable, canonical,
    is_plausible,
};
use super::node_id::NodeId;
use super::server::{Identity, Question};
use super::table::{K, Table};
use super::transactions::Late;
use super::{Dht, Output, QueryPurpose};
use crate::time::Instant;

impl Dht {
    /// A datagram came in. False: it is none of ours.
    pub fn handle_datagram(&mut self, now: Instant, from: SocketAddr, data: &[u8]) -> bool {
        // Every KRPC message is a dictionary, and nothing else begins like one.
        if data.first() != Some(&b'd') {
            return false;
        }
        let from = canonical(from);
        if from.port() == 0 || self.table(from.is_ipv6()).is_none() {
            return true;
        }
        krpc::parse(data, |message| match message {
            Ok(message) => self.handle_message(now, from, data.len(), message),
            Err(Unreadable { answer: Some((transaction, code)) }) => {
                self.refuse(now, from, data.len(), transaction, code);
            }
            Err(Unreadable { answer: None }) => {}
        });
        true
    }

    fn handle_message(&mut self, now: Instant, from: SocketAddr, len: usize, message: Message<'_>) {
        match message.body {
            Body::Query(query) => {
                let transaction = message.transaction;
                self.handle_query(
                    Question { now, from, len, transaction, query },
                    message.read_only,
                );
            }
            Body::Response(ref response) => self.handle_response(now, from, &message, response),
            Body::Error(code) => {
                if let Some((purpose, was_slow)) =
                    self.transactions.finish(from, message.transaction)
                {
                    self.pings -= usize::from(purpose.is_ping());
                    self.vote(now, from, &message);
                    self.query_failed(now, purpose, was_slow, Some(code));
                }
            }
        }
    }

    // Others ask.

    fn handle_query(&mut self, question: Question<'_>, read_only: bool) {
        let Question { now, from, query, .. } = question;
        if self.settings.read_only || !self.server.limiter.may_ask(now, from) {
            return;
        }
        let [v4, v6] = &self.tables;
        let Some(table) = (if from.is_ipv6() { v6 } else { v4 }) else { return };
        let own = table.own();
        if query.id == own {
            return;
        }
        let us = Identity { id: own, version: &self.settings.version };
        let closest = |target: &NodeId, v6_wanted: bool| {
            let table: &Option<Table> = if v6_wanted { v6 } else { v4 };
            let nodes = table.as_ref().map(|table| table.closest(target, K + 1, now));
            let mut nodes = nodes.unwrap_or_default();
            // A peer needs no answer that names itself.
            nodes.retain(|contact| contact.addr != from);
            nodes
        };
        let answer = self.server.answer(&question, us, &mut self.rng, closest);
        if let Some(answer) = answer {
            self.transmit(from, answer);
        }
        if !read_only {
            self.notice(now, Contact { id: query.id, addr: from }, &query);
        }
    }

    /// The node that asks may be worth knowing, or gets a longer answer when its address is proven.
    fn notice(&mut self, now: Instant, contact: Contact, query: &Query<'_>) {
        let table = self.table_mut(contact.addr.is_ipv6());
        let newcomer = table.and_then(|table| table.heard_of(now, contact, true));
        let long =
            matches!(query.method, Method::Get { .. } | Method::GetPeers { scrape: true, .. });
        let unproven = long && !self.server.limiter.is_proven(now, contact.addr);
        self.ping(now, newcomer.or(unproven.then_some(contact)));
    }

    fn refuse(
        &mut self,
        now: Instant,
        from: SocketAddr,
        len: usize,
        transaction: &[u8],
        code: ErrorCode,
    ) {
        if self.settings.read_only || !self.server.limiter.may_ask(now, from) {
            return;
        }
        let Some(id) = self.id(from.is_ipv6()) else { return };
        let us = Identity { id, version: &self.settings.version };
        if let Some(answer) = self.server.refuse(now, from, len, transaction, code, us) {
            self.transmit(from, answer);
        }
    }

    // Others answer.

    fn handle_response(
        &mut self,
        now: Instant,
        from: SocketAddr,
        message: &Message<'_>,
        response: &Response<'_>,
    ) {
        let Some((purpose, was_slow)) = self.transactions.finish(from, message.transaction) else {
            return;
        };
        self.pings -= usize::from(purpose.is_ping());
        let contact = Contact { id: response.id, addr: from };
        let Some(table) = self.table_mut(from.is_ipv6()) else { return };
        let other = purpose.contact().filter(|asked| asked.id != response.id);
        if response.id == table.own() || other.is_some() {
            // One that goes by several names is not to be known by any (BEP 45).
            if let Some(other) = other {
                table.remove(other);
            }
            return self.query_failed(now, purpose, was_slow, None);
        }
        self.server.limiter.prove(now, from);
        let next = self.table_mut(from.is_ipv6()).and_then(|table| table.replied(now, contact));
        self.ping(now, next);
        self.vote(now, from, message);
        match purpose {
            QueryPurpose::Ping(_) | QueryPurpose::Meet(_) => {}
            QueryPurpose::Look(id, ask) => {
                let named = self.named(now, from, response);
                let Some(search) = self.searches.get_mut(id) else { return };
                let lookup = &mut search.lookup;
                let round = lookup.handle_answer(ask, was_slow, contact, response.token, &named);
                if let Some(round) = round {
                    let peers = search.collect(contact, response, round);
                    let purpose = search.purpose;
                    self.tell_peers(purpose, peers);
                }
                self.drive(now, id);
            }
            QueryPurpose::Store(id, _) => {
                let Some(search) = self.searches.get_mut(id) else { return };
                search.handle_stored(Ok(()));
                self.settled(now, id, was_slow);
            }
        }
    }

    /// The nodes of the asked one's family that an answer names; those of the other family are
    /// met if we know few of it.
    fn named(&mut self, now: Instant, from: SocketAddr, response: &Response<'_>) -> Vec<Contact> {
        let (same, other) = match from.is_ipv6() {
            false => (&response.nodes, &response.nodes6),
            true => (&response.nodes6, &response.nodes),
        };
        for contact in other.iter().take(K).filter(|c| is_plausible(c.addr, from)) {
            let table = self.table_mut(contact.addr.is_ipv6()).filter(|table| table.len() < K);
            let newcomer = table.and_then(|table| table.heard_of(now, *contact, false));
            self.ping(now, newcomer);
        }
        let own = self.id(from.is_ipv6());
        let usable = |c: &&Contact| is_plausible(c.addr, from) && Some(c.id) != own;
        same.iter().filter(usable).copied().collect()
    }

    pub(super) fn tell_peers(&mut self, purpose: super::SearchPurpose, peers: Vec<SocketAddr>) {
        if let super::SearchPurpose::Request(request) = purpose
            && !peers.is_empty()
        {
            self.outputs.push_back(Output::Peers { request, peers });
        }
    }

    fn vote(&mut self, now: Instant, from: SocketAddr, message: &Message<'_>) {
        let Some(addr) = message.your_addr else { return };
        let v6 = from.is_ipv6();
        let [four, six] = &mut self.votes;
        let votes = if v6 { six } else { four };
        let Some(ip) = votes.vote(from.ip(), addr.ip()) else { return };
        self.outputs.push_back(Output::ExternalAddress(ip));
        if self.id(v6).is_some_and(|id| !id.is_bound_to(ip)) {
            let id = NodeId::bound_to(ip, &mut self.rng);
            if let Some(table) = self.table_mut(v6) {
                table.move_to(id, now);
            }
            self.find_neighbours(now, v6);
        }
    }

    // Nobody answers.

    pub(super) fn handle_late(&mut self, now: Instant, late: Late<QueryPurpose>) {
        match late {
            Late::Slow(QueryPurpose::Look(id, ask)) => {
                if let Some(search) = self.searches.get_mut(id) {
                    search.lookup.handle_slow(ask);
                }
                self.drive(now, id);
            }
            Late::Slow(QueryPurpose::Store(id, _)) => {
                self.settled(now, id, false);
            }
            Late::Slow(QueryPurpose::Ping(_) | QueryPurpose::Meet(_)) => {}
            Late::Lost(purpose) => {
                self.pings -= usize::from(purpose.is_ping());
                if let Some(contact) = purpose.contact()
                    && let Some(table) = self.table_mut(contact.addr.is_ipv6())
                {
                    let next = table.failed(now, contact);
                    self.ping(now, next);
                }
                self.query_failed(now, purpose, true, None);
            }
        }
    }

    fn query_failed(
        &mut self,
        now: Instant,
        purpose: QueryPurpose,
        was_slow: bool,
        code: Option<ErrorCode>,
    ) {
        match purpose {
            QueryPurpose::Ping(_) | QueryPurpose::Meet(_) => {}
            QueryPurpose::Look(id, ask) => {
                if let Some(search) = self.searches.get_mut(id) {
                    search.lookup.handle_failed(ask, was_slow);
                }
                self.drive(now, id);
            }
            QueryPurpose::Store(id, _) => {
                if let (Some(search), Some(code)) = (self.searches.get_mut(id), code) {
                    search.handle_stored(Err(code));
                }
                self.settled(now, id, was_slow);
            }
        }
    }

    /// A query of a search's last stage is over; one that was slow is not waited for already.
    fn settled(&mut self, now: Instant, id: super::SearchId, was_slow: bool) {
        if let Some(search) = self.searches.get_mut(id)
            && !was_slow
        {
            search.stop_waiting();
        }
        self.drive(now, id);
    }
}
