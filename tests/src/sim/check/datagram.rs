//! Datagrams that an engine sends: each is a whole message of BEP 5 (a DHT node) or BEP 15 (a client
//! of a tracker, or a tracker), or a packet of BEP 29 (uTP), and fits a packet on Ethernet.

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
    if is_utp(data) {
        return Ok(());
    }
    let least = match (own_port, to.port()) {
        (TRACKER_PORT, _) => TRACKER_ANSWER,
        (_, TRACKER_PORT) => TRACKER_REQUEST,
        _ => return judge_krpc(data).map_err(|what| format!("sends {to} {what}: {data:?}")),
    };
    let cut = format!("sends {to} {} bytes, which is no packet of BEP 15", data.len());
    (data.len() >= least).then_some(()).ok_or(cut)
}

/// BEP 29, "header format": a header of version 1, a chain of extensions, of which the first is selective
/// acknowledgement.
pub(super) fn is_utp(data: &[u8]) -> bool {
    let [first, mut extension, ..] = *data else { return false };
    if data.len() < 20 || first & 0x0f != 1 || first >> 4 > 4 || extension > 1 {
        return false;
    }
    let mut rest = &data[20..];
    while extension != 0 {
        let [next, length, ref tail @ ..] = *rest else { return false };
        let Some(tail) = tail.get(usize::from(length)..) else { return false };
        (extension, rest) = (next, tail);
    }
    // Data has a payload.
    first >> 4 != 0 || !rest.is_empty()
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
        let utp = |head: [u8; 2], rest: &[u8]| [&head[..], &[0; 18], rest].concat();
        assert_eq!(judge_datagram(6881, node, &utp([0x01, 1], &[0, 4, 0, 0, 0, 0, 7])), Ok(()));
        assert_eq!(judge_datagram(6881, node, &utp([0x21, 0], &[])), Ok(()));
        assert!(judge_datagram(6881, node, &utp([0x01, 0], &[])).is_err(), "data without any");
        assert!(judge_datagram(6881, node, &utp([0x21, 3], &[0, 0])).is_err());
        assert!(judge_datagram(6881, node, &utp([0x21, 1], &[0, 4, 0])).is_err());
    }
}
