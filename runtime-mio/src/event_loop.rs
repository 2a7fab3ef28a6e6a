//! The loop: wait until a socket is ready, another thread has put something in, or a deadline has
//! come; then one turn of the driver. While anything is ready the wait is none, and while nothing is
//! there are no turns.

use std::io;

use bitswarm_runtime_common::Host;
use bitswarm_runtime_common::sockets::Driver;
use mio::{Events, Poll};

use crate::registry::{Sockets, readiness, source};

/// Readiness taken from the system at once (chosen).
const READINESS: usize = 1024;

/// Runs until the session is over.
pub(crate) fn run(mut poll: Poll, sockets: Sockets, host: Host) {
    let mut events = Events::with_capacity(READINESS);
    let mut driver = Driver::new(host, sockets);
    while !driver.is_finished() {
        // The system waits in milliseconds, and mio rounds up: a deadline has come when the wait
        // for it is over.
        match poll.poll(&mut events, driver.timeout()) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                tracing::error!(%error, "waiting for sockets failed: the session ends");
                break;
            }
            _ => {}
        }
        for event in &events {
            if let Some(source) = source(event.token()) {
                driver.note(source, readiness(event));
            }
        }
        driver.turn();
    }
    driver.finish();
}
