//! The sockets a session listens on, and the datagrams that wait for them.
//!
//! Peers reach us by TCP and by uTP; the UDP socket on the same port speaks with UDP trackers, too. Both are
//! opened for every listen address; the TCP listener first, since with port 0 it decides the port. Without
//! TCP there is no listener. A session
//! that listens nowhere still asks trackers and the DHT, in both address families.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::BytesMut;

use crate::action::{Action, SocketKind, SocketSpec};
use crate::config::Config;
use crate::event::NetError;
use crate::family::{Families, Family, PerFamily};
use crate::id::{Slab, SocketId};
use crate::lsd::GROUPS;
use crate::notice::{Notice, Service};
use crate::outbox::Outbox;
use crate::packet::{Packet, Transmit};
use crate::socket::Binding;

/// Datagrams that may wait for a socket; past it, new ones are dropped, as a network would
/// (chosen).
const QUEUE_LEN: usize = 1024;

/// Longest of one [`Transmit`], in bytes: what fits into one IP packet, which it is until it is cut.
const MAX_TRANSMIT: usize = 65_507;

/// The sockets of a session.
#[derive(Debug)]
pub(crate) struct Sockets {
    table: Slab<SocketId, Socket>,
    /// Families of the addresses to listen on.
    listen: Families,
    /// Whether a peer listener whose port is taken is opened on any.
    may_fall_back: bool,
    /// By which peers reach us: its port is the one that is announced.
    reached_by: SocketRole,
    /// What all of them are bound to.
    binding: Option<Box<Binding>>,
    /// Listeners whose port is not known yet.
    pending: usize,
    /// The ports peers reach us at, in each family; 0 without a listener that is open.
    ports: PerFamily<u16>,
    /// Families that we have no address of: a listener could not be opened there for that.
    missing: Families,
}

#[derive(Debug)]
struct Socket {
    role: SocketRole,
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
pub(crate) enum SocketRole {
    /// Peers dial in here.
    Peers,
    /// We ask UDP trackers from here.
    PeersUdp,
    /// Clients of the embedded tracker dial in here.
    Tracker,
    /// The embedded tracker answers datagrams here.
    TrackerUdp,
    /// Peers in the same network announce themselves here, and we do.
    LocalDiscovery,
}

impl SocketRole {
    fn kind(self) -> SocketKind {
        match self {
            SocketRole::Peers | SocketRole::Tracker => SocketKind::TcpListener,
            SocketRole::PeersUdp | SocketRole::TrackerUdp => SocketKind::Udp,
            SocketRole::LocalDiscovery => SocketKind::Multicast,
        }
    }

    /// Whom it serves, if that is anybody who has to know where it is.
    fn service(self) -> Option<Service> {
        match self {
            SocketRole::Peers | SocketRole::PeersUdp => Some(Service::Peers),
            SocketRole::Tracker | SocketRole::TrackerUdp => Some(Service::Tracker),
            SocketRole::LocalDiscovery => None,
        }
    }

    /// The datagram socket that shares the port of this listener.
    fn companion(self) -> Option<SocketRole> {
        match self {
            SocketRole::Peers => Some(SocketRole::PeersUdp),
            SocketRole::Tracker => Some(SocketRole::TrackerUdp),
            SocketRole::PeersUdp | SocketRole::TrackerUdp | SocketRole::LocalDiscovery => None,
        }
    }
}

impl Sockets {
    /// Has the session's sockets opened.
    pub(crate) fn open(config: &Config, outbox: &mut Outbox) -> Self {
        let Config { listen, device, dscp, .. } = config;
        let is_bound = device.is_some() || dscp.is_some();
        let has_tcp = config.transports.tcp || listen.is_empty();
        let reached_by = if has_tcp { SocketRole::Peers } else { SocketRole::PeersUdp };
        let mut sockets = Sockets {
            table: Slab::new(),
            listen: Families::of(listen.iter().copied()),
            may_fall_back: config.listen_fallback,
            reached_by,
            binding: is_bound.then(|| Box::new(Binding { device: device.clone(), dscp: *dscp })),
            pending: listen.len(),
            ports: PerFamily::default(),
            missing: Families::NONE,
        };
        for &addr in listen {
            sockets.bind(outbox, reached_by, addr);
        }
        if listen.is_empty() {
            let any: [IpAddr; 2] = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
            for ip in any {
                sockets.bind(outbox, SocketRole::PeersUdp, SocketAddr::new(ip, 0));
            }
        }
        for &addr in &config.tracker_listen {
            sockets.bind(outbox, SocketRole::Tracker, addr);
        }
        if config.local_discovery {
            for group in GROUPS {
                if listen.iter().any(|addr| addr.is_ipv4() == group.is_ipv4()) {
                    sockets.bind(outbox, SocketRole::LocalDiscovery, group);
                }
            }
        }
        sockets
    }

    fn bind(&mut self, outbox: &mut Outbox, role: SocketRole, addr: SocketAddr) {
        let socket = self.table.insert(Socket {
            role,
            addr,
            open: false,
            fell_back: false,
            send_asked: false,
            queue: VecDeque::new(),
        });
        let spec = SocketSpec { kind: role.kind(), addr, bind: self.binding.clone() };
        outbox.push(Action::Bind { socket, spec });
    }

    // Queries.

    /// Whether it is known of every listener where it is, or that it is nowhere.
    pub(crate) fn are_listeners_known(&self) -> bool {
        self.pending == 0
    }

    /// The families that peers and trackers are spoken with in: those of our listeners; without
    /// any, both.
    pub(crate) fn families(&self) -> Families {
        let mut families = self.listen;
        for family in Family::ALL {
            if self.missing.contains(family) {
                families.remove(family);
            }
        }
        if families.is_empty() { Families::BOTH } else { families }
    }

    /// The port that peers of a family reach us at, if there is one.
    pub(crate) fn listen_port(&self, family: Family) -> Option<u16> {
        Some(*self.ports.get(family)).filter(|port| *port != 0)
    }

    /// The port that peers of any family reach us at.
    pub(crate) fn any_listen_port(&self) -> Option<u16> {
        Family::ALL.into_iter().find_map(|family| self.listen_port(family))
    }

    /// Whether peers of each family reach us at the same port, as far as they do.
    pub(crate) fn has_one_port(&self) -> bool {
        let PerFamily { v4, v6 } = self.ports;
        v4 == 0 || v6 == 0 || v4 == v6
    }

    /// What a socket is for, if it is one of ours.
    pub(crate) fn role(&self, socket: SocketId) -> Option<SocketRole> {
        self.table.get(socket).map(|socket| socket.role)
    }

    /// The socket for our own datagrams at a local address, open or about to be.
    pub(crate) fn udp_at(&self, ip: IpAddr) -> Option<SocketId> {
        let fits = |socket: &Socket| socket.role == SocketRole::PeersUdp && socket.addr.ip() == ip;
        self.table.iter().find(|(_, socket)| fits(socket)).map(|(id, _)| id)
    }

    /// The local address whose datagrams come and go by this socket; of several ports at one address,
    /// one does.
    pub(crate) fn node_address(&self, socket: SocketId) -> Option<IpAddr> {
        let ip = self.table.get(socket)?.addr.ip();
        (self.udp_at(ip) == Some(socket)).then_some(ip)
    }

    /// A socket is open, or could not be opened.
    pub(crate) fn bound(
        &mut self,
        outbox: &mut Outbox,
        id: SocketId,
        result: Result<SocketAddr, NetError>,
    ) {
        let Some(socket) = self.table.get_mut(id) else { return };
        let (role, asked) = (socket.role, socket.addr);
        match result {
            Ok(addr) => {
                socket.open = true;
                socket.addr = addr;
                let waiting = !socket.queue.is_empty();
                if role == self.reached_by {
                    self.pending -= 1;
                    let port = self.ports.get_mut(Family::of(addr.ip()));
                    if *port == 0 {
                        *port = addr.port();
                    }
                }
                if let Some(service) = role.service() {
                    outbox.notify(Notice::Listening { service, kind: role.kind(), addr });
                }
                if let Some(companion) = role.companion() {
                    self.bind(outbox, companion, SocketAddr::new(asked.ip(), addr.port()));
                }
                if waiting {
                    self.ready(outbox, id);
                }
            }
            Err(why) => {
                // A peer listener falls back if that was asked for, our own datagrams always do.
                let may_fall_back = match role {
                    role if role == self.reached_by => self.may_fall_back,
                    SocketRole::Peers => false,
                    SocketRole::PeersUdp => true,
                    SocketRole::Tracker | SocketRole::TrackerUdp | SocketRole::LocalDiscovery => {
                        false
                    }
                };
                if why == NetError::AddrInUse && may_fall_back && !socket.fell_back {
                    socket.fell_back = true;
                    let (kind, addr) = (role.kind(), SocketAddr::new(asked.ip(), 0));
                    let spec = SocketSpec { kind, addr, bind: self.binding.clone() };
                    outbox.push(Action::Bind { socket: id, spec });
                    return;
                }
                self.pending -= usize::from(role == self.reached_by);
                self.table.remove(id);
                if role == self.reached_by && why == NetError::AddrNotAvailable {
                    self.miss_family(Family::of(asked.ip()));
                }
                if let Some(service) = role.service() {
                    let (kind, addr) = (role.kind(), asked);
                    outbox.notify(Notice::ListenFailed { service, kind, addr, why });
                }
            }
        }
    }

    /// A socket that was open is of no use any more. It is not opened again: what it was bound to is
    /// gone.
    pub(crate) fn lost(&mut self, outbox: &mut Outbox, id: SocketId, why: NetError) {
        let Some(&Socket { role, addr, open: true, .. }) = self.table.get(id) else { return };
        self.table.remove(id);
        if let Some(service) = role.service() {
            let kind = role.kind();
            outbox.notify(Notice::ListenFailed { service, kind, addr, why });
        }
    }

    /// An address to listen on is none of this machine's: its family is not spoken, unless there is
    /// another one.
    fn miss_family(&mut self, family: Family) {
        let reached_by = self.reached_by;
        let mut others = self.table.iter().map(|(_, socket)| socket);
        let is_there =
            |socket: &Socket| socket.role == reached_by && Family::of(socket.addr.ip()) == family;
        if !others.any(is_there) {
            self.missing.insert(family);
        }
    }

    /// Queues a packet for a socket.
    pub(crate) fn send(&mut self, outbox: &mut Outbox, id: SocketId, packet: Packet) {
        self.send_from(outbox, id, packet, None);
    }

    /// Queues a packet that is to leave from a local address of the socket, if that is known.
    pub(crate) fn send_from(
        &mut self,
        outbox: &mut Outbox,
        id: SocketId,
        packet: Packet,
        source: Option<IpAddr>,
    ) {
        let Some(socket) = self.table.get_mut(id) else { return };
        if socket.queue.len() >= QUEUE_LEN {
            return;
        }
        socket.queue.push_back(Queued { packet, source });
        if socket.open && !socket.send_asked {
            socket.send_asked = true;
            outbox.push(Action::SendDatagrams { socket: id });
        }
    }

    /// Queues packets of ours, each for the socket of its address family.
    pub(crate) fn send_all(
        &mut self,
        outbox: &mut Outbox,
        packets: impl IntoIterator<Item = Packet>,
    ) {
        for packet in packets {
            let v4 = packet.remote.is_ipv4();
            let role = match packet.remote.ip().is_multicast() {
                true => SocketRole::LocalDiscovery,
                false => SocketRole::PeersUdp,
            };
            let fits = |socket: &Socket| socket.role == role && socket.addr.is_ipv4() == v4;
            let found = self.table.iter().find(|(_, socket)| fits(socket)).map(|(id, _)| id);
            if let Some(id) = found {
                self.send(outbox, id, packet);
            }
        }
    }

    /// Has the host ask for datagrams, if the socket is open.
    pub(crate) fn ask(&mut self, outbox: &mut Outbox, id: SocketId) {
        if let Some(socket) = self.table.get_mut(id)
            && socket.open
            && !socket.send_asked
        {
            socket.send_asked = true;
            outbox.push(Action::SendDatagrams { socket: id });
        }
    }

    /// A socket takes datagrams again.
    pub(crate) fn ready(&mut self, outbox: &mut Outbox, id: SocketId) {
        if let Some(socket) = self.table.get_mut(id)
            && !socket.queue.is_empty()
            && !socket.send_asked
        {
            socket.send_asked = true;
            outbox.push(Action::SendDatagrams { socket: id });
        }
    }

    /// The next packets for a socket that go together, at most so many.
    pub(crate) fn gather(
        &mut self,
        id: SocketId,
        segments: usize,
        out: &mut BytesMut,
    ) -> Option<Transmit> {
        let socket = self.table.get_mut(id)?;
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

#[cfg(test)]
mod tests;
