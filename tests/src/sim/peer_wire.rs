//! The peer wire protocol written from BEP 3, 6, 10 and 52 without the core's codec: what scripted
//! peers speak, and the oracle that every engine's outgoing stream must satisfy.
//!
//! [`Reader`] takes a stream cut anywhere and gives handshake and messages. It judges form only:
//! lengths, known message types. Whether a message may come now is judged by its caller.

use std::fmt;

use serde::Serialize;

/// The first 68 bytes of a stream (BEP 3, "peer protocol").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hello {
    /// Extension bits.
    pub reserved: [u8; 8],
    /// Which torrent.
    pub infohash: [u8; 20],
    /// Who speaks.
    pub peer_id: [u8; 20],
}

/// A range of bytes in a piece, as request, cancel and reject name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Run {
    /// The piece.
    pub piece: u32,
    /// Offset in the piece, in bytes.
    pub begin: u32,
    /// Length in bytes.
    pub length: u32,
}

/// Which hashes a message of BEP 52 is about. Names are those of the BEP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub struct HashRun {
    pub pieces_root: [u8; 32],
    pub base_layer: u32,
    pub index: u32,
    pub length: u32,
    pub proof_layers: u32,
}

/// A message. Names are those of the BEPs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Msg<'a> {
    KeepAlive,
    Choke,
    Unchoke,
    Interested,
    NotInterested,
    Have(u32),
    Bitfield(&'a [u8]),
    Request(Run),
    Piece {
        piece: u32,
        begin: u32,
        data: &'a [u8],
    },
    Cancel(Run),
    Port(u16),
    Suggest(u32),
    HaveAll,
    HaveNone,
    Reject(Run),
    AllowedFast(u32),
    Extended {
        id: u8,
        payload: &'a [u8],
    },
    HashRequest(HashRun),
    Hashes {
        run: HashRun,
        hashes: &'a [u8],
    },
    HashReject(HashRun),
    /// An id that no BEP has: to be ignored by who hears it (BEP 3), and never said by an engine.
    Unknown(u8),
}

/// What a stream consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Item<'a> {
    /// The first thing.
    Hello(Hello),
    /// All that follows.
    Msg(Msg<'a>),
}

const PROTOCOL: &[u8; 20] = b"\x13BitTorrent protocol";
const HELLO_LEN: usize = 68;

/// Most hashes in a message: 512 and one for each layer above.
const MOST_HASHES: usize = 576;

/// Longest message believed, in bytes (chosen: a bitfield of 8 million pieces).
const LONGEST: usize = 1 << 20;

impl Hello {
    /// With the fast extension and the extension protocol switched on or off.
    pub fn new(infohash: [u8; 20], peer_id: [u8; 20], fast: bool, extended: bool) -> Self {
        let mut reserved = [0; 8];
        reserved[5] |= if extended { 0x10 } else { 0 };
        reserved[7] |= if fast { 0x04 } else { 0 };
        Hello { reserved, infohash, peer_id }
    }

    /// The same of one who knows v2 of a hybrid too (BEP 52: "the 4th most significant bit in the
    /// last byte of the reserved bitfield").
    pub fn with_v2(mut self) -> Self {
        self.reserved[7] |= 0x10;
        self
    }

    /// Whether it offers to speak v2 (BEP 52, "upgrade path").
    pub fn v2(&self) -> bool {
        self.reserved[7] & 0x10 != 0
    }

    /// Whether it has a node of the DHT (BEP 5, "last bit in the 8-byte reserved flags").
    pub fn dht(&self) -> bool {
        self.reserved[7] & 0x01 != 0
    }

    /// Whether it offers the fast extension (BEP 6).
    pub fn fast(&self) -> bool {
        self.reserved[7] & 0x04 != 0
    }

    /// Whether it offers the extension protocol (BEP 10).
    pub fn extended(&self) -> bool {
        self.reserved[5] & 0x10 != 0
    }

    /// As it goes over the wire.
    pub fn to_bytes(&self) -> Vec<u8> {
        [&PROTOCOL[..], &self.reserved, &self.infohash, &self.peer_id].concat()
    }
}

impl Msg<'_> {
    /// As it goes over the wire.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut body = Vec::new();
        let mut put = |id: u8, numbers: &[u32], rest: &[u8]| {
            body.push(id);
            numbers.iter().for_each(|number| body.extend_from_slice(&number.to_be_bytes()));
            body.extend_from_slice(rest);
        };
        match *self {
            Msg::KeepAlive => {}
            Msg::Choke => put(0, &[], &[]),
            Msg::Unchoke => put(1, &[], &[]),
            Msg::Interested => put(2, &[], &[]),
            Msg::NotInterested => put(3, &[], &[]),
            Msg::Have(piece) => put(4, &[piece], &[]),
            Msg::Bitfield(bits) => put(5, &[], bits),
            Msg::Request(run) => put(6, &[run.piece, run.begin, run.length], &[]),
            Msg::Piece { piece, begin, data } => put(7, &[piece, begin], data),
            Msg::Cancel(run) => put(8, &[run.piece, run.begin, run.length], &[]),
            Msg::Port(port) => put(9, &[], &port.to_be_bytes()),
            Msg::Suggest(piece) => put(13, &[piece], &[]),
            Msg::Unknown(id) => put(id, &[], &[]),
            Msg::HaveAll => put(14, &[], &[]),
            Msg::HaveNone => put(15, &[], &[]),
            Msg::Reject(run) => put(16, &[run.piece, run.begin, run.length], &[]),
            Msg::AllowedFast(piece) => put(17, &[piece], &[]),
            Msg::Extended { id, payload } => put(20, &[], &[&[id], payload].concat()),
            Msg::HashRequest(run) => put(21, &[], &run.to_bytes()),
            Msg::Hashes { run, hashes } => put(22, &[], &[&run.to_bytes(), hashes].concat()),
            Msg::HashReject(run) => put(23, &[], &run.to_bytes()),
        }
        let mut out = (body.len() as u32).to_be_bytes().to_vec();
        out.append(&mut body);
        out
    }
}

impl HashRun {
    fn to_bytes(self) -> Vec<u8> {
        let numbers = [self.base_layer, self.index, self.length, self.proof_layers];
        [&self.pieces_root[..], &numbers.map(u32::to_be_bytes).concat()].concat()
    }

    /// From the beginning of a message, and what follows.
    fn parse(body: &[u8]) -> Option<(Self, &[u8])> {
        let (pieces_root, rest) = body.split_first_chunk()?;
        let (numbers, rest) = rest.split_at_checked(16)?;
        let run = HashRun {
            pieces_root: *pieces_root,
            base_layer: at(numbers, 0),
            index: at(numbers, 4),
            length: at(numbers, 8),
            proof_layers: at(numbers, 12),
        };
        Some((run, rest))
    }
}

impl fmt::Display for Msg<'_> {
    /// For the log: payload by its length.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Msg::Piece { piece, begin, data } => write!(f, "Piece {piece}+{begin} {}", data.len()),
            Msg::Request(run) => write!(f, "Request {run}"),
            Msg::Cancel(run) => write!(f, "Cancel {run}"),
            Msg::Reject(run) => write!(f, "Reject {run}"),
            Msg::Bitfield(bits) => write!(f, "Bitfield of {} bytes", bits.len()),
            Msg::Extended { id, payload } => write!(f, "Extended {id}, {} bytes", payload.len()),
            Msg::HashRequest(run) => write!(f, "HashRequest {run}"),
            Msg::Hashes { run, hashes } => write!(f, "Hashes {run}, {} bytes", hashes.len()),
            Msg::HashReject(run) => write!(f, "HashReject {run}"),
            other => write!(f, "{other:?}"),
        }
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{} {}", self.piece, self.begin, self.length)
    }
}

impl fmt::Display for HashRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let HashRun { pieces_root: [a, b, ..], base_layer, index, length, proof_layers } = self;
        write!(f, "{a:02x}{b:02x} layer {base_layer}, {index}+{length}, {proof_layers} proofs")
    }
}

/// Takes a stream apart.
#[derive(Debug, Default)]
pub struct Reader {
    buffer: Vec<u8>,
    /// Bytes of `buffer` that were given out.
    used: usize,
    greeted: bool,
}

impl Reader {
    /// At the beginning of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds bytes that came in.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.used);
        self.used = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The next item, if it is there as a whole.
    pub fn try_next(&mut self) -> Result<Option<Item<'_>>, String> {
        let rest = &self.buffer[self.used..];
        if !self.greeted {
            let Some((hello, _)) = rest.split_first_chunk::<HELLO_LEN>() else { return Ok(None) };
            self.greeted = true;
            self.used += HELLO_LEN;
            return parse_hello(hello).map(|hello| Some(Item::Hello(hello)));
        }
        let Some((length, rest)) = rest.split_first_chunk::<4>() else { return Ok(None) };
        let length = u32::from_be_bytes(*length) as usize;
        if length > LONGEST {
            return Err(format!("a message of {length} bytes"));
        }
        let Some(body) = rest.get(..length) else { return Ok(None) };
        self.used += 4 + length;
        parse_message(body).map(|message| Some(Item::Msg(message)))
    }
}

fn parse_hello(bytes: &[u8; HELLO_LEN]) -> Result<Hello, String> {
    if bytes[..20] != PROTOCOL[..] {
        return Err("the handshake names another protocol".to_owned());
    }
    let mut hello = Hello { reserved: [0; 8], infohash: [0; 20], peer_id: [0; 20] };
    hello.reserved.copy_from_slice(&bytes[20..28]);
    hello.infohash.copy_from_slice(&bytes[28..48]);
    hello.peer_id.copy_from_slice(&bytes[48..68]);
    Ok(hello)
}

fn parse_message(body: &[u8]) -> Result<Msg<'_>, String> {
    let Some((&id, rest)) = body.split_first() else { return Ok(Msg::KeepAlive) };
    let wrong = || format!("message {id} with a body of {} bytes", rest.len());
    let empty = |message| if rest.is_empty() { Ok(message) } else { Err(wrong()) };
    let number = || rest.try_into().map(u32::from_be_bytes).map_err(|_| wrong());
    let run = || {
        let bytes: &[u8; 12] = rest.try_into().map_err(|_| wrong())?;
        Ok(Run { piece: at(bytes, 0), begin: at(bytes, 4), length: at(bytes, 8) })
    };
    let hash_run = || match HashRun::parse(rest) {
        Some((run, [])) => Ok(run),
        _ => Err(wrong()),
    };
    match id {
        0 => empty(Msg::Choke),
        1 => empty(Msg::Unchoke),
        2 => empty(Msg::Interested),
        3 => empty(Msg::NotInterested),
        4 => number().map(Msg::Have),
        5 => Ok(Msg::Bitfield(rest)),
        6 => run().map(Msg::Request),
        7 if rest.len() > 8 => {
            Ok(Msg::Piece { piece: at(rest, 0), begin: at(rest, 4), data: &rest[8..] })
        }
        8 => run().map(Msg::Cancel),
        9 => rest.try_into().map(|port| Msg::Port(u16::from_be_bytes(port))).map_err(|_| wrong()),
        13 => number().map(Msg::Suggest),
        14 => empty(Msg::HaveAll),
        15 => empty(Msg::HaveNone),
        16 => run().map(Msg::Reject),
        17 => number().map(Msg::AllowedFast),
        20 => {
            let (id, payload) = rest.split_first().ok_or_else(wrong)?;
            Ok(Msg::Extended { id: *id, payload })
        }
        21 => hash_run().map(Msg::HashRequest),
        22 => match HashRun::parse(rest) {
            Some((run, hashes)) if hashes.len() % 32 == 0 && hashes.len() / 32 <= MOST_HASHES => {
                Ok(Msg::Hashes { run, hashes })
            }
            _ => Err(wrong()),
        },
        23 => hash_run().map(Msg::HashReject),
        7 => Err(wrong()),
        id => Ok(Msg::Unknown(id)),
    }
}

fn at(bytes: &[u8], offset: usize) -> u32 {
    let mut number = [0; 4];
    number.copy_from_slice(&bytes[offset..offset + 4]);
    u32::from_be_bytes(number)
}

#[cfg(test)]
mod tests {
    use quickcheck::quickcheck;

    use super::*;

    const RUN: Run = Run { piece: 1, begin: 16_384, length: 9 };
    const HASHES: HashRun =
        HashRun { pieces_root: [9; 32], base_layer: 1, index: 2, length: 2, proof_layers: 3 };
    const ALL: [Msg<'_>; 20] = [
        Msg::KeepAlive,
        Msg::Choke,
        Msg::Unchoke,
        Msg::Interested,
        Msg::NotInterested,
        Msg::Have(7),
        Msg::Bitfield(&[0x80]),
        Msg::Request(RUN),
        Msg::Piece { piece: 1, begin: 2, data: b"data" },
        Msg::Cancel(RUN),
        Msg::Port(6881),
        Msg::Suggest(3),
        Msg::HaveAll,
        Msg::HaveNone,
        Msg::Reject(RUN),
        Msg::AllowedFast(4),
        Msg::Extended { id: 0, payload: b"de" },
        Msg::HashRequest(HASHES),
        Msg::Hashes { run: HASHES, hashes: &[8; 64] },
        Msg::HashReject(HASHES),
    ];

    #[test]
    fn a_request_has_the_bytes_that_bep_3_gives_it() {
        let bytes = Msg::Request(RUN).to_bytes();
        assert_eq!(bytes, [0, 0, 0, 13, 6, 0, 0, 0, 1, 0, 0, 0x40, 0, 0, 0, 0, 9]);
    }

    #[test]
    fn messages_of_a_wrong_length_are_errors() {
        let cases: [&[u8]; 5] =
            [&[0, 0], &[4, 0], &[6, 1, 2, 3], &[7, 0, 0, 0, 0, 0, 0, 0, 0], &[20]];
        let hashes =
            [vec![21; 48], vec![21; 50], vec![23; 48], vec![22; 50], vec![22; 49 + 577 * 32]];
        for body in cases.into_iter().chain(hashes.iter().map(Vec::as_slice)) {
            assert!(parse_message(body).is_err(), "{body:?} was read");
        }
        assert_eq!(parse_message(&[99, 1, 2]), Ok(Msg::Unknown(99)));
        let mut reader = Reader { greeted: true, ..Reader::new() };
        reader.feed(&[0xff; 4]);
        assert!(reader.try_next().is_err());
    }

    quickcheck! {
        fn any_cut_of_a_stream_gives_the_same_messages(cuts: Vec<u8>) -> bool {
            let hello = Hello::new([1; 20], [2; 20], true, false);
            let mut stream = hello.to_bytes();
            ALL.iter().for_each(|message| stream.extend(message.to_bytes()));
            let mut reader = Reader::new();
            let mut seen = Vec::new();
            let mut rest = &stream[..];
            for cut in cuts.into_iter().map(usize::from).chain([usize::MAX]) {
                let (part, later) = rest.split_at(cut.min(rest.len()));
                rest = later;
                reader.feed(part);
                while let Some(item) = reader.try_next().expect("a valid stream") {
                    seen.push(format!("{item:?}"));
                }
            }
            let all = std::iter::once(Item::Hello(hello)).chain(ALL.map(Item::Msg));
            seen == all.map(|item| format!("{item:?}")).collect::<Vec<_>>()
        }
    }
}
