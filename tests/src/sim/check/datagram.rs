//! Datagrams that an engine sends: each is a whole message of BEP 5 (a DHT node) or BEP 15 (a client
//! of a tracker, or a tracker), and fits a packet on Ethernet.

use std::net::SocketAddr;

use crate::sim::bencode::Value;
use crate::sim::scripted::tracker::TRACKER_PORT;

/// Payload of a packet on Ethernet, over IPv4 and UDP.
const LONGEST: usize = 1500 - 28;
/// BEP 15: a request's head.
const TRACKER_REQUEST: usize = 16;
/// BEP 15: an answer's head.
const TRACKER_ANSWER: usize = 8;

/// What is wrong with a datagram, if anything. `own_port` is that of the socket it leaves.
pub fn judge_datagram(own_port: u16, to: SocketAddr, data: &[u8]) -> Result<(), String> {
    if data.len() > LONGEST {
        return Err(format!("sends {to} a datagram of {} bytes", data.len()));
    }
    let least = match (own_port, to.port()) {
        (TRACKER_PORT, _) => TRACKER_ANSWER,
        (_, TRACKER_PORT) => TRACKER_REQUEST,
        _ => return judge_krpc(data).map_err(|what| format!("sends {to} {what}: {data:?}")),
    };
    let cut = format!("sends {to} {} bytes, which is no packet of BEP 15", data.len());
    (data.len() >= least).then_some(()).ok_or(cut)
}

/// BEP 5, "KRPC protocol".
fn judge_krpc(data: &[u8]) -> Result<(), &'static str> {
    let message = Value::parse(data).map_err(|_| "what is not strictly bencoded")?;
    let kind = message.get("y").and_then(Value::as_bytes).ok_or("a message of no kind")?;
    let body = match kind {
        b"q" => "a",
        b"r" => "r",
        b"e" => "e",
        _ => return Err("a message of an unknown kind"),
    };
    message.get("t").and_then(Value::as_bytes).ok_or("a message without a transaction")?;
    message.get(body).map(|_| ()).ok_or("a message without its body")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_messages_pass_and_others_do_not() {
        let node = SocketAddr::from(([50, 0, 0, 1], 6881));
        let tracker = SocketAddr::from(([50, 0, 0, 1], TRACKER_PORT));
        let ping = b"d1:ad2:id20:aaaaaaaaaaaaaaaaaaaae1:q4:ping1:t2:aa1:y1:qe";
        assert_eq!(judge_datagram(6881, node, ping), Ok(()));
        assert!(judge_datagram(6881, node, &ping[..20]).is_err());
        assert!(judge_datagram(6881, node, b"d1:t2:aa1:y1:qe").is_err());
        assert!(judge_datagram(6881, node, b"d1:ade1:y1:qe").is_err());
        assert!(judge_datagram(6881, tracker, &[0; 15]).is_err());
        assert_eq!(judge_datagram(6881, tracker, &[0; 16]), Ok(()));
        assert_eq!(judge_datagram(TRACKER_PORT, node, &[0; 8]), Ok(()));
        assert!(judge_datagram(6881, tracker, &[0; 1500]).is_err());
    }
}
