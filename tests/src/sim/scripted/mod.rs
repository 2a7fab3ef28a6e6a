//! Scripted hosts: whatever is to be on the other side of an engine, written from the BEPs without
//! the core's help.
//!
//! A [`Script`] hears what happens to its host and acts through [`Io`]: it dials, writes, closes,
//! resets, and sets timers. Bytes written are buffered without bound, as a script may want to
//! flood. [`peer`] speaks the peer protocol, well or badly; [`hostile`] does not keep to it; a [`crowd`] takes
//! places; a [`claimer`] makes others work; [`timers`] say what a script is woken for. [`tracker`] answers announces over HTTP, or does not; [`udp_tracker`] over UDP.

pub mod asker;
pub mod claimer;
pub mod crowd;
pub mod dht_liar;
pub mod gossip;
pub mod hostile;
pub mod mse;
pub mod namer;
pub mod peer;
pub mod timers;
pub mod tracker;
pub mod udp_liar;
pub mod udp_tracker;

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;

use bitswarm_core::Segments;
use bitswarm_core::time::{Duration, Instant};
use bytes::Bytes;

use self::mse::{Heard, Refused};
use super::network::{EndId, HostId, NetEvent, SocketKey};
use super::world::{Cx, PEER_PORT, Wake};

/// What happens to a scripted host.
#[derive(Debug)]
pub enum Happening {
    /// The host begins.
    Start,
    /// A stream is established: accepted on this port of ours, or dialled.
    Open {
        /// The stream.
        end: EndId,
        /// The port on which it was accepted; `None` if it was dialled.
        port: Option<u16>,
        /// The other side.
        remote: SocketAddr,
    },
    /// Bytes came in.
    Bytes {
        /// The stream.
        end: EndId,
        /// Never empty.
        data: Bytes,
    },
    /// The stream is over, in whatever way.
    Over {
        /// The stream.
        end: EndId,
    },
    /// A datagram came in.
    Datagram {
        /// On this port of ours.
        port: u16,
        /// Who sent it.
        from: SocketAddr,
        /// What it holds.
        data: Bytes,
    },
    /// A timer set with [`Io::wake_after`] is due.
    Woken {
        /// What was given to it.
        token: u64,
    },
}

impl Happening {
    /// What the trace keeps of it: kind, stream, length, checksum.
    fn summary(&self) -> (u8, Option<EndId>, usize, u32) {
        match self {
            Happening::Start => (0, None, 0, 0),
            Happening::Open { end, .. } => (1, Some(*end), 0, 0),
            Happening::Bytes { end, data } => (2, Some(*end), data.len(), crc32fast::hash(data)),
            Happening::Over { end } => (3, Some(*end), 0, 0),
            Happening::Woken { .. } => (4, None, 0, 0),
            Happening::Datagram { data, .. } => (5, None, data.len(), crc32fast::hash(data)),
        }
    }
}

/// What a host does.
pub trait Script: Any + fmt::Debug {
    /// Ports to listen on.
    fn ports(&self) -> Vec<u16> {
        vec![PEER_PORT]
    }

    /// Ports to receive datagrams on.
    fn datagram_ports(&self) -> Vec<u16> {
        Vec::new()
    }

    /// Something happened.
    fn handle(&mut self, io: &mut Io<'_, '_>, happening: Happening);
}

/// What a script can do.
pub struct Io<'a, 'w> {
    cx: &'a mut Cx<'w>,
    host: HostId,
    links: &'a mut BTreeMap<EndId, Pending>,
    sockets: &'a BTreeMap<u16, SocketKey>,
}

/// A host that does what a script says.
#[derive(Debug)]
pub struct ScriptHost {
    id: HostId,
    name: String,
    script: Box<dyn Script>,
    links: BTreeMap<EndId, Pending>,
    /// Its datagram sockets by port.
    sockets: BTreeMap<u16, SocketKey>,
}

#[derive(Debug)]
struct Pending {
    out: Segments,
    remote: SocketAddr,
    /// To be ended when all is written.
    closing: bool,
    /// What its bytes pass through, if it is encrypted.
    mse: Option<Box<mse::Endpoint>>,
}

impl Pending {
    fn to(remote: SocketAddr) -> Self {
        Pending { out: Segments::new(), remote, closing: false, mse: None }
    }
}

impl ScriptHost {
    pub(super) fn new(id: HostId, name: &str, script: Box<dyn Script>) -> Self {
        let (links, sockets) = (BTreeMap::new(), BTreeMap::new());
        ScriptHost { id, name: name.to_owned(), script, links, sockets }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn script(&self) -> &dyn Script {
        &*self.script
    }

    pub(super) fn start(&mut self, cx: &mut Cx<'_>) {
        for port in self.script.ports() {
            let addr = SocketAddr::from(([0, 0, 0, 0], port));
            cx.net.listen(self.id, addr).expect("a script lists each port once");
        }
        for port in self.script.datagram_ports() {
            let addr = SocketAddr::from(([0, 0, 0, 0], port));
            let bound = cx.net.bind_datagram(self.id, addr);
            self.sockets.insert(port, bound.expect("a script lists each port once").0);
        }
        self.tell(cx, Happening::Start);
    }

    pub(super) fn wake(&mut self, cx: &mut Cx<'_>, wake: Wake) {
        if let Wake::Script(token) = wake {
            self.tell(cx, Happening::Woken { token });
        }
    }

    pub(super) fn network(&mut self, cx: &mut Cx<'_>, event: NetEvent) {
        match event {
            NetEvent::Connected { end, .. } => {
                let Some(remote) = self.links.get(&end).map(|link| link.remote) else { return };
                self.tell(cx, Happening::Open { end, port: None, remote });
            }
            NetEvent::Incoming { socket, end, from } => {
                let port = cx.net.socket_addr(socket).map(|addr| addr.port());
                self.links.insert(end, Pending::to(from));
                self.tell(cx, Happening::Open { end, port, remote: from });
            }
            NetEvent::Received { end, data } => {
                if let Some(data) = self.hear(cx, end, data.freeze()) {
                    self.tell(cx, Happening::Bytes { end, data });
                }
            }
            NetEvent::Writable { end } => {
                let (links, sockets) = (&mut self.links, &self.sockets);
                Io { cx, host: self.id, links, sockets }.push(end);
            }
            NetEvent::Ended { end } => {
                cx.net.close(cx.now(), end);
                self.over(cx, end);
            }
            NetEvent::Closed { end, .. } => self.over(cx, end),
            NetEvent::Datagram { socket, from, data, .. } => {
                let port = cx.net.socket_addr(socket).map(|addr| addr.port());
                if let Some(port) = port {
                    self.tell(cx, Happening::Datagram { port, from, data: data.freeze() });
                }
            }
            // What does not fit is lost, as datagrams may be.
            NetEvent::DatagramReady { .. } => {}
        }
    }

    /// What the script hears of bytes that came in.
    fn hear(&mut self, cx: &mut Cx<'_>, end: EndId, data: Bytes) -> Option<Bytes> {
        let link = self.links.get_mut(&end)?;
        let Some(mse) = &mut link.mse else { return Some(data) };
        let heard = mse.receive(&data);
        if mse.is_believed() {
            cx.violation(self.id, format!("{} lied and is believed", self.name));
        }
        match heard {
            Ok(Heard { plain, reply }) => {
                if !reply.is_empty() {
                    link.out.push(reply.into());
                    let (links, sockets) = (&mut self.links, &self.sockets);
                    Io { cx, host: self.id, links, sockets }.push(end);
                }
                (!plain.is_empty()).then(|| plain.into())
            }
            Err(refused) => {
                if let Refused::Wrong(what) = refused {
                    cx.violation(self.id, format!("got what is no MSE: {what}"));
                }
                cx.net.reset(cx.now(), end);
                self.over(cx, end);
                None
            }
        }
    }

    fn over(&mut self, cx: &mut Cx<'_>, end: EndId) {
        if self.links.remove(&end).is_some() {
            self.tell(cx, Happening::Over { end });
        }
    }

    fn tell(&mut self, cx: &mut Cx<'_>, happening: Happening) {
        cx.record(self.id, "script", &happening.summary());
        let mut io = Io { cx, host: self.id, links: &mut self.links, sockets: &self.sockets };
        self.script.handle(&mut io, happening);
    }
}

impl Io<'_, '_> {
    /// The world's time.
    pub fn now(&self) -> Instant {
        self.cx.now()
    }

    /// Opens a stream; `Open` or `Over` follows.
    pub fn dial(&mut self, to: SocketAddr) -> EndId {
        let end = self.cx.net.connect(self.cx.now(), self.host, to);
        self.links.insert(end, Pending::to(to));
        end
    }

    /// Sends bytes, as soon as the stream takes them.
    pub fn write(&mut self, end: EndId, bytes: impl Into<Bytes>) {
        if let Some(link) = self.links.get_mut(&end) {
            let bytes = bytes.into();
            link.out.push(match &mut link.mse {
                Some(mse) => mse.seal(&bytes).into(),
                None => bytes,
            });
            self.push(end);
        }
    }

    /// What is said on a stream from now on passes through this.
    pub fn encrypt(&mut self, end: EndId, mut mse: mse::Endpoint) {
        if let Some(link) = self.links.get_mut(&end) {
            link.out.push(mse.begin().into());
            link.mse = Some(Box::new(mse));
            self.push(end);
        }
    }

    /// Whether a stream is encrypted, as far as is known.
    pub fn is_encrypted(&self, end: EndId) -> bool {
        let mse = self.links.get(&end).and_then(|link| link.mse.as_ref());
        mse.is_some_and(|mse| mse.is_mse())
    }

    /// Sends a datagram from this port of ours.
    pub fn send_datagram(&mut self, port: u16, to: SocketAddr, data: &[u8]) {
        if let Some(socket) = self.sockets.get(&port) {
            self.cx.net.send_datagram(self.cx.now(), *socket, to, data.into());
        }
    }

    /// Bytes written that the stream has not taken yet.
    pub fn backlog(&self, end: EndId) -> usize {
        self.links.get(&end).map_or(0, |link| link.out.len())
    }

    /// Stops or resumes reading.
    pub fn read(&mut self, end: EndId, on: bool) {
        self.cx.net.set_reading(self.cx.now(), end, on);
    }

    /// Ends the stream when all that was written is sent; nothing more is heard of it.
    pub fn close(&mut self, end: EndId) {
        if let Some(link) = self.links.get_mut(&end) {
            link.closing = true;
            self.push(end);
        }
    }

    /// Ends our direction of the stream; the other side can still send.
    pub fn half_close(&mut self, end: EndId) {
        self.cx.net.shutdown(self.cx.now(), end);
    }

    /// Kills the stream; nothing more is heard of it.
    pub fn reset(&mut self, end: EndId) {
        if self.links.remove(&end).is_some() {
            self.cx.net.reset(self.cx.now(), end);
        }
    }

    /// `Woken` with this token follows after that time.
    pub fn wake_after(&mut self, time: Duration, token: u64) {
        self.cx.wake(self.cx.now() + time, self.host, 0, Wake::Script(token));
    }

    /// The remote said what no engine may say.
    pub fn complain(&mut self, what: String) {
        self.cx.violation(self.host, what);
    }

    fn push(&mut self, end: EndId) {
        let Some(link) = self.links.get_mut(&end) else { return };
        self.cx.net.write(self.cx.now(), end, &mut link.out);
        if link.closing && link.out.is_empty() {
            self.cx.net.close(self.cx.now(), end);
            self.links.remove(&end);
        }
    }
}

#[cfg(test)]
mod tests;
