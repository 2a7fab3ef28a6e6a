//! One stream connection: what it can do now, what it is to do, and what is on its way out; over TLS
//! from when that is asked for.

use std::io::{self, Read};
use std::net::SocketAddr;
use std::os::fd::AsFd;

use bitswarm_core::Segments;
use bitswarm_core::event::NetError;
use bytes::BytesMut;
use socket2::SockRef;

use super::poller::{Direction, Poller, Readiness};
use crate::buffers::BufferPool;
use crate::net;
use crate::tls::Tls;

/// Bytes gathered for one connection at once (chosen: 16 blocks; what is gathered can no longer be
/// cancelled).
const GATHER: usize = 256 * 1024;

/// A connection of the engine.
#[derive(Debug)]
pub(super) struct Stream<S> {
    socket: S,
    /// Not yet established.
    connecting: bool,
    /// `Action::Read`.
    reading: bool,
    readable: bool,
    writable: bool,
    /// `Action::Send` waits for the socket.
    wants_to_send: bool,
    /// Gathered and not yet taken by the socket.
    out: Segments,
    /// The peer will send no more, or the connection has failed: reported once, so to be remembered.
    hung_up: bool,
    /// Writing failed. What the peer sent before is still read.
    failed: Option<NetError>,
    secure: Option<Box<Secure>>,
}

/// A TLS session on a connection.
#[derive(Debug)]
struct Secure {
    tls: Tls,
    /// Whether the two sides have not agreed yet.
    handshaking: bool,
    /// Bytes gathered whose encrypted form the socket has not taken yet.
    unsent: usize,
}

/// What reading brought.
pub(super) enum Input {
    /// Bytes, at least one.
    Data(BytesMut),
    /// The connection is over.
    End(Option<NetError>),
}

impl<S: AsFd> Stream<S> {
    /// A connection that is under way.
    pub(super) fn connecting(
        mut socket: S,
        poller: &mut impl Poller<Socket = S>,
    ) -> io::Result<Self> {
        poller.arm(&mut socket, Direction::Write)?;
        Ok(Stream { connecting: true, writable: false, ..Self::open(socket) })
    }

    /// A connection that is established. It can be written at once, before its readiness is reported.
    pub(super) fn established(
        mut socket: S,
        poller: &mut impl Poller<Socket = S>,
    ) -> io::Result<Self> {
        poller.arm(&mut socket, Direction::Read)?;
        Ok(Self::open(socket))
    }

    fn open(socket: S) -> Self {
        Stream {
            socket,
            connecting: false,
            reading: true,
            readable: false,
            writable: true,
            wants_to_send: false,
            out: Segments::new(),
            hung_up: false,
            failed: None,
            secure: None,
        }
    }

    /// Notes what the poller says.
    pub(super) fn note(&mut self, readiness: Readiness) {
        // What a hang-up is shows in the next read or write.
        self.hung_up |= readiness.hung_up;
        self.readable |= readiness.readable || readiness.hung_up;
        self.writable |= readiness.writable || readiness.hung_up;
    }

    /// Performs `Action::Secure`: the handshake begins when the connection has its turn. Nothing that
    /// was read is kept here, so what comes from now on is TLS's.
    pub(super) fn secure(&mut self, tls: Tls) {
        self.secure = Some(Box::new(Secure { tls, handshaking: true, unsent: 0 }));
    }

    fn is_handshaking(&self) -> bool {
        self.secure.as_ref().is_some_and(|secure| secure.handshaking)
    }

    /// Performs `Action::Send`.
    pub(super) fn send(&mut self) {
        self.wants_to_send = true;
    }

    /// Performs `Action::Read`.
    pub(super) fn read_on(&mut self, on: bool) {
        self.reading = on;
    }

    /// Whether a connection under way is now open, with its own address, or has failed.
    pub(super) fn finish_connecting(
        &mut self,
        poller: &mut impl Poller<Socket = S>,
    ) -> Option<io::Result<SocketAddr>> {
        if !self.connecting {
            return None;
        }
        if !self.writable {
            return None;
        }
        let outcome = net::connected(&SockRef::from(&self.socket));
        match &outcome {
            None => {
                if let Err(error) = self.filled(poller) {
                    return Some(Err(error));
                }
            }
            Some(Ok(_)) => {
                if let Err(error) = poller.arm(&mut self.socket, Direction::Read) {
                    return Some(Err(error));
                }
                self.connecting = false;
            }
            Some(Err(_)) => {}
        }
        outcome
    }

    /// Goes on with TLS's handshake, if there is one: whether it is done now, or has failed.
    pub(super) fn finish_securing(
        &mut self,
        poller: &mut impl Poller<Socket = S>,
    ) -> Option<io::Result<()>> {
        if self.connecting || !self.is_handshaking() {
            return None;
        }
        match self.shake_hands(poller) {
            Ok(true) => Some(Ok(())),
            Ok(false) => None,
            Err(error) => Some(Err(error)),
        }
    }

    /// Whether TLS is agreed on.
    fn shake_hands(&mut self, poller: &mut impl Poller<Socket = S>) -> io::Result<bool> {
        let mut chunk = [0; 4096];
        loop {
            let Some(secure) = &mut self.secure else { return Ok(true) };
            secure.tls.take_wire(&mut self.out)?;
            secure.handshaking = secure.tls.is_handshaking();
            let handshaking = secure.handshaking;
            self.flush(poller)?;
            if !handshaking {
                return Ok(true);
            }
            if !self.readable {
                return Ok(false);
            }
            match (&*SockRef::from(&self.socket)).read(&mut chunk) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => self.decrypt(&chunk[..count], poller)?,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.drained(poller)?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Takes in what came over the wire. A last word to the other side is tried if it was wrong.
    fn decrypt(&mut self, wire: &[u8], poller: &mut impl Poller<Socket = S>) -> io::Result<()> {
        let Some(secure) = &mut self.secure else { return Ok(()) };
        let result = secure.tls.received(wire);
        if result.is_err() && secure.tls.take_wire(&mut self.out).is_ok() {
            let _ = self.flush(poller);
        }
        result
    }

    /// The plain text that has come, if any.
    fn take_plain(&mut self) -> Option<BytesMut> {
        let plain = self.secure.as_mut()?.tls.take_plain();
        (!plain.is_empty()).then_some(plain)
    }

    /// Reads once, if there may be something and it is wanted.
    pub(super) fn read(
        &mut self,
        poller: &mut impl Poller<Socket = S>,
        buffers: &mut BufferPool,
    ) -> Option<Input> {
        if self.connecting || self.is_handshaking() {
            return None;
        }
        // The handshake's last packet may have brought more with it.
        if self.reading
            && let Some(plain) = self.take_plain()
        {
            return Some(Input::Data(plain));
        }
        while self.reading && self.readable {
            match buffers.read(&SockRef::from(&self.socket)) {
                Ok(chunk) if chunk.data.is_empty() => return Some(Input::End(self.failed)),
                Ok(chunk) => {
                    // A read that left room has drained the socket.
                    if !chunk.full
                        && !self.hung_up
                        && let Err(error) = self.drained(poller)
                    {
                        self.fail(&error);
                    }
                    if self.secure.is_none() {
                        return Some(Input::Data(chunk.data));
                    }
                    if let Err(error) = self.decrypt(&chunk.data, poller) {
                        tracing::debug!(%error, "connection failed");
                        return Some(Input::End(Some(net::net_error(&error))));
                    }
                    if let Some(plain) = self.take_plain() {
                        return Some(Input::Data(plain));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if let Err(error) = self.drained(poller) {
                        self.fail(&error);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    tracing::debug!(%error, "connection failed");
                    return Some(Input::End(Some(net::net_error(&error))));
                }
            }
        }
        // Nothing more will come that could be read before the failure is reported.
        self.failed.map(|why| Input::End(Some(why)))
    }

    fn drained(&mut self, poller: &mut impl Poller<Socket = S>) -> io::Result<()> {
        self.readable = false;
        poller.arm(&mut self.socket, Direction::Read)
    }

    fn fail(&mut self, error: &io::Error) {
        tracing::debug!(%error, "connection failed");
        self.failed.get_or_insert(net::net_error(error));
    }

    /// Writes what is gathered, or gathers and writes, if the socket can take it; how many bytes it
    /// took.
    pub(super) fn write(
        &mut self,
        poller: &mut impl Poller<Socket = S>,
        gather: impl FnOnce(usize, &mut Segments),
    ) -> usize {
        if self.connecting || self.is_handshaking() || !self.writable || self.failed.is_some() {
            return 0;
        }
        let gathered = if !self.out.is_empty() {
            Ok(())
        } else if std::mem::take(&mut self.wants_to_send) {
            self.gather(gather)
        } else {
            return 0;
        };
        match gathered.and_then(|()| self.flush(poller)) {
            Ok(sent) => self.counted(sent),
            Err(error) => {
                self.fail(&error);
                self.out = Segments::new();
                // Whether something is left to read shows in the next read.
                self.readable = true;
                0
            }
        }
    }

    /// Has the engine say what to send, and encrypts that if need be.
    fn gather(&mut self, gather: impl FnOnce(usize, &mut Segments)) -> io::Result<()> {
        gather(GATHER, &mut self.out);
        if let Some(secure) = &mut self.secure {
            let mut plain = std::mem::take(&mut self.out);
            secure.unsent += plain.len();
            secure.tls.send(&mut plain)?;
            secure.tls.take_wire(&mut self.out)?;
        }
        Ok(())
    }

    /// Of what the socket took, the bytes that were gathered: encrypted ones count when all are out.
    fn counted(&mut self, sent: usize) -> usize {
        match &mut self.secure {
            None => sent,
            Some(secure) if self.out.is_empty() => std::mem::take(&mut secure.unsent),
            Some(_) => 0,
        }
    }

    /// Writes what is on its way out as far as the socket takes it; how many bytes that was.
    fn flush(&mut self, poller: &mut impl Poller<Socket = S>) -> io::Result<usize> {
        let mut sent = 0;
        while !self.out.is_empty() && self.writable {
            match net::send(&SockRef::from(&self.socket), &mut self.out) {
                Ok(written) => {
                    sent += written.count;
                    if !written.all {
                        self.filled(poller)?;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.filled(poller)?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // What went before is not counted: the connection is over.
                Err(error) => return Err(error),
            }
        }
        Ok(sent)
    }

    fn filled(&mut self, poller: &mut impl Poller<Socket = S>) -> io::Result<()> {
        self.writable = false;
        poller.arm(&mut self.socket, Direction::Write)
    }

    /// Whether writing has failed, which reading is to tell.
    pub(super) fn has_failed(&self) -> bool {
        self.failed.is_some()
    }

    /// The socket with what is left to be sent, gathered to the last; `None` if the connection is
    /// not open.
    pub(super) fn into_rest(
        mut self,
        gather: impl FnOnce(usize, &mut Segments),
    ) -> Option<(S, Segments)> {
        if self.connecting || self.is_handshaking() || self.failed.is_some() {
            return None;
        }
        if self.wants_to_send && self.out.is_empty() {
            self.gather(gather).ok()?;
        }
        Some((self.socket, self.out))
    }
}
