//! What a recording says of the runtime that made it.
//!
//! A recording holds every input of the engine, and playing it shows every action. Between the two
//! stands the runtime's contract (docs/RUNTIMES.md): what is asked for is answered exactly once,
//! nothing happens to what is closed, nothing is sent that was not gathered.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::Ipv4Addr;

use bitswarm_core::network::InterfaceAddress;
use bitswarm_core::record::{Fingerprint, Input, Replayer, Seen};
use bitswarm_core::{Action, ConnId, Event, Instant, Notice, OpId, SocketId};

/// What was found; that nothing is wrong with it was checked.
#[derive(Debug, Default)]
pub(super) struct Audit {
    /// Disk requests that were answered.
    pub(super) disk_done: usize,
    /// Those of them that were answered before an earlier one.
    pub(super) overtakings: usize,
    /// Sends that the socket took in parts.
    pub(super) partial_sends: usize,
    /// How often reading was switched off.
    pub(super) reads_off: usize,
    sockets: HashMap<SocketId, bool>,
    connections: HashMap<ConnId, Connection>,
    disk: BTreeSet<OpId>,
    /// The order in which those under way were asked for.
    asked: Vec<OpId>,
    resolving: HashSet<OpId>,
    gathering: Option<ConnId>,
    accepting: bool,
    last: Option<Instant>,
    knows_network: bool,
    stopped: bool,
}

#[derive(Debug)]
struct Connection {
    open: bool,
    securing: bool,
    asked_to_send: bool,
    in_flight: usize,
}

impl Audit {
    /// Plays a recording, which must come to what it was, and checks what the runtime did.
    pub(super) fn of(log: &[u8]) -> (Self, Fingerprint) {
        let mut audit = Audit::default();
        let mut replayer = Replayer::new(log).unwrap();
        while let Some(now) = replayer.step_watched(&mut |seen| audit.see(&seen)).unwrap() {
            assert!(audit.last.replace(now) <= Some(now), "time ran backwards at {now:?}");
        }
        assert!(audit.stopped, "the recording ends before the session does");
        assert!(audit.disk.is_empty(), "disk requests without an answer: {:?}", audit.disk);
        assert!(audit.sockets.values().all(|bound| *bound), "unanswered: {:?}", audit.sockets);
        (audit, replayer.fingerprint())
    }

    fn see(&mut self, seen: &Seen<'_>) {
        match seen {
            Seen::Input(Input::Event(event)) => self.event(event),
            Seen::Input(Input::Gather { conn, .. }) => self.gathering = Some(*conn),
            Seen::Input(Input::Accept { .. }) => self.accepting = true,
            Seen::Input(_) => {}
            Seen::Accepted(conn) => {
                assert!(std::mem::take(&mut self.accepting));
                if let Some(conn) = conn {
                    self.open(*conn, true);
                }
            }
            Seen::Gathered(len) => self.gathered(*len),
            Seen::Action(action) => self.action(action),
        }
    }

    fn event(&mut self, event: &Event) {
        let is_network = matches!(event, Event::Network(_));
        assert!(is_network || self.knows_network, "before the network is known: {event:?}");
        match event {
            Event::Timeout | Event::DatagramReady { .. } => {}
            Event::Network(network) => {
                assert!(!std::mem::replace(&mut self.knows_network, true), "{event:?} again");
                let home = |address: &InterfaceAddress| address.ip == Ipv4Addr::LOCALHOST;
                let mut interfaces = network.interfaces.iter();
                assert!(interfaces.any(|one| one.addresses.iter().any(home)), "{network:?}");
            }
            Event::Bound { socket, .. } => {
                let bound = self.sockets.insert(*socket, true);
                assert_eq!(bound, Some(false), "{event:?}");
            }
            Event::SocketLost { socket, .. } => {
                assert_eq!(self.sockets.remove(socket), Some(true), "{event:?}");
            }
            Event::Connected { conn, .. } => {
                let connection = self.connection(*conn, event);
                assert!(!connection.open, "{event:?} again");
                connection.open = true;
            }
            Event::Secured { conn } => {
                let connection = self.connection(*conn, event);
                assert!(std::mem::take(&mut connection.securing), "{event:?} was not asked for");
            }
            Event::Received { conn, data } => {
                let connection = self.connection(*conn, event);
                assert!(connection.open && !connection.securing, "{event:?} before it is open");
                assert!(!data.is_empty(), "{event:?}");
            }
            Event::Sent { conn, bytes } => {
                let connection = self.connection(*conn, event);
                let left = connection.in_flight.checked_sub(*bytes);
                connection.in_flight = left.expect("more is sent than was gathered");
                let partly = connection.in_flight > 0;
                self.partial_sends += usize::from(partly);
            }
            Event::Closed { conn, .. } => {
                self.connection(*conn, event);
                self.connections.remove(conn);
            }
            Event::Datagrams { batch, .. } => assert!((1..=64).contains(&batch.len())),
            Event::Disk { op, .. } => {
                assert!(self.disk.remove(op), "{op:?} was answered and not asked for, or twice");
                let at = self.asked.iter().position(|asked| asked == op).expect("asked for");
                self.asked.remove(at);
                self.disk_done += 1;
                self.overtakings += usize::from(at > 0);
            }
            Event::Resolved { op, .. } => {
                assert!(self.resolving.remove(op), "{op:?} was answered and not asked for");
            }
        }
    }

    fn action(&mut self, action: &Action) {
        match action {
            Action::Bind { socket, .. } => {
                self.sockets.insert(*socket, false);
            }
            Action::Unbind { socket } => {
                self.sockets.remove(socket);
            }
            Action::Connect { conn, .. } => self.open(*conn, false),
            Action::Secure { conn, .. } => {
                if let Some(connection) = self.connections.get_mut(conn) {
                    assert!(connection.open && connection.in_flight == 0, "{action:?}");
                    connection.securing = true;
                }
            }
            Action::Send { conn } => {
                if let Some(connection) = self.connections.get_mut(conn) {
                    connection.asked_to_send = true;
                }
            }
            Action::Read { on, .. } => self.reads_off += usize::from(!on),
            Action::Close { conn, .. } => {
                self.connections.remove(conn);
            }
            Action::SendDatagrams { .. } => {}
            Action::Disk { op, .. } => {
                assert!(self.disk.insert(*op), "{op:?} twice");
                self.asked.push(*op);
            }
            Action::Resolve { op, .. } => {
                self.resolving.insert(*op);
            }
            Action::Notify(notice) => self.stopped |= **notice == Notice::Stopped,
        }
    }

    fn gathered(&mut self, len: usize) {
        let conn = self.gathering.take().expect("a gather");
        // One that is closed is gathered from a last time.
        if let Some(connection) = self.connections.get_mut(&conn) {
            assert!(std::mem::take(&mut connection.asked_to_send), "{conn:?}: not asked to send");
            assert!(!connection.securing, "{conn:?}: gathered before TLS is agreed on");
            assert_eq!(connection.in_flight, 0, "{conn:?}: gathered before all was sent");
            connection.in_flight = len;
        }
    }

    fn open(&mut self, conn: ConnId, open: bool) {
        let new = Connection { open, securing: false, asked_to_send: false, in_flight: 0 };
        assert!(self.connections.insert(conn, new).is_none(), "{conn:?} twice");
    }

    fn connection(&mut self, conn: ConnId, event: &Event) -> &mut Connection {
        let connection = self.connections.get_mut(&conn);
        connection.unwrap_or_else(|| panic!("for a connection that is closed: {event:?}"))
    }
}
