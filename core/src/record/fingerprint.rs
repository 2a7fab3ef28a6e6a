//! What a run came to: equal for equal runs.

use std::fmt::{self, Write};
use std::hash::Hasher;

use serde::{Deserialize, Serialize};
use siphasher::sip128::{Hasher128, SipHasher13};

use super::encode::append;
use crate::action::Action;
use crate::segments::Segments;

/// Hashes of all that went into an engine and of all that came out, in order.
///
/// Inputs (with what they returned) and actions are hashed apart, because a host may make further
/// calls before it has drained all actions of an earlier one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Fingerprint {
    /// How many inputs there were.
    pub inputs: u64,
    /// How many actions there were.
    pub actions: u64,
    /// Hash of the inputs, their times, and what they returned.
    pub inputs_hash: u128,
    /// Hash of the actions.
    pub actions_hash: u128,
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Fingerprint { inputs, actions, inputs_hash, actions_hash } = self;
        write!(f, "{inputs_hash:032x}/{actions_hash:032x} ({inputs} inputs, {actions} actions)")
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A fingerprint in the making.
#[derive(Clone, Debug, Default)]
pub(super) struct Fingerprinter {
    inputs: u64,
    actions: u64,
    // Without secret keys: nobody gains by a collision of two of his own runs.
    inputs_hash: SipHasher13,
    actions_hash: SipHasher13,
    scratch: Vec<u8>,
}

impl Fingerprinter {
    /// An input and its time, in serialised form.
    pub(super) fn input(&mut self, encoded: &[u8]) {
        self.inputs += 1;
        self.inputs_hash.write(&(encoded.len() as u64).to_le_bytes());
        self.inputs_hash.write(encoded);
    }

    /// What the input returned.
    pub(super) fn answer(&mut self, answer: &dyn fmt::Debug) {
        let mut sink = Sink(&mut self.inputs_hash);
        write!(sink, "{answer:?}").expect("hashing does not fail");
    }

    /// The bytes that an input returned.
    pub(super) fn bytes(&mut self, bytes: &mut Segments) {
        self.inputs_hash.write(&(bytes.len() as u64).to_le_bytes());
        bytes.iter().for_each(|part| self.inputs_hash.write(part));
    }

    /// An action that was polled.
    pub(super) fn action(&mut self, action: &Action) {
        self.actions += 1;
        self.scratch.clear();
        // A path that is not Unicode has no serialised form; such an action counts as far as it has
        // one, which is the same in every run.
        let whole = append(&mut self.scratch, action).is_ok();
        self.actions_hash.write(&(self.scratch.len() as u64).to_le_bytes());
        self.actions_hash.write(&self.scratch);
        self.actions_hash.write(&[u8::from(whole)]);
    }

    /// How many inputs there were.
    pub(super) fn inputs(&self) -> u64 {
        self.inputs
    }

    pub(super) fn fingerprint(&self) -> Fingerprint {
        Fingerprint {
            inputs: self.inputs,
            actions: self.actions,
            inputs_hash: self.inputs_hash.finish128().as_u128(),
            actions_hash: self.actions_hash.finish128().as_u128(),
        }
    }
}

/// Text that is hashed as it is written.
struct Sink<'a>(&'a mut SipHasher13);

impl fmt::Write for Sink<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.write(text.as_bytes());
        Ok(())
    }
}
