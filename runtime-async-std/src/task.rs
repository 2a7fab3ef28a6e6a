//! The task: a future, polled by hand, around the driver.
//!
//! Each poll that finds a source woken, an input from another thread, or a deadline come is a turn
//! of the driver. While anything is ready it asks to be polled again, and while nothing is there are
//! no turns. No byte crosses from task to task.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bitswarm_runtime_common::Host;
use bitswarm_runtime_common::sockets::{Direction, Driver, Source};

use crate::ready::Ready;
use crate::rt::Timer;
use crate::sockets::Sockets;

/// The driver and what wakes it.
#[derive(Debug)]
pub(crate) struct Driving {
    driver: Driver<Sockets>,
    ready: Arc<Ready>,
    timer: Timer,
    /// When the timer fires.
    armed: Option<Instant>,
    /// Sources that were woken, for this turn.
    woken: Vec<(Source, Direction)>,
}

impl Driving {
    pub(crate) fn new(host: Host, ready: Arc<Ready>) -> Self {
        Driving {
            driver: Driver::new(host, Sockets(Arc::clone(&ready))),
            ready,
            timer: Timer::never(),
            armed: None,
            woken: Vec::new(),
        }
    }

    /// Runs until the session is over.
    pub(crate) async fn run(mut self) {
        std::future::poll_fn(|context| self.poll(context)).await;
        self.driver.finish();
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let inbox = self.ready.take(&mut self.woken, context.waker());
        let woken = !self.woken.is_empty();
        for (source, direction) in self.woken.drain(..) {
            self.driver.note(source, direction.into());
        }
        if inbox || woken || self.driver.timeout() == Some(Duration::ZERO) {
            self.driver.turn();
        }
        if self.driver.is_finished() {
            return Poll::Ready(());
        }
        if self.is_due(context) {
            context.waker().wake_by_ref();
        }
        Poll::Pending
    }

    /// Whether there is something to do at once. If not, sees to it that the task is polled when
    /// there is. A timer that would fire too early is left: that costs a poll, and setting it anew
    /// costs more.
    fn is_due(&mut self, context: &mut Context<'_>) -> bool {
        loop {
            let Some(timeout) = self.driver.timeout() else { return false };
            if timeout.is_zero() {
                return true;
            }
            let deadline = Instant::now() + timeout;
            if self.armed.is_none_or(|armed| armed > deadline) {
                self.timer.set_at(deadline);
                self.armed = Some(deadline);
            }
            if Pin::new(&mut self.timer).poll(context).is_pending() {
                return false;
            }
            self.armed = None;
        }
    }
}
