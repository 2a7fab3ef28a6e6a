//! One end of an encrypted connection, for scripts: it speaks MSE well, or lies in one point.

use super::super::dice::Dice;
use super::super::mse::{
    Conversation, End, KEY_LEN, Key, LONGEST_PAD, PLAIN, PROTOCOL, Private, RC4, Secret, Stream,
};

/// Most bytes of the owner's in the handshake.
const LONGEST_PAYLOAD: usize = 4096;

/// In which point a peer lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lie {
    /// Its key is one with which everyone knows the secret.
    BadKey,
    /// Nothing follows its first pad, which goes on.
    EndlessPad,
    /// The verification constant is another.
    WrongVc,
    /// It offers nothing, or selects both.
    BadMethods,
    /// Its second pad is too long.
    LongPad,
    /// The side that dials names a torrent that there is not.
    OtherTorrent,
}

impl Lie {
    /// All of them.
    pub const ALL: [Lie; 6] = [
        Lie::BadKey,
        Lie::EndlessPad,
        Lie::WrongVc,
        Lie::BadMethods,
        Lie::LongPad,
        Lie::OtherTorrent,
    ];
}

/// What came of bytes that came in.
#[derive(Debug, Default)]
pub struct Heard {
    /// For the owner of the connection.
    pub plain: Vec<u8>,
    /// To be sent at once.
    pub reply: Vec<u8>,
}

/// Why a connection is to be reset.
#[derive(Debug)]
pub enum Refused {
    /// The other side does not encrypt.
    Unencrypted,
    /// It does so wrongly.
    Wrong(String),
}

/// One end.
#[derive(Debug)]
pub struct Endpoint {
    side: End,
    conversation: Conversation,
    dice: Dice,
    private: Private,
    /// What it names the torrent by, if it dials.
    skey: [u8; 20],
    /// The methods that it offers or takes.
    methods: u32,
    takes_plain: bool,
    lie: Option<Lie>,
    stage: Stage,
    /// What the owner has said and may not leave yet.
    waiting: Vec<u8>,
    stream: Option<Stream>,
    first: Vec<u8>,
    /// Bytes that came.
    heard: usize,
    has_answered: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// It was dialled and does not know whether the other side encrypts.
    Detecting,
    /// The keys are exchanged.
    Keys,
    /// It has said its part, or waits for the other's.
    Agreeing,
    Open,
    /// The other side does not encrypt.
    Plain,
}

impl Endpoint {
    /// The end that dials, for the torrent of this infohash; it offers these methods.
    pub fn dial(mut dice: Dice, skey: [u8; 20], methods: u32) -> Self {
        let private = private(&mut dice);
        Endpoint {
            side: End::Dialler,
            conversation: Conversation::new(vec![skey]),
            dice,
            private,
            skey,
            methods,
            takes_plain: false,
            lie: None,
            stage: Stage::Keys,
            waiting: Vec::new(),
            stream: None,
            first: Vec::new(),
            heard: 0,
            has_answered: false,
        }
    }

    /// The end that is dialled, for torrents of these infohashes.
    pub fn accept(mut dice: Dice, names: Vec<[u8; 20]>, methods: u32, takes_plain: bool) -> Self {
        let private = private(&mut dice);
        Endpoint {
            side: End::Dialled,
            conversation: Conversation::new(names),
            dice,
            private,
            skey: [0; 20],
            methods,
            takes_plain,
            lie: None,
            stage: Stage::Detecting,
            waiting: Vec::new(),
            stream: None,
            first: Vec::new(),
            heard: 0,
            has_answered: false,
        }
    }

    /// The same, but it lies.
    pub fn lying(mut self, lie: Lie) -> Self {
        self.lie = Some(lie);
        self
    }

    /// Whether the connection is encrypted, as far as is known.
    pub fn is_mse(&self) -> bool {
        self.stage != Stage::Plain
    }

    /// Whether the other side goes on though it was lied to.
    pub fn is_believed(&self) -> bool {
        match (self.lie, self.side) {
            (None, _) => false,
            (Some(Lie::BadKey), End::Dialler) => self.heard > 0,
            // Its key and its pad had left before.
            (Some(Lie::BadKey), End::Dialled) => {
                self.is_mse() && self.heard > KEY_LEN + LONGEST_PAD
            }
            (_, End::Dialler) => self.conversation.selected().is_some(),
            (_, End::Dialled) => self.conversation.speaks_unanswered(),
        }
    }

    /// What it says first.
    pub fn begin(&mut self) -> Vec<u8> {
        if self.side == End::Dialler { self.say_key() } else { Vec::new() }
    }

    /// The owner says this; what may leave now.
    pub fn seal(&mut self, bytes: &[u8]) -> Vec<u8> {
        match (self.stage, &mut self.stream) {
            (Stage::Plain, _) => bytes.to_vec(),
            (Stage::Open, Some(stream)) => stream.apply(bytes.to_vec()),
            (Stage::Open, None) => bytes.to_vec(),
            _ => {
                self.waiting.extend_from_slice(bytes);
                Vec::new()
            }
        }
    }

    /// The other side says this.
    pub fn receive(&mut self, bytes: &[u8]) -> Result<Heard, Refused> {
        match self.hear(bytes) {
            // It began.
            Err(Refused::Wrong(_)) if self.lie.is_some() => Ok(Heard::default()),
            heard => heard,
        }
    }

    fn hear(&mut self, bytes: &[u8]) -> Result<Heard, Refused> {
        let mut heard = Heard::default();
        self.heard += bytes.len();
        let mut bytes = bytes.to_vec();
        if self.stage == Stage::Plain {
            heard.plain = bytes;
            return Ok(heard);
        }
        if self.stage == Stage::Detecting {
            self.first.extend(bytes);
            let same = self.first.iter().zip(PROTOCOL).take_while(|(a, b)| a == b).count();
            if same == PROTOCOL.len() && !self.takes_plain {
                return Err(Refused::Unencrypted);
            } else if same == PROTOCOL.len() {
                self.stage = Stage::Plain;
                heard.plain = std::mem::take(&mut self.first);
                heard.reply = std::mem::take(&mut self.waiting);
                return Ok(heard);
            } else if same == self.first.len() {
                return Ok(heard);
            }
            self.stage = Stage::Keys;
            bytes = std::mem::take(&mut self.first);
        }
        let theirs = match self.side {
            End::Dialler => End::Dialled,
            End::Dialled => End::Dialler,
        };
        heard.plain = self.conversation.feed(theirs, &bytes).map_err(Refused::Wrong)?;
        if self.stage == Stage::Keys
            && let Some(key) = self.conversation.public(theirs)
        {
            let secret = self.private.secret(key);
            self.conversation.knows(secret.clone());
            self.stage = Stage::Agreeing;
            let said = match self.side {
                End::Dialler => self.offer(&secret),
                End::Dialled => self.say_key(),
            };
            self.note(&said);
            heard.reply.extend(said);
        }
        // What came behind the key, and what the other side said in the same breath.
        heard.plain.extend(self.conversation.feed(theirs, &[]).map_err(Refused::Wrong)?);
        if self.stage == Stage::Agreeing {
            self.agree(&mut heard.reply);
            heard.plain.extend(self.conversation.feed(theirs, &[]).map_err(Refused::Wrong)?);
        }
        Ok(heard)
    }

    /// Goes on once the other side has said what it offers or has chosen.
    fn agree(&mut self, reply: &mut Vec<u8>) {
        if self.lie == Some(Lie::EndlessPad) {
            reply.extend(self.dice.bytes(LONGEST_PAD));
            return;
        }
        if self.side == End::Dialled && !self.has_answered {
            let Some(offered) = self.conversation.provided() else { return };
            let (Some(secret), Some(skey)) =
                (self.conversation.secret().cloned(), self.conversation.skey())
            else {
                return;
            };
            let both = offered & self.methods;
            let chosen = if both & PLAIN > 0 { PLAIN } else { RC4 };
            let mut stream = secret.stream(End::Dialled, &skey);
            let said = self.head(if self.lie == Some(Lie::BadMethods) { 3 } else { chosen });
            let said = stream.apply(said);
            self.stream = Some(stream);
            self.has_answered = true;
            self.note(&said);
            reply.extend(said);
        }
        let Some(selected) = self.conversation.selected() else {
            if self.has_answered {
                // Who takes the lie hears a peer that goes on as if nothing were.
                reply.append(&mut self.waiting);
            }
            return;
        };
        self.stage = Stage::Open;
        if selected == PLAIN {
            self.stream = None;
        }
        let waiting = std::mem::take(&mut self.waiting);
        reply.extend(self.seal(&waiting));
    }

    /// What it says itself is part of the conversation. That it lies is no news to it.
    fn note(&mut self, said: &[u8]) {
        let noted = self.conversation.feed(self.side, said);
        debug_assert!(noted.is_ok() || self.lie.is_some(), "{noted:?}");
    }

    fn say_key(&mut self) -> Vec<u8> {
        let mut said = match self.lie {
            Some(Lie::BadKey) => self.bad_key().to_vec(),
            _ => self.private.public().to_vec(),
        };
        let pad = self.dice.index(LONGEST_PAD + 1);
        said.extend(self.dice.bytes(pad));
        if self.side == End::Dialler {
            self.note(&said);
        }
        said
    }

    fn bad_key(&mut self) -> Key {
        let mut key = [[0; KEY_LEN], [0xff; KEY_LEN]][self.dice.index(2)];
        if key[0] == 0 {
            key[KEY_LEN - 1] = self.dice.index(2) as u8;
        }
        key
    }

    /// What the dialling end says when it has the other's key.
    fn offer(&mut self, secret: &Secret) -> Vec<u8> {
        if self.lie == Some(Lie::EndlessPad) {
            return self.dice.bytes(LONGEST_PAD);
        }
        let mut named = self.skey;
        named[0] ^= u8::from(self.lie == Some(Lie::OtherTorrent));
        let mut said = [secret.req1(), secret.name(&named)].concat();
        let mut stream = secret.stream(End::Dialler, &self.skey);
        let mut sealed =
            self.head(if self.lie == Some(Lie::BadMethods) { 0 } else { self.methods });
        // Some say nothing of their own before they are answered.
        let most = if self.dice.chance(500) { LONGEST_PAYLOAD } else { 0 };
        let payload = self.waiting.len().min(most);
        sealed.extend((payload as u16).to_be_bytes());
        sealed.extend(self.waiting.drain(..payload));
        said.extend(stream.apply(sealed));
        self.stream = Some(stream);
        said
    }

    /// Verification constant, methods, and a pad behind its length.
    fn head(&mut self, methods: u32) -> Vec<u8> {
        let mut head = vec![0; 8];
        if self.lie == Some(Lie::WrongVc) {
            head[7] = 1;
        }
        head.extend(methods.to_be_bytes());
        let pad = match self.lie {
            Some(Lie::LongPad) => LONGEST_PAD + 1 + self.dice.index(1000),
            _ => self.dice.index(LONGEST_PAD + 1),
        };
        head.extend((pad as u16).to_be_bytes());
        head.extend(self.dice.bytes(pad));
        head
    }
}

fn private(dice: &mut Dice) -> Private {
    let random: [u8; 20] = dice.bytes(20).try_into().expect("20 bytes");
    Private::new(&random)
}
