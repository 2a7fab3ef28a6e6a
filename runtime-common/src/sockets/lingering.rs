//! Connections that the engine has closed with `Close::Flush`: they send what is left, say that
//! this was all, and wait for the peer to close.
//!
//! Closing a socket with unread input resets the connection, which may destroy the last bytes sent
//! while they are under way. So input is read and thrown away until the peer's end of stream, a few
//! seconds, or an amount that is no end of a conversation. Their number is bounded; past it, the
//! oldest is cut off.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::time::Duration;

use bitswarm_core::{Instant, Segments};
use socket2::SockRef;

use super::poller::{Direction, Interest, Poller, Source};
use crate::net;

/// How long one lingers at most (chosen: "a few seconds").
const LINGER: Duration = Duration::from_secs(3);

/// How many linger at most (chosen).
const MOST: usize = 256;

/// Bytes thrown away at most (chosen).
const DISCARD: usize = 1 << 20;

/// Closed connections that still have something to say.
#[derive(Debug)]
pub(super) struct Lingering<S> {
    slots: Vec<Option<Farewell<S>>>,
    free: Vec<usize>,
    /// In the order of their deadlines. One may be over already.
    deadlines: VecDeque<(Instant, usize, u64)>,
    /// Tells apart those that used a slot one after the other.
    count: u64,
}

#[derive(Debug)]
struct Farewell<S> {
    socket: S,
    out: Segments,
    /// Writing is shut down: the peer knows that there is no more.
    shut: bool,
    discarded: usize,
    serial: u64,
}

impl<S: AsFd> Lingering<S> {
    pub(super) fn new() -> Self {
        Lingering { slots: Vec::new(), free: Vec::new(), deadlines: VecDeque::new(), count: 0 }
    }

    /// Takes a connection over with what is left to be sent.
    pub(super) fn add(
        &mut self,
        poller: &mut impl Poller<Socket = S>,
        mut socket: S,
        out: Segments,
        now: Instant,
    ) {
        while self.len() >= MOST {
            let Some((_, slot, serial)) = self.deadlines.pop_front() else { break };
            self.end(slot, serial);
        }
        let slot = self.free.pop().unwrap_or(self.slots.len());
        if slot == self.slots.len() {
            self.slots.push(None);
        }
        if let Err(error) =
            poller.rewatch(&mut socket, Source::Lingering(slot), Interest::ReadAndWrite)
        {
            tracing::debug!(%error, "connection cut off");
            self.free.push(slot);
            return;
        }
        let serial = self.count;
        self.count += 1;
        self.slots[slot] = Some(Farewell { socket, out, shut: false, discarded: 0, serial });
        self.deadlines.push_back((now + LINGER, slot, serial));
        self.advance(poller, slot);
    }

    /// How many linger.
    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// The connection in `slot` goes on as far as its socket lets it.
    pub(super) fn advance(&mut self, poller: &mut impl Poller<Socket = S>, slot: usize) {
        let Some(Some(farewell)) = self.slots.get_mut(slot) else { return };
        let serial = farewell.serial;
        match farewell.go_on() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let direction = if farewell.shut { Direction::Read } else { Direction::Write };
                if let Err(error) = poller.arm(&mut farewell.socket, direction) {
                    tracing::debug!(%error, "connection cut off");
                    self.end(slot, serial);
                }
            }
            _ => self.end(slot, serial),
        }
    }

    /// When to call [`Lingering::expire`].
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.deadlines.front().map(|(deadline, ..)| *deadline)
    }

    /// Cuts off those whose time is over.
    pub(super) fn expire(&mut self, now: Instant) {
        while self.deadline().is_some_and(|deadline| deadline <= now) {
            if let Some((_, slot, serial)) = self.deadlines.pop_front() {
                self.end(slot, serial);
            }
        }
    }

    fn end(&mut self, slot: usize, serial: u64) {
        let Some(entry) = self.slots.get_mut(slot) else { return };
        if entry.take_if(|farewell| farewell.serial == serial).is_some() {
            self.free.push(slot);
        }
        // Deadlines of those that ended early are dropped as they come to the front.
        while let Some(&(_, slot, serial)) = self.deadlines.front() {
            let alive = self.slots[slot].as_ref().is_some_and(|entry| entry.serial == serial);
            if alive {
                break;
            }
            self.deadlines.pop_front();
        }
    }
}

impl<S: AsFd> Farewell<S> {
    /// Sends, shuts down, discards, until nothing is left to do or the socket would block.
    fn go_on(&mut self) -> io::Result<()> {
        let socket = SockRef::from(&self.socket);
        while !self.out.is_empty() {
            match net::send(&socket, &mut self.out) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
                Ok(_) => {}
            }
        }
        if !self.shut {
            socket.shutdown(Shutdown::Write)?;
            self.shut = true;
        }
        let mut thrown_away = [0; 4096];
        while self.discarded < DISCARD {
            match (&*socket).read(&mut thrown_away) {
                Ok(0) => break,
                Ok(count) => self.discarded += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
