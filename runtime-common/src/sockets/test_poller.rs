//! Pollers of both kinds for tests, straight on epoll.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::Duration;

use rustix::event::{Timespec, epoll};
use socket2::Socket;

use super::poller::{Direction, Interest, Poller, Readiness, Source};

/// In which way it tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Mode {
    EdgeTriggered,
    OneShot,
}

/// Both.
pub(super) const MODES: [Mode; 2] = [Mode::EdgeTriggered, Mode::OneShot];

pub(super) struct TestPoller {
    epoll: OwnedFd,
    mode: Mode,
    watched: BTreeMap<RawFd, Watch>,
}

struct Watch {
    source: Source,
    /// What is reported; when one-shot, what was armed and not reported yet.
    flags: epoll::EventFlags,
}

impl TestPoller {
    pub(super) fn new(mode: Mode) -> Self {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
        TestPoller { epoll, mode, watched: BTreeMap::new() }
    }

    /// Waits until something is ready; what.
    pub(super) fn wait(&mut self, timeout: Duration) -> Vec<(Source, Readiness)> {
        let mut events = Vec::with_capacity(64);
        let timeout = Timespec::try_from(timeout).unwrap();
        epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), Some(&timeout))
            .unwrap();
        let ready = events.iter().map(|event: &epoll::Event| {
            let watch = self.watched.get_mut(&(event.data.u64() as RawFd)).unwrap();
            let is = |flag| { event.flags }.contains(flag);
            let dead = is(epoll::EventFlags::ERR) || is(epoll::EventFlags::HUP);
            let readiness = Readiness {
                readable: dead || is(epoll::EventFlags::IN),
                writable: dead || is(epoll::EventFlags::OUT),
                hung_up: self.mode == Mode::EdgeTriggered && (dead || is(epoll::EventFlags::RDHUP)),
            };
            if self.mode == Mode::OneShot {
                watch.flags.remove(event.flags);
            }
            (watch.source, readiness)
        });
        ready.collect()
    }

    fn flags(&self, interest: Interest) -> epoll::EventFlags {
        let edge = epoll::EventFlags::ET | epoll::EventFlags::IN | epoll::EventFlags::RDHUP;
        match (self.mode, interest) {
            (Mode::EdgeTriggered, Interest::Read) => edge,
            (Mode::EdgeTriggered, Interest::ReadAndWrite) => edge | epoll::EventFlags::OUT,
            (Mode::OneShot, _) => epoll::EventFlags::ONESHOT,
        }
    }
}

impl Poller for TestPoller {
    type Socket = Socket;

    fn watch(&mut self, socket: Socket, source: Source, interest: Interest) -> io::Result<Socket> {
        let fd = socket.as_raw_fd();
        let flags = self.flags(interest);
        epoll::add(&self.epoll, &socket, epoll::EventData::new_u64(fd as u64), flags)?;
        self.watched.insert(fd, Watch { source, flags });
        Ok(socket)
    }

    fn rewatch(
        &mut self,
        socket: &mut Socket,
        source: Source,
        interest: Interest,
    ) -> io::Result<()> {
        let fd = socket.as_raw_fd();
        let flags = self.flags(interest);
        epoll::modify(&self.epoll, &*socket, epoll::EventData::new_u64(fd as u64), flags)?;
        self.watched.insert(fd, Watch { source, flags });
        Ok(())
    }

    fn arm(&mut self, socket: &mut Socket, direction: Direction) -> io::Result<()> {
        if self.mode == Mode::EdgeTriggered {
            return Ok(());
        }
        let fd = socket.as_raw_fd();
        let watch = self.watched.get_mut(&fd).unwrap();
        watch.flags |= match direction {
            Direction::Read => epoll::EventFlags::IN,
            Direction::Write => epoll::EventFlags::OUT,
        };
        let data = epoll::EventData::new_u64(fd as u64);
        Ok(epoll::modify(&self.epoll, &*socket, data, watch.flags)?)
    }
}
