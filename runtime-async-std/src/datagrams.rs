//! Datagram sockets.
//!
//! What comes in is handed over in batches, with a bound per turn, so that a flood starves nobody.
//! What goes out is pulled one by one until the socket would block; then the engine hears when it
//! takes more.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::task::{Context, Waker};

use bitswarm_core::action::SocketSpec;
use bitswarm_core::event::Datagram;
use bitswarm_core::{Event, SocketId};
use bitswarm_runtime_common::net;
use bitswarm_runtime_common::table::Table;
use bytes::BytesMut;
use socket2::SockRef;

use crate::ready::{Ready, Source};
use crate::rt::Async;

/// Datagrams in one `Event::Datagrams`, and from one socket in one turn.
const BATCH: usize = 64;

/// Longest datagram, in bytes.
const LONGEST: usize = 65_536;

/// Every datagram socket.
#[derive(Debug)]
pub(crate) struct DatagramSockets {
    ready: Arc<Ready>,
    table: Table<SocketId, Endpoint>,
    /// Sockets that may have something to read.
    readable: usize,
    scratch: Vec<u8>,
}

#[derive(Debug)]
struct Endpoint {
    socket: Async<UdpSocket>,
    readable: bool,
    on_readable: Waker,
    on_writable: Waker,
    /// The datagram that the socket did not take; more follow it.
    unsent: Option<Datagram>,
}

impl DatagramSockets {
    pub(crate) fn new(ready: Arc<Ready>) -> Self {
        DatagramSockets { ready, table: Table::new(), readable: 0, scratch: Vec::new() }
    }

    /// Opens a socket; its address.
    pub(crate) fn open(&mut self, id: SocketId, spec: SocketSpec) -> io::Result<SocketAddr> {
        let socket = net::bind(spec)?;
        let addr = net::local_addr(&SockRef::from(&socket))?;
        let endpoint = Endpoint {
            socket: Async::new(socket.into())?,
            readable: true,
            on_readable: self.ready.waker(Source::DatagramsIn(id)),
            on_writable: self.ready.waker(Source::DatagramsOut(id)),
            unsent: None,
        };
        self.table.insert(id, endpoint);
        self.readable += 1;
        self.scratch.resize(LONGEST, 0);
        Ok(addr)
    }

    /// Closes a socket, if this is one.
    pub(crate) fn close(&mut self, id: SocketId) {
        if self.table.remove(id).is_some_and(|endpoint| endpoint.readable) {
            self.readable -= 1;
        }
    }

    /// The waker of reading was woken.
    pub(crate) fn note_readable(&mut self, id: SocketId) {
        if let Some(endpoint) = self.table.get_mut(id)
            && !endpoint.readable
            && endpoint.poll_readable()
        {
            endpoint.readable = true;
            self.readable += 1;
        }
    }

    /// Whether a socket may have something to read.
    pub(crate) fn is_any_ready(&self) -> bool {
        self.readable > 0
    }

    /// The sockets that may have something to read.
    pub(crate) fn ready(&mut self) -> Vec<SocketId> {
        if self.readable == 0 {
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
            match endpoint.socket.get_ref().recv_from(&mut self.scratch) {
                Ok((len, remote)) => {
                    batch.push(Datagram { remote, data: BytesMut::from(&self.scratch[..len]) });
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if !endpoint.poll_readable() {
                        self.readable -= usize::from(std::mem::take(&mut endpoint.readable));
                        break;
                    }
                }
                Err(_) => {}
            }
        }
        (!batch.is_empty()).then_some(Event::Datagrams { socket: id, batch })
    }

    /// Performs `Action::SendDatagrams`: sends what `next` brings until the socket would block.
    pub(crate) fn send(&mut self, id: SocketId, mut next: impl FnMut() -> Option<Datagram>) {
        let Some(endpoint) = self.table.get_mut(id) else { return };
        // While one waits, the others wait behind it.
        while endpoint.unsent.is_none() {
            let Some(datagram) = next() else { return };
            endpoint.send(datagram);
        }
    }

    /// The socket takes datagrams again: sends the one that waits. What it returns is to be handled.
    pub(crate) fn resume(&mut self, id: SocketId) -> Option<Event> {
        let endpoint = self.table.get_mut(id)?;
        let unsent = endpoint.unsent.take()?;
        endpoint.send(unsent);
        endpoint.unsent.is_none().then_some(Event::DatagramReady { socket: id })
    }
}

impl Endpoint {
    /// Sends one datagram, or keeps it if the socket would block. One that cannot be sent for
    /// another reason is lost, as it might be on the way.
    fn send(&mut self, datagram: Datagram) {
        loop {
            match self.socket.get_ref().send_to(&datagram.data, datagram.remote) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let mut context = Context::from_waker(&self.on_writable);
                    if self.socket.poll_writable(&mut context).is_pending() {
                        self.unsent = Some(datagram);
                        return;
                    }
                }
                Err(error) => {
                    tracing::debug!(remote = %datagram.remote, %error, "datagram not sent");
                    return;
                }
                Ok(_) => return,
            }
        }
    }

    /// Has reading's waker woken when there is something to read, unless there is already.
    fn poll_readable(&mut self) -> bool {
        let mut context = Context::from_waker(&self.on_readable);
        self.socket.poll_readable(&mut context).is_ready()
    }
}
