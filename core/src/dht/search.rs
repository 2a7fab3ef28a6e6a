//! What a search for a request collects.
//!
//! A [`Search`] is one lookup in one family with a purpose: it knows which query to send, takes
//! what it looks for out of answers (and believes items only if they verify), and after the lookup
//! stores what is to be stored at the closest nodes.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use super::krpc::{Contact, ErrorCode, Method, Response, is_plausible};
use super::lookup::{Answered, Lookup};
use super::node_id::NodeId;
use super::request::{Announce, DhtRequest, DhtRequestId, DhtResult};
use super::store::bloom::Bloom;
use super::store::item::{Item, mutable_target};

/// Peers that one search collects; past it, more are ignored (chosen).
const MOST_PEERS: usize = 2000;

/// Peers believed of one node (chosen: no honest one fits more into a datagram).
const MOST_PEERS_OF_NODE: usize = 100;

/// Infohashes that one search collects (chosen).
const MOST_SAMPLES: usize = 2000;

/// One lookup and what it is for.
#[derive(Debug)]
pub(super) struct Search {
    pub(super) purpose: SearchPurpose,
    pub(super) v6: bool,
    pub(super) lookup: Lookup,
    pub(super) stage: Stage,
    request: DhtRequest,
    item: Option<Item>,
    peers: Vec<SocketAddr>,
    known: BTreeSet<SocketAddr>,
    filters: Option<Box<(Bloom, Bloom)>>,
    samples: BTreeSet<NodeId>,
    found_in_round: Option<u32>,
    /// Who has which item: a `cas` goes to those only that have one (BEP 44).
    has_item: BTreeSet<NodeId>,
    stored: usize,
    refused: Option<ErrorCode>,
}

/// For whom a search runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum SearchPurpose {
    /// Our own table.
    Upkeep,
    /// Finding our place at the start.
    Bootstrap,
    /// A user's request.
    Request(DhtRequestId),
}

/// How far a search is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    /// Nodes are asked.
    Looking,
    /// The closest nodes are asked to store something.
    Storing {
        /// Queries under way.
        waiting: usize,
    },
}

impl Search {
    /// A search for a request. `None`: there is nothing to look for, an item does not verify.
    pub(super) fn new(purpose: SearchPurpose, request: DhtRequest, v6: bool) -> Option<Self> {
        let item = match &request {
            DhtRequest::Put { item, .. } => Some(item.verified()?),
            _ => None,
        };
        let target = match (&request, &item) {
            (DhtRequest::Put { .. }, Some(item)) => item.target(),
            (
                DhtRequest::Nodes { target }
                | DhtRequest::Get { target, .. }
                | DhtRequest::Sample { target },
                _,
            ) => *target,
            (DhtRequest::Peers { infohash, .. } | DhtRequest::Scrape { infohash }, _) => *infohash,
            (DhtRequest::Put { .. }, None) => return None,
        };
        Some(Search {
            purpose,
            v6,
            lookup: Lookup::new(target, &[], Vec::new()),
            stage: Stage::Looking,
            request,
            item,
            peers: Vec::new(),
            known: BTreeSet::new(),
            filters: None,
            samples: BTreeSet::new(),
            found_in_round: None,
            has_item: BTreeSet::new(),
            stored: 0,
            refused: None,
        })
    }

    /// What to ask each node.
    pub(super) fn question(&self) -> Method<'static> {
        let target = self.lookup.target();
        match self.request {
            DhtRequest::Nodes { .. } => Method::FindNode { target },
            DhtRequest::Peers { no_seeds, .. } => {
                Method::GetPeers { infohash: target, no_seeds, scrape: false }
            }
            DhtRequest::Scrape { .. } => {
                Method::GetPeers { infohash: target, no_seeds: false, scrape: true }
            }
            DhtRequest::Get { .. } | DhtRequest::Put { .. } => Method::Get { target, seq: None },
            DhtRequest::Sample { .. } => Method::SampleInfohashes { target },
        }
    }

    /// Takes what is looked for out of an answer. Returns peers that are new.
    pub(super) fn collect(
        &mut self,
        from: Contact,
        response: &Response<'_>,
        round: u32,
    ) -> Vec<SocketAddr> {
        let found = match &self.request {
            DhtRequest::Nodes { .. } => false,
            DhtRequest::Peers { .. } | DhtRequest::Scrape { .. } => {
                !response.values.is_empty() || response.blooms.is_some()
            }
            DhtRequest::Get { .. } | DhtRequest::Put { .. } => self.collect_item(from, response),
            DhtRequest::Sample { .. } => self.collect_samples(response),
        };
        if found {
            self.found_in_round.get_or_insert(round);
        }
        if matches!(self.request, DhtRequest::Scrape { .. }) {
            self.collect_filters(response);
            return Vec::new();
        }
        if !matches!(self.request, DhtRequest::Peers { .. }) {
            return Vec::new();
        }
        let peers = response.values.iter().take(MOST_PEERS_OF_NODE).copied();
        let v6 = self.v6;
        self.add_peers(peers.filter(|a| a.is_ipv6() == v6 && is_plausible(*a, from.addr)))
    }

    /// Takes what we keep ourselves. Returns peers that are new.
    pub(super) fn collect_own(&mut self, peers: Vec<SocketAddr>) -> Vec<SocketAddr> {
        if matches!(self.request, DhtRequest::Peers { .. }) {
            return self.add_peers(peers.into_iter());
        }
        Vec::new()
    }

    fn add_peers(&mut self, peers: impl Iterator<Item = SocketAddr>) -> Vec<SocketAddr> {
        let mut new = Vec::new();
        for addr in peers {
            if self.peers.len() < MOST_PEERS && self.known.insert(addr) {
                self.peers.push(addr);
                new.push(addr);
            }
        }
        new
    }

    fn collect_filters(&mut self, response: &Response<'_>) {
        let filters = match &response.blooms {
            Some(filters) => filters.clone(),
            None if response.values.is_empty() => return,
            None => {
                // BEP 33, "handling legacy responses".
                let mut filters = Box::<(Bloom, Bloom)>::default();
                for addr in &response.values {
                    filters.1.insert(addr.ip());
                }
                filters
            }
        };
        let all = self.filters.get_or_insert_default();
        all.0.unite(&filters.0);
        all.1.unite(&filters.1);
    }

    fn collect_item(&mut self, from: Contact, response: &Response<'_>) -> bool {
        let salt = match &self.request {
            DhtRequest::Get { salt, .. } => salt.clone(),
            _ => Vec::new(),
        };
        if response.seq.is_some() || response.item.is_some() {
            self.has_item.insert(from.id);
        }
        let (Some(raw), DhtRequest::Get { target, .. }) = (&response.item, &self.request) else {
            return false;
        };
        let lies_there = match raw.signed {
            Some(signed) => mutable_target(&signed.key, &salt) == *target,
            None => true,
        };
        let Some(item) = lies_there.then(|| Item::verify(raw, &salt).ok()).flatten() else {
            return false;
        };
        if item.target() != *target {
            return false;
        }
        if self.item.as_ref().is_none_or(|known| known.seq() < item.seq()) {
            self.item = Some(item);
        }
        true
    }

    fn collect_samples(&mut self, response: &Response<'_>) -> bool {
        let Some(samples) = &response.samples else { return false };
        let room = MOST_SAMPLES.saturating_sub(self.samples.len());
        self.samples.extend(samples.iter().take(room));
        true
    }

    /// Whether enough was found to stop before the closest nodes have answered.
    pub(super) fn has_enough(&self) -> bool {
        match &self.request {
            DhtRequest::Peers { enough: Some(enough), announce: None, .. } => {
                self.peers.len() >= *enough
            }
            // What has no number cannot be out of date.
            DhtRequest::Get { .. } => self.item.as_ref().is_some_and(|item| item.seq().is_none()),
            _ => false,
        }
    }

    /// What to store, and where, when the lookup is over.
    pub(super) fn places(&self) -> Vec<Answered> {
        let stores = match &self.request {
            DhtRequest::Peers { announce, .. } => announce.is_some(),
            DhtRequest::Put { .. } => true,
            _ => false,
        };
        if !stores {
            return Vec::new();
        }
        let closest = self.lookup.closest().into_iter();
        closest.filter(|found| found.token.is_some()).collect()
    }

    /// How to ask a node to store it.
    pub(super) fn store_query<'a>(&'a self, at: &Contact, token: &'a [u8]) -> Option<Method<'a>> {
        match &self.request {
            DhtRequest::Peers { infohash, announce: Some(announce), .. } => {
                let Announce { port, seed } = *announce;
                Some(Method::AnnouncePeer { infohash: *infohash, port, seed, token })
            }
            DhtRequest::Put { cas, .. } => {
                let cas = cas.filter(|_| self.has_item.contains(&at.id));
                Some(Method::Put { item: self.item.as_ref()?.raw(), cas, token })
            }
            _ => None,
        }
    }

    /// A node has stored it, or refused.
    pub(super) fn handle_stored(&mut self, result: Result<(), ErrorCode>) {
        match result {
            Ok(()) => self.stored += 1,
            Err(code) => self.refused = Some(code),
        }
    }

    /// One that was asked to store something is not waited for any more.
    pub(super) fn stop_waiting(&mut self) {
        if let Stage::Storing { waiting } = &mut self.stage {
            *waiting = waiting.saturating_sub(1);
        }
    }

    /// Adds what was found to what the search of the other family found.
    pub(super) fn finish(self, result: &mut DhtResult, filters: &mut Option<Box<(Bloom, Bloom)>>) {
        result.asked += self.lookup.asked();
        result.answered += self.lookup.answered();
        result.found_in_round = match (result.found_in_round, self.found_in_round) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        result.stored += self.stored;
        result.refused = result.refused.or(self.refused);
        result.closest.extend(self.lookup.closest().into_iter().map(|found| found.contact));
        result.peers.extend(self.peers);
        result.samples.extend(self.samples);
        if matches!(self.request, DhtRequest::Get { .. })
            && self.item.as_ref().map(Item::seq) > result.item.as_ref().map(Item::seq)
        {
            result.item = self.item;
        }
        if let Some(found) = self.filters {
            let all = filters.get_or_insert_default();
            all.0.unite(&found.0);
            all.1.unite(&found.1);
        }
    }
}
