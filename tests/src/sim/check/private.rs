//! Private torrents stay private (BEP 27; docs/SIMULATION.md, rule 8): nobody but their trackers and
//! the peers from there hears of them, and nobody is dialled who was heard of elsewhere.
//!
//! Rules hold from when the engine knows what the torrent is: one added by a magnet link may turn
//! out to be private.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use bitswarm_core::piece::InfoHash;

use super::Watched;
use super::datagram::is_utp;
use crate::sim::bencode::Value;
use crate::sim::peer_wire::{Hello, Msg};
use crate::sim::scripted::tracker::TRACKER_PORT;

/// The network of strangers: hosts that there are none of, told of by all means but trackers and users.
const STRANGERS: u8 = 62;

/// BEP 29: the first byte of a packet that wants a connection to be opened.
const UTP_SYN: u8 = 0x41;

/// An address of which only peer exchange or the local network tells.
pub fn stranger(number: u16) -> SocketAddr {
    let [high, low] = number.to_be_bytes();
    SocketAddr::from(([STRANGERS, 0, high, low], 6881))
}

impl Watched {
    /// Whether the engine knows that it is private.
    pub(super) fn is_known_to_be_private(&self) -> bool {
        self.is_known && self.content.is_private()
    }

    /// A handshake says whether there is a node of the DHT (BEP 5).
    pub(super) fn judge_hello(&self, hello: &Hello) -> Result<(), String> {
        match hello.dht() && self.is_known_to_be_private() {
            true => Err("offers the DHT for a private torrent".to_owned()),
            false => Ok(()),
        }
    }

    /// What is said to a peer; `pex_id` is its number for `ut_pex`.
    pub(super) fn judge_privacy(
        &self,
        message: &Msg<'_>,
        pex_id: Option<i64>,
    ) -> Result<(), String> {
        if !self.is_known_to_be_private() {
            return Ok(());
        }
        match message {
            Msg::Port(_) => Err("tells of its node for a private torrent".to_owned()),
            Msg::Extended { id: 0, payload }
                if offered_pex_id(payload).is_some_and(|id| id != 0) =>
            {
                Err("offers to exchange peers of a private torrent".to_owned())
            }
            Msg::Extended { id, .. } if *id != 0 && Some(i64::from(*id)) == pex_id => {
                Err("exchanges peers of a private torrent".to_owned())
            }
            _ => Ok(()),
        }
    }

    /// A datagram to anybody but a tracker may not name it; one that dials by uTP may go to whom may be dialled.
    pub(super) fn judge_secrecy(
        &self,
        own_port: u16,
        to: SocketAddr,
        data: &[u8],
    ) -> Result<(), String> {
        if is_utp(data) && data.first() == Some(&UTP_SYN) {
            return self.judge_dial(to);
        }
        let is_to_whom_it_may = [own_port, to.port()].contains(&TRACKER_PORT) || is_utp(data);
        if !self.is_known_to_be_private() || is_to_whom_it_may {
            return Ok(());
        }
        let names = [Some(self.content.infohash()), self.content.short_v2()];
        for InfoHash(name) in names.into_iter().flatten() {
            let hex = name.iter().fold(String::new(), |mut hex, byte| {
                let _ = write!(hex, "{byte:02x}");
                hex
            });
            let lower = data.to_ascii_lowercase();
            let names_it = data.windows(20).any(|part| part == name);
            if names_it || lower.windows(40).any(|part| part == hex.as_bytes()) {
                return Err(format!("names a private torrent to {to}: {data:?}"));
            }
        }
        Ok(())
    }

    /// Whom the engine dials.
    pub(super) fn judge_dial(&self, to: SocketAddr) -> Result<(), String> {
        let is_stranger = matches!(to.ip(), IpAddr::V4(ip) if ip.octets()[0] == STRANGERS);
        match is_stranger && self.is_known_to_be_private() {
            true => Err(format!("dials {to}, not told of by a tracker, for a private torrent")),
            false => Ok(()),
        }
    }
}

/// The number for `ut_pex` that an extension handshake gives (BEP 10, BEP 11).
pub(super) fn offered_pex_id(payload: &[u8]) -> Option<i64> {
    Value::parse(payload).ok()?.get("m")?.get("ut_pex")?.as_int()
}
