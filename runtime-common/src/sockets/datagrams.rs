//! Datagram sockets.
//!
//! What comes in is handed over in batches, with a bound per turn, so that a flood starves nobody.
//! What goes out is pulled one by one until the socket would block; then the engine hears when it
//! takes more. Interest in that is registered only while it matters: UDP sockets become "writable"
//! after every single datagram.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;

use bitswarm_core::action::{SocketKind, SocketSpec};
use bitswarm_core::event::Datagram;
use bitswarm_core::id::Id;
use bitswarm_core::{Event, SocketId};
use bytes::BytesMut;
use socket2::SockRef;

use super::poller::{Direction, Interest, Poller, Readiness, Source};
use crate::multicast::Group;
use crate::table::Table;
use crate::{net, sys};

/// Datagrams in one `Event::Datagrams`, and from one socket in one turn.
const BATCH: usize = 64;

/// Longest datagram, in bytes.
const LONGEST: usize = 65_536;

/// Every datagram socket.
#[derive(Debug)]
pub(super) struct DatagramSockets<S> {
    table: Table<SocketId, Endpoint<S>>,
    /// How many may have something to read, or take datagrams again.
    ready: usize,
    scratch: BytesMut,
}

#[derive(Debug)]
struct Endpoint<S> {
    socket: S,
    /// The multicast group that everything is sent to.
    group: Option<Group>,
    readable: bool,
    /// The datagram that the socket did not take; more follow it.
    unsent: Option<Datagram>,
    /// There is an unsent one, and the socket takes it now.
    resumes: bool,
}

impl<S: AsFd> DatagramSockets<S> {
    pub(super) fn new() -> Self {
        DatagramSockets { table: Table::new(), ready: 0, scratch: BytesMut::new() }
    }

    /// Opens a socket; its address. One of a multicast group uses the interface that has the address
    /// `bind`, or all.
    pub(super) fn open(
        &mut self,
        poller: &mut impl Poller<Socket = S>,
        id: SocketId,
        spec: SocketSpec,
        bind: &[IpAddr],
    ) -> io::Result<SocketAddr> {
        let socket = net::bind(spec)?;
        let group = (spec.kind == SocketKind::Multicast).then(|| Group::new(spec.addr, bind));
        if let Some(group) = &group {
            group.open(&SockRef::from(&socket))?;
        }
        let addr = net::local_addr(&SockRef::from(&socket))?;
        let mut socket = poller.watch(socket, source(id), Interest::Read)?;
        poller.arm(&mut socket, Direction::Read);
        let endpoint = Endpoint { socket, group, readable: false, unsent: None, resumes: false };
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

    /// Reads a batch.
    pub(super) fn receive(
        &mut self,
        poller: &mut impl Poller<Socket = S>,
        id: SocketId,
    ) -> Option<Event> {
        let endpoint = self.table.get_mut(id).filter(|endpoint| endpoint.readable)?;
        let mut batch = Vec::new();
        // Errors count too: each is news of an earlier datagram that did not arrive.
        for _ in 0..BATCH {
            self.scratch.clear();
            self.scratch.reserve(LONGEST);
            match sys::recv_from(&SockRef::from(&endpoint.socket), &mut self.scratch) {
                Ok(Some(remote)) => {
                    batch.push(Datagram { remote, data: BytesMut::from(&self.scratch[..]) });
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    endpoint.readable = false;
                    self.ready -= 1;
                    poller.arm(&mut endpoint.socket, Direction::Read);
                    break;
                }
                Ok(None) | Err(_) => {}
            }
        }
        (!batch.is_empty()).then_some(Event::Datagrams { socket: id, batch })
    }

    /// Performs `Action::SendDatagrams`: sends what `next` brings until the socket would block.
    pub(super) fn send(
        &mut self,
        poller: &mut impl Poller<Socket = S>,
        id: SocketId,
        mut next: impl FnMut() -> Option<Datagram>,
    ) {
        let Some(endpoint) = self.table.get_mut(id) else { return };
        // While one waits, the others wait behind it.
        while endpoint.unsent.is_none() {
            let Some(datagram) = next() else { return };
            endpoint.send(datagram);
            if endpoint.unsent.is_some() {
                endpoint.watch(poller, id, Interest::ReadAndWrite);
                poller.arm(&mut endpoint.socket, Direction::Write);
            }
        }
    }

    /// Sends the datagram that waits, if the socket takes it now. What it returns is to be handled.
    pub(super) fn resume(
        &mut self,
        poller: &mut impl Poller<Socket = S>,
        id: SocketId,
    ) -> Option<Event> {
        let endpoint = self.table.get_mut(id).filter(|endpoint| endpoint.resumes)?;
        endpoint.resumes = false;
        self.ready -= 1;
        let unsent = endpoint.unsent.take()?;
        endpoint.send(unsent);
        if endpoint.unsent.is_some() {
            poller.arm(&mut endpoint.socket, Direction::Write);
            return None;
        }
        endpoint.watch(poller, id, Interest::Read);
        Some(Event::DatagramReady { socket: id })
    }
}

impl<S: AsFd> Endpoint<S> {
    /// Sends one datagram, or keeps it if the socket would block. One that cannot be sent for
    /// another reason is lost, as it might be on the way.
    fn send(&mut self, datagram: Datagram) {
        if let Some(group) = &self.group {
            return group.send(&SockRef::from(&self.socket), &datagram.data);
        }
        match SockRef::from(&self.socket).send_to(&datagram.data, &datagram.remote.into()) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.unsent = Some(datagram);
            }
            Err(error) => tracing::debug!(remote = %datagram.remote, %error, "datagram not sent"),
        }
    }

    fn watch(&mut self, poller: &mut impl Poller<Socket = S>, id: SocketId, interest: Interest) {
        match poller.rewatch(&mut self.socket, source(id), interest) {
            // A watch that begins anew has forgotten what it was to tell.
            Ok(()) if !self.readable => poller.arm(&mut self.socket, Direction::Read),
            Ok(()) => {}
            Err(error) => tracing::debug!(%error, "datagram socket not watched"),
        }
    }
}

fn source(id: SocketId) -> Source {
    Source::Datagrams(id.index() as usize)
}

#[cfg(all(test, target_os = "linux"))]
mod tests;
