//! A peer that asks for metadata, again and again, and wants nothing else (BEP 9).

use std::net::SocketAddr;
use std::sync::Arc;

use super::{Happening, Io, Script};
use crate::sim::bencode::Value;
use crate::sim::content::Content;
use crate::sim::peer_wire::{Hello, Item, Msg, Reader};

/// Its number for `ut_metadata`.
const METADATA_ID: u8 = 7;

/// A peer that asks for metadata.
#[derive(Debug)]
pub struct Asker {
    content: Arc<Content>,
    whom: SocketAddr,
    times: u32,
    reader: Reader,
    served: u64,
    rejected: u64,
}

impl Asker {
    /// Asks somebody so many times at once.
    pub fn new(content: &Arc<Content>, whom: SocketAddr, times: u32) -> Self {
        let reader = Reader::new();
        Asker { content: content.clone(), whom, times, reader, served: 0, rejected: 0 }
    }

    /// Pieces it got.
    pub fn served(&self) -> u64 {
        self.served
    }

    /// Requests that were rejected.
    pub fn rejected(&self) -> u64 {
        self.rejected
    }
}

impl Script for Asker {
    fn handle(&mut self, io: &mut Io<'_, '_>, happening: Happening) {
        match happening {
            Happening::Start => {
                io.dial(self.whom);
            }
            Happening::Open { end, .. } => {
                let hello =
                    Hello::new(self.content.infohash().0, *b"-SC0001-asks-for-all", true, true);
                let m = Value::dict([("ut_metadata", Value::Int(METADATA_ID.into()))]);
                let handshake = Value::dict([("m", m)]).to_bytes();
                io.write(end, hello.to_bytes());
                io.write(end, Msg::HaveNone.to_bytes());
                io.write(end, Msg::Extended { id: 0, payload: &handshake }.to_bytes());
            }
            Happening::Bytes { end, data } => {
                self.reader.feed(&data);
                let mut reader = std::mem::take(&mut self.reader);
                while let Ok(Some(item)) = reader.try_next() {
                    let Item::Msg(Msg::Extended { id, payload }) = item else { continue };
                    let Some((said, _)) = Value::parse_prefix(payload) else { continue };
                    if id == 0 {
                        let theirs = said.get("m").and_then(|m| m.get("ut_metadata")?.as_int());
                        let Some(id) = theirs else { continue };
                        for number in 0..self.times {
                            let piece = Value::Int(i64::from(number % 3));
                            let ask = Value::dict([("msg_type", Value::Int(0)), ("piece", piece)]);
                            let payload = ask.to_bytes();
                            let ask = Msg::Extended { id: id as u8, payload: &payload };
                            io.write(end, ask.to_bytes());
                        }
                    } else if id == METADATA_ID {
                        match said.get("msg_type").and_then(Value::as_int) {
                            Some(1) => self.served += 1,
                            Some(2) => self.rejected += 1,
                            other => io.complain(format!("got metadata message {other:?}")),
                        }
                    }
                }
                self.reader = reader;
            }
            Happening::Over { .. } | Happening::Woken { .. } | Happening::Datagram { .. } => {}
        }
    }
}
