//! A client of UDP trackers that shows connection ids from another address than they were given to, or long
//! after (BEP 15; defence 25).

use std::collections::VecDeque;
use std::net::SocketAddr;

use bitswarm_core::time::Duration;

use super::tracker::TRACKER_PORT;
use super::{Happening, Io, Script};
use crate::sim::world::PEER_PORT;

/// The port from which ids are shown that were given to the other.
const OTHER_PORT: u16 = 6882;
/// It asks for an id so often.
const EVERY: Duration = Duration::from_secs(40);
/// An id that is older is not good any more (BEP 15: two minutes; a tracker may take it for twice that).
const OLD: Duration = Duration::from_secs(250);

/// A client that lies.
#[derive(Debug)]
pub struct UdpLiar {
    tracker: SocketAddr,
    infohash: [u8; 20],
    /// Ids that were given to it, the oldest first.
    given: VecDeque<[u8; 8]>,
}

impl UdpLiar {
    /// One that announces this torrent there.
    pub fn new(tracker: SocketAddr, infohash: [u8; 20]) -> Self {
        let tracker = SocketAddr::new(tracker.ip(), TRACKER_PORT);
        UdpLiar { tracker, infohash, given: VecDeque::new() }
    }

    fn announce(&self, io: &mut Io<'_, '_>, from: u16, id: [u8; 8]) {
        let mut packet = [&id[..], &1_u32.to_be_bytes(), b"liar", &self.infohash].concat();
        packet.extend(*b"-XX0000-lies-to-all-");
        packet.extend([0; 36]);
        packet.extend(u32::MAX.to_be_bytes());
        packet.extend(PEER_PORT.to_be_bytes());
        io.send_datagram(from, self.tracker, &packet);
    }
}

impl Script for UdpLiar {
    fn datagram_ports(&self) -> Vec<u16> {
        vec![PEER_PORT, OTHER_PORT]
    }

    fn handle(&mut self, io: &mut Io<'_, '_>, happening: Happening) {
        match happening {
            Happening::Start | Happening::Woken { token: 0 } => {
                let magic = 0x0417_2710_1980_u64.to_be_bytes();
                let packet = [&magic[..], &0_u32.to_be_bytes(), b"liar"].concat();
                io.send_datagram(PEER_PORT, self.tracker, &packet);
                io.wake_after(EVERY, 0);
            }
            Happening::Woken { .. } => {
                if let Some(id) = self.given.pop_front() {
                    self.announce(io, PEER_PORT, id);
                }
            }
            Happening::Datagram { port: PEER_PORT, data, .. } if data.starts_with(&[0; 4]) => {
                if let Some(id) = data.get(8..16).and_then(|id| id.try_into().ok()) {
                    self.announce(io, OTHER_PORT, id);
                    self.given.push_back(id);
                    io.wake_after(OLD, 1);
                }
            }
            _ => {}
        }
    }
}
