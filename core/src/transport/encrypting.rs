//! What the encryption of all streams shares: the policy, the names of torrents, randomness, and how
//! often keys are agreed on.
//!
//! A key agreement is dear, and strangers call for it: there are so many in a second, and a peer that
//! dials later waits in line.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use super::mse::key_exchange::PrivateKey;
use super::mse::{Handshake, Methods, Refusal, Skeys, Step};
use super::stream::{Cipher, Role, Stage};
use crate::encryption::EncryptionPolicy;
use crate::id::ConnId;
use crate::map::HashKeys;
use crate::piece::InfoHash;
use crate::random::SecretRng;
use crate::rate::PerSecond;
use crate::segments::Segments;
use crate::time::Instant;
use crate::timer::TimerId;

/// Key agreements with peers that dial us, in a second (chosen: 0.13 ms each, 2.6 % of a processor).
const AGREEMENTS: u32 = 200;

/// What the encryption of all streams shares.
#[derive(Debug)]
pub(super) struct Encrypting {
    policy: EncryptionPolicy,
    pub(super) skeys: Skeys,
    /// Makes the private keys and nothing else: who knows the seed, as the simulator does, can follow it
    /// by the public keys that leave.
    keys: SecretRng,
    secrets: SecretRng,
    /// The agreements of this second.
    agreed: PerSecond,
    /// Who waits for the next one.
    waiting: VecDeque<ConnId>,
    pub(super) timer: TimerId,
    /// What is encrypted before it is sent.
    buffer: BytesMut,
}

impl Encrypting {
    /// Nobody is encrypted yet; `timer` is for [`Transport::handle_agreements_due`].
    pub(super) fn new(
        policy: EncryptionPolicy,
        mut secrets: SecretRng,
        hash_keys: HashKeys,
        timer: TimerId,
    ) -> Self {
        Encrypting {
            policy,
            skeys: Skeys::new(hash_keys),
            keys: secrets.fork(),
            secrets,
            agreed: PerSecond::default(),
            waiting: VecDeque::new(),
            timer,
            buffer: BytesMut::new(),
        }
    }

    /// A torrent may be named by this infohash from now on.
    pub(super) fn add_skey(&mut self, infohash: InfoHash) {
        if self.policy.is_on() {
            self.skeys.insert(infohash);
        }
    }

    /// It may not any more.
    pub(super) fn remove_skey(&mut self, infohash: InfoHash) {
        self.skeys.remove(infohash);
    }

    /// How a stream begins that a peer has opened.
    pub(super) fn incoming(&self, role: Role) -> Stage {
        if role == Role::Incoming && self.policy.is_on() {
            let takes_unencrypted = self.policy.allows_none();
            Stage::Mse(Box::new(Handshake::accept(self.methods(), takes_unencrypted)))
        } else {
            Stage::Open
        }
    }

    /// A handshake with a peer that we dial.
    pub(super) fn dial(&mut self, skey: InfoHash) -> Handshake {
        let private = PrivateKey::new(self.keys.bytes());
        Handshake::dial(skey, self.methods(), private, &mut self.secrets)
    }

    /// Keys are agreed on with a peer that has dialled us.
    pub(super) fn agree(&mut self, handshake: &mut Handshake) -> Result<Step, Refusal> {
        let private = PrivateKey::new(self.keys.bytes());
        handshake.agree(&private, &self.skeys, &mut self.secrets)
    }

    /// What we offer and take.
    fn methods(&self) -> Methods {
        if self.policy.allows_none() { Methods::BOTH } else { Methods::RC4 }
    }

    /// Whether keys may be agreed on with this peer now; if not, it waits in line, until the time that
    /// is returned.
    pub(super) fn may_agree(&mut self, conn: ConnId, now: Instant) -> Result<(), Instant> {
        if self.waiting.is_empty() && self.admits(now) {
            return Ok(());
        }
        self.waiting.push_back(conn);
        Err(self.next_at())
    }

    /// The first in line, if keys may be agreed on with it now.
    pub(super) fn next_in_line(
        &mut self,
        now: Instant,
        is_here: impl Fn(ConnId) -> bool,
    ) -> Option<ConnId> {
        // Who has left meanwhile costs nothing.
        while self.waiting.front().is_some_and(|conn| !is_here(*conn)) {
            self.waiting.pop_front();
        }
        if self.waiting.is_empty() || !self.admits(now) { None } else { self.waiting.pop_front() }
    }

    /// Whether anybody waits.
    pub(super) fn has_line(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// When there may be more agreements.
    pub(super) fn next_at(&self) -> Instant {
        self.agreed.next_at()
    }

    /// Whether there may be another agreement now.
    fn admits(&mut self, now: Instant) -> bool {
        self.agreed.admit(now, AGREEMENTS)
    }

    /// The bytes, encrypted, in a buffer of their own: what they are shared with stays as it is.
    pub(super) fn encrypt(&mut self, cipher: &mut Cipher, clear: &mut Segments) -> Bytes {
        self.buffer.reserve(clear.len());
        for part in clear.iter() {
            self.buffer.extend_from_slice(part);
        }
        if let Cipher::Rc4(ciphers) = cipher {
            ciphers.write.apply(&mut self.buffer);
        }
        self.buffer.split().freeze()
    }

    /// The side of the handshake that dials says what it has, with the owner's first bytes.
    pub(super) fn offer(&mut self, handshake: &mut Handshake, payload: &[u8]) -> Vec<u8> {
        // What is wrong with what came before is found when the next bytes come.
        let step = handshake.offer(payload, &mut self.secrets);
        debug_assert!(step != Ok(Step::Done), "the other side has not answered");
        handshake.take_output()
    }
}
