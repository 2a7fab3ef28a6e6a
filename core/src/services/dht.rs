//! The DHT in a session: its datagrams, timer and saved tables, and whose request each is.
//!
//! What the DHT does is decided by [`Dht`]; here bytes and times find their way to it, host names
//! are looked up for it, and what it finds goes to the torrent or the user that asked for it. It
//! begins when the sockets are open, the saved tables are read and the bootstrap hosts are looked up
//! as far as that is possible.
//!
//! A session that listens at several addresses of a family is as many nodes, which know nothing of
//! each other (BEP 45): each has an id and a table of its own, and answers and asks from its own
//! socket only. One of them works on a request at a time; a torrent is announced from each in turn,
//! since a token is good for the address that asked for it.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::Bytes;

use crate::config::DhtConfig;
use crate::deadline::TimerKey;
use crate::dht::table::K;
use crate::dht::{Dht, DhtRequest, DhtRequestId, DhtResult, Output, Saved, Settings, Stats};
use crate::disk::{DiskDone, DiskError, DiskRequest, StateName};
use crate::event::{Datagram, ResolveError};
use crate::id::{Slab, TorrentId};
use crate::packet::Packet;
use crate::reach::{Namer, may_name};
use crate::session::Session;
use crate::session::op::{DhtOp, OpOwner};
use crate::timer::TimerId;

/// Our nodes, and the requests that they work on.
#[derive(Debug)]
pub(crate) struct DhtService {
    /// At least one.
    nodes: Vec<OwnNode>,
    timer: TimerId,
    stage: Stage,
    routers: Vec<SocketAddr>,
    /// Host names being looked up.
    resolving: usize,
    requests: Slab<DhtRequestId, RoutedRequest>,
    /// The requests that nodes work on, by the node and its own name for it.
    under_way: BTreeMap<(usize, DhtRequestId), DhtRequestId>,
    /// Which node has the next request.
    turn: usize,
    /// The datagrams that came in since packets were last sent: at which node's socket, from where, and
    /// the local address that they came to.
    heard: Vec<(IpAddr, SocketAddr, IpAddr)>,
}

/// A packet of one of our nodes.
#[derive(Debug)]
pub(crate) struct Outgoing {
    /// Where the node's socket is.
    pub(crate) at: IpAddr,
    pub(crate) packet: Packet,
    /// The local address that it is to leave from, if it answers something.
    pub(crate) source: Option<IpAddr>,
}

/// One node, with an address in one family or in both.
#[derive(Debug)]
struct OwnNode {
    dht: Dht,
    /// Where its sockets are, IPv4 and IPv6.
    local: [Option<IpAddr>; 2],
    /// Whether its saved table is being read or written.
    disk_busy: bool,
}

/// A request, and which nodes work on it.
#[derive(Debug)]
struct RoutedRequest {
    owner: Owner,
    request: DhtRequest,
    /// The node that does, and its own name for it.
    at: (usize, DhtRequestId),
    /// How many are to do it after that.
    left: usize,
    result: DhtResult,
}

/// How far it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// It waits for sockets, table and addresses.
    Preparing,
    Running,
    /// The session stops.
    Stopped,
}

/// Where a request comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Owner {
    Torrent(TorrentId),
    User,
}

/// What came of requests, or is news.
#[derive(Debug)]
pub(crate) enum Found {
    /// Peers for a torrent.
    Peers(TorrentId, Vec<SocketAddr>),
    /// A torrent's request is done.
    Done(TorrentId, Box<DhtResult>),
    /// A user's request is done.
    UserDone(DhtRequestId, Box<DhtResult>),
    /// Requests are worked on from now on.
    Ready { nodes: usize },
    /// Others see us at this address.
    ExternalAddress(IpAddr),
}

impl DhtService {
    /// A node, if the session is to run one.
    pub(crate) fn open(session: &mut Session) -> Option<Self> {
        let config: DhtConfig = session.config.dht.clone()?;
        session.dht.is_announced = !config.read_only;
        let mut nodes = Vec::new();
        for (index, local) in (0..).zip(local_addresses(&session.config.listen)) {
            let [v4, v6] = local.map(|ip| ip.is_some());
            let settings =
                Settings { v4, v6, read_only: config.read_only, version: config.version };
            let mut dht = Dht::new(settings, session.random.secret.fork(), session.now);
            dht.set_filter(session.config.ip_filter.clone());
            nodes.push(OwnNode { dht, local, disk_busy: true });
            let request = DiskRequest::Load { name: StateName::Dht(index) };
            session.disk(OpOwner::Dht(DhtOp::Load(index)), request);
        }
        let mut host = DhtService {
            nodes,
            timer: session.timers.register(TimerKey::Dht),
            stage: Stage::Preparing,
            routers: Vec::new(),
            resolving: 0,
            requests: Slab::new(),
            under_way: BTreeMap::new(),
            turn: 0,
            heard: Vec::new(),
        };
        for (name, port) in config.bootstrap {
            host.look_up(session, &name, DhtOp::Router(port));
        }
        Some(host)
    }

    /// How much they hold.
    pub(crate) fn stats(&self, session: &Session) -> Stats {
        let stats = self.nodes.iter().map(|node| node.dht.stats(session.now));
        stats.fold(Stats::default(), Stats::plus)
    }

    /// Whether nothing of it is under way that a stop has to wait for.
    pub(crate) fn is_idle(&self) -> bool {
        !self.nodes.iter().any(|node| node.disk_busy)
    }

    /// The session stops: what is known is saved.
    pub(crate) fn stop(&mut self, session: &mut Session) {
        if self.stage == Stage::Running {
            (0..self.nodes.len()).for_each(|index| self.save(session, index));
        }
        self.stage = Stage::Stopped;
        session.dht.ready = false;
        session.timers.cancel(self.timer);
    }

    /// There is another IP filter.
    pub(crate) fn apply_ip_filter(&mut self, session: &Session) {
        for node in &mut self.nodes {
            node.dht.set_filter(session.config.ip_filter.clone());
        }
    }

    /// A torrent requests something.
    pub(crate) fn request_of_torrent(
        &mut self,
        session: &Session,
        torrent: TorrentId,
        request: DhtRequest,
    ) -> Option<DhtRequestId> {
        self.request(session, Owner::Torrent(torrent), request)
    }

    /// The user requests something.
    pub(crate) fn request_of_user(
        &mut self,
        session: &Session,
        request: DhtRequest,
    ) -> Option<DhtRequestId> {
        if self.stage == Stage::Stopped {
            return None;
        }
        self.request(session, Owner::User, request)
    }

    fn request(
        &mut self,
        session: &Session,
        owner: Owner,
        request: DhtRequest,
    ) -> Option<DhtRequestId> {
        let node = self.next_node();
        let at = (node, self.nodes[node].dht.request(session.now, request.clone())?);
        let announces = matches!(request, DhtRequest::Peers { announce: Some(_), .. });
        let left = if announces { self.nodes.len() - 1 } else { 0 };
        let routed = RoutedRequest { owner, request, at, left, result: DhtResult::default() };
        let id = self.requests.insert(routed);
        self.under_way.insert(at, id);
        Some(id)
    }

    /// The node that has the next request: of those that know nodes in most families, each in turn.
    fn next_node(&mut self) -> usize {
        let count = self.nodes.len();
        self.turn = (self.turn + 1) % count;
        let in_turn = (0..count).map(|n| (self.turn + n) % count);
        // The first of the best comes last in this order.
        in_turn.rev().max_by_key(|&index| self.nodes[index].dht.families()).unwrap_or(0)
    }

    // What happened.

    /// A datagram in KRPC came in at this address of ours.
    pub(crate) fn datagram(&mut self, session: &Session, at: IpAddr, datagram: &Datagram) {
        let node = self.nodes.iter_mut().find(|node| node.is_at(at));
        if let Some(node) = node.filter(|_| self.stage != Stage::Stopped) {
            self.heard.extend(datagram.local.map(|local| (at, datagram.remote, local)));
            node.dht.handle_datagram(session.now, datagram.remote, &datagram.data);
        }
    }

    pub(crate) fn timeout(&mut self, session: &Session) {
        for node in &mut self.nodes {
            node.dht.handle_timeout(session.now);
        }
    }

    /// A saved table was read or written, or could not be. Without it the bootstrap hosts do.
    pub(crate) fn disk_done(
        &mut self,
        session: &Session,
        op: DhtOp,
        result: Result<DiskDone, Box<DiskError>>,
    ) {
        let (DhtOp::Load(index) | DhtOp::Save(index)) = op else { return };
        let Some(node) = self.nodes.get_mut(usize::from(index)) else { return };
        node.disk_busy = false;
        if let (DhtOp::Load(_), Ok(DiskDone::Loaded(Some(data)))) = (op, result) {
            node.dht.load(session.now, Saved::decode(&data));
        }
    }

    /// A host name was looked up.
    pub(crate) fn resolved(
        &mut self,
        session: &Session,
        op: DhtOp,
        result: Result<Vec<IpAddr>, ResolveError>,
    ) {
        let addrs = result.unwrap_or_default();
        match op {
            DhtOp::Router(port) => {
                self.resolving -= 1;
                self.routers.extend(addrs.into_iter().map(|ip| SocketAddr::new(ip, port)));
            }
            DhtOp::Named(port) => {
                for ip in addrs.into_iter().filter(|ip| may_name(*ip, Namer::Torrent)) {
                    self.meet(session, SocketAddr::new(ip, port));
                }
            }
            DhtOp::Load(_) | DhtOp::Save(_) => {}
        }
    }

    // What follows.

    /// Begins if everything is there; `open` says at which addresses a socket is.
    pub(crate) fn begin_if_ready(&mut self, session: &Session, open: impl Fn(IpAddr) -> bool) {
        let waits = !session.sockets.are_listeners_known() || !self.is_idle() || self.resolving > 0;
        if self.stage != Stage::Preparing || waits {
            return;
        }
        self.stage = Stage::Running;
        let routers = std::mem::take(&mut self.routers);
        for OwnNode { dht, local, .. } in &mut self.nodes {
            for ip in local.iter().flatten().filter(|ip| !open(**ip)) {
                dht.leave(ip.is_ipv6());
            }
            dht.begin(session.now, routers.clone());
        }
    }

    /// A torrent names a host as a node.
    pub(crate) fn look_up_named(&mut self, session: &mut Session, name: &str, port: u16) {
        self.look_up(session, name, DhtOp::Named(port));
    }

    /// The one of our nodes that knows fewest others asks whether there is a node at an address.
    pub(crate) fn meet(&mut self, session: &Session, addr: SocketAddr) {
        let nodes = self.nodes.iter_mut().filter(|node| node.dht.id(addr.is_ipv6()).is_some());
        if let Some(node) = nodes.min_by_key(|node| node.dht.nodes()) {
            node.dht.meet(session.now, addr);
        }
    }

    /// The result of a request is not needed any more.
    pub(crate) fn forget(&mut self, request: DhtRequestId) {
        let Some(RoutedRequest { at, .. }) = self.requests.remove(request) else { return };
        self.under_way.remove(&at);
        self.nodes[at.0].dht.forget(at.1);
    }

    /// What was found, in order.
    pub(crate) fn poll_found(&mut self, session: &mut Session) -> Option<Found> {
        for index in 0..self.nodes.len() {
            while let Some(output) = self.nodes[index].dht.poll_output() {
                let found = self.found(session, index, output);
                if found.is_some() {
                    return found;
                }
            }
        }
        None
    }

    fn found(&mut self, session: &mut Session, index: usize, output: Output) -> Option<Found> {
        match output {
            Output::Ready { .. } if session.dht.ready => None,
            Output::Ready { nodes } => {
                session.dht.ready = true;
                Some(Found::Ready { nodes })
            }
            Output::Peers { request, peers } => {
                let routed = self.requests.get(*self.under_way.get(&(index, request))?)?;
                match routed.owner {
                    Owner::Torrent(id) => Some(Found::Peers(id, peers)),
                    Owner::User => None,
                }
            }
            Output::Done { request, result } => self.looked(session, (index, request), *result),
            // One is all that torrents have use for.
            Output::ExternalAddress(ip) if index == 0 => Some(Found::ExternalAddress(ip)),
            Output::ExternalAddress(_) => None,
            Output::SaveDue => {
                self.save(session, index);
                None
            }
        }
    }

    /// A node is done with a request: the next has its turn, or it is done altogether.
    fn looked(
        &mut self,
        session: &Session,
        by: (usize, DhtRequestId),
        result: DhtResult,
    ) -> Option<Found> {
        let id = self.under_way.remove(&by)?;
        let mut node = by.0;
        let routed = self.requests.get_mut(id)?;
        routed.result.add(result);
        while routed.left > 0 {
            routed.left -= 1;
            node = (node + 1) % self.nodes.len();
            if let Some(its) = self.nodes[node].dht.request(session.now, routed.request.clone()) {
                routed.at = (node, its);
                self.under_way.insert(routed.at, id);
                return None;
            }
        }
        let RoutedRequest { owner, result, .. } = self.requests.remove(id)?;
        let result = Box::new(result);
        Some(match owner {
            Owner::Torrent(torrent) => Found::Done(torrent, result),
            Owner::User => Found::UserDone(id, result),
        })
    }

    /// The next packet to send. To be called until it returns `None`.
    pub(crate) fn next_packet(&mut self) -> Option<Outgoing> {
        let next = self.nodes.iter_mut().find_map(|node| {
            let packet = node.dht.poll_transmit()?;
            let [v4, v6] = node.local;
            Some(((if packet.remote.is_ipv6() { v6 } else { v4 })?, packet))
        });
        let Some((at, packet)) = next else {
            self.heard.clear();
            return None;
        };
        // What a node sends to another remote, or another node to this one, is no answer.
        let is_answer =
            |&(to, from, _): &(IpAddr, SocketAddr, IpAddr)| to == at && from == packet.remote;
        let heard = self.heard.iter().position(is_answer);
        let source = heard.map(|place| self.heard.remove(place).2);
        Some(Outgoing { at, packet, source })
    }

    /// Sets the timer, and says whether the network has grown from very small.
    pub(crate) fn rearm(&mut self, session: &mut Session) -> bool {
        if self.stage != Stage::Stopped {
            let next = self.nodes.iter().filter_map(|node| node.dht.poll_timeout()).min();
            session.arm(self.timer, next);
        }
        let known: usize = self.nodes.iter().map(|node| node.dht.nodes()).sum();
        let grown = known.min(GROWING);
        let has_grown = session.dht.ready && grown > session.dht.growth;
        session.dht.growth = session.dht.growth.max(grown);
        has_grown
    }

    fn save(&mut self, session: &mut Session, index: usize) {
        let node = &mut self.nodes[index];
        let saved = node.dht.save();
        if node.disk_busy || saved.contacts.is_empty() {
            return;
        }
        let Ok(index) = u16::try_from(index) else { return };
        node.disk_busy = true;
        let data = Bytes::from(saved.encode());
        let request = DiskRequest::Save { name: StateName::Dht(index), data };
        session.disk(OpOwner::Dht(DhtOp::Save(index)), request);
    }

    fn look_up(&mut self, session: &mut Session, name: &str, op: DhtOp) {
        let literal = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        self.resolving += usize::from(matches!(op, DhtOp::Router(_)));
        match literal {
            Ok(ip) => self.resolved(session, op, Ok(vec![ip])),
            Err(_) => {
                session.resolve(OpOwner::Dht(op), name);
            }
        }
    }
}

impl OwnNode {
    fn is_at(&self, ip: IpAddr) -> bool {
        self.local.contains(&Some(ip))
    }
}

/// Where each of our nodes is, IPv4 and IPv6: the first has the first address of each family, and so
/// on. One address is one node, however many ports are listened on there (BEP 45).
fn local_addresses(listen: &[SocketAddr]) -> Vec<[Option<IpAddr>; 2]> {
    let mut nodes: Vec<[Option<IpAddr>; 2]> = Vec::new();
    for ip in listen.iter().map(SocketAddr::ip) {
        let family = usize::from(ip.is_ipv6());
        if nodes.iter().any(|node| node[family] == Some(ip)) {
            continue;
        }
        match nodes.iter_mut().find(|node| node[family].is_none()) {
            Some(node) => node[family] = Some(ip),
            None => {
                let mut node = [None; 2];
                node[family] = Some(ip);
                nodes.push(node);
            }
        }
    }
    if nodes.is_empty() {
        nodes.push([Some(Ipv4Addr::UNSPECIFIED.into()), Some(Ipv6Addr::UNSPECIFIED.into())]);
    }
    nodes
}

/// Nodes up to which each more is worth announcing to again (BEP 5: K, the nodes that keep a
/// peer).
const GROWING: usize = K;
