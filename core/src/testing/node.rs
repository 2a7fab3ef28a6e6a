//! One engine of a loopback, with what its host knows.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use super::environment::Environment;
use crate::action::SocketKind;
use crate::engine::Engine;
use crate::event::Event;
use crate::id::{ConnId, OpId, SocketId};
use crate::network::{Interface, InterfaceAddress, NetworkState};
use crate::notice::{Notice, TorrentNotice};
use crate::record::Recorder;

/// An engine and its machine.
#[derive(Debug)]
pub struct Node<E> {
    /// The engine. Call it as you like; what it wants done is done in the loopback's next step.
    pub engine: Recorder,
    /// Its disk, and what else a test decides.
    pub env: E,
    /// Its addresses. Connections come from the first, also from its port.
    pub addrs: Vec<SocketAddr>,
    /// What the application would have been shown.
    pub notices: Vec<Notice>,
    /// Connections to where no engine is, which the engine has begun and nobody has decided on.
    pub dialled: Vec<(ConnId, SocketAddr)>,
    /// Connections with where no engine is, which the engine has closed.
    pub closed: Vec<ConnId>,
    /// Sockets that are open or are to be, with their addresses.
    pub sockets: BTreeMap<SocketId, Socket>,
    /// Disk requests that its disk has not answered, in order: for the test to answer.
    pub unanswered: VecDeque<OpId>,
    /// How many events the engine was handed.
    pub events: u64,
    pub(super) streams: BTreeMap<ConnId, Stream>,
}

/// A listener or datagram socket.
#[derive(Clone, Copy, Debug)]
pub struct Socket {
    /// Which kind.
    pub kind: SocketKind,
    /// Where it is.
    pub addr: SocketAddr,
}

/// One side of a connection.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) remote: Remote,
    /// What has come while reading is off, and the end that came after it.
    pub(super) unread: Option<VecDeque<Event>>,
    /// The engine has bytes for a remote that has not taken them.
    pub(super) sends: bool,
}

/// Who is at the other side.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Remote {
    /// An engine, by its number, and its connection.
    Node(usize, ConnId),
    /// The test.
    Outside,
    /// Nobody any more.
    Gone,
}

impl Stream {
    pub(super) fn to(remote: Remote) -> Self {
        Stream { remote, unread: None, sends: false }
    }
}

impl<E: Environment> Node<E> {
    /// An engine that is not recorded.
    pub fn new(engine: Engine, addr: SocketAddr, env: E) -> Self {
        Self::recorded(Recorder::passing(engine), addr, env)
    }

    /// An engine that may be recorded.
    pub fn recorded(engine: Recorder, addr: SocketAddr, env: E) -> Self {
        Node {
            engine,
            env,
            addrs: vec![addr],
            notices: Vec::new(),
            dialled: Vec::new(),
            closed: Vec::new(),
            sockets: BTreeMap::new(),
            unanswered: VecDeque::new(),
            events: 0,
            streams: BTreeMap::new(),
        }
    }

    /// What was said of torrents, in order.
    pub fn torrent_notices(&self) -> impl Iterator<Item = &TorrentNotice> {
        self.notices.iter().filter_map(|notice| match notice {
            Notice::Torrent { what, .. } => Some(what),
            _ => None,
        })
    }

    /// Whether this was said of a torrent.
    pub fn has_noticed(&self, what: &TorrentNotice) -> bool {
        self.torrent_notices().any(|noticed| noticed == what)
    }

    /// Whether the engine reads from a connection.
    pub fn reads(&self, conn: ConnId) -> bool {
        self.streams.get(&conn).is_some_and(|stream| stream.unread.is_none())
    }

    /// The listener that takes connections to this address: the one that is there, else the first.
    pub fn listener(&self, addr: SocketAddr) -> Option<SocketId> {
        let is_listener = |socket: &Socket| socket.kind == SocketKind::TcpListener;
        let mut listeners = self.sockets.iter().filter(|(_, socket)| is_listener(socket));
        let exact = listeners.clone().find(|(_, socket)| socket.addr == addr);
        exact.or_else(|| listeners.next()).map(|(id, _)| *id)
    }

    /// Its machine's network: all its addresses on one interface.
    pub(super) fn network(&self) -> NetworkState {
        let address = |addr: &SocketAddr| InterfaceAddress { ip: addr.ip(), prefix_len: 24 };
        let interface = Interface {
            name: "eth0".to_owned(),
            index: 1,
            is_loopback: false,
            is_up: true,
            addresses: self.addrs.iter().map(address).collect(),
        };
        NetworkState { interfaces: vec![interface], gateways: Vec::new() }
    }

    pub(super) fn call<T>(&mut self, call: impl FnOnce(&mut Recorder) -> T) -> T {
        self.env.before_call();
        let result = call(&mut self.engine);
        self.env.after_call();
        result
    }

    /// The socket that gets datagrams to this address.
    pub(super) fn datagram_socket(&self, addr: SocketAddr) -> Option<SocketId> {
        let fits = |socket: &Socket| {
            socket.kind == SocketKind::Udp
                && socket.addr.port() == addr.port()
                && (socket.addr.ip() == addr.ip()
                    || socket.addr.ip().is_unspecified() && socket.addr.is_ipv4() == addr.is_ipv4())
        };
        self.sockets.iter().find(|(_, socket)| fits(socket)).map(|(id, _)| *id)
    }

    /// Where datagrams through a socket come from.
    pub(super) fn source(&self, socket: SocketId) -> SocketAddr {
        let first = self.addrs[0];
        match self.sockets.get(&socket) {
            Some(it) if it.kind == SocketKind::Multicast => {
                SocketAddr::new(first.ip(), it.addr.port())
            }
            Some(it) if !it.addr.ip().is_unspecified() => it.addr,
            Some(it) => {
                let same = |addr: &&SocketAddr| addr.is_ipv4() == it.addr.is_ipv4();
                let own = self.addrs.iter().find(same).unwrap_or(&first);
                SocketAddr::new(own.ip(), it.addr.port())
            }
            None => first,
        }
    }
}
