//! The sockets a session listens on, and the datagrams that wait for them.
//!
//! Peers reach us by TCP; the UDP socket on the same port speaks with UDP trackers. Both are opened
//! for every listen address; the TCP listener first, since with port 0 it decides the port. A session
//! that listens nowhere still asks trackers and the DHT, in both address families.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::BytesMut;

use crate::action::{Action, SocketKind, SocketSpec};
use crate::config::Config;
use crate::event::NetError;
use crate::family::Family;
use crate::id::{Slab, SocketId};
use crate::lsd::GROUPS;
use crate::notice::{Notice, Service};
use crate::packet::{Packet, Transmit};
use crate::session::Session;
use crate::socket::Binding;

/// Datagrams that may wait for a socket; past it, new ones are dropped, as a network would
/// (chosen).
const QUEUE_LEN: usize = 1024;

/// Longest of one [`Transmit`], in bytes: what fits into one IP packet, which it is until it is cut.
const MAX_TRANSMIT: usize = 65_507;

/// The sockets of a session.
#[derive(Debug, Default)]
pub(crate) struct Sockets {
    sockets: Slab<SocketId, Socket>,
}

#[derive(Debug)]
struct Socket {
    purpose: Purpose,
    /// Where it is, or is to be.
    addr: SocketAddr,
    open: bool,
    /// Whether a second try on any port was made.
    fell_back: bool,
    send_asked: bool,
    queue: VecDeque<Queued>,
}

/// A packet, and the local address that it is to leave from.
#[derive(Debug)]
struct Queued {
    packet: Packet,
    source: Option<IpAddr>,
}

/// What a socket is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Purpose {
    /// Peers dial in here.
    Peers,
    /// We ask UDP trackers from here.
    PeersUdp,
    /// Clients of the embedded tracker dial in here.
    Tracker,
    /// The embedded tracker answers datagrams here.
    TrackerUdp,
    /// Peers in the same network are heard of here, and told of ours.
    LocalDiscovery,
}

impl Purpose {
    fn kind(self) -> SocketKind {
        match self {
            Purpose::Peers | Purpose::Tracker => SocketKind::TcpListener,
            Purpose::PeersUdp | Purpose::TrackerUdp => SocketKind::Udp,
            Purpose::LocalDiscovery => SocketKind::Multicast,
        }
    }

    /// Whom it serves, if that is anybody who has to know where it is.
    fn service(self) -> Option<Service> {
        match self {
            Purpose::Peers | Purpose::PeersUdp => Some(Service::Peers),
            Purpose::Tracker | Purpose::TrackerUdp => Some(Service::Tracker),
            Purpose::LocalDiscovery => None,
        }
    }

    /// The datagram socket that shares the port of this listener.
    fn companion(self) -> Option<Purpose> {
        match self {
            Purpose::Peers => Some(Purpose::PeersUdp),
            Purpose::Tracker => Some(Purpose::TrackerUdp),
            Purpose::PeersUdp | Purpose::TrackerUdp | Purpose::LocalDiscovery => None,
        }
    }
}

/// What the host is asked for, with what all sockets of the session are bound to.
fn spec(session: &Session, purpose: Purpose, addr: SocketAddr) -> SocketSpec {
    let Config { device, dscp, .. } = &session.config;
    let bind = (device.is_some() || dscp.is_some())
        .then(|| Box::new(Binding { device: device.clone(), dscp: *dscp }));
    SocketSpec { kind: purpose.kind(), addr, bind }
}

impl Sockets {
    /// Has the session's sockets opened.
    pub(crate) fn open(session: &mut Session) -> Self {
        let mut sockets = Sockets::default();
        let listen = session.config.listen.clone();
        session.listeners_pending = listen.len();
        for &addr in &listen {
            sockets.bind(session, Purpose::Peers, addr);
        }
        if listen.is_empty() {
            let any: [IpAddr; 2] = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
            for ip in any {
                sockets.bind(session, Purpose::PeersUdp, SocketAddr::new(ip, 0));
            }
        }
        for addr in session.config.tracker_listen.clone() {
            sockets.bind(session, Purpose::Tracker, addr);
        }
        if session.config.local_discovery {
            for group in GROUPS {
                if listen.iter().any(|addr| addr.is_ipv4() == group.is_ipv4()) {
                    sockets.bind(session, Purpose::LocalDiscovery, group);
                }
            }
        }
        sockets
    }

    fn bind(&mut self, session: &mut Session, purpose: Purpose, addr: SocketAddr) {
        let socket = self.sockets.insert(Socket {
            purpose,
            addr,
            open: false,
            fell_back: false,
            send_asked: false,
            queue: VecDeque::new(),
        });
        session.act(Action::Bind { socket, spec: spec(session, purpose, addr) });
    }

    /// What a socket is for, if it is one of ours.
    pub(crate) fn purpose(&self, socket: SocketId) -> Option<Purpose> {
        self.sockets.get(socket).map(|socket| socket.purpose)
    }

    /// The socket for our own datagrams at a local address, open or about to be.
    pub(crate) fn udp_at(&self, ip: IpAddr) -> Option<SocketId> {
        let fits = |socket: &Socket| socket.purpose == Purpose::PeersUdp && socket.addr.ip() == ip;
        self.sockets.iter().find(|(_, socket)| fits(socket)).map(|(id, _)| id)
    }

    /// The local address whose datagrams come and go by this socket; of several ports at one address,
    /// one does.
    pub(crate) fn node_address(&self, socket: SocketId) -> Option<IpAddr> {
        let ip = self.sockets.get(socket)?.addr.ip();
        (self.udp_at(ip) == Some(socket)).then_some(ip)
    }

    /// A socket is open, or could not be opened.
    pub(crate) fn bound(
        &mut self,
        session: &mut Session,
        id: SocketId,
        result: Result<SocketAddr, NetError>,
    ) {
        let Some(socket) = self.sockets.get_mut(id) else { return };
        let (purpose, asked) = (socket.purpose, socket.addr);
        match result {
            Ok(addr) => {
                socket.open = true;
                socket.addr = addr;
                let waiting = !socket.queue.is_empty();
                if purpose == Purpose::Peers {
                    session.listeners_pending -= 1;
                    let port = session.listen_ports.get_mut(Family::of(addr.ip()));
                    if *port == 0 {
                        *port = addr.port();
                    }
                }
                if let Some(service) = purpose.service() {
                    let kind = purpose.kind();
                    session.act(Action::Notify(Box::new(Notice::Listening {
                        service,
                        kind,
                        addr,
                    })));
                }
                if let Some(companion) = purpose.companion() {
                    self.bind(session, companion, SocketAddr::new(asked.ip(), addr.port()));
                }
                if waiting {
                    self.ready(session, id);
                }
            }
            Err(why) => {
                // A peer listener falls back if that was asked for, our own datagrams always do.
                let may_fall_back = match purpose {
                    Purpose::Peers => session.config.listen_fallback,
                    Purpose::PeersUdp => true,
                    Purpose::Tracker | Purpose::TrackerUdp | Purpose::LocalDiscovery => false,
                };
                if why == NetError::AddrInUse && may_fall_back && !socket.fell_back {
                    socket.fell_back = true;
                    let spec = spec(session, purpose, SocketAddr::new(asked.ip(), 0));
                    session.act(Action::Bind { socket: id, spec });
                    return;
                }
                session.listeners_pending -= usize::from(purpose == Purpose::Peers);
                self.sockets.remove(id);
                if purpose == Purpose::Peers && why == NetError::AddrNotAvailable {
                    self.miss_family(session, Family::of(asked.ip()));
                }
                if let Some(service) = purpose.service() {
                    let (kind, addr) = (purpose.kind(), asked);
                    let notice = Notice::ListenFailed { service, kind, addr, why };
                    session.act(Action::Notify(Box::new(notice)));
                }
            }
        }
    }

    /// A socket that was open is of no use any more. It is not opened again: what it was bound to is
    /// gone.
    pub(crate) fn lost(&mut self, session: &mut Session, id: SocketId, why: NetError) {
        let Some(&Socket { purpose, addr, open: true, .. }) = self.sockets.get(id) else { return };
        self.sockets.remove(id);
        if let Some(service) = purpose.service() {
            let kind = purpose.kind();
            let notice = Notice::ListenFailed { service, kind, addr, why };
            session.act(Action::Notify(Box::new(notice)));
        }
    }

    /// An address to listen on is none of this machine's: its family is not spoken, unless there is
    /// another one.
    fn miss_family(&self, session: &mut Session, family: Family) {
        let mut others = self.sockets.iter().map(|(_, socket)| socket);
        let is_there = |socket: &Socket| {
            socket.purpose == Purpose::Peers && Family::of(socket.addr.ip()) == family
        };
        if !others.any(is_there) {
            session.missing_families.insert(family);
        }
    }

    /// Queues a packet for a socket.
    pub(crate) fn send(&mut self, session: &mut Session, id: SocketId, packet: Packet) {
        self.send_from(session, id, packet, None);
    }

    /// Queues a packet that is to leave from a local address of the socket, if that is known.
    pub(crate) fn send_from(
        &mut self,
        session: &mut Session,
        id: SocketId,
        packet: Packet,
        source: Option<IpAddr>,
    ) {
        let Some(socket) = self.sockets.get_mut(id) else { return };
        if socket.queue.len() >= QUEUE_LEN {
            return;
        }
        socket.queue.push_back(Queued { packet, source });
        if socket.open && !socket.send_asked {
            socket.send_asked = true;
            session.act(Action::SendDatagrams { socket: id });
        }
    }

    /// Queues packets of ours, each for the socket of its address family.
    pub(crate) fn send_all(
        &mut self,
        session: &mut Session,
        packets: impl IntoIterator<Item = Packet>,
    ) {
        for packet in packets {
            let v4 = packet.remote.is_ipv4();
            let purpose = match packet.remote.ip().is_multicast() {
                true => Purpose::LocalDiscovery,
                false => Purpose::PeersUdp,
            };
            let fits = |socket: &Socket| socket.purpose == purpose && socket.addr.is_ipv4() == v4;
            let found = self.sockets.iter().find(|(_, socket)| fits(socket)).map(|(id, _)| id);
            if let Some(id) = found {
                self.send(session, id, packet);
            }
        }
    }

    /// A socket takes datagrams again.
    pub(crate) fn ready(&mut self, session: &mut Session, id: SocketId) {
        if let Some(socket) = self.sockets.get_mut(id)
            && !socket.queue.is_empty()
            && !socket.send_asked
        {
            socket.send_asked = true;
            session.act(Action::SendDatagrams { socket: id });
        }
    }

    /// The next packets for a socket that go together, at most so many.
    pub(crate) fn gather(
        &mut self,
        id: SocketId,
        segments: usize,
        out: &mut BytesMut,
    ) -> Option<Transmit> {
        let socket = self.sockets.get_mut(id)?;
        socket.send_asked = false;
        let Queued { packet, source } = socket.queue.pop_front()?;
        let (destination, segment_size) = (packet.remote, packet.data.len());
        out.extend_from_slice(&packet.data);
        for _ in 1..segments {
            let Some(Queued { packet, source: from }) = socket.queue.front() else { break };
            let len = packet.data.len();
            let goes_along = packet.remote == destination && *from == source;
            if !goes_along || len > segment_size || out.len() + len > MAX_TRANSMIT {
                break;
            }
            out.extend_from_slice(&packet.data);
            socket.queue.pop_front();
            // A shorter one is the last.
            if len < segment_size {
                break;
            }
        }
        // Nothing that we send now looks for the length that its way bears.
        Some(Transmit { destination, source, segment_size, may_fragment: true })
    }
}
