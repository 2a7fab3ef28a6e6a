//! Datagrams: lost, doubled, overtaken, dropped where a queue is full.

use std::net::SocketAddr;
use std::time::Duration;

use bitswarm_core::time::Instant;
use bytes::BytesMut;

use super::link::Outgoing;
use super::{Due, HostId, NetEvent, Network, SocketKey, SocketKind};

/// Bytes of datagrams that wait for an uplink; past it, sending would block (chosen: a common
/// default of a socket's send buffer).
const SEND_BUFFER: usize = 208 << 10;

/// Longest time a datagram waits in a downlink's queue; past it, it is dropped (chosen: a bloated
/// home router).
const LONGEST_QUEUE: Duration = Duration::from_secs(1);

/// Headers of IPv4 and UDP, in bytes.
const HEADERS: usize = 28;

/// A datagram on its way.
#[derive(Debug)]
pub(super) struct Flight {
    socket: SocketKey,
    from: SocketAddr,
    to: SocketAddr,
    data: BytesMut,
}

impl Network {
    /// Sends a datagram. False if the socket would block: it was not sent, and `DatagramReady`
    /// follows.
    pub fn send_datagram(
        &mut self,
        now: Instant,
        socket: SocketKey,
        to: SocketAddr,
        data: BytesMut,
    ) -> bool {
        let Some(sender) = &mut self.sockets[socket.0 as usize] else { return true };
        let host = sender.host;
        let port = &mut self.hosts[host.at()];
        if port.datagram_backlog >= SEND_BUFFER {
            sender.starved = true;
            return false;
        }
        let mut from = sender.addr;
        if from.ip().is_unspecified()
            && let Some(own) = port.addrs.iter().find(|own| own.is_ipv4() == to.is_ipv4())
        {
            from.set_ip(*own);
        }
        port.datagram_backlog += data.len() + HEADERS;
        let flight = self.take_off(Flight { socket, from, to, data });
        self.hosts[host.at()].outgoing.push_back(Outgoing::Datagram(flight));
        self.pump(now, host);
        true
    }

    /// Sends a datagram whose turn on the uplink has come; its length there.
    pub(super) fn send_flight(&mut self, now: Instant, id: u32) -> usize {
        let Some(flight) = &self.flights[id as usize] else { return 0 };
        let (socket, to, length) = (flight.socket, flight.to, flight.data.len() + HEADERS);
        let Some(host) = self.host_at(flight.from.ip()) else { return 0 };
        self.hosts[host.at()].datagram_backlog -= length;
        let has_room = self.hosts[host.at()].datagram_backlog <= SEND_BUFFER / 2;
        if has_room
            && let Some(sender) = &mut self.sockets[socket.0 as usize]
            && std::mem::take(&mut sender.starved)
        {
            self.emit(host, NetEvent::DatagramReady { socket });
        }
        let target = self.host_at(to.ip()).filter(|target| self.connected(host, *target));
        let sent_at = now + self.hosts[host.at()].link.up_time(length);
        match target {
            Some(target) => self.travel(sent_at, host, target, id),
            None => drop(self.land(id)),
        }
        length
    }

    fn travel(&mut self, sent_at: Instant, from: HostId, to: HostId, id: u32) {
        let (a, b) = (self.hosts[from.at()].link, self.hosts[to.at()].link);
        let in_burst = self.in_burst(sent_at, from) | self.in_burst(sent_at, to);
        if in_burst || self.dice.chance(a.loss_per_mille) || self.dice.chance(b.loss_per_mille) {
            drop(self.land(id));
            return;
        }
        if self.dice.chance(a.duplicate_per_mille) || self.dice.chance(b.duplicate_per_mille) {
            let twin = self.flights[id as usize]
                .as_ref()
                .map(|flight| Flight { data: flight.data.clone(), ..*flight });
            if let Some(twin) = twin {
                let twin = self.take_off(twin);
                let at = sent_at + self.delay(from, to);
                self.wake(at, Due::DatagramArrive(twin));
            }
        }
        let mut at = sent_at + self.delay(from, to);
        if self.dice.chance(a.reorder_per_mille) || self.dice.chance(b.reorder_per_mille) {
            at += self.dice.up_to(Duration::from_millis(100));
        }
        self.wake(at, Due::DatagramArrive(id));
    }

    /// Whether a host's link loses everything at that time; a burst may begin with this datagram.
    fn in_burst(&mut self, at: Instant, host: HostId) -> bool {
        let port = &mut self.hosts[host.at()];
        if at >= port.lossy_until && self.dice.chance(port.link.burst_per_mille) {
            port.lossy_until = at + self.dice.up_to(port.link.burst);
        }
        at < port.lossy_until
    }

    pub(super) fn datagram_arrived(&mut self, now: Instant, id: u32) {
        let Some(flight) = &self.flights[id as usize] else { return };
        let length = flight.data.len() + HEADERS;
        let Some(host) = self.host_at(flight.to.ip()) else { return };
        let port = &mut self.hosts[host.at()];
        if port.receive(now, 0) > now + LONGEST_QUEUE {
            drop(self.land(id));
            return;
        }
        let at = port.receive(now, length);
        self.wake(at, Due::DatagramDeliver(id));
    }

    pub(super) fn datagram_delivered(&mut self, id: u32) {
        let Some(Flight { from, to, data, .. }) = self.land(id) else { return };
        let Some(host) = self.host_at(to.ip()) else { return };
        let binding = (SocketKind::Datagram, to.is_ipv4(), to.port());
        if let Some(&socket) = self.hosts[host.at()].bound.get(&binding) {
            self.emit(host, NetEvent::Datagram { socket, from, to: to.ip(), data });
        }
    }

    fn take_off(&mut self, flight: Flight) -> u32 {
        if let Some(id) = self.free_flights.pop() {
            self.flights[id as usize] = Some(flight);
            return id;
        }
        self.flights.push(Some(flight));
        u32::try_from(self.flights.len() - 1).expect("fewer than 2^32 datagrams at once")
    }

    fn land(&mut self, id: u32) -> Option<Flight> {
        let flight = self.flights[id as usize].take();
        if flight.is_some() {
            self.free_flights.push(id);
        }
        flight
    }
}
