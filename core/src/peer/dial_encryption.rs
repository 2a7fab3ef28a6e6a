//! Whether an address is dialled with encryption: as the policy has it, until it is known what the
//! peer takes.
//!
//! A peer that hangs up before it has answered a byte may want it the other way, which is tried once, at
//! once; so may one that answers our key with a plain handshake. It may as well be full, or know the
//! torrent by no name: then the address has failed, as ever. One that takes what we send and keeps silent
//! has the time that any handshake has, and is dialled the other way when its turn comes again: a
//! connection that is slow is not to be tried twice.

use crate::encryption::EncryptionPolicy;

/// What is known of an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct DialEncryption {
    /// Whether it is to be dialled with encryption, where the policy has nothing against it.
    next: Option<bool>,
    /// Whether that is tried because the other way has just failed.
    is_redial: bool,
    /// Whether the way before was met with silence.
    after_silence: bool,
}

/// One attempt.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Attempt {
    /// Whether it is encrypted.
    pub(crate) encrypted: bool,
    /// Whether the attempt before was the other way, a moment ago.
    pub(crate) is_redial: bool,
    /// Whether it kept silent on the attempt before, which was the other way.
    pub(crate) after_silence: bool,
}

impl DialEncryption {
    /// How the address is dialled now.
    pub(crate) fn attempt(&mut self, policy: EncryptionPolicy) -> Attempt {
        let encrypted = match policy {
            EncryptionPolicy::Off => false,
            EncryptionPolicy::Require => true,
            _ => self.next.unwrap_or(policy.is_preferred()),
        };
        let is_redial = std::mem::take(&mut self.is_redial);
        Attempt { encrypted, is_redial, after_silence: std::mem::take(&mut self.after_silence) }
    }

    /// Whether the next attempt belongs to one that was made.
    pub(crate) fn is_redial(self) -> bool {
        self.is_redial
    }

    /// The peer has shaken hands.
    pub(crate) fn worked(&mut self, attempt: Attempt) {
        self.next = Some(attempt.encrypted);
    }

    /// It hung up before it had answered a byte. Whether it is to be dialled again at once.
    pub(crate) fn hung_up(&mut self, policy: EncryptionPolicy, attempt: Attempt) -> bool {
        if !has_choice(policy) {
            return false;
        }
        // What failed both ways begins as the policy has it.
        self.next = (!attempt.is_redial).then_some(!attempt.encrypted);
        self.is_redial = !attempt.is_redial;
        self.is_redial
    }

    /// It said nothing in time: the other way may do, when its time has come. If it was silent either way,
    /// the torrent's other name may, and the way stays for a start: so each way is tried with each name.
    pub(crate) fn kept_silent(&mut self, policy: EncryptionPolicy, attempt: Attempt) {
        self.after_silence = has_choice(policy) && !attempt.after_silence;
        self.next = Some(attempt.encrypted != self.after_silence);
    }

    /// Whether the other way is to be tried by the same name of the torrent.
    pub(crate) fn is_other_way_due(self) -> bool {
        self.after_silence
    }

    /// Others say that it prefers encryption (BEP 11).
    pub(crate) fn is_said_to_prefer(&mut self) {
        self.next.get_or_insert(true);
    }
}

/// Whether there are two ways.
fn has_choice(policy: EncryptionPolicy) -> bool {
    policy.is_on() && policy.allows_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: [EncryptionPolicy; 2] = [EncryptionPolicy::Allow, EncryptionPolicy::Prefer];

    #[test]
    fn a_refusal_is_redialled_once_the_other_way_and_what_works_is_kept() {
        for policy in BOTH {
            let mut known = DialEncryption::default();
            let first = known.attempt(policy);
            assert_eq!(first.encrypted, policy == EncryptionPolicy::Prefer);
            assert!(!first.is_redial && known.hung_up(policy, first) && known.is_redial());
            let second = known.attempt(policy);
            assert_eq!((second.encrypted, second.is_redial), (!first.encrypted, true));
            let mut refused = known;
            assert!(!refused.hung_up(policy, second), "once");
            assert_eq!(refused.attempt(policy), first, "and then from the beginning");
            known.worked(second);
            let third = known.attempt(policy);
            assert_eq!((third.encrypted, third.is_redial), (second.encrypted, false));
        }
    }

    #[test]
    fn without_a_choice_there_is_no_other_way() {
        for policy in [EncryptionPolicy::Off, EncryptionPolicy::Require] {
            let mut known = DialEncryption::default();
            known.is_said_to_prefer();
            let attempt = known.attempt(policy);
            assert_eq!(attempt.encrypted, policy == EncryptionPolicy::Require);
            assert!(!known.hung_up(policy, attempt));
            known.kept_silent(policy, attempt);
            assert_eq!(known.attempt(policy), attempt);
        }
    }

    #[test]
    fn who_keeps_silent_is_dialled_the_other_way_next_time() {
        let mut known = DialEncryption::default();
        let first = known.attempt(EncryptionPolicy::Prefer);
        known.kept_silent(EncryptionPolicy::Prefer, first);
        let next = known.attempt(EncryptionPolicy::Prefer);
        assert_eq!(next, Attempt { encrypted: false, is_redial: false, after_silence: true });
    }

    #[test]
    fn each_way_is_tried_with_each_of_two_names() {
        for policy in BOTH {
            let (mut known, mut is_other_name) = (DialEncryption::default(), false);
            let mut tried = Vec::new();
            for _ in 0..4 {
                let attempt = known.attempt(policy);
                tried.push((is_other_name, attempt.encrypted));
                known.kept_silent(policy, attempt);
                is_other_name ^= !known.is_other_way_due();
            }
            let of_policy = policy == EncryptionPolicy::Prefer;
            let all =
                [(false, of_policy), (false, !of_policy), (true, !of_policy), (true, of_policy)];
            assert_eq!(tried, all);
        }
        let mut known = DialEncryption::default();
        let attempt = known.attempt(EncryptionPolicy::Require);
        known.kept_silent(EncryptionPolicy::Require, attempt);
        assert!(!known.is_other_way_due(), "there is one way only");
    }

    #[test]
    fn what_others_say_counts_while_nothing_is_known() {
        let mut known = DialEncryption::default();
        known.is_said_to_prefer();
        let attempt = known.attempt(EncryptionPolicy::Allow);
        assert!(attempt.encrypted);
        assert!(known.hung_up(EncryptionPolicy::Allow, attempt));
        known.is_said_to_prefer();
        assert!(!known.attempt(EncryptionPolicy::Allow).encrypted, "it does not take it");
    }
}
