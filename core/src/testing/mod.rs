//! Engines joined in memory, for tests and benches: the host that they would otherwise write each
//! for themselves.
//!
//! A [`Loopback`] has one clock, a network without latency or loss, and for each engine a disk that
//! its test chooses. Time stands still until no engine has anything to do; then it goes to the next
//! deadline. Whatever happens, happens in the same order each time.
//!
//! Engines reach each other by address. Whom they dial beside that is played by the test: see
//! [`Node::dialled`], [`Loopback::connected`], [`Loopback::receive`] and [`Loopback::sent`].

mod environment;
mod node;

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};

use bytes::BytesMut;

pub use environment::{DiskResult, Environment, Flight, NoFiles};
pub use node::{Node, Socket};

use crate::action::{Action, SocketKind};
use crate::engine::Engine;
use crate::event::{Datagram, Event, NetError, ResolveError};
use crate::id::{ConnId, SocketId};
use crate::record::Recorder;
use crate::segments::Segments;
use crate::socket::{Local, Names};
use crate::time::{Duration, Instant};
use node::{Remote, Stream};

/// About how many bytes are gathered at once (chosen: what runtimes use).
const GATHERED: usize = 64 << 10;

/// Most datagrams that are gathered at once (chosen: so that tests come to see several).
const SEGMENTS: usize = 4;

/// Where a lone engine is.
const ALONE: ([u8; 4], u16) = ([50, 0, 0, 99], 6881);

/// Engines and the network between them.
#[derive(Debug)]
pub struct Loopback<E> {
    /// The engines, by number.
    pub nodes: Vec<Node<E>>,
    /// The time.
    pub now: Instant,
    /// The addresses of host names. Looking up another is a mistake of the test.
    pub names: BTreeMap<String, Vec<IpAddr>>,
    /// Whether connections to where no engine is are refused; otherwise the test plays who is there.
    pub refuses_strangers: bool,
    /// An engine has taken a connection of another since all were asked what they want done.
    has_accepted: bool,
    events: VecDeque<(usize, Event)>,
    /// What is gathered goes through here; empty in between.
    gathered: Segments,
}

impl<E: Environment> Loopback<E> {
    /// Engines at time zero.
    pub fn new(nodes: impl IntoIterator<Item = Node<E>>) -> Self {
        let nodes: Vec<Node<E>> = nodes.into_iter().collect();
        let networks = nodes.iter().map(|node| Event::Network(Box::new(node.network())));
        Loopback {
            now: Instant::ZERO,
            names: BTreeMap::new(),
            refuses_strangers: false,
            has_accepted: false,
            events: networks.enumerate().collect(),
            gathered: Segments::new(),
            nodes,
        }
    }

    /// One engine: all peers and trackers that it talks to are played by the test.
    pub fn alone(engine: Engine, env: E) -> Self {
        Self::new([Node::new(engine, ALONE.into(), env)])
    }

    // Letting things happen.

    /// Does what the engines want done and hands in one event. `false`: nothing is left to do now.
    pub fn step(&mut self) -> bool {
        self.perform_actions();
        self.advance()
    }

    /// Lets everything happen that is to happen now.
    pub fn settle(&mut self) {
        self.perform_actions();
        while self.advance() {}
    }

    /// As many steps as there are events on their way: what they cause is not among them. `false`:
    /// there were none.
    pub fn round(&mut self) -> bool {
        self.perform_actions();
        let events = self.events.len();
        for _ in 0..events {
            self.advance();
        }
        events > 0
    }

    /// Lets time pass until the next deadline, if that is not after `end`, and wakes the engine.
    ///
    /// # Panics
    /// If the engine then wants to be woken again at once.
    pub fn wait(&mut self, end: Instant) -> bool {
        let due = self.nodes.iter().enumerate();
        let due = due.filter_map(|(at, node)| Some((node.engine.poll_timeout()?, at)));
        let Some((due, at)) = due.min().filter(|(due, _)| *due <= end) else { return false };
        self.now = self.now.max(due);
        self.hand_in(at, Event::Timeout);
        let again = self.nodes[at].engine.poll_timeout();
        assert!(again.is_none_or(|again| again > self.now), "it spins at {:?}", self.now);
        self.perform_actions();
        true
    }

    /// Runs until `done`; whether it was within that time.
    pub fn run_until(&mut self, limit: Duration, done: impl Fn(&Self) -> bool) -> bool {
        let end = self.now + limit;
        self.perform_actions();
        while !done(self) {
            if !self.step() && !self.wait(end) {
                self.now = end;
                return false;
            }
        }
        true
    }

    /// Lets that much time pass; how often an engine was woken.
    pub fn pass(&mut self, time: Duration) -> u64 {
        let end = self.now + time;
        let mut woken = 0;
        self.settle();
        while self.wait(end) {
            self.settle();
            woken += 1;
        }
        self.now = end;
        woken
    }

    /// Puts another engine in a node's place, as after a crash: connections are gone, and those at
    /// their other ends are not noticed to be.
    pub fn replace(&mut self, at: usize, node: Node<E>) -> Node<E> {
        for other in &mut self.nodes {
            for stream in other.streams.values_mut() {
                if matches!(stream.remote, Remote::Node(to, _) if to == at) {
                    stream.remote = Remote::Gone;
                }
            }
        }
        self.events.retain(|(of, _)| *of != at);
        self.events.push_back((at, Event::Network(Box::new(node.network()))));
        std::mem::replace(&mut self.nodes[at], node)
    }

    // What the test plays. It happens in the next steps.

    /// Something happens to an engine.
    pub fn happen(&mut self, at: usize, event: Event) {
        self.events.push_back((at, event));
    }

    /// Takes the connection that an engine has begun to this address, to be decided on.
    pub fn take_dialled(&mut self, at: usize, to: SocketAddr) -> Option<ConnId> {
        let dialled = &mut self.nodes[at].dialled;
        let found = dialled.iter().position(|(_, addr)| *addr == to)?;
        Some(dialled.remove(found).0)
    }

    /// A connection that an engine began is there. What it sends then is kept for
    /// [`Loopback::sent`].
    pub fn connected(&mut self, at: usize, conn: ConnId) {
        let node = &mut self.nodes[at];
        node.dialled.retain(|(dialled, _)| *dialled != conn);
        node.streams.insert(conn, Stream::to(Remote::Outside));
        let local = node.addrs[0];
        self.events.push_back((at, Event::Connected { conn, local }));
    }

    /// A connection with the test ends, or could not be established.
    pub fn end(&mut self, at: usize, conn: ConnId, why: Option<NetError>) {
        self.nodes[at].dialled.retain(|(dialled, _)| *dialled != conn);
        self.events.push_back((at, Event::Closed { conn, why }));
    }

    /// Somebody dials an engine, now. `None`: it does not take the connection.
    pub fn accept(&mut self, at: usize, from: SocketAddr) -> Option<ConnId> {
        let node = &mut self.nodes[at];
        let listener = node.listener(node.addrs[0])?;
        let now = self.now;
        let conn = node.call(|engine| engine.accept(now, listener, from))?;
        node.streams.insert(conn, Stream::to(Remote::Outside));
        Some(conn)
    }

    /// Bytes come on a connection with the test.
    pub fn receive(&mut self, at: usize, conn: ConnId, bytes: &[u8]) {
        self.events.push_back((at, Event::Received { conn, data: bytes.into() }));
    }

    /// All that an engine has to send on a connection with the test, when it is at rest. Until this is
    /// called the engine is asked for nothing, as if the socket would block.
    pub fn sent(&mut self, at: usize, conn: ConnId) -> Vec<u8> {
        self.settle();
        self.sent_so_far(at, conn)
    }

    /// The same, though there is more to happen now.
    pub fn sent_so_far(&mut self, at: usize, conn: ConnId) -> Vec<u8> {
        let mut all = Vec::new();
        while let Some(stream) = self.nodes[at].streams.get_mut(&conn)
            && std::mem::take(&mut stream.sends)
        {
            let data = self.gather(at, conn);
            all.extend_from_slice(&data);
            if !data.is_empty() {
                self.hand_in(at, Event::Sent { conn, bytes: data.len() });
                self.perform_actions();
            }
        }
        all
    }

    /// A datagram comes through a socket of an engine.
    pub fn datagram(&mut self, at: usize, socket: SocketId, from: SocketAddr, data: &[u8]) {
        let received = self.now;
        let batch = vec![Datagram { remote: from, local: None, received, data: data.into() }];
        self.events.push_back((at, Event::Datagrams { socket, batch }));
    }

    // The host.

    fn hand_in(&mut self, at: usize, event: Event) {
        let node = &mut self.nodes[at];
        if let Event::Closed { conn, .. } = &event {
            node.streams.remove(conn);
        }
        node.events += 1;
        let now = self.now;
        node.call(|engine| engine.handle(now, event));
    }

    /// A step, where only the engine that handled the last event, or took a connection of it, can
    /// want anything done.
    fn advance(&mut self) -> bool {
        if std::mem::take(&mut self.has_accepted) {
            self.perform_actions();
        }
        let Some((at, event)) = self.events.pop_front() else { return false };
        self.hand_in(at, event);
        self.perform_actions_of(at);
        true
    }

    fn perform_actions(&mut self) {
        self.has_accepted = false;
        for at in 0..self.nodes.len() {
            self.perform_actions_of(at);
        }
    }

    fn perform_actions_of(&mut self, at: usize) {
        while let Some(action) = self.nodes[at].call(Recorder::poll_action) {
            self.perform(at, action);
        }
    }

    fn perform(&mut self, at: usize, action: Action) {
        let node = &mut self.nodes[at];
        match action {
            Action::Bind { socket, spec } => {
                let result = node.env.bind(&spec);
                let addr = result.unwrap_or(Ok(spec.addr));
                addr.into_iter().for_each(|addr| {
                    node.sockets.insert(socket, Socket { kind: spec.kind, addr });
                });
                self.events.extend(result.map(|result| (at, Event::Bound { socket, result })));
            }
            Action::Unbind { socket } => drop(node.sockets.remove(&socket)),
            Action::Connect { conn, to, from } => self.connect(at, conn, to, from),
            // What TLS carries goes over as it is.
            Action::Secure { conn, .. } => self.events.push_back((at, Event::Secured { conn })),
            Action::Send { conn } => self.send(at, conn),
            Action::Read { conn, on } => {
                let Some(stream) = node.streams.get_mut(&conn) else { return };
                if !on {
                    stream.unread.get_or_insert_default();
                } else if let Some(unread) = stream.unread.take() {
                    self.events.extend(unread.into_iter().map(|event| (at, event)));
                }
            }
            Action::Close { conn, .. } => self.close(at, conn),
            Action::SendDatagrams { socket } => self.send_datagrams(at, socket),
            Action::Disk { op, request } => match node.env.disk(request) {
                Some(result) => self.events.push_back((at, Event::Disk { op, result })),
                None => node.unanswered.push_back(op),
            },
            Action::Resolve { op, via: Names::Refuse, .. } => {
                let result = Err(ResolveError::Refused);
                self.events.push_back((at, Event::Resolved { op, result }));
            }
            Action::Resolve { op, host, via: Names::System } => {
                let addrs = self.names.get(&*host).unwrap_or_else(|| panic!("a host {host}?"));
                self.events.push_back((at, Event::Resolved { op, result: Ok(addrs.clone()) }));
            }
            Action::Notify(notice) => node.notices.push(*notice),
        }
    }

    fn connect(&mut self, at: usize, conn: ConnId, to: SocketAddr, local: Option<Box<Local>>) {
        let Some(other) = self.nodes.iter().position(|node| node.addrs.contains(&to)) else {
            if self.refuses_strangers {
                self.refuse(at, conn);
            } else {
                self.nodes[at].dialled.push((conn, to));
            }
            return;
        };
        let (now, own) = (self.now, self.nodes[at].addrs[0]);
        let address = local.and_then(|local| local.address);
        let from = address.map_or(own, |ip| SocketAddr::new(ip, own.port()));
        let node = &mut self.nodes[other];
        let listener = node.listener(to);
        let accepted =
            listener.and_then(|listener| node.call(|engine| engine.accept(now, listener, from)));
        self.has_accepted = true;
        let Some(theirs) = accepted else { return self.refuse(at, conn) };
        node.streams.insert(theirs, Stream::to(Remote::Node(at, conn)));
        self.nodes[at].streams.insert(conn, Stream::to(Remote::Node(other, theirs)));
        self.events.push_back((at, Event::Connected { conn, local: from }));
    }

    fn refuse(&mut self, at: usize, conn: ConnId) {
        self.events.push_back((at, Event::Closed { conn, why: Some(NetError::Refused) }));
    }

    fn send(&mut self, at: usize, conn: ConnId) {
        let Some(stream) = self.nodes[at].streams.get_mut(&conn) else { return };
        let remote = stream.remote;
        if remote == Remote::Outside {
            stream.sends = true;
            return;
        }
        let mut data = self.gather(at, conn);
        if data.is_empty() {
            return;
        }
        self.events.push_back((at, Event::Sent { conn, bytes: data.len() }));
        self.nodes[at].env.stream_sent(conn, &mut data);
        if let Remote::Node(other, conn) = remote {
            self.deliver(other, conn, Event::Received { conn, data });
        }
    }

    fn gather(&mut self, at: usize, conn: ConnId) -> BytesMut {
        let (now, out) = (self.now, &mut self.gathered);
        self.nodes[at].call(|engine| engine.gather(now, conn, GATHERED, out));
        out.take_all()
    }

    fn close(&mut self, at: usize, conn: ConnId) {
        let node = &mut self.nodes[at];
        match node.streams.remove(&conn).map(|stream| stream.remote) {
            Some(Remote::Node(other, theirs)) => {
                if let Some(stream) = self.nodes[other].streams.get_mut(&theirs) {
                    stream.remote = Remote::Gone;
                }
                self.deliver(other, theirs, Event::Closed { conn: theirs, why: None });
            }
            Some(Remote::Gone) => {}
            Some(Remote::Outside) | None => {
                node.dialled.retain(|(dialled, _)| *dialled != conn);
                node.closed.push(conn);
            }
        }
    }

    /// What happens to a connection happens now, or when the engine reads on.
    fn deliver(&mut self, at: usize, conn: ConnId, event: Event) {
        let stream = self.nodes[at].streams.get_mut(&conn);
        match stream.and_then(|stream| stream.unread.as_mut()) {
            Some(unread) => unread.push_back(event),
            None => self.events.push_back((at, event)),
        }
    }

    fn send_datagrams(&mut self, at: usize, socket: SocketId) {
        let (now, from) = (self.now, self.nodes[at].source(socket));
        loop {
            let mut out = BytesMut::new();
            let gather =
                |engine: &mut Recorder| engine.gather_datagrams(now, socket, SEGMENTS, &mut out);
            let Some(transmit) = self.nodes[at].call(gather) else { return };
            let from = transmit.source.map_or(from, |ip| SocketAddr::new(ip, from.port()));
            for data in out.chunks(transmit.segment_size) {
                let flight = Flight { socket, from, to: transmit.destination, data: data.into() };
                self.nodes[at].env.datagram_sent(&flight);
                self.carry(&flight);
            }
        }
    }

    /// Brings a datagram to where it is to go; one to a group to all members, the sender too.
    fn carry(&mut self, flight: &Flight) {
        for (other, node) in self.nodes.iter().enumerate() {
            let socket = if flight.to.ip().is_multicast() {
                let is_member = |socket: &Socket| {
                    socket.kind == SocketKind::Multicast && socket.addr == flight.to
                };
                node.sockets.iter().find(|(_, socket)| is_member(socket)).map(|(id, _)| *id)
            } else if node.addrs.iter().any(|addr| addr.ip() == flight.to.ip()) {
                node.datagram_socket(flight.to)
            } else {
                None
            };
            let (remote, data) = (flight.from, flight.data.clone());
            let local = Some(flight.to.ip()).filter(|ip| !ip.is_multicast());
            let batch = vec![Datagram { remote, local, received: self.now, data }];
            self.events.extend(socket.map(|socket| (other, Event::Datagrams { socket, batch })));
        }
    }
}
