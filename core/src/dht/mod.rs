//! The distributed hash table: a node of it, and what can be asked of it (BEP 5, with BEP 32, 33,
//! 42, 43, 44, 45 and 51).
//!
//! [`Dht`] is a machine of its own: datagrams, times and requests go in; datagrams, one deadline and
//! what was found come out. It is one node in each address family, with a table and an id of its
//! own. A host with several addresses of a family runs one of these for each (BEP 45, "node
//! behavior"). The parts:
//!
//! | file | what it decides |
//! |---|---|
//! | `krpc/` | what a datagram says |
//! | `node_id` | distance, and which ids an address may have |
//! | `table` | which nodes are remembered |
//! | `transactions` | which answers are believed to be answers |
//! | `request` | what is asked of us, and its result |
//! | `lookup`, `search` | whom to ask next, when that is enough, what is taken out of answers |
//! | `server`, `store/`, `token`, `limiter` | what we answer other nodes, what is kept for them |
//! | `votes` | what our own address is |
//! | `save` | what is kept between sessions |
//! | `input`, `upkeep` | what follows from a datagram, and from time |
//!
//! Everything is bounded; what does not fit is refused or forgotten, as the parts say. That a
//! torrent may be looked for at all (BEP 27) is for the caller to know.

mod due;
mod group;
mod input;
pub mod krpc;
mod limiter;
mod lookup;
pub mod node_id;
mod request;
mod save;
mod search;
mod server;
pub mod store;
pub mod table;
#[cfg(test)]
mod tests;
mod token;
mod transactions;
mod upkeep;
mod votes;

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use self::due::Upkeep;
use self::krpc::{Contact, Message, Method, Query, Want, canonical};
use self::lookup::Ask;
use self::search::{Search, SearchPurpose, Stage};
use self::server::Server;
use self::store::bloom::Bloom;
use self::table::{K, Table};
use self::transactions::Transactions;
use self::votes::Votes;
use crate::id::{Slab, id_type};
use crate::ip_filter::IpFilter;
use crate::packet::Packet;
use crate::random::SecretRng;
use crate::time::Instant;

pub use node_id::{NodeId, is_exempt};
pub use request::{Announce, DhtRequest, DhtRequestId, DhtResult, PutItem};
pub use save::Saved;
pub use server::AMPLIFICATION;

id_type!(
    /// One lookup under way.
    SearchId
);

/// Searches for requests under way at once; past it, requests wait their turn (chosen).
const MOST_SEARCHES: usize = 24;

/// Requests that may wait; past it, they are refused (chosen).
const MOST_REQUESTS: usize = 2048;

/// Pings under way at once; past it, newcomers are not looked at (chosen).
const MOST_PINGS: usize = 64;

/// Datagrams that may wait to be sent; past it, new ones are dropped, as a network would (chosen).
const MOST_TRANSMITS: usize = 2048;

/// What kind of node we are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    /// Take part in the IPv4 DHT.
    pub v4: bool,
    /// Take part in the IPv6 DHT.
    pub v6: bool,
    /// Ask, but answer nobody (BEP 43): for who cannot be reached, or must not be.
    pub read_only: bool,
    /// Two letters of the client and two characters of its version (BEP 5, BEP 20).
    pub version: [u8; 4],
}

/// What comes out besides datagrams.
#[derive(Clone, PartialEq, Debug)]
pub enum Output {
    /// The first look around is over: requests are looked after from now on.
    Ready {
        /// Nodes that are known.
        nodes: usize,
    },
    /// Peers of a torrent that are new to this request.
    Peers {
        /// Whose.
        request: DhtRequestId,
        /// Their addresses.
        peers: Vec<SocketAddr>,
    },
    /// A request is done; its id is dead.
    Done {
        /// Which one.
        request: DhtRequestId,
        /// What came of it.
        result: Box<DhtResult>,
    },
    /// Others see us at this address.
    ExternalAddress(IpAddr),
    /// The tables have changed for long enough to be worth saving.
    SaveDue,
}

/// A node of the DHT in each address family.
#[derive(Debug)]
pub struct Dht {
    settings: Settings,
    rng: SecretRng,
    /// IPv4 and IPv6.
    tables: [Option<Table>; 2],
    votes: [Votes; 2],
    transactions: Transactions<QueryPurpose>,
    searches: Slab<SearchId, Search>,
    requests: Slab<DhtRequestId, OpenRequest>,
    waiting: VecDeque<(DhtRequestId, DhtRequest)>,
    server: Server,
    /// Where to begin when nobody is known.
    routers: Vec<SocketAddr>,
    /// Nodes of an earlier session.
    saved: Vec<Contact>,
    upkeep: Upkeep,
    pings: usize,
    transmits: VecDeque<Packet>,
    outputs: VecDeque<Output>,
    /// Nodes that are not asked.
    filter: Option<Arc<IpFilter>>,
}

/// A request under way.
#[derive(Debug, Default)]
struct OpenRequest {
    /// Its searches that are not done.
    searches: usize,
    result: DhtResult,
    filters: Option<Box<(Bloom, Bloom)>>,
}

/// What a query of ours is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum QueryPurpose {
    /// Whether a node is there.
    Ping(Contact),
    /// Which node is at an address.
    Meet(SocketAddr),
    /// A step of a lookup.
    Look(SearchId, Ask),
    /// To store something.
    Store(SearchId, Contact),
}

/// How much there is of everything.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize)]
pub struct Stats {
    /// Nodes in the tables.
    pub nodes: usize,
    /// Those of them that are good.
    pub good_nodes: usize,
    /// Lookups under way.
    pub searches: usize,
    /// Requests that are not done.
    pub requests: usize,
    /// Queries under way.
    pub queries: usize,
    /// Swarms that we keep peers of for others.
    pub swarms: usize,
    /// Peers that we keep for others.
    pub peers: usize,
    /// Items that we keep for others.
    pub items: usize,
    /// Addresses whose behaviour is remembered.
    pub remembered: usize,
}

impl Stats {
    /// Both together.
    #[must_use]
    pub fn plus(self, other: Stats) -> Stats {
        Stats {
            nodes: self.nodes + other.nodes,
            good_nodes: self.good_nodes + other.good_nodes,
            searches: self.searches + other.searches,
            requests: self.requests + other.requests,
            queries: self.queries + other.queries,
            swarms: self.swarms + other.swarms,
            peers: self.peers + other.peers,
            items: self.items + other.items,
            remembered: self.remembered + other.remembered,
        }
    }
}

impl Dht {
    /// A node that knows nobody; it is silent until [`Dht::begin`].
    pub fn new(settings: Settings, mut rng: SecretRng, now: Instant) -> Self {
        // BEP 32 wants the same id in both families, as long as it is bound to no address.
        let id = NodeId::random(&mut rng);
        let table = |on: bool| on.then(|| Table::new(id, now));
        Dht {
            tables: [table(settings.v4), table(settings.v6)],
            settings,
            votes: Default::default(),
            transactions: Transactions::new(),
            searches: Slab::new(),
            requests: Slab::new(),
            waiting: VecDeque::new(),
            server: Server::new(now, &mut rng),
            routers: Vec::new(),
            saved: Vec::new(),
            upkeep: Upkeep::default(),
            pings: 0,
            transmits: VecDeque::new(),
            outputs: VecDeque::new(),
            filter: None,
            rng,
        }
    }

    /// Takes up what an earlier session has saved. To be called before [`Dht::begin`].
    pub fn load(&mut self, now: Instant, saved: Saved) {
        for (table, id) in self.tables.iter_mut().zip(saved.ids) {
            if let (Some(table), Some(id)) = (table, id) {
                table.move_to(id, now);
            }
        }
        self.saved = saved.contacts;
    }

    /// What to save for a later session.
    pub fn save(&self) -> Saved {
        let [v4, v6] = &self.tables;
        let ids = [v4, v6].map(|table| table.as_ref().map(Table::own));
        let mut contacts: Vec<Contact> =
            self.tables.iter().flatten().flat_map(Table::contacts).collect();
        // A session that reached nobody does not lose what an earlier one knew.
        if contacts.is_empty() {
            contacts.clone_from(&self.saved);
        }
        Saved { ids, contacts }
    }

    /// Uses another id in one family, for tests and simulation.
    pub fn set_id(&mut self, now: Instant, v6: bool, id: NodeId) {
        if let Some(table) = self.table_mut(v6) {
            table.move_to(id, now);
        }
    }

    /// Asks no node that this refuses from now on, and forgets those that are known. What such nodes
    /// send is not to be handed in.
    pub fn set_filter(&mut self, filter: Option<Arc<IpFilter>>) {
        self.filter = filter;
        if let Some(filter) = &self.filter {
            for table in self.tables.iter_mut().flatten() {
                table.forget(|ip| filter.refuses(ip));
            }
        }
    }

    /// Leaves a family, since nothing can be sent to it.
    pub fn leave(&mut self, v6: bool) {
        let [four, six] = &mut self.tables;
        *(if v6 { six } else { four }) = None;
    }

    /// In how many families a node is known.
    pub fn families(&self) -> usize {
        self.tables.iter().flatten().filter(|table| !table.is_empty()).count()
    }

    /// How many nodes the tables hold.
    pub fn nodes(&self) -> usize {
        self.tables.iter().flatten().map(Table::len).sum()
    }

    /// Our id in a family, if we take part in it.
    pub fn id(&self, v6: bool) -> Option<NodeId> {
        self.table(v6).map(Table::own)
    }

    /// Looks around for the first time, or again from these addresses.
    pub fn begin(&mut self, now: Instant, routers: Vec<SocketAddr>) {
        self.routers = routers.into_iter().map(canonical).collect();
        self.look_around(now);
    }

    /// Asks whether a node is at an address (BEP 5, `port` message, `nodes` key).
    pub fn meet(&mut self, now: Instant, addr: SocketAddr) {
        let addr = canonical(addr);
        if addr.port() != 0 && self.pings < MOST_PINGS && self.table(addr.is_ipv6()).is_some() {
            self.ask(now, addr, QueryPurpose::Meet(addr), None);
        }
    }

    /// Requests something. `None`: too much was asked for already, or an item does not verify.
    /// It is looked for once the first look around is over.
    pub fn request(&mut self, now: Instant, request: DhtRequest) -> Option<DhtRequestId> {
        if self.requests.len() >= MOST_REQUESTS {
            return None;
        }
        // What cannot be looked for is noticed here, not when its turn comes.
        Search::new(SearchPurpose::Upkeep, request.clone(), false)?;
        let id = self.requests.insert(OpenRequest::default());
        self.waiting.push_back((id, request));
        self.start_waiting(now);
        Some(id)
    }

    /// Nobody waits for a request any more; nothing comes out for it.
    pub fn forget(&mut self, request: DhtRequestId) {
        self.requests.remove(request);
        self.waiting.retain(|(id, _)| *id != request);
        let purpose = SearchPurpose::Request(request);
        let of_request =
            |(id, search): (SearchId, &Search)| (search.purpose == purpose).then_some(id);
        let searches: Vec<SearchId> = self.searches.iter().filter_map(of_request).collect();
        for id in searches {
            self.searches.remove(id);
        }
    }

    /// The next datagram to send.
    pub fn poll_transmit(&mut self) -> Option<Packet> {
        self.transmits.pop_front()
    }

    /// What came out.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Whether the first look around is over.
    pub fn is_ready(&self) -> bool {
        self.upkeep.is_ready()
    }

    /// How much there is of everything. Goes through the tables.
    pub fn stats(&self, now: Instant) -> Stats {
        let tables = || self.tables.iter().flatten();
        Stats {
            nodes: tables().map(Table::len).sum(),
            good_nodes: tables().map(|table| table.good(now)).sum(),
            searches: self.searches.len(),
            requests: self.requests.len(),
            queries: self.transactions.len(),
            swarms: self.server.peers.swarms(),
            peers: self.server.peers.len(),
            items: self.server.items.len(),
            remembered: self.server.limiter.len(),
        }
    }

    // Searches.

    /// Begins with requests that wait, as many as may run at once.
    fn start_waiting(&mut self, now: Instant) {
        while self.upkeep.is_ready() && self.searches.len() < MOST_SEARCHES {
            let Some((id, request)) = self.waiting.pop_front() else { return };
            for v6 in [false, true] {
                if self.table(v6).is_some()
                    && let Some(pending) = self.requests.get_mut(id)
                {
                    pending.searches += 1;
                    self.start(now, SearchPurpose::Request(id), request.clone(), v6);
                }
            }
            if self.requests.get(id).is_some_and(|pending| pending.searches == 0) {
                self.request_done(id);
            }
        }
    }

    /// Begins a search with the nodes that are known, and with whom to ask when these are too few.
    fn start(&mut self, now: Instant, purpose: SearchPurpose, request: DhtRequest, v6: bool) {
        let Some(mut search) = Search::new(purpose, request, v6) else { return };
        let target = search.lookup.target();
        let Some(table) = self.table(v6) else { return };
        let mut nodes = table.closest(&target, 2 * K, now);
        let mut strangers = Vec::new();
        if nodes.len() < K {
            let mut saved: Vec<Contact> =
                self.saved.iter().filter(|c| c.addr.is_ipv6() == v6).copied().collect();
            saved.sort_by_key(|contact| contact.id.distance(&target));
            nodes.extend(saved.into_iter().take(4 * K));
            strangers = self.routers.iter().filter(|a| a.is_ipv6() == v6).copied().collect();
        }
        search.lookup = lookup::Lookup::new(target, &nodes, strangers);
        // Who is close to the target may keep some of it without being asked.
        let own = self.server.peers.peers(&target, v6, false, 100, &mut self.rng);
        let peers = search.collect_own(own);
        let id = self.searches.insert(search);
        self.tell_peers(purpose, peers);
        self.drive(now, id);
    }

    /// Does what a search needs next, until it has to wait.
    fn drive(&mut self, now: Instant, id: SearchId) {
        while let Some(search) = self.searches.get_mut(id) {
            match search.stage {
                Stage::Looking if search.has_enough() || search.lookup.is_done() => {
                    self.store(now, id);
                }
                Stage::Looking => match search.lookup.next() {
                    Some(ask) => self.look(now, id, ask),
                    None => return,
                },
                Stage::Storing { waiting: 0 } => self.search_done(now, id),
                Stage::Storing { .. } => return,
            }
        }
    }

    fn look(&mut self, now: Instant, id: SearchId, ask: Ask) {
        let Some(search) = self.searches.get(id) else { return };
        let question = search.question();
        let to = match ask {
            Ask::Node(contact) => contact.addr,
            Ask::Stranger(addr) => addr,
        };
        if !self.ask(now, to, QueryPurpose::Look(id, ask), Some(question))
            && let Some(search) = self.searches.get_mut(id)
        {
            search.lookup.handle_failed(ask, false);
        }
    }

    fn store(&mut self, now: Instant, id: SearchId) {
        let Some(search) = self.searches.get(id) else { return };
        let mut queries = Vec::new();
        for place in search.places() {
            let contact = place.contact;
            let token = place.token.unwrap_or_default();
            let Some(method) = search.store_query(&contact, &token) else { continue };
            let purpose = QueryPurpose::Store(id, contact);
            let Some(transaction) =
                self.transactions.begin(now, &mut self.rng, contact.addr, purpose)
            else {
                continue;
            };
            queries.push((contact.addr, self.query(contact.addr, &transaction, method)));
        }
        let waiting = queries.len();
        for (to, data) in queries {
            self.transmit(to, data);
        }
        if let Some(search) = self.searches.get_mut(id) {
            search.stage = Stage::Storing { waiting };
        }
    }

    fn search_done(&mut self, now: Instant, id: SearchId) {
        let Some(search) = self.searches.remove(id) else { return };
        match search.purpose {
            SearchPurpose::Upkeep => {}
            SearchPurpose::Bootstrap => self.looked_around(now),
            SearchPurpose::Request(request) => {
                let Some(pending) = self.requests.get_mut(request) else { return };
                search.finish(&mut pending.result, &mut pending.filters);
                pending.searches = pending.searches.saturating_sub(1);
                if pending.searches == 0 {
                    self.request_done(request);
                }
            }
        }
        self.start_waiting(now);
    }

    fn request_done(&mut self, request: DhtRequestId) {
        let Some(OpenRequest { mut result, filters, .. }) = self.requests.remove(request) else {
            return;
        };
        result.swarm = filters.map(|filters| {
            let count = |filter: &Bloom| filter.estimate().round() as u64;
            (count(&filters.0), count(&filters.1))
        });
        result.samples.sort_unstable();
        result.samples.dedup();
        self.outputs.push_back(Output::Done { request, result: Box::new(result) });
    }

    // Queries.

    fn ping(&mut self, now: Instant, contact: Option<Contact>) {
        if let Some(contact) = contact
            && self.pings < MOST_PINGS
        {
            self.ask(now, contact.addr, QueryPurpose::Ping(contact), None);
        }
    }

    /// Sends a query, a ping if nothing is asked. Whether it could be sent.
    fn ask(
        &mut self,
        now: Instant,
        to: SocketAddr,
        purpose: QueryPurpose,
        method: Option<Method<'_>>,
    ) -> bool {
        if self.filter.as_ref().is_some_and(|filter| filter.refuses(to.ip())) {
            return false;
        }
        let Some(transaction) = self.transactions.begin(now, &mut self.rng, to, purpose) else {
            return false;
        };
        self.pings += usize::from(purpose.is_ping());
        let data = self.query(to, &transaction, method.unwrap_or(Method::Ping));
        self.transmit(to, data);
        true
    }

    fn query(&self, to: SocketAddr, transaction: &[u8], method: Method<'_>) -> bytes::BytesMut {
        let id = self.id(to.is_ipv6()).unwrap_or(NodeId([0; 20]));
        // Those of the other family are welcome while we know few of it (BEP 32).
        let sparse =
            |v6: bool| self.table(v6).is_some_and(|table| v6 == to.is_ipv6() || table.len() < K);
        let want = Want { v4: sparse(false), v6: sparse(true) };
        let asks_nodes =
            !matches!(method, Method::Ping | Method::AnnouncePeer { .. } | Method::Put { .. });
        let want = (asks_nodes && want.v4 && want.v6).then_some(want);
        let message = Message {
            transaction,
            version: Some(&self.settings.version),
            read_only: self.settings.read_only,
            your_addr: None,
            body: krpc::Body::Query(Query { id, want, method }),
        };
        message.encode()
    }

    fn transmit(&mut self, remote: SocketAddr, data: bytes::BytesMut) {
        if self.transmits.len() < MOST_TRANSMITS {
            self.transmits.push_back(Packet { remote, data });
        }
    }

    fn table(&self, v6: bool) -> Option<&Table> {
        let [four, six] = &self.tables;
        if v6 { six.as_ref() } else { four.as_ref() }
    }

    fn table_mut(&mut self, v6: bool) -> Option<&mut Table> {
        let [four, six] = &mut self.tables;
        if v6 { six.as_mut() } else { four.as_mut() }
    }
}

impl QueryPurpose {
    fn is_ping(self) -> bool {
        matches!(self, QueryPurpose::Ping(_) | QueryPurpose::Meet(_))
    }

    /// Whom it was sent to, if that is known.
    fn contact(self) -> Option<Contact> {
        match self {
            QueryPurpose::Ping(contact)
            | QueryPurpose::Store(_, contact)
            | QueryPurpose::Look(_, Ask::Node(contact)) => Some(contact),
            QueryPurpose::Meet(_) | QueryPurpose::Look(_, Ask::Stranger(_)) => None,
        }
    }
}
