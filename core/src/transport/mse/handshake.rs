//! The handshake of MSE: a machine for each side of a connection.
//!
//! ```text
//! A, who dials                              B, who is dialled
//! Ya PadA                               ->
//!                                       <-  Yb PadB
//! req1, req2 ^ req3,                    ->
//! ENC(VC provide len PadC len), ENC(IA)
//!                                       <-  ENC(VC select len PadD), payload
//! ```
//!
//! Bytes go in as they come, in any chunks with the same result. A step costs constant work for each
//! byte and holds no more of them than it can want: pads have their bounds, and what must come behind a
//! pad is looked for no further than the longest pad. The one step that is dear, the key agreement of
//! who is dialled, waits until the owner calls [`Handshake::agree`].
//!
//! Who is dialled finds out by the first bytes whether the other side speaks MSE at all.

use bytes::{Buf, BytesMut};
use sha1::{Digest, Sha1};

use super::cipher::{Ciphers, Rc4};
use super::key_exchange::{KEY_LEN, PrivateKey};
use super::skeys::{Skeys, hash};
use crate::encryption::Encryption;
use crate::piece::InfoHash;
use crate::random::SecretRng;

/// With what a connection begins that is not encrypted (BEP 3).
const PROTOCOL: &[u8; 20] = b"\x13BitTorrent protocol";
/// Longest pad of any kind, in bytes.
const LONGEST_PAD: usize = 512;
/// Longest pad of ours that is encrypted (chosen: it hides a length and costs a little).
const LONGEST_INNER_PAD: usize = 64;
/// Longest initial payload (IA) that is taken (chosen: a handshake of 68 bytes and some messages).
const LONGEST_PAYLOAD: usize = 4096;
/// The verification constant: so many zeros.
const VC: [u8; 8] = [0; 8];

/// What a stream may be encrypted with behind the handshake: bits of `crypto_provide`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Methods(u32);

impl Methods {
    /// Not at all.
    pub const PLAIN: Methods = Methods(1);
    /// With RC4.
    pub const RC4: Methods = Methods(2);
    /// Either.
    pub const BOTH: Methods = Methods(3);

    fn has(self, other: Methods) -> bool {
        self.0 & other.0 == other.0
    }

    /// What is chosen of what the other side offers: plain where both allow it, which costs nothing.
    fn choose(self, offered: u32) -> Option<Methods> {
        let both = Methods(self.0 & offered);
        [Methods::PLAIN, Methods::RC4].into_iter().find(|method| both.has(*method))
    }
}

/// Why a handshake is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// The peer does not encrypt, and must, or does not answer the key that we have sent.
    Unencrypted,
    /// Its public key is one with which everyone knows the secret.
    BadKey,
    /// What must follow a pad does not come within the longest.
    NoSync,
    /// It names no torrent of ours.
    UnknownTorrent,
    /// The verification constant is another.
    BadVerification,
    /// It offers no method that we take.
    NoMethod,
    /// It chose none or several methods, or one that we did not offer.
    BadChoice,
    /// A pad is too long.
    PadTooLong,
    /// The initial payload is too long.
    PayloadTooLong,
    /// It goes on before it can know the keys.
    TooEarly,
}

/// How far a handshake has come with the bytes it was given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// It waits for more bytes.
    Waits,
    /// The key agreement is due: [`Handshake::agree`] goes on. Said once.
    Agrees,
    /// The side that dials may say what it has: [`Handshake::offer`] goes on. Said once.
    Offers,
    /// It is over: [`Handshake::finish`].
    Done,
}

/// What a handshake has led to.
#[derive(Debug)]
pub struct Established {
    /// How the stream goes on.
    pub encryption: Encryption,
    /// The infohash that was agreed on; of v2 cut short. `None` if the peer does not speak MSE.
    pub skey: Option<InfoHash>,
    /// For what follows, if that is encrypted.
    pub ciphers: Option<Box<Ciphers>>,
    /// What the peer sent behind the handshake, decrypted.
    pub data: BytesMut,
}

/// One side of a handshake.
#[derive(Clone, Debug)]
pub struct Handshake {
    state: State,
    /// The methods that we offer or take.
    methods: Methods,
    /// Whether a peer that does not encrypt is taken.
    takes_unencrypted: bool,
    input: BytesMut,
    output: Vec<u8>,
    /// Length of the pad behind our answer, for the side that is dialled.
    last_pad: usize,
}

#[derive(Clone, Debug)]
enum State {
    // Who dials.
    /// We wait for their key.
    Dialling { private: PrivateKey, skey: InfoHash },
    /// It is our turn to say what we have.
    Offering { secret: Secret, skey: InfoHash },
    /// We look for the verification constant.
    Verifying { keys: Keys, expected: [u8; 8], seen: usize },
    /// We wait for their choice and the length of their pad.
    Choosing { keys: Keys },
    /// We wait for the pad.
    LastPad { keys: Keys, len: usize, method: Methods },

    // Who is dialled.
    /// We do not know whether they speak MSE.
    Detecting,
    /// We wait for their key.
    Dialled,
    /// It has come.
    KeyCame { theirs: [u8; KEY_LEN] },
    /// We look for `req1`.
    Synchronising { secret: Secret, seen: usize },
    /// We wait for the name of the torrent.
    Naming { secret: Secret },
    /// We wait for what they offer and the length of their pad.
    Offered { keys: Keys },
    /// We wait for the pad and the length of the payload.
    Pad { keys: Keys, len: usize, method: Methods },
    /// We wait for the payload.
    Payload { keys: Keys, len: usize, method: Methods },

    /// They do not speak MSE.
    Unencrypted,
    /// It is over.
    Done { keys: Keys, method: Methods, payload: BytesMut },
    /// It was refused.
    Refused(Refusal),
}

/// What both sides know.
#[derive(Clone)]
struct Secret([u8; KEY_LEN]);

/// The torrent and its ciphers.
#[derive(Clone, Debug)]
struct Keys {
    skey: InfoHash,
    ciphers: Box<Ciphers>,
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl Secret {
    fn hash(&self, name: &[u8]) -> [u8; 20] {
        Sha1::new().chain_update(name).chain_update(self.0).finalize().into()
    }

    /// The name of a torrent, between the two sides.
    fn name(&self, hash: [u8; 20]) -> [u8; 20] {
        let mask = self.hash(b"req3");
        std::array::from_fn(|at| hash[at] ^ mask[at])
    }

    /// The ciphers of who dials with key A, of who is dialled with key B.
    fn keys(&self, skey: InfoHash, dials: bool) -> Keys {
        let of = |name: &[u8]| Rc4::keyed([name, &self.0, &skey.0]);
        let (a, b) = (of(b"keyA"), of(b"keyB"));
        let (read, write) = if dials { (b, a) } else { (a, b) };
        Keys { skey, ciphers: Box::new(Ciphers { read, write }) }
    }
}

impl Handshake {
    /// The side that dials, for the torrent of this infohash. [`Handshake::take_output`] has the first
    /// bytes. Of each private key a handshake makes one use.
    pub fn dial(
        skey: InfoHash,
        methods: Methods,
        private: PrivateKey,
        secrets: &mut SecretRng,
    ) -> Self {
        let mut output = private.public().to_vec();
        pad(&mut output, LONGEST_PAD, secrets);
        Handshake {
            state: State::Dialling { private, skey },
            methods,
            takes_unencrypted: false,
            input: BytesMut::new(),
            output,
            last_pad: 0,
        }
    }

    /// The side that is dialled.
    pub fn accept(methods: Methods, takes_unencrypted: bool) -> Self {
        Handshake {
            state: State::Detecting,
            methods,
            takes_unencrypted,
            input: BytesMut::new(),
            output: Vec::new(),
            last_pad: 0,
        }
    }

    /// Bytes have come.
    pub fn receive(&mut self, data: BytesMut, skeys: &Skeys) -> Result<Step, Refusal> {
        if !self.input.is_empty() {
            self.input.extend_from_slice(&data);
            return self.run(Some(skeys));
        }
        self.input = data;
        let step = self.run(Some(skeys));
        if step != Ok(Step::Done) {
            // The few bytes that are kept do not keep a whole read buffer.
            self.input = BytesMut::from(&self.input[..]);
        }
        step
    }

    /// The side that is dialled computes its keys.
    pub fn agree(
        &mut self,
        private: &PrivateKey,
        skeys: &Skeys,
        secrets: &mut SecretRng,
    ) -> Result<Step, Refusal> {
        let State::KeyCame { theirs } = &self.state else { return self.run(Some(skeys)) };
        let Some(secret) = private.agree(theirs).map(Secret) else {
            return self.refuse(Refusal::BadKey);
        };
        self.output.extend_from_slice(&private.public());
        pad(&mut self.output, LONGEST_PAD, secrets);
        self.last_pad = inner_pad_len(secrets);
        self.state = State::Synchronising { secret, seen: 0 };
        self.run(Some(skeys))
    }

    /// Whether [`Handshake::offer`] is to be called.
    pub fn is_offering(&self) -> bool {
        matches!(self.state, State::Offering { .. })
    }

    /// The side that dials says what it has, with the first bytes of its stream (the initial payload),
    /// at most 4,096 to be sure that they are taken.
    pub fn offer(&mut self, payload: &[u8], secrets: &mut SecretRng) -> Result<Step, Refusal> {
        let State::Offering { secret, skey } = &self.state else { return self.run(None) };
        let mut keys = secret.keys(*skey, true);
        self.output.extend_from_slice(&secret.hash(b"req1"));
        self.output.extend_from_slice(&secret.name(hash(*skey)));
        let start = self.output.len();
        self.output.extend_from_slice(&VC);
        self.output.extend_from_slice(&self.methods.0.to_be_bytes());
        inner_pad(&mut self.output, inner_pad_len(secrets));
        let (payload, _) = payload.split_at(payload.len().min(u16::MAX.into()));
        self.output.extend_from_slice(&(payload.len() as u16).to_be_bytes());
        self.output.extend_from_slice(payload);
        keys.ciphers.write.apply(&mut self.output[start..]);
        let mut expected = VC;
        keys.ciphers.read.apply(&mut expected);
        self.state = State::Verifying { keys, expected, seen: 0 };
        self.run(None)
    }

    /// Whether the other side has sent a key, as who does not speak MSE never does.
    pub fn has_their_key(&self) -> bool {
        !matches!(
            self.state,
            State::Dialling { .. }
                | State::Detecting
                | State::Dialled
                | State::Unencrypted
                | State::Refused(Refusal::Unencrypted)
        )
    }

    /// Whether there are bytes to send.
    pub fn has_output(&self) -> bool {
        !self.output.is_empty()
    }

    /// The bytes to send, in order.
    pub fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.output)
    }

    /// What it has led to; `None` before it is [`Step::Done`].
    pub fn finish(&mut self) -> Option<Established> {
        let state = std::mem::replace(&mut self.state, State::Unencrypted);
        let mut data = std::mem::take(&mut self.input);
        match state {
            State::Done { mut keys, method, mut payload } => {
                let encrypted = method == Methods::RC4;
                if encrypted {
                    keys.ciphers.read.apply(&mut data);
                }
                payload.unsplit(data);
                Some(Established {
                    encryption: if encrypted { Encryption::Rc4 } else { Encryption::Handshake },
                    skey: Some(keys.skey),
                    ciphers: encrypted.then_some(keys.ciphers),
                    data: payload,
                })
            }
            State::Unencrypted => Some(Established {
                encryption: Encryption::None,
                skey: None,
                ciphers: None,
                data: std::mem::take(&mut data),
            }),
            state => {
                (self.state, self.input) = (state, data);
                None
            }
        }
    }

    // Steps.

    fn refuse(&mut self, why: Refusal) -> Result<Step, Refusal> {
        self.state = State::Refused(why);
        self.input.clear();
        Err(why)
    }

    /// Goes on as far as the bytes go that have come.
    fn run(&mut self, skeys: Option<&Skeys>) -> Result<Step, Refusal> {
        loop {
            match self.advance(skeys) {
                Ok(None) => {}
                Ok(Some(step)) => return Ok(step),
                Err(why) => return self.refuse(why),
            }
        }
    }

    /// One step; `None`: there may be another.
    fn advance(&mut self, skeys: Option<&Skeys>) -> Result<Option<Step>, Refusal> {
        const WAITS: Result<Option<Step>, Refusal> = Ok(Some(Step::Waits));
        // Only states that are left have to be taken apart.
        match &mut self.state {
            State::Detecting => {
                let same = self.input.iter().zip(PROTOCOL).take_while(|(a, b)| a == b).count();
                if same == PROTOCOL.len() {
                    if !self.takes_unencrypted {
                        return Err(Refusal::Unencrypted);
                    }
                    self.state = State::Unencrypted;
                } else if same < self.input.len() {
                    self.state = State::Dialled;
                } else {
                    return WAITS;
                }
            }
            State::Dialled => {
                let Some(theirs) = self.take() else { return WAITS };
                self.state = State::KeyCame { theirs };
                return Ok(Some(Step::Agrees));
            }
            State::Dialling { private, skey } => {
                let (private, skey) = (private.clone(), *skey);
                // Some greet every connection with a plain handshake. No key begins like that.
                if self.input.starts_with(PROTOCOL) {
                    return Err(Refusal::Unencrypted);
                }
                let Some(theirs) = self.take() else { return WAITS };
                let secret = private.agree(&theirs).map(Secret).ok_or(Refusal::BadKey)?;
                self.state = State::Offering { secret, skey };
                return Ok(Some(Step::Offers));
            }
            // Nobody can say more than a pad before the other side has said its part.
            State::KeyCame { .. } if self.input.len() > LONGEST_PAD => {
                return Err(Refusal::NoSync);
            }
            State::Offering { .. } if self.input.len() > LONGEST_PAD => {
                return Err(Refusal::TooEarly);
            }
            State::KeyCame { .. } | State::Offering { .. } => return WAITS,
            State::Verifying { expected, seen, .. } => {
                let Some(at) = find(&self.input, expected, seen)? else { return WAITS };
                self.input.advance(at);
                let State::Verifying { keys, .. } = self.leave() else { return WAITS };
                self.state = State::Choosing { keys };
            }
            State::Choosing { .. } => {
                let Some(mut bytes) = self.take::<6>() else { return WAITS };
                let State::Choosing { mut keys } = self.leave() else { return WAITS };
                keys.ciphers.read.apply(&mut bytes);
                let [a, b, c, d, pad @ ..] = bytes;
                let method = Methods(u32::from_be_bytes([a, b, c, d]));
                let is_one = method == Methods::PLAIN || method == Methods::RC4;
                if !is_one || !self.methods.has(method) {
                    return Err(Refusal::BadChoice);
                }
                let len = pad_len(pad)?;
                self.state = State::LastPad { keys, len, method };
            }
            State::LastPad { len, .. } => {
                let len = *len;
                if self.input.len() < len {
                    return WAITS;
                }
                let State::LastPad { mut keys, method, .. } = self.leave() else { return WAITS };
                keys.ciphers.read.apply(&mut self.input.split_to(len));
                self.state = State::Done { keys, method, payload: BytesMut::new() };
            }
            State::Synchronising { secret, seen } => {
                let expected = secret.hash(b"req1");
                let Some(at) = find(&self.input, &expected, seen)? else { return WAITS };
                self.input.advance(at);
                let State::Synchronising { secret, .. } = self.leave() else { return WAITS };
                self.state = State::Naming { secret };
            }
            State::Naming { .. } => {
                let Some(name) = self.take() else { return WAITS };
                let State::Naming { secret } = self.leave() else { return WAITS };
                let skey = skeys.and_then(|skeys| skeys.get(&secret.name(name)));
                let skey = skey.ok_or(Refusal::UnknownTorrent)?;
                self.state = State::Offered { keys: secret.keys(skey, false) };
            }
            State::Offered { .. } => {
                let Some(mut bytes) = self.take::<14>() else { return WAITS };
                let State::Offered { mut keys } = self.leave() else { return WAITS };
                keys.ciphers.read.apply(&mut bytes);
                let [vc @ .., a, b, c, d, e, f] = bytes;
                if vc != VC {
                    return Err(Refusal::BadVerification);
                }
                let offered = u32::from_be_bytes([a, b, c, d]);
                let method = self.methods.choose(offered).ok_or(Refusal::NoMethod)?;
                let len = pad_len([e, f])?;
                self.state = State::Pad { keys, len, method };
            }
            State::Pad { len, .. } => {
                let len = *len;
                if self.input.len() < len + 2 {
                    return WAITS;
                }
                let State::Pad { mut keys, method, .. } = self.leave() else { return WAITS };
                keys.ciphers.read.apply(&mut self.input.split_to(len));
                let Some(mut bytes) = self.take() else { return WAITS };
                keys.ciphers.read.apply(&mut bytes);
                let len = usize::from(u16::from_be_bytes(bytes));
                if len > LONGEST_PAYLOAD {
                    return Err(Refusal::PayloadTooLong);
                }
                self.state = State::Payload { keys, len, method };
            }
            State::Payload { len, .. } => {
                let len = *len;
                if self.input.len() < len {
                    return WAITS;
                }
                let State::Payload { mut keys, method, .. } = self.leave() else { return WAITS };
                let mut payload = self.input.split_to(len);
                keys.ciphers.read.apply(&mut payload);
                self.answer(&mut keys, method);
                self.state = State::Done { keys, method, payload };
            }
            State::Done { .. } | State::Unencrypted => return Ok(Some(Step::Done)),
            State::Refused(why) => return Err(*why),
        }
        Ok(None)
    }

    /// The side that is dialled says what it has chosen.
    fn answer(&mut self, keys: &mut Keys, method: Methods) {
        let start = self.output.len();
        self.output.extend_from_slice(&VC);
        self.output.extend_from_slice(&method.0.to_be_bytes());
        inner_pad(&mut self.output, self.last_pad);
        keys.ciphers.write.apply(&mut self.output[start..]);
    }

    /// The state, to be followed by another.
    fn leave(&mut self) -> State {
        std::mem::replace(&mut self.state, State::Refused(Refusal::TooEarly))
    }

    /// The next bytes, once all of them are there.
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let bytes = *self.input.first_chunk()?;
        self.input.advance(N);
        Some(bytes)
    }
}

/// Random bytes, so many at random.
fn pad(out: &mut Vec<u8>, longest: usize, secrets: &mut SecretRng) {
    let len = secrets.next_u32() as usize % (longest + 1);
    let start = out.len();
    out.resize(start + len, 0);
    secrets.fill(&mut out[start..]);
}

/// A pad that is encrypted, behind its length.
fn inner_pad(out: &mut Vec<u8>, len: usize) {
    out.extend_from_slice(&(len as u16).to_be_bytes());
    out.resize(out.len() + len, 0);
}

fn inner_pad_len(secrets: &mut SecretRng) -> usize {
    secrets.next_u32() as usize % (LONGEST_INNER_PAD + 1)
}

fn pad_len(bytes: [u8; 2]) -> Result<usize, Refusal> {
    let len = usize::from(u16::from_be_bytes(bytes));
    if len > LONGEST_PAD { Err(Refusal::PadTooLong) } else { Ok(len) }
}

/// Where the bytes end that follow a pad: they begin at 512 at the latest. `seen` is how many
/// beginnings were looked at before, so that none is twice.
fn find(input: &[u8], wanted: &[u8], seen: &mut usize) -> Result<Option<usize>, Refusal> {
    while let Some(bytes) = input.get(*seen..*seen + wanted.len()) {
        if bytes == wanted {
            return Ok(Some(*seen + wanted.len()));
        }
        if *seen == LONGEST_PAD {
            return Err(Refusal::NoSync);
        }
        *seen += 1;
    }
    Ok(None)
}

#[cfg(test)]
mod tests;
