//! Datagrams that prove something: who shows a token or a connection id received it, at that address and not
//! long ago (BEP 5, BEP 15; defences 25 and 26). Judged are both sides: what the engine takes from others, by
//! what it answers, and what it shows to others.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use bitswarm_core::time::{Duration, Instant};

use crate::sim::bencode::Value;
use crate::sim::scripted::tracker::TRACKER_PORT;

/// BEP 5: "tokens up to ten minutes old are accepted".
const TOKEN_AGE: Duration = Duration::from_secs(600);
/// A query that is answered later is not answered (chosen: far above what an engine waits).
const QUERY_AGE: Duration = Duration::from_secs(60);
/// What a tracker takes at most (BEP 15: two minutes; twice that with a clock in windows).
const ID_AGE_TAKEN: Duration = Duration::from_secs(240);
/// What a client shows (BEP 15: "A client can use a connection ID until one minute after it has received it").
const ID_AGE_SHOWN: Duration = Duration::from_secs(60);
/// The network of hosts that only false answers tell of.
const LIES: u8 = 63;

/// BEP 15.
const CONNECT: u32 = 0;
const ERROR: u32 = 3;

/// An address that only false answers tell of.
pub fn lied_of(number: u16) -> SocketAddr {
    let [high, low] = number.to_be_bytes();
    SocketAddr::from(([LIES, 0, high, low], 6881))
}

/// Whether it is one of those.
pub(super) fn is_lied_of(to: IpAddr) -> bool {
    matches!(to, IpAddr::V4(ip) if ip.octets()[0] == LIES)
}

/// What one engine was given, and gave, by datagrams.
#[derive(Debug, Default)]
pub struct Answers {
    /// Queries of others.
    asked: BTreeMap<(SocketAddr, Vec<u8>), Asked>,
    /// Queries of the engine's own.
    asks: BTreeMap<(SocketAddr, Vec<u8>), Instant>,
    /// Tokens that it gave to a host, and that a node gave to it.
    gave: BTreeMap<(IpAddr, Vec<u8>), Instant>,
    got: BTreeMap<(SocketAddr, Vec<u8>), Instant>,
    /// Connection ids that its tracker gave to a client, and that trackers gave to it.
    ids_gave: BTreeMap<(SocketAddr, Vec<u8>), Instant>,
    ids_got: BTreeMap<(SocketAddr, Vec<u8>), Instant>,
}

/// A query of another.
#[derive(Debug)]
struct Asked {
    at: Instant,
    /// It came so often: datagrams are doubled, and sent again.
    times: u32,
    /// The token or connection id that it shows, if it does.
    shown: Option<Vec<u8>>,
}

/// What is in a message of BEP 5.
struct Krpc {
    kind: u8,
    transaction: Vec<u8>,
    method: Vec<u8>,
    token: Option<Vec<u8>>,
}

impl Krpc {
    fn read(data: &[u8]) -> Option<Self> {
        let (message, _) = Value::parse_prefix(data)?;
        let bytes = |value: &Value| value.as_bytes().map(<[u8]>::to_vec);
        let kind = *message.get("y")?.as_bytes()?.first()?;
        let body = message.get(if kind == b'q' { "a" } else { "r" });
        Some(Krpc {
            kind,
            transaction: bytes(message.get("t")?)?,
            method: message.get("q").and_then(bytes).unwrap_or_default(),
            token: body.and_then(|body| body.get("token")).and_then(bytes),
        })
    }

    fn stores(&self) -> bool {
        matches!(&self.method[..], b"announce_peer" | b"put")
    }
}

/// A number of four bytes in a packet of BEP 15.
fn number(data: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(data.get(at..at + 4)?.try_into().ok()?))
}

impl Answers {
    /// The engine is gone: another knows nothing of what it was told, and has other secrets.
    pub fn restarted(&mut self) {
        *self = Answers::default();
    }

    /// The engine is handed this; `own_port` is that of the socket.
    pub fn received(&mut self, now: Instant, own_port: u16, from: SocketAddr, data: &[u8]) {
        if own_port == TRACKER_PORT {
            let Some((id, transaction)) = data.get(..8).zip(data.get(12..16)) else { return };
            let shown = (number(data, 8) != Some(CONNECT)).then(|| id.to_vec());
            self.ask((from, transaction.to_vec()), now, shown);
        } else if from.port() == TRACKER_PORT {
            let Some(transaction) = data.get(4..8) else { return };
            let asked = self.asks.get(&(from, transaction.to_vec()));
            if asked.is_some() && number(data, 0) == Some(CONNECT) && data.len() >= 16 {
                self.ids_got.insert((from, data[8..16].to_vec()), now);
            }
        } else if let Some(message) = Krpc::read(data) {
            let key = (from, message.transaction.clone());
            match message.kind {
                b'q' => {
                    let shown = message.token.clone().filter(|_| message.stores());
                    self.ask(key, now, shown);
                }
                b'r' if self.asks.get(&key).is_some_and(|at| now - *at <= QUERY_AGE) => {
                    self.got.extend(message.token.map(|token| ((from, token), now)));
                }
                _ => {}
            }
        }
    }

    fn ask(&mut self, key: (SocketAddr, Vec<u8>), at: Instant, shown: Option<Vec<u8>>) {
        let asked = self.asked.entry(key).or_insert(Asked { at, times: 0, shown: None });
        asked.times += 1;
        (asked.at, asked.shown) = (at, shown);
    }

    /// A query is answered: when it came, and what it showed.
    fn answer(&mut self, key: (SocketAddr, Vec<u8>)) -> Option<(Instant, Option<Vec<u8>>)> {
        let asked = self.asked.get_mut(&key)?;
        asked.times -= 1;
        let answered = (asked.at, asked.shown.clone());
        if asked.times == 0 {
            self.asked.remove(&key);
        }
        Some(answered)
    }

    /// The engine sends this. What is wrong with it, if anything.
    pub fn sent(
        &mut self,
        now: Instant,
        own_port: u16,
        to: SocketAddr,
        data: &[u8],
    ) -> Result<(), String> {
        if own_port == TRACKER_PORT {
            return self.tracker_answers(now, to, data);
        }
        if to.port() == TRACKER_PORT {
            return self.asks_tracker(now, to, data);
        }
        let Some(message) = Krpc::read(data) else { return Ok(()) };
        if is_lied_of(to.ip()) {
            return Err(format!("talks to {to}, of which only a false answer tells"));
        }
        let key = (to, message.transaction.clone());
        if message.kind == b'q' {
            self.asks.insert(key, now);
            let token = message.token.as_ref().filter(|_| message.stores());
            let is_given = |token: &Vec<u8>| {
                let at = self.got.get(&(to, token.clone()));
                at.is_some_and(|at| now - *at <= TOKEN_AGE)
            };
            return match token {
                Some(token) if !is_given(token) => {
                    Err(format!("shows {to} a token that is not from there, or old"))
                }
                _ => Ok(()),
            };
        }
        let (asked, shown) =
            self.answer(key).ok_or_else(|| format!("answers {to}, who has not asked"))?;
        if now - asked > QUERY_AGE {
            return Err(format!("answers {to} after {:?}", now - asked));
        }
        if message.kind != b'r' {
            return Ok(());
        }
        if let Some(token) = shown {
            let given = self.gave.get(&(to.ip(), token));
            if given.is_none_or(|at| now - *at > TOKEN_AGE) {
                return Err(format!("stores what {to} says with another's token, or an old one"));
            }
        }
        self.gave.extend(message.token.map(|token| ((to.ip(), token), now)));
        Ok(())
    }

    fn tracker_answers(&mut self, now: Instant, to: SocketAddr, data: &[u8]) -> Result<(), String> {
        let (Some(action), Some(transaction)) = (number(data, 0), data.get(4..8)) else {
            return Ok(());
        };
        let (_, shown) = self
            .answer((to, transaction.to_vec()))
            .ok_or_else(|| format!("as a tracker answers {to}, who has not asked"))?;
        if let Some(id) = shown.filter(|_| action != ERROR) {
            let given = self.ids_gave.get(&(to, id));
            if given.is_none_or(|at| now - *at > ID_AGE_TAKEN) {
                return Err(format!("serves {to} with another's connection id, or an old one"));
            }
        }
        if action == CONNECT && data.len() >= 16 {
            self.ids_gave.insert((to, data[8..16].to_vec()), now);
        }
        Ok(())
    }

    fn asks_tracker(&mut self, now: Instant, to: SocketAddr, data: &[u8]) -> Result<(), String> {
        let (Some(action), Some(transaction)) = (number(data, 8), data.get(12..16)) else {
            return Ok(());
        };
        self.asks.insert((to, transaction.to_vec()), now);
        let given = data.get(..8).and_then(|id| self.ids_got.get(&(to, id.to_vec())));
        match action != CONNECT && given.is_none_or(|at| now - *at > ID_AGE_SHOWN) {
            true => Err(format!("shows {to} a connection id that is not from there, or old")),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: u16 = 6881;

    fn at(secs: u64) -> Instant {
        Instant::from_secs(secs)
    }

    fn node(last: u8) -> SocketAddr {
        SocketAddr::from(([50, 0, 0, last], 6881))
    }

    fn tracker() -> SocketAddr {
        SocketAddr::from(([50, 0, 0, 9], TRACKER_PORT))
    }

    const STORE: &[u8] = b"d1:ad5:token2:xxe1:q13:announce_peer1:t2:bb1:y1:qe";
    const STORED: &[u8] = b"d1:rde1:t2:bb1:y1:re";

    #[test]
    fn what_is_stored_must_come_with_a_token_given_there_not_long_ago() {
        let asks = b"d1:ade1:q9:get_peers1:t2:aa1:y1:qe";
        let gives = b"d1:rd5:token2:xxe1:t2:aa1:y1:re";
        let mut answers = Answers::default();
        answers.received(at(1), US, node(1), asks);
        assert!(answers.sent(at(1), US, node(2), gives).is_err(), "another asked");
        assert_eq!(answers.sent(at(1), US, node(1), gives), Ok(()));
        assert!(answers.sent(at(1), US, node(1), gives).is_err(), "it is answered already");
        for (from, now, is_right) in [(1, 600, true), (2, 600, false), (1, 602, false)] {
            answers.received(at(now), US, node(from), STORE);
            assert_eq!(answers.sent(at(now), US, node(from), STORED).is_ok(), is_right);
        }
    }

    #[test]
    fn it_shows_tokens_to_those_alone_who_gave_them_when_asked() {
        let ask = b"d1:ade1:q9:get_peers1:t2:aa1:y1:qe";
        let gives = b"d1:rd5:token2:xxe1:t2:aa1:y1:re";
        let mut answers = Answers::default();
        assert_eq!(answers.sent(at(1), US, node(1), ask), Ok(()));
        answers.received(at(2), US, node(2), gives);
        assert!(answers.sent(at(3), US, node(1), STORE).is_err(), "it came from another");
        assert!(answers.sent(at(3), US, node(2), STORE).is_err());
        answers.received(at(4), US, node(1), gives);
        assert_eq!(answers.sent(at(5), US, node(1), STORE), Ok(()));
        assert!(answers.sent(at(605), US, node(1), STORE).is_err(), "it is old");
        assert!(answers.sent(at(5), US, lied_of(3), ask).is_err());
    }

    #[test]
    fn connection_ids_are_good_for_who_received_them_and_not_for_long() {
        let packet = |id: &[u8; 8], action: u8| [&id[..], &[0, 0, 0, action], b"tttt"].concat();
        let answer = |action: u8, id: &[u8]| [&[0, 0, 0, action], &b"tttt"[..], id].concat();
        let mut server = Answers::default();
        server.received(at(1), TRACKER_PORT, node(1), &packet(b"12345678", 0));
        assert_eq!(server.sent(at(1), TRACKER_PORT, node(1), &answer(0, b"connecti")), Ok(()));
        for (from, now, is_right) in [(1, 60, true), (2, 60, false), (1, 242, false)] {
            server.received(at(now), TRACKER_PORT, node(from), &packet(b"connecti", 1));
            let verdict = server.sent(at(now), TRACKER_PORT, node(from), &answer(1, b""));
            assert_eq!(verdict.is_ok(), is_right);
        }
        let mut client = Answers::default();
        assert_eq!(client.sent(at(1), US, tracker(), &packet(b"12345678", 0)), Ok(()));
        client.received(at(2), US, tracker(), &answer(0, b"connecti"));
        assert_eq!(client.sent(at(62), US, tracker(), &packet(b"connecti", 1)), Ok(()));
        assert!(client.sent(at(63), US, tracker(), &packet(b"connecti", 1)).is_err());
        assert!(client.sent(at(3), US, tracker(), &packet(b"87654321", 1)).is_err());
    }
}
