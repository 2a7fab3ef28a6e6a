//! The peer wire protocol (BEP 3) written by hand, without the core: as much of it as a scripted
//! peer needs, over blocking sockets.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use super::{Outcome, Torrent};

/// Largest block anybody asks for (BEP 3, "request": 2^14 in practice).
const BLOCK: u32 = 1 << 14;
/// Longest message that a scripted peer takes.
const LONGEST: u32 = 1 << 20;

/// Handshakes so far.
static HANDSHAKES: AtomicU32 = AtomicU32::new(0);

/// A message after the handshake.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Message {
    /// An empty one.
    KeepAlive,
    /// 1
    Unchoke,
    /// 2
    Interested,
    /// 4: a piece it has.
    Have(u32),
    /// 5: the pieces it has, the highest bit first.
    Bitfield(Vec<u8>),
    /// 6: piece, offset, length.
    Request(u32, u32, u32),
    /// 7: piece, offset, bytes.
    Piece(u32, u32, Vec<u8>),
    /// Any other, by its number.
    Other(u8),
}

/// A connection whose handshake is done.
#[derive(Debug)]
pub struct Wire {
    stream: TcpStream,
}

impl Wire {
    /// Connects from `own` to `peer` and shakes hands. `None`: the peer closed the connection
    /// instead of answering.
    pub fn connect(own: IpAddr, peer: SocketAddr, torrent: &Torrent) -> Outcome<Option<Wire>> {
        let socket = Socket::new(Domain::for_address(peer), Type::STREAM, None)?;
        socket.bind(&SocketAddr::new(own, 0).into())?;
        socket.connect_timeout(&peer.into(), Duration::from_secs(5))?;
        Wire::greet(TcpStream::from(socket), &torrent.infohash)
    }

    /// Shakes hands on a connection that was opened. `None`: the peer closed it instead of
    /// answering.
    pub fn greet(mut stream: TcpStream, infohash: &[u8; 20]) -> Outcome<Option<Wire>> {
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        // A peer that has closed already makes this fail, which is an answer too.
        let sent = stream.write_all(&handshake(infohash));
        let mut answer = [0; 68];
        match sent.and_then(|()| stream.read_exact(&mut answer)) {
            Ok(()) => Ok(Some(Wire { stream })),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Err(error.into()),
            Err(_) => Ok(None),
        }
    }

    /// Answers the handshake on a connection that was accepted.
    pub fn answer(mut stream: TcpStream, infohash: &[u8; 20]) -> Outcome<Wire> {
        let mut offer = [0; 68];
        stream.read_exact(&mut offer)?;
        if offer[..20] != *b"\x13BitTorrent protocol" || offer[28..48] != *infohash {
            return Err("not a handshake for this torrent".into());
        }
        stream.write_all(&handshake(infohash))?;
        Ok(Wire { stream })
    }

    /// The connection itself.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Sends a message.
    pub fn send(&mut self, message: &Message) -> Outcome {
        let mut body = Vec::new();
        match message {
            Message::KeepAlive => {}
            Message::Unchoke => body.push(1),
            Message::Interested => body.push(2),
            Message::Have(piece) => put(&mut body, 4, &[*piece]),
            Message::Bitfield(bits) => {
                body.push(5);
                body.extend_from_slice(bits);
            }
            Message::Request(piece, offset, length) => {
                put(&mut body, 6, &[*piece, *offset, *length]);
            }
            Message::Piece(piece, offset, bytes) => {
                put(&mut body, 7, &[*piece, *offset]);
                body.extend_from_slice(bytes);
            }
            Message::Other(id) => body.push(*id),
        }
        let length = u32::try_from(body.len())?.to_be_bytes();
        self.send_raw(&[&length[..], &body].concat())
    }

    /// Sends bytes as they are.
    pub fn send_raw(&mut self, bytes: &[u8]) -> Outcome {
        Ok(self.stream.write_all(bytes)?)
    }

    /// Waits for the next message.
    pub fn receive(&mut self) -> Outcome<Message> {
        let length = self.receive_u32()?;
        if length > LONGEST {
            return Err(format!("a message of {length} bytes").into());
        }
        let mut body = vec![0; length as usize];
        self.stream.read_exact(&mut body)?;
        let Some((&id, body)) = body.split_first() else { return Ok(Message::KeepAlive) };
        let word = |at: usize| -> Outcome<u32> {
            let bytes = body.get(4 * at..4 * at + 4).ok_or("a message too short")?;
            Ok(u32::from_be_bytes(bytes.try_into()?))
        };
        Ok(match id {
            1 => Message::Unchoke,
            2 => Message::Interested,
            4 => Message::Have(word(0)?),
            5 => Message::Bitfield(body.to_vec()),
            6 => Message::Request(word(0)?, word(1)?, word(2)?),
            7 => Message::Piece(word(0)?, word(1)?, body.get(8..).unwrap_or_default().to_vec()),
            id => Message::Other(id),
        })
    }

    /// The pieces that the peer says it has, from what it sends within `listen`.
    pub fn claimed_pieces(&mut self, pieces: usize, listen: Duration) -> Outcome<Vec<bool>> {
        let mut claimed = vec![false; pieces];
        let deadline = Instant::now() + listen;
        while let Some(left) = deadline.checked_duration_since(Instant::now()) {
            self.stream.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
            match self.receive() {
                Ok(Message::Bitfield(bits)) => {
                    for (piece, claimed) in claimed.iter_mut().enumerate() {
                        *claimed |=
                            bits.get(piece / 8).is_some_and(|b| b & 0x80 >> (piece % 8) != 0);
                    }
                }
                Ok(Message::Have(piece)) => {
                    *claimed.get_mut(piece as usize).ok_or("have past the last piece")? = true;
                }
                Ok(_) => {}
                // Nothing more within the time.
                Err(_) => break,
            }
        }
        Ok(claimed)
    }

    fn receive_u32(&mut self) -> Outcome<u32> {
        let mut bytes = [0; 4];
        self.stream.read_exact(&mut bytes)?;
        Ok(u32::from_be_bytes(bytes))
    }
}

/// A bitfield message in which every piece is there.
pub fn everything(torrent: &Torrent) -> Message {
    bitfield(torrent.piece_hashes.len(), |_| true)
}

/// A bitfield message of so many pieces, some of which are there.
pub fn bitfield(pieces: usize, is_there: impl Fn(usize) -> bool) -> Message {
    let mut bits = vec![0; pieces.div_ceil(8)];
    for piece in (0..pieces).filter(|piece| is_there(*piece)) {
        bits[piece / 8] |= 0x80 >> (piece % 8);
    }
    Message::Bitfield(bits)
}

/// The bytes of a block as they stand in the torrent's content.
pub fn block(torrent: &Torrent, piece: u32, offset: u32, length: u32) -> Outcome<Vec<u8>> {
    if length > BLOCK {
        return Err(format!("a request for {length} bytes").into());
    }
    let bytes = torrent.read_piece(torrent.content.root(), piece as usize);
    let span = offset as usize..offset as usize + length as usize;
    Ok(bytes.get(span).ok_or("a request past the piece")?.to_vec())
}

/// BEP 3 with no extensions. Every connection is another peer's: a peer with two at once would have
/// one of them closed.
fn handshake(infohash: &[u8; 20]) -> Vec<u8> {
    let mut bytes = b"\x13BitTorrent protocol".to_vec();
    bytes.extend_from_slice(&[0; 8]);
    bytes.extend_from_slice(infohash);
    let number = HANDSHAKES.fetch_add(1, Ordering::Relaxed);
    bytes.extend_from_slice(format!("-XX0001-by{number:010}").as_bytes());
    bytes
}

fn put(body: &mut Vec<u8>, id: u8, words: &[u32]) {
    body.push(id);
    for word in words {
        body.extend_from_slice(&word.to_be_bytes());
    }
}
