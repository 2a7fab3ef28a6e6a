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
use std::time::Duration;

use bitswarm_core::{Instant, Segments};
use mio::net::TcpStream;
use mio::{Interest, Registry};

use crate::connections::write_once;
use crate::source::Source;

/// How long one lingers at most (chosen: "a few seconds").
const LINGER: Duration = Duration::from_secs(3);

/// How many linger at most (chosen).
const MOST: usize = 256;

/// Bytes thrown away at most (chosen).
const DISCARD: usize = 1 << 20;

/// Closed connections that still have something to say.
#[derive(Debug)]
pub(crate) struct Lingering {
    slots: Vec<Option<Farewell>>,
    free: Vec<usize>,
    /// In the order of their deadlines. One may be over already.
    deadlines: VecDeque<(Instant, usize, u64)>,
    /// Tells apart those that used a slot one after the other.
    count: u64,
}

#[derive(Debug)]
struct Farewell {
    stream: TcpStream,
    out: Segments,
    /// The peer was told that there is no more.
    shut: bool,
    discarded: usize,
    serial: u64,
}

impl Lingering {
    pub(crate) fn new() -> Self {
        Lingering { slots: Vec::new(), free: Vec::new(), deadlines: VecDeque::new(), count: 0 }
    }

    /// Takes a connection over with what is left to be sent.
    pub(crate) fn add(
        &mut self,
        registry: &Registry,
        stream: TcpStream,
        out: Segments,
        now: Instant,
    ) {
        let serial = self.count;
        self.count += 1;
        let mut farewell = Farewell { stream, out, shut: false, discarded: 0, serial };
        if farewell.is_over() {
            return;
        }
        while self.len() >= MOST {
            let Some((_, slot, serial)) = self.deadlines.pop_front() else { break };
            self.end(slot, serial);
        }
        let slot = self.free.pop().unwrap_or(self.slots.len());
        let token = Source::Lingering(slot).token();
        let interest = Interest::READABLE | Interest::WRITABLE;
        if let Err(error) = registry.reregister(&mut farewell.stream, token, interest) {
            tracing::debug!(%error, "connection cut off");
            if slot < self.slots.len() {
                self.free.push(slot);
            }
            return;
        }
        if slot == self.slots.len() {
            self.slots.push(None);
        }
        self.slots[slot] = Some(farewell);
        self.deadlines.push_back((now + LINGER, slot, serial));
    }

    /// How many linger.
    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// The connection in `slot` is ready for something.
    pub(crate) fn advance(&mut self, slot: usize) {
        if let Some(Some(farewell)) = self.slots.get_mut(slot)
            && farewell.is_over()
        {
            let serial = farewell.serial;
            self.end(slot, serial);
        }
    }

    /// When to call [`Lingering::expire`].
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.deadlines.front().map(|(deadline, ..)| *deadline)
    }

    /// Cuts off those whose time is over.
    pub(crate) fn expire(&mut self, now: Instant) {
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

impl Farewell {
    /// Goes on as far as the socket lets it. Whether there is nothing left to do.
    fn is_over(&mut self) -> bool {
        match self.go_on() {
            Ok(over) => over,
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
        }
    }

    fn go_on(&mut self) -> io::Result<bool> {
        while !self.out.is_empty() {
            match write_once(&mut self.stream, &mut self.out) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
                Ok(_) => {}
            }
        }
        if !self.shut {
            self.stream.shutdown(Shutdown::Write)?;
            self.shut = true;
        }
        let mut thrown_away = [0; 4096];
        while self.discarded < DISCARD {
            match self.stream.read(&mut thrown_away) {
                Ok(0) => return Ok(true),
                Ok(count) => self.discarded += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}
