//! Message stream encryption, written from the text of the Azureus wiki once more, with other crates for the
//! arithmetic and the cipher than the engine's: whoever knows a private key of a connection can read it.
//!
//! Nothing here sends; [`scripted::mse`](super::scripted) does.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::LazyLock;

use bitswarm_core::random::SecretRng;
use num_bigint::BigUint;
use rc4::{KeyInit as _, StreamCipher as _};
use sha1::{Digest as _, Sha1};

/// Bytes of a public key, and of a secret.
pub const KEY_LEN: usize = 96;
/// Longest pad.
pub const LONGEST_PAD: usize = 512;
/// Bit of `crypto_provide` and `crypto_select`: nothing is encrypted behind the handshake.
pub const PLAIN: u32 = 1;
/// The same: all is, by RC4.
pub const RC4: u32 = 2;
/// With what a connection begins that is not encrypted (BEP 3).
pub const PROTOCOL: &[u8; 20] = b"\x13BitTorrent protocol";
/// Private keys that an engine may have made and not used (chosen).
const UNUSED: usize = 5_000;

/// A public key, or a secret.
pub type Key = [u8; KEY_LEN];

static PRIME: LazyLock<BigUint> = LazyLock::new(|| {
    const HEX: &[u8] = b"FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74020BBEA63B139B22514A08798E3404DDEF9519B3CD3A431B302B0A6DF25F14374FE1356D6D51C245E485B576625E7EC6F44C42E9A63A36210000000000090563";
    BigUint::parse_bytes(HEX, 16).expect("digits")
});

/// A number of 96 bytes.
fn key(number: &BigUint) -> Key {
    let bytes = number.to_bytes_be();
    let mut key = [0; KEY_LEN];
    key[KEY_LEN - bytes.len()..].copy_from_slice(&bytes);
    key
}

/// The exponent that one side keeps to itself.
#[derive(Clone)]
pub struct Private(BigUint);

impl fmt::Debug for Private {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Private(..)")
    }
}

impl Private {
    /// The key of these random bytes.
    pub fn new(random: &[u8; 20]) -> Self {
        Private(BigUint::from_bytes_be(random))
    }

    /// What the other side is told.
    pub fn public(&self) -> Key {
        key(&BigUint::from(2_u8).modpow(&self.0, &PRIME))
    }

    /// What both sides know.
    pub fn secret(&self, theirs: &Key) -> Secret {
        Secret(key(&BigUint::from_bytes_be(theirs).modpow(&self.0, &PRIME)))
    }
}

/// What both sides of a connection know.
#[derive(Clone)]
pub struct Secret(Key);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl Secret {
    /// The hash by which the side that is dialled finds where the pad ends.
    pub fn req1(&self) -> [u8; 20] {
        sha1(&[b"req1", &self.0])
    }

    /// How the torrent of this infohash is named.
    pub fn name(&self, skey: &[u8; 20]) -> [u8; 20] {
        let (hash, mask) = (sha1(&[b"req2", skey]), sha1(&[b"req3", &self.0]));
        std::array::from_fn(|at| hash[at] ^ mask[at])
    }

    /// The stream of the side that dials, or of the other.
    pub fn stream(&self, of: End, skey: &[u8; 20]) -> Stream {
        let name = if of == End::Dialler { b"keyA" } else { b"keyB" };
        let mut stream = rc4::Rc4::new_from_slice(&sha1(&[name, &self.0, skey])).expect("20 bytes");
        stream.apply_keystream(&mut [0; 1024]);
        Stream(stream)
    }
}

fn sha1(parts: &[&[u8]]) -> [u8; 20] {
    Sha1::digest(parts.concat()).into()
}

/// A key stream.
pub struct Stream(rc4::Rc4);

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stream(..)")
    }
}

impl Stream {
    /// Encrypts or decrypts.
    pub fn apply(&mut self, mut bytes: Vec<u8>) -> Vec<u8> {
        self.0.apply_keystream(&mut bytes);
        bytes
    }
}

/// The private keys of an engine, made from its seed as it makes them.
#[derive(Debug)]
pub struct Keys {
    rng: SecretRng,
    made: BTreeMap<Key, Private>,
    unused: usize,
}

impl Keys {
    /// Those of the engine with this seed.
    pub fn of(seed: [u8; 32]) -> Self {
        let mut secret = SecretRng::from_seed(seed);
        // What the session draws before: a policy generator, keys of maps, the peer id, the announce key.
        secret.bytes::<{ 32 + 16 + 12 + 4 }>();
        Keys { rng: secret.fork().fork(), made: BTreeMap::new(), unused: 0 }
    }

    /// The private key of a public one, if it is the engine's.
    pub fn find(&mut self, public: &Key) -> Option<Private> {
        while !self.made.contains_key(public) && self.unused < UNUSED {
            let private = Private::new(&self.rng.bytes());
            self.made.insert(private.public(), private);
            self.unused += 1;
        }
        let found = self.made.remove(public)?;
        self.unused -= 1;
        Some(found)
    }
}

/// One of the two sides of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It dialled.
    Dialler,
    /// It was dialled.
    Dialled,
}

/// An encrypted connection, read from both sides' bytes.
#[derive(Debug)]
pub struct Conversation {
    /// By which infohashes torrents may be named.
    names: Vec<[u8; 20]>,
    secret: Option<Secret>,
    skey: Option<[u8; 20]>,
    provided: Option<u32>,
    selected: Option<u32>,
    dialler: Half,
    dialled: Half,
}

/// What one side has said.
#[derive(Debug, Default)]
struct Half {
    raw: Vec<u8>,
    public: Option<Key>,
    stage: Stage,
    stream: Option<Stream>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The key, and the pad up to what must follow it.
    #[default]
    Sync,
    Head,
    Pad(usize),
    Payload(usize),
    Open,
}

impl Conversation {
    /// Nothing is said yet.
    pub fn new(names: Vec<[u8; 20]>) -> Self {
        Conversation {
            names,
            secret: None,
            skey: None,
            provided: None,
            selected: None,
            dialler: Half::default(),
            dialled: Half::default(),
        }
    }

    /// The key of a side, once it has come.
    pub fn public(&self, side: End) -> Option<&Key> {
        match side {
            End::Dialler => self.dialler.public.as_ref(),
            End::Dialled => self.dialled.public.as_ref(),
        }
    }

    /// What both know is known.
    pub fn knows(&mut self, secret: Secret) {
        self.secret = Some(secret);
    }

    /// Whether it is.
    pub fn is_known(&self) -> bool {
        self.secret.is_some()
    }

    /// What both know.
    pub fn secret(&self) -> Option<&Secret> {
        self.secret.as_ref()
    }

    /// The infohash that the dialling side named.
    pub fn skey(&self) -> Option<[u8; 20]> {
        self.skey
    }

    /// What the dialling side offers, once it has said so to the end.
    pub fn provided(&self) -> Option<u32> {
        self.provided.filter(|_| matches!(self.dialler.stage, Stage::Payload(_) | Stage::Open))
    }

    /// Whether the dialling side has said more than it may before it knows the other's choice.
    pub fn speaks_unanswered(&self) -> bool {
        self.selected.is_none() && self.dialler.stage == Stage::Open && !self.dialler.raw.is_empty()
    }

    /// What the other has chosen of it.
    pub fn selected(&self) -> Option<u32> {
        self.selected
    }

    /// A side says this. What of it the owners of the connection hear.
    pub fn feed(&mut self, side: End, bytes: &[u8]) -> Result<Vec<u8>, String> {
        let half = self.half(side);
        half.raw.extend_from_slice(bytes);
        if half.public.is_none()
            && let Some(public) = half.raw.first_chunk().copied()
        {
            half.public = Some(public);
            half.raw.drain(..KEY_LEN);
        }
        let mut plain = Vec::new();
        while self.step(side, &mut plain)? {}
        Ok(plain)
    }

    fn half(&mut self, side: End) -> &mut Half {
        match side {
            End::Dialler => &mut self.dialler,
            End::Dialled => &mut self.dialled,
        }
    }

    /// Goes one step on with what a side has said; false if that needs more.
    fn step(&mut self, side: End, plain: &mut Vec<u8>) -> Result<bool, String> {
        let Some(secret) = self.secret.clone() else { return Ok(false) };
        let (skey, selected, provided) = (self.skey, self.selected, self.provided);
        let names = self.names.clone();
        let half = self.half(side);
        if half.public.is_none() {
            return Ok(false);
        }
        match (half.stage, side) {
            (Stage::Sync, End::Dialler) => {
                let Some(at) = find(&half.raw, &secret.req1())? else { return Ok(false) };
                let Some(name) = half.raw.get(at + 20..at + 40) else { return Ok(false) };
                let is_named = |skey: &&[u8; 20]| secret.name(skey)[..] == *name;
                let skey = *names.iter().find(is_named).ok_or("names an unknown torrent")?;
                half.raw.drain(..at + 40);
                half.stream = Some(secret.stream(side, &skey));
                half.stage = Stage::Head;
                self.skey = Some(skey);
            }
            (Stage::Sync, End::Dialled) => {
                let Some(skey) = skey else { return Ok(false) };
                let vc = secret.stream(side, &skey).apply(vec![0; 8]);
                let Some(at) = find(&half.raw, &vc)? else { return Ok(false) };
                half.raw.drain(..at);
                half.stream = Some(secret.stream(side, &skey));
                half.stage = Stage::Head;
            }
            (Stage::Head, _) => {
                let Some(head) = half.take(14) else { return Ok(false) };
                let (vc, rest) = head.split_at(8);
                if vc != [0; 8] {
                    return Err("has another verification constant".to_owned());
                }
                let methods = u32::from_be_bytes([rest[0], rest[1], rest[2], rest[3]]);
                let pad = usize::from(u16::from_be_bytes([rest[4], rest[5]]));
                if pad > LONGEST_PAD {
                    return Err(format!("has a pad of {pad} bytes"));
                }
                half.stage = Stage::Pad(pad);
                match side {
                    End::Dialler => self.provided = Some(methods),
                    End::Dialled if ![PLAIN, RC4].contains(&methods) => {
                        return Err(format!("selects {methods:#x}"));
                    }
                    End::Dialled if provided.is_some_and(|offer| offer & methods == 0) => {
                        return Err(format!("selects {methods}, which was not offered"));
                    }
                    End::Dialled => self.selected = Some(methods),
                }
            }
            (Stage::Pad(len), End::Dialler) => {
                let Some(end) = half.take(len + 2) else { return Ok(false) };
                let payload = u16::from_be_bytes([end[len], end[len + 1]]);
                half.stage = Stage::Payload(payload.into());
            }
            (Stage::Pad(len), End::Dialled) => {
                if half.take(len).is_none() {
                    return Ok(false);
                }
                half.stage = Stage::Open;
            }
            (Stage::Payload(0), _) => half.stage = Stage::Open,
            (Stage::Payload(left), _) => {
                let now = left.min(half.raw.len());
                if now == 0 {
                    return Ok(false);
                }
                plain.extend(half.take(now).unwrap_or_default());
                half.stage = Stage::Payload(left - now);
            }
            (Stage::Open, _) => {
                let Some(selected) = selected.filter(|_| !half.raw.is_empty()) else {
                    return Ok(false);
                };
                let raw = std::mem::take(&mut half.raw);
                match &mut half.stream {
                    Some(stream) if selected == RC4 => plain.extend(stream.apply(raw)),
                    _ => plain.extend(raw),
                }
            }
        }
        Ok(true)
    }
}

impl Half {
    /// So many bytes, decrypted, if they are there.
    fn take(&mut self, len: usize) -> Option<Vec<u8>> {
        if self.raw.len() < len {
            return None;
        }
        let raw: Vec<u8> = self.raw.drain(..len).collect();
        Some(self.stream.as_mut()?.apply(raw))
    }
}

/// Where the bytes begin that follow a pad.
fn find(raw: &[u8], wanted: &[u8]) -> Result<Option<usize>, String> {
    let at = raw.windows(wanted.len()).take(LONGEST_PAD + 1).position(|bytes| bytes == wanted);
    match at {
        None if raw.len() >= LONGEST_PAD + wanted.len() => {
            Err("nothing follows its pad".to_owned())
        }
        at => Ok(at),
    }
}
