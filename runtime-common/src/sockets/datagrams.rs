//! Datagram sockets.
//!
//! What comes in is handed over in batches, with a bound per turn, so that a flood starves nobody: one
//! call takes several datagrams, each with the local address that it came to and the kernel's time.
//! What goes out is pulled until the socket would block, each `Transmit` in one call, which the system
//! cuts into datagrams where it can (GSO); then the engine hears when it takes more. Interest in that
//! is registered only while it matters: UDP sockets become "writable" after every single datagram.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;

use bitswarm_core::action::{SocketKind, SocketSpec};
use bitswarm_core::event::Datagram;
use bitswarm_core::id::Id;
use bitswarm_core::packet::Transmit;
use bitswarm_core::{Event, Instant, SocketId};
use bytes::BytesMut;
use quinn_udp::{BATCH_SIZE, RecvMeta, UdpSocketState};
use socket2::SockRef;

use super::poller::{Direction, Interest, Poller, Readiness, Source};
use crate::clock::WallClock;
use crate::multicast::Group;
use crate::net;
use crate::table::Table;

/// Datagrams in one `Event::Datagrams`, and about as many from one socket in one turn.
const BATCH: usize = 64;

/// Longest datagram, and longest run of them that the system hands over as one, in bytes.
const LONGEST: usize = 65_536;

/// Such runs that are taken in one call (chosen).
const RUNS: usize = if BATCH_SIZE < 4 { BATCH_SIZE } else { 4 };

/// Every datagram socket.
#[derive(Debug)]
pub(super) struct DatagramSockets<S> {
    table: Table<SocketId, Endpoint<S>>,
    /// How many may have something to read, or take datagrams again.
    ready: usize,
    /// Where datagrams are received: [`RUNS`] of [`LONGEST`], from the first one on.
    scratch: Vec<u8>,
}

#[derive(Debug)]
struct Endpoint<S> {
    socket: S,
    /// How to send and receive several at once.
    udp: UdpSocketState,
    /// Whether the system may cut a datagram that is too long for its way.
    fragments: bool,
    /// The multicast group that everything is sent to.
    group: Option<Group>,
    readable: bool,
    /// What the socket did not take; more follows it.
    unsent: Option<(Transmit, BytesMut)>,
    /// There is something unsent, and the socket takes it now.
    resumes: bool,
}

impl<S: AsFd> DatagramSockets<S> {
    pub(super) fn new() -> Self {
        DatagramSockets { table: Table::new(), ready: 0, scratch: Vec::new() }
    }

    /// Opens a socket; its address. One of a multicast group uses the interface that has the address
    /// `bind`, or all.
    pub(super) fn open(
        &mut self,
        poller: &mut impl Poller<Socket = S>,
        id: SocketId,
        spec: &SocketSpec,
        bind: &[IpAddr],
    ) -> io::Result<SocketAddr> {
        let socket = net::bind(spec)?;
        let group = (spec.kind == SocketKind::Multicast).then(|| Group::new(spec.addr, bind));
        if let Some(group) = &group {
            group.open(&SockRef::from(&socket))?;
        }
        let addr = net::local_addr(&SockRef::from(&socket))?;
        let udp = UdpSocketState::new((&socket).into())?;
        let mut socket = poller.watch(socket, source(id), Interest::Read)?;
        poller.arm(&mut socket, Direction::Read)?;
        let (fragments, readable, unsent, resumes) = (false, false, None, false);
        let endpoint = Endpoint { socket, udp, fragments, group, readable, unsent, resumes };
        self.table.insert(id, endpoint);
        Ok(addr)
    }

    /// Closes a socket, if this is one.
    pub(super) fn close(&mut self, id: SocketId) {
        if let Some(endpoint) = self.table.remove(id) {
            self.ready -= usize::from(endpoint.readable) + usize::from(endpoint.resumes);
        }
    }

    /// Notes what the poller says about the socket in `slot`.
    pub(super) fn note(&mut self, slot: usize, readiness: Readiness) {
        let Some((_, endpoint)) = self.table.at(slot) else { return };
        if readiness.readable && !endpoint.readable {
            endpoint.readable = true;
            self.ready += 1;
        }
        if readiness.writable && endpoint.unsent.is_some() && !endpoint.resumes {
            endpoint.resumes = true;
            self.ready += 1;
        }
    }

    /// Whether a socket may have something to do.
    pub(super) fn is_any_ready(&self) -> bool {
        self.ready > 0
    }

    /// The sockets that may have something to do.
    pub(super) fn ready(&mut self) -> Vec<SocketId> {
        if self.ready == 0 {
            return Vec::new();
        }
        let is_ready = |endpoint: &Endpoint<S>| endpoint.readable || endpoint.resumes;
        self.table.iter_mut().filter(|(_, endpoint)| is_ready(endpoint)).map(|(id, _)| id).collect()
    }

    /// Reads a batch or a few. What it returns is to be handled in order.
    pub(super) fn receive(
        &mut self,
        poller: &mut impl Poller<Socket = S>,
        id: SocketId,
        now: Instant,
    ) -> Vec<Event> {
        let Some(endpoint) = self.table.get_mut(id).filter(|endpoint| endpoint.readable) else {
            return Vec::new();
        };
        self.scratch.resize(RUNS * LONGEST, 0);
        let wall = WallClock::at(now);
        let (mut received, mut lost) = (Vec::new(), None);
        // Errors count too: each is news of an earlier datagram that did not arrive.
        for _ in 0..BATCH {
            let mut runs = self.scratch.chunks_mut(LONGEST).map(IoSliceMut::new);
            let mut runs: [IoSliceMut<'_>; RUNS] =
                std::array::from_fn(|_| runs.next().expect("as many as there are"));
            let mut metas = [RecvMeta::default(); RUNS];
            match endpoint.udp.recv((&endpoint.socket).into(), &mut runs, &mut metas) {
                Ok(count) => {
                    for (run, meta) in runs.iter().zip(metas).take(count) {
                        for data in run[..meta.len].chunks(meta.stride.max(1)) {
                            received.push(Datagram {
                                remote: meta.addr,
                                local: meta.dst_ip,
                                received: wall.instant(meta.timestamp),
                                data: data.into(),
                            });
                        }
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    endpoint.readable = false;
                    self.ready -= 1;
                    lost = poller.arm(&mut endpoint.socket, Direction::Read).err();
                    break;
                }
                Err(error) if net::is_lost(&error) => {
                    lost = Some(error);
                    break;
                }
                Err(_) => {}
            }
            if received.len() >= BATCH {
                break;
            }
        }
        let mut events = Vec::new();
        while !received.is_empty() {
            let rest = received.split_off(received.len().min(BATCH));
            let batch = std::mem::replace(&mut received, rest);
            events.push(Event::Datagrams { socket: id, batch });
        }
        events.extend(lost.map(|error| self.lose(id, &error)));
        events
    }

    /// Closes a socket that is of no use any more.
    fn lose(&mut self, id: SocketId, error: &io::Error) -> Event {
        tracing::debug!(?id, %error, "datagram socket lost");
        self.close(id);
        Event::SocketLost { socket: id, why: net::net_error(error) }
    }

    /// Performs `Action::SendDatagrams`: sends what `next` brings, of at most so many datagrams, until
    /// the socket would block. What it returns has happened at once.
    pub(super) fn send(
        &mut self,
        poller: &mut impl Poller<Socket = S>,
        id: SocketId,
        mut next: impl FnMut(usize, &mut BytesMut) -> Option<Transmit>,
    ) -> Option<Event> {
        // While something waits, the rest waits behind it.
        let endpoint = self.table.get_mut(id).filter(|endpoint| endpoint.unsent.is_none())?;
        while endpoint.unsent.is_none() {
            let mut data = BytesMut::new();
            let transmit = next(endpoint.segments(), &mut data)?;
            endpoint.send(transmit, data);
        }
        let watched = endpoint.watch(poller, id, Interest::ReadAndWrite);
        let armed = watched.and_then(|()| poller.arm(&mut endpoint.socket, Direction::Write));
        armed.err().map(|error| self.lose(id, &error))
    }

    /// Sends what waits, if the socket takes it now. What it returns is to be handled.
    pub(super) fn resume(
        &mut self,
        poller: &mut impl Poller<Socket = S>,
        id: SocketId,
    ) -> Option<Event> {
        let endpoint = self.table.get_mut(id).filter(|endpoint| endpoint.resumes)?;
        endpoint.resumes = false;
        self.ready -= 1;
        let (transmit, data) = endpoint.unsent.take()?;
        endpoint.send(transmit, data);
        let watched = match endpoint.unsent {
            Some(_) => poller.arm(&mut endpoint.socket, Direction::Write).map(|()| None),
            None => endpoint
                .watch(poller, id, Interest::Read)
                .map(|()| Some(Event::DatagramReady { socket: id })),
        };
        watched.unwrap_or_else(|error| Some(self.lose(id, &error)))
    }
}

impl<S: AsFd> Endpoint<S> {
    /// How many datagrams it sends in one call.
    fn segments(&self) -> usize {
        if self.group.is_some() { 1 } else { self.udp.max_gso_segments() }
    }

    /// Sends datagrams, or keeps those that the socket does not take. One that cannot be sent for
    /// another reason is lost, as it might be on the way.
    fn send(&mut self, transmit: Transmit, mut data: BytesMut) {
        if let Some(group) = &self.group {
            return group.send(&SockRef::from(&self.socket), &data);
        }
        self.let_fragment(transmit.may_fragment);
        let mut at_once = data.len();
        while !data.is_empty() {
            let len = at_once.min(data.len());
            match self.try_send(&transmit, &data[..len]) {
                Ok(()) => drop(data.split_to(len)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.unsent = Some((transmit, data));
                    return;
                }
                // It may be that the device cannot cut them: one by one, then.
                Err(_) if len > transmit.segment_size => at_once = transmit.segment_size,
                Err(error) => {
                    tracing::debug!(remote = %transmit.destination, %error, "datagram not sent");
                    drop(data.split_to(len));
                }
            }
        }
    }

    fn try_send(&self, transmit: &Transmit, contents: &[u8]) -> io::Result<()> {
        let transmit = quinn_udp::Transmit {
            destination: transmit.destination,
            ecn: None,
            contents,
            segment_size: Some(transmit.segment_size),
            src_ip: transmit.source,
        };
        self.udp.try_send((&self.socket).into(), &transmit)
    }

    fn let_fragment(&mut self, may: bool) {
        if self.fragments != may {
            self.fragments = may;
            if let Err(error) = net::set_fragments(&self.socket, may) {
                tracing::debug!(%error, may, "fragmenting not set");
            }
        }
    }

    fn watch(
        &mut self,
        poller: &mut impl Poller<Socket = S>,
        id: SocketId,
        interest: Interest,
    ) -> io::Result<()> {
        poller.rewatch(&mut self.socket, source(id), interest)?;
        // A watch that begins anew has forgotten what it was to tell.
        if self.readable { Ok(()) } else { poller.arm(&mut self.socket, Direction::Read) }
    }
}

fn source(id: SocketId) -> Source {
    Source::Datagrams(id.index() as usize)
}

#[cfg(all(test, target_os = "linux"))]
mod tests;
