//! What a search for a wish collects.
//!
//! A [`Search`] is one lookup in one family with a purpose: it knows which query to send, takes
//! what it looks for out of answers (and believes items only if they verify), and after the lookup
//! stores what is to be stored at the closest nodes.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use super::krpc::{Contact, ErrorCode, Method, Response, is_plausible};
use super::lookup::{Answered, Lookup};
use super::node_id::NodeId;
use super::store::bloom::Bloom;
use super::store::item::{Item, mutable_target};
use super::wish::{Announce, Outcome, Wish, WishId};

/// Peers that one search collects; past it, more are ignored (chosen).
const MOST_PEERS: usize = 2000;

/// Peers believed of one node (chosen: no honest one fits more into a datagram).
const MOST_PEERS_OF_NODE: usize = 100;

/// Infohashes that one search collects (chosen).
const MOST_SAMPLES: usize = 2000;

/// One lookup and what it is for.
#[derive(Debug)]
pub(super) struct Search {
    pub(super) purpose: Purpose,
    pub(super) v6: bool,
    pub(super) lookup: Lookup,
    pub(super) stage: Stage,
    wish: Wish,
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
pub(super) enum Purpose {
    /// Our own table.
    Upkeep,
    /// Finding our place at the start.
    Bootstrap,
    /// A user's wish.
    Wish(WishId),
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
    /// A search for a wish. `None`: there is nothing to look for, an item does not verify.
    pub(super) fn new(purpose: Purpose, wish: Wish, v6: bool) -> Option<Self> {
        let item = match &wish {
            Wish::Put { item, .. } => Some(item.verified()?),
            _ => None,
        };
        let target = match (&wish, &item) {
            (Wish::Put { .. }, Some(item)) => item.target(),
            (Wish::Nodes { target } | Wish::Get { target, .. } | Wish::Sample { target }, _) => {
                *target
            }
            (Wish::Peers { infohash, .. } | Wish::Scrape { infohash }, _) => *infohash,
            (Wish::Put { .. }, None) => return None,
        };
        Some(Search {
            purpose,
            v6,
            lookup: Lookup::new(target, &[], Vec::new()),
            stage: Stage::Looking,
            wish,
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
        match self.wish {
            Wish::Nodes { .. } => Method::FindNode { target },
            Wish::Peers { no_seeds, .. } => {
                Method::GetPeers { infohash: target, no_seeds, scrape: false }
            }
            Wish::Scrape { .. } => {
                Method::GetPeers { infohash: target, no_seeds: false, scrape: true }
            }
            Wish::Get { .. } | Wish::Put { .. } => Method::Get { target, seq: None },
            Wish::Sample { .. } => Method::SampleInfohashes { target },
        }
    }

    /// Takes what is looked for out of an answer. Returns peers that are new.
    pub(super) fn collect(
        &mut self,
        from: Contact,
        response: &Response<'_>,
        round: u32,
    ) -> Vec<SocketAddr> {
        let found = match &self.wish {
            Wish::Nodes { .. } => false,
            Wish::Peers { .. } | Wish::Scrape { .. } => {
                !response.values.is_empty() || response.blooms.is_some()
            }
            Wish::Get { .. } | Wish::Put { .. } => self.collect_item(from, response),
            Wish::Sample { .. } => self.collect_samples(response),
        };
        if found {
            self.found_in_round.get_or_insert(round);
        }
        if matches!(self.wish, Wish::Scrape { .. }) {
            self.collect_filters(response);
            return Vec::new();
        }
        if !matches!(self.wish, Wish::Peers { .. }) {
            return Vec::new();
        }
        let peers = response.values.iter().take(MOST_PEERS_OF_NODE).copied();
        let v6 = self.v6;
        self.add_peers(peers.filter(|a| a.is_ipv6() == v6 && is_plausible(*a, from.addr)))
    }

    /// Takes what we keep ourselves. Returns peers that are new.
    pub(super) fn collect_own(&mut self, peers: Vec<SocketAddr>) -> Vec<SocketAddr> {
        if matches!(self.wish, Wish::Peers { .. }) {
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
        let salt = match &self.wish {
            Wish::Get { salt, .. } => salt.clone(),
            _ => Vec::new(),
        };
        if response.seq.is_some() || response.item.is_some() {
            self.has_item.insert(from.id);
        }
        let (Some(raw), Wish::Get { target, .. }) = (&response.item, &self.wish) else {
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
        match &self.wish {
            Wish::Peers { enough: Some(enough), announce: None, .. } => self.peers.len() >= *enough,
            // What has no number cannot be out of date.
            Wish::Get { .. } => self.item.as_ref().is_some_and(|item| item.seq().is_none()),
            _ => false,
        }
    }

    /// What to store, and where, when the lookup is over.
    pub(super) fn places(&self) -> Vec<Answered> {
        let stores = match &self.wish {
            Wish::Peers { announce, .. } => announce.is_some(),
            Wish::Put { .. } => true,
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
        match &self.wish {
            Wish::Peers { infohash, announce: Some(announce), .. } => {
                let Announce { port, seed } = *announce;
                Some(Method::AnnouncePeer { infohash: *infohash, port, seed, token })
            }
            Wish::Put { cas, .. } => {
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
    pub(super) fn finish(self, outcome: &mut Outcome, filters: &mut Option<Box<(Bloom, Bloom)>>) {
        outcome.asked += self.lookup.asked();
        outcome.answered += self.lookup.answered();
        outcome.found_in_round = match (outcome.found_in_round, self.found_in_round) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        outcome.stored += self.stored;
        outcome.refused = outcome.refused.or(self.refused);
        outcome.closest.extend(self.lookup.closest().into_iter().map(|found| found.contact));
        outcome.peers.extend(self.peers);
        outcome.samples.extend(self.samples);
        if matches!(self.wish, Wish::Get { .. })
            && self.item.as_ref().map(Item::seq) > outcome.item.as_ref().map(Item::seq)
        {
            outcome.item = self.item;
        }
        if let Some(found) = self.filters {
            let all = filters.get_or_insert_default();
            all.0.unite(&found.0);
            all.1.unite(&found.1);
        }
    }
}
