//! Connections that the engine has closed with `Close::Flush`: they send what is left, say that
//! this was all, and wait for the peer to close.
//!
//! Closing a socket with unread input resets the connection, which may destroy the last bytes sent
//! while they are under way. So input is read and thrown away until the peer's end of stream, a few
//! seconds, or an amount that is no end of a conversation. Their number is bounded; past it, the
//! oldest is cut off.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Read};
use std::net::{Shutdown, TcpStream};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use bitswarm_core::{Instant, Segments};

use crate::connections::write_once;
use crate::ready::{Ready, Source};
use crate::rt::Async;

/// How long one lingers at most (chosen: "a few seconds").
const LINGER: Duration = Duration::from_secs(3);

/// How many linger at most (chosen).
const MOST: usize = 256;

/// Bytes thrown away at most (chosen).
const DISCARD: usize = 1 << 20;

/// Closed connections that still have something to say, the oldest first.
#[derive(Debug)]
pub(crate) struct Farewells {
    ready: Arc<Ready>,
    waiting: VecDeque<Farewell>,
    /// The serial of the next one.
    next: u64,
}

struct Farewell {
    serial: u64,
    deadline: Instant,
    waker: Waker,
    /// `None`: it is over, and kept until those before it are.
    task: Option<Pin<Box<dyn Future<Output = io::Result<()>> + Send>>>,
}

impl Farewells {
    pub(crate) fn new(ready: Arc<Ready>) -> Self {
        Farewells { ready, waiting: VecDeque::new(), next: 0 }
    }

    /// Takes a connection over with what is left to be sent.
    pub(crate) fn add(&mut self, stream: Async<TcpStream>, out: Segments, now: Instant) {
        let serial = self.next;
        self.next += 1;
        let waker = self.ready.waker(Source::Farewell(serial));
        let task = Some(Box::pin(say(stream, out)) as Pin<Box<_>>);
        let mut farewell = Farewell { serial, deadline: now + LINGER, waker, task };
        farewell.advance();
        if farewell.task.is_none() {
            return;
        }
        if self.waiting.len() >= MOST {
            self.waiting.pop_front();
        }
        self.waiting.push_back(farewell);
    }

    /// The one of that serial can go on.
    pub(crate) fn advance(&mut self, serial: u64) {
        let found = self.waiting.binary_search_by_key(&serial, |farewell| farewell.serial);
        if let Some(farewell) = found.ok().and_then(|index| self.waiting.get_mut(index)) {
            farewell.advance();
        }
        while self.waiting.front().is_some_and(|first| first.task.is_none()) {
            self.waiting.pop_front();
        }
    }

    /// When to call [`Farewells::expire`].
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.waiting.front().map(|first| first.deadline)
    }

    /// Cuts off those whose time is over.
    pub(crate) fn expire(&mut self, now: Instant) {
        while self.deadline().is_some_and(|deadline| deadline <= now) {
            self.waiting.pop_front();
        }
    }
}

impl Farewell {
    fn advance(&mut self) {
        let mut context = Context::from_waker(&self.waker);
        if let Some(task) = &mut self.task
            && task.as_mut().poll(&mut context).is_ready()
        {
            self.task = None;
        }
    }
}

impl fmt::Debug for Farewell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Farewell").field("serial", &self.serial).finish_non_exhaustive()
    }
}

async fn say(stream: Async<TcpStream>, mut out: Segments) -> io::Result<()> {
    while !out.is_empty() {
        stream.write_with(|mut socket| write_once(&mut socket, &mut out)).await?;
    }
    stream.get_ref().shutdown(Shutdown::Write)?;
    let mut discarded = 0;
    while discarded < DISCARD {
        let count = stream.read_with(|mut socket| socket.read(&mut [0; 4096])).await?;
        if count == 0 {
            break;
        }
        discarded += count;
    }
    Ok(())
}
