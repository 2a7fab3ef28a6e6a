//! Datagram sockets.
//!
//! What comes in is handed over in batches, with a bound per turn, so that a flood starves nobody.
//! What goes out is pulled one by one until the socket would block; then the engine hears when it
//! takes more. Interest in that is registered only while it matters: UDP sockets become "writable"
//! after every single datagram.

use std::io;
use std::net::SocketAddr;

use bitswarm_core::action::SocketSpec;
use bitswarm_core::event::Datagram;
use bitswarm_core::id::Id;
use bitswarm_core::{Event, SocketId};
use bitswarm_runtime_common::net;
use bitswarm_runtime_common::table::Table;
use bytes::BytesMut;
use mio::event::Event as Readiness;
use mio::net::UdpSocket;
use mio::{Interest, Registry};
use socket2::SockRef;

use crate::source::Source;

/// Datagrams in one `Event::Datagrams`, and from one socket in one turn.
const BATCH: usize = 64;

/// Longest datagram, in bytes.
const LONGEST: usize = 65_536;

/// Every datagram socket.
#[derive(Debug)]
pub(crate) struct DatagramSockets {
    table: Table<SocketId, Endpoint>,
    /// Sockets that may have something to read.
    ready: usize,
    scratch: Vec<u8>,
}

#[derive(Debug)]
struct Endpoint {
    socket: UdpSocket,
    readable: bool,
    /// The datagram that the socket did not take; more follow it.
    unsent: Option<Datagram>,
}

impl DatagramSockets {
    pub(crate) fn new() -> Self {
        DatagramSockets { table: Table::new(), ready: 0, scratch: Vec::new() }
    }

    /// Opens a socket; its address.
    pub(crate) fn open(
        &mut self,
        registry: &Registry,
        id: SocketId,
        spec: SocketSpec,
    ) -> io::Result<SocketAddr> {
        let socket = net::bind(spec)?;
        let addr = net::local_addr(&SockRef::from(&socket))?;
        let mut socket = UdpSocket::from_std(socket.into());
        registry.register(&mut socket, token(id), Interest::READABLE)?;
        self.table.insert(id, Endpoint { socket, readable: false, unsent: None });
        self.scratch.resize(LONGEST, 0);
        Ok(addr)
    }

    /// Closes a socket, if this is one.
    pub(crate) fn close(&mut self, id: SocketId) {
        if self.table.remove(id).is_some_and(|endpoint| endpoint.readable) {
            self.ready -= 1;
        }
    }

    /// Notes what the system says about the socket in `slot`. Returns it if it takes datagrams
    /// again.
    pub(crate) fn note(&mut self, slot: usize, readiness: &Readiness) -> Option<SocketId> {
        let (id, endpoint) = self.table.at(slot)?;
        if readiness.is_readable() && !endpoint.readable {
            endpoint.readable = true;
            self.ready += 1;
        }
        (readiness.is_writable() && endpoint.unsent.is_some()).then_some(id)
    }

    /// Whether a socket may have something to read.
    pub(crate) fn is_any_ready(&self) -> bool {
        self.ready > 0
    }

    /// The sockets that may have something to read.
    pub(crate) fn ready(&mut self) -> Vec<SocketId> {
        if self.ready == 0 {
            return Vec::new();
        }
        self.table.iter_mut().filter(|(_, endpoint)| endpoint.readable).map(|(id, _)| id).collect()
    }

    /// Reads a batch.
    pub(crate) fn receive(&mut self, id: SocketId) -> Option<Event> {
        let endpoint = self.table.get_mut(id)?;
        let mut batch = Vec::new();
        // Errors count too: each is news of an earlier datagram that did not arrive.
        for _ in 0..BATCH {
            match endpoint.socket.recv_from(&mut self.scratch) {
                Ok((len, remote)) => {
                    batch.push(Datagram { remote, data: BytesMut::from(&self.scratch[..len]) });
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.ready -= usize::from(std::mem::take(&mut endpoint.readable));
                    break;
                }
                Err(_) => {}
            }
        }
        (!batch.is_empty()).then_some(Event::Datagrams { socket: id, batch })
    }

    /// Performs `Action::SendDatagrams`: sends what `next` brings until the socket would block.
    pub(crate) fn send(
        &mut self,
        registry: &Registry,
        id: SocketId,
        mut next: impl FnMut() -> Option<Datagram>,
    ) {
        let Some(endpoint) = self.table.get_mut(id) else { return };
        // While one waits, the others wait behind it.
        while endpoint.unsent.is_none() {
            let Some(datagram) = next() else { return };
            endpoint.send(datagram);
        }
        endpoint.watch(registry, id, Interest::READABLE | Interest::WRITABLE);
    }

    /// The socket takes datagrams again: sends the one that waits. What it returns is to be handled.
    pub(crate) fn resume(&mut self, registry: &Registry, id: SocketId) -> Option<Event> {
        let endpoint = self.table.get_mut(id)?;
        let unsent = endpoint.unsent.take()?;
        endpoint.send(unsent);
        if endpoint.unsent.is_some() {
            return None;
        }
        endpoint.watch(registry, id, Interest::READABLE);
        Some(Event::DatagramReady { socket: id })
    }
}

impl Endpoint {
    /// Sends one datagram, or keeps it if the socket would block. One that cannot be sent for
    /// another reason is lost, as it might be on the way.
    fn send(&mut self, datagram: Datagram) {
        match self.socket.send_to(&datagram.data, datagram.remote) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.unsent = Some(datagram);
            }
            Err(error) => tracing::debug!(remote = %datagram.remote, %error, "datagram not sent"),
        }
    }

    fn watch(&mut self, registry: &Registry, id: SocketId, interest: Interest) {
        if let Err(error) = registry.reregister(&mut self.socket, token(id), interest) {
            tracing::debug!(%error, "datagram socket not watched");
        }
    }
}

fn token(id: SocketId) -> mio::Token {
    Source::Datagrams(id.index() as usize).token()
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::net::UdpSocket as Peer;
    use std::time::Duration;

    use bitswarm_core::action::SocketKind;
    use mio::{Events, Poll};

    use super::*;

    fn open() -> (Poll, DatagramSockets, SocketId, SocketAddr) {
        let poll = Poll::new().unwrap();
        let mut sockets = DatagramSockets::new();
        let id = SocketId::new(1, 0);
        let spec = SocketSpec { kind: SocketKind::Udp, addr: "127.0.0.1:0".parse().unwrap() };
        let addr = sockets.open(poll.registry(), id, spec).unwrap();
        (poll, sockets, id, addr)
    }

    /// Polls once and notes what came.
    fn poll(poll: &mut Poll, sockets: &mut DatagramSockets) -> Option<SocketId> {
        let mut events = Events::with_capacity(16);
        poll.poll(&mut events, Some(Duration::from_secs(20))).unwrap();
        let noted = events.iter().map(|event| match Source::of(event.token()) {
            Source::Datagrams(slot) => sockets.note(slot, event),
            source => panic!("{source:?}"),
        });
        noted.fold(None, Option::or)
    }

    #[test]
    fn flood_is_taken_in_bounded_batches_and_in_order() {
        let (mut mio, mut sockets, id, addr) = open();
        let peer = Peer::bind("127.0.0.1:0").unwrap();
        for n in 0..100_u8 {
            peer.send_to(&[n], addr).unwrap();
        }
        poll(&mut mio, &mut sockets);
        let mut sizes = Vec::new();
        let mut received = Vec::new();
        while sockets.is_any_ready() {
            assert_eq!(sockets.ready(), [id]);
            if let Some(Event::Datagrams { batch, .. }) = sockets.receive(id) {
                sizes.push(batch.len());
                received.extend(batch.iter().map(|datagram| datagram.data[0]));
                assert!(batch.iter().all(|one| one.remote == peer.local_addr().unwrap()));
            }
        }
        assert_eq!(sizes, [64, 36]);
        assert!(received.into_iter().eq(0..100));
        assert!(sockets.ready().is_empty());
    }

    #[test]
    fn everything_that_waits_is_sent_and_what_cannot_be_is_skipped() {
        let (mio, mut sockets, id, _) = open();
        let peer = Peer::bind("127.0.0.1:0").unwrap();
        let to = |remote: SocketAddr, len| Datagram { remote, data: BytesMut::zeroed(len) };
        let remote = peer.local_addr().unwrap();
        let other_family = "[::1]:9".parse().unwrap();
        let mut queue = VecDeque::from([
            to(remote, 1),
            to(other_family, 2),
            to(remote, 100_000),
            to(remote, 4),
        ]);
        sockets.send(mio.registry(), id, || queue.pop_front());
        let mut buffer = [0; 16];
        assert_eq!(peer.recv(&mut buffer).unwrap(), 1);
        assert_eq!(peer.recv(&mut buffer).unwrap(), 4);
    }

    #[test]
    fn datagram_that_would_block_is_sent_when_the_socket_takes_it() {
        let (mut mio, mut sockets, id, _) = open();
        let peer = Peer::bind("127.0.0.1:0").unwrap();
        let data = BytesMut::from(&b"late"[..]);
        let waiting = Datagram { remote: peer.local_addr().unwrap(), data };
        sockets.table.get_mut(id).unwrap().unsent = Some(waiting);
        // Nothing is pulled while one waits.
        sockets.send(mio.registry(), id, || panic!("pulled"));
        assert_eq!(poll(&mut mio, &mut sockets), Some(id));
        let ready = sockets.resume(mio.registry(), id);
        assert!(matches!(ready, Some(Event::DatagramReady { socket }) if socket == id));
        let mut buffer = [0; 16];
        assert_eq!(peer.recv(&mut buffer).unwrap(), 4);
    }

    #[test]
    fn closed_socket_is_forgotten_and_its_port_free() {
        let (_mio, mut sockets, id, addr) = open();
        sockets.close(id);
        assert!(sockets.receive(id).is_none());
        Peer::bind(addr).unwrap();
    }
}
