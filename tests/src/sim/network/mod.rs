//! The network: hosts with addresses, streams like TCP and datagrams like UDP between them.
//!
//! A machine of its own, without I/O or clock: methods say what hosts do, [`Network::poll`] says
//! what came of it: an event for a host, or a [`Timer`] to hand back in when its time has come.
//!
//! The fault model. Every host hangs on a link to a core that is infinitely fast. A link delays
//! (latency and jitter), serialises at its rate upwards (round robin among streams) and downwards
//! (in order of arrival, unbounded queue), and loses, doubles and overtakes datagrams. Streams
//! deliver every byte in order, but cut and merged anywhere; they end by FIN, by RST (which
//! overtakes nothing), or, where the other side fell silent, by giving up. A partition stops
//! streams and datagrams between groups of hosts until it heals. Left out: congestion control (a
//! stream is bounded by its window and its share of the links), loss inside a stream other than as
//! delay, routing and MTU.

mod datagram;
mod link;
mod pipe;
mod stream;

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bitswarm_core::event::NetError;
use bitswarm_core::time::Instant;
use bytes::BytesMut;
use serde::Serialize;

use super::dice::Dice;
use datagram::Flight;
pub use link::{Link, Traffic};
use link::{Outgoing, Port};
pub use stream::{Disturbance, EndId};
use stream::{Parcel, Stream};

/// A host of the world.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
pub struct HostId(pub u32);

impl HostId {
    fn at(self) -> usize {
        self.0 as usize
    }
}

/// A listener or datagram socket.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
pub struct SocketKey(u32);

/// What happens to a host.
#[derive(Debug)]
pub enum NetEvent {
    /// The stream it opened is established.
    Connected {
        /// Its end.
        end: EndId,
        /// The address on its side.
        local: SocketAddr,
    },
    /// Somebody opened a stream to its listener; it is established.
    Incoming {
        /// The listener.
        socket: SocketKey,
        /// Its end.
        end: EndId,
        /// The address on the other side.
        from: SocketAddr,
    },
    /// Bytes came in.
    Received {
        /// Its end.
        end: EndId,
        /// Never empty.
        data: BytesMut,
    },
    /// A stream that did not take everything takes bytes again.
    Writable {
        /// Its end.
        end: EndId,
    },
    /// The other side has sent its last byte. The stream can still be written to.
    Ended {
        /// Its end.
        end: EndId,
    },
    /// The stream is dead, or could not be established.
    Closed {
        /// Its end; dead after this.
        end: EndId,
        /// Why.
        why: NetError,
    },
    /// A datagram came in.
    Datagram {
        /// The socket.
        socket: SocketKey,
        /// Who sent it.
        from: SocketAddr,
        /// The address that it came to.
        to: IpAddr,
        /// Its payload.
        data: BytesMut,
    },
    /// A datagram socket that would have blocked takes datagrams again.
    DatagramReady {
        /// The socket.
        socket: SocketKey,
    },
}

/// What the network asks of its driver.
#[derive(Debug)]
pub enum Output {
    /// This happens to this host, now.
    Event(HostId, NetEvent),
    /// Hand the timer in at that time.
    Wake(Instant, Timer),
}

/// Something the network waits for.
#[derive(Debug, Clone, Copy)]
pub struct Timer(Due);

#[derive(Debug, Clone, Copy)]
enum Due {
    /// The host's uplink has sent what it was sending.
    UplinkFree(HostId),
    /// A connect request reaches its destination.
    Syn(u32),
    /// Its answer is back.
    SynAck(u32),
    /// There was no answer, or a refusal.
    ConnectFailed(u32, NetError),
    /// What this end sent reaches the other side's downlink.
    Arrive(EndId, Parcel),
    /// What this end sent has passed the downlink.
    Deliver(EndId, Parcel),
    /// Bytes held back to be merged with later ones are handed over.
    Release(EndId),
    /// The end gives up if it is still stalled since then.
    Patience(EndId, Instant),
    /// A datagram reaches its destination's downlink.
    DatagramArrive(u32),
    /// A datagram has passed the downlink.
    DatagramDeliver(u32),
}

/// All hosts and what is between them.
#[derive(Debug)]
pub struct Network {
    dice: Dice,
    hosts: Vec<Port>,
    addrs: BTreeMap<IpAddr, HostId>,
    /// By number; a stream that is over leaves `None`, numbers are not used again.
    streams: Vec<Option<Box<Stream>>>,
    sockets: Vec<Option<Socket>>,
    flights: Vec<Option<Flight>>,
    free_flights: Vec<u32>,
    out: VecDeque<Output>,
    /// What is done to streams on their way.
    pub disturbance: Disturbance,
}

#[derive(Debug)]
struct Socket {
    host: HostId,
    addr: SocketAddr,
    kind: SocketKind,
    /// A datagram was not taken: say when there is room.
    starved: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum SocketKind {
    Listener,
    Datagram,
}

/// Where a listener or datagram socket is found: by kind, family and port.
type Binding = (SocketKind, bool, u16);

/// How a host's process ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Death {
    /// The process is gone; its system closes the streams.
    Process,
    /// The power is gone: the other sides hear nothing.
    Power,
}

impl Network {
    /// No hosts.
    pub fn new(seed: u64) -> Self {
        Network {
            dice: Dice::new(seed, "network"),
            hosts: Vec::new(),
            addrs: BTreeMap::new(),
            streams: Vec::new(),
            sockets: Vec::new(),
            flights: Vec::new(),
            free_flights: Vec::new(),
            out: VecDeque::new(),
            disturbance: Disturbance::default(),
        }
    }

    /// Adds a host.
    pub fn add_host(&mut self, link: Link, addrs: impl IntoIterator<Item = IpAddr>) -> HostId {
        let id = HostId(u32::try_from(self.hosts.len()).expect("fewer than 2^32 hosts"));
        let addrs: Vec<IpAddr> = addrs.into_iter().collect();
        for addr in &addrs {
            let taken = self.addrs.insert(*addr, id);
            assert_eq!(taken, None, "{addr} is the address of two hosts");
        }
        self.hosts.push(Port::new(link, addrs));
        id
    }

    /// What is to be done. Poll until `None` after every call that changes something.
    pub fn poll(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// A timer that `poll` gave out is due.
    pub fn handle_timer(&mut self, now: Instant, timer: Timer) {
        match timer.0 {
            Due::UplinkFree(host) => self.uplink_free(now, host),
            Due::Syn(stream) => self.syn_arrived(now, stream),
            Due::SynAck(stream) => self.syn_answered(now, stream),
            Due::ConnectFailed(stream, why) => self.connect_failed(stream, why),
            Due::Arrive(end, parcel) => self.parcel_arrived(now, end, parcel),
            Due::Deliver(end, parcel) => self.parcel_delivered(now, end, parcel),
            Due::Release(end) => self.release(now, end),
            Due::Patience(end, since) => self.patience_over(end, since),
            Due::DatagramArrive(flight) => self.datagram_arrived(now, flight),
            Due::DatagramDeliver(flight) => self.datagram_delivered(flight),
        }
    }

    /// Opens a listener. Port 0 takes a free one.
    pub fn listen(
        &mut self,
        host: HostId,
        addr: SocketAddr,
    ) -> Result<(SocketKey, SocketAddr), NetError> {
        self.bind(host, addr, SocketKind::Listener)
    }

    /// Opens a datagram socket. Port 0 takes a free one.
    pub fn bind_datagram(
        &mut self,
        host: HostId,
        addr: SocketAddr,
    ) -> Result<(SocketKey, SocketAddr), NetError> {
        self.bind(host, addr, SocketKind::Datagram)
    }

    fn bind(
        &mut self,
        host: HostId,
        mut addr: SocketAddr,
        kind: SocketKind,
    ) -> Result<(SocketKey, SocketAddr), NetError> {
        let port = &mut self.hosts[host.at()];
        let here = if addr.ip().is_unspecified() {
            port.addrs.iter().any(|own| own.is_ipv4() == addr.is_ipv4())
        } else {
            port.addrs.contains(&addr.ip())
        };
        if !here {
            return Err(NetError::AddrNotAvailable);
        }
        if addr.port() == 0 {
            addr.set_port(port.draw_port());
        }
        let binding = (kind, addr.is_ipv4(), addr.port());
        if port.bound.contains_key(&binding) {
            return Err(NetError::AddrInUse);
        }
        let key = SocketKey(u32::try_from(self.sockets.len()).expect("fewer than 2^32 sockets"));
        port.bound.insert(binding, key);
        self.sockets.push(Some(Socket { host, addr, kind, starved: false }));
        Ok((key, addr))
    }

    /// Closes a listener or datagram socket.
    pub fn unbind(&mut self, key: SocketKey) {
        if let Some(socket) = self.sockets[key.0 as usize].take() {
            let binding = (socket.kind, socket.addr.is_ipv4(), socket.addr.port());
            self.hosts[socket.host.at()].bound.remove(&binding);
        }
    }

    /// The host's process ends: its streams and sockets are gone. What becomes of the streams'
    /// other ends depends on how it died.
    pub fn end_process(&mut self, now: Instant, host: HostId, death: Death) {
        self.hosts[host.at()].alive = death == Death::Process;
        let bound: Vec<SocketKey> = self.hosts[host.at()].bound.values().copied().collect();
        for key in bound {
            self.unbind(key);
        }
        for end in self.ends_of(host) {
            match death {
                Death::Process => self.reset(now, end),
                Death::Power => self.vanish(end),
            }
        }
    }

    /// The host has power again.
    pub fn power_on(&mut self, now: Instant, host: HostId) {
        self.hosts[host.at()].alive = true;
        self.retry_stalled(now);
    }

    /// From now on only hosts of the same group reach each other. A host not named is in group 0.
    pub fn partition(&mut self, now: Instant, groups: &[(HostId, u32)]) {
        for port in &mut self.hosts {
            port.group = 0;
        }
        for (host, group) in groups {
            self.hosts[host.at()].group = *group;
        }
        self.retry_stalled(now);
    }

    /// Everybody reaches everybody again.
    pub fn heal(&mut self, now: Instant) {
        self.partition(now, &[]);
    }

    /// A host's link, to change it. A new rate counts from the next packet.
    pub fn link_mut(&mut self, host: HostId) -> &mut Link {
        &mut self.hosts[host.at()].link
    }

    /// What a host's link has carried.
    pub fn traffic(&self, host: HostId) -> Traffic {
        self.hosts[host.at()].traffic
    }

    /// The addresses of a host.
    pub fn addrs_of(&self, host: HostId) -> &[IpAddr] {
        &self.hosts[host.at()].addrs
    }

    /// A host's first address.
    pub fn ip(&self, host: HostId) -> IpAddr {
        self.hosts[host.at()].addrs[0]
    }

    /// A host's link.
    pub fn link(&self, host: HostId) -> &Link {
        &self.hosts[host.at()].link
    }

    /// The address that a listener or datagram socket is bound to.
    pub fn socket_addr(&self, key: SocketKey) -> Option<SocketAddr> {
        self.sockets[key.0 as usize].as_ref().map(|socket| socket.addr)
    }

    /// The host that holds this end of a stream, if the stream lives.
    pub fn host_of(&self, end: EndId) -> Option<HostId> {
        self.holder(end)
    }

    /// The host that has this address.
    pub fn host_at(&self, ip: IpAddr) -> Option<HostId> {
        self.addrs.get(&ip).copied()
    }

    fn connected(&self, a: HostId, b: HostId) -> bool {
        let (a, b) = (&self.hosts[a.at()], &self.hosts[b.at()]);
        a.alive && b.alive && a.group == b.group
    }

    /// One way's time between two hosts, drawn anew for each packet.
    fn delay(&mut self, a: HostId, b: HostId) -> Duration {
        if a == b {
            return Duration::from_micros(20);
        }
        let (a, b) = (self.hosts[a.at()].link, self.hosts[b.at()].link);
        a.latency + b.latency + self.dice.up_to(a.jitter + b.jitter)
    }

    fn emit(&mut self, host: HostId, event: NetEvent) {
        self.out.push_back(Output::Event(host, event));
    }

    fn wake(&mut self, at: Instant, due: Due) {
        self.out.push_back(Output::Wake(at, Timer(due)));
    }

    /// Sends whatever the host's uplink can send now.
    fn pump(&mut self, now: Instant, host: HostId) {
        while !self.hosts[host.at()].busy {
            let Some(next) = self.hosts[host.at()].outgoing.pop_front() else { return };
            let sent = match next {
                Outgoing::Stream(end) => self.send_from(now, end),
                Outgoing::Datagram(flight) => self.send_flight(now, flight),
            };
            let port = &mut self.hosts[host.at()];
            port.traffic.up_bytes += sent as u64;
            if sent > 0 && port.link.up_bytes_per_s.is_some() {
                port.busy = true;
                let free = now + port.link.up_time(sent);
                self.wake(free, Due::UplinkFree(host));
            }
        }
    }

    fn uplink_free(&mut self, now: Instant, host: HostId) {
        self.hosts[host.at()].busy = false;
        self.pump(now, host);
    }
}

#[cfg(test)]
mod tests;
