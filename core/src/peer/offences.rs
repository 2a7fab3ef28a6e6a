//! Which breaches of the protocol end a connection, and which are ignored.
//!
//! A peer that breaks a rule may be the only one that has the torrent. Where its bytes can still be told
//! apart into messages, and the message that is wrong can be left out as if it had never come, it is left
//! out; so often, that is, as costs us nothing. A stream that makes no sense, and another torrent, end
//! the connection. For bytes that we did not request there is [`Waste`](super::waste::Waste).

use crate::wire::Violation;

/// Messages left out before the connection ends all the same (chosen: no client is that odd).
const MOST_IGNORED: u32 = 100;

/// What a peer has done wrong on this connection and was forgiven.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Offences {
    ignored: u32,
}

impl Offences {
    /// Whether a message is left out, and the connection goes on.
    pub(crate) fn forgives(&mut self, violation: Violation) -> bool {
        if !is_harmless(violation) || self.ignored >= MOST_IGNORED {
            return false;
        }
        self.ignored += 1;
        true
    }

    /// Whether one message was left out so far.
    pub(crate) fn is_first(&self) -> bool {
        self.ignored == 1
    }
}

/// Whether nothing but one message is lost by it.
fn is_harmless(violation: Violation) -> bool {
    match violation {
        Violation::PieceOutOfRange { .. }
        | Violation::BlockOutOfRange { .. }
        | Violation::RequestTooLong(_)
        | Violation::RequestForMissing(_)
        | Violation::ExtensionNotNegotiated
        | Violation::BadExtensionHandshake
        | Violation::BadExtensionMessage { .. }
        | Violation::UnrequestedReject(_) => true,
        // The rest of the stream means nothing, or it is of something else, or our seeds would send what
        // the other side cannot know.
        Violation::BadProtocolName
        | Violation::WrongInfoHash
        | Violation::MessageTooLong { .. }
        | Violation::BadLength { .. }
        | Violation::BadBitfield
        | Violation::V2NotNegotiated { .. }
        // These say that a bound was passed.
        | Violation::TooManyRequests
        | Violation::UnrequestedBlock(_)
        | Violation::Flood { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_left_out_is_forgiven_so_often_and_no_more() {
        let mut offences = Offences::default();
        let odd = Violation::BadExtensionMessage { id: 2 };
        let forgiven = (0..1000).filter(|_| offences.forgives(odd)).count();
        assert_eq!(forgiven, MOST_IGNORED as usize);
    }

    #[test]
    fn a_stream_that_makes_no_sense_is_not_forgiven() {
        let mut offences = Offences::default();
        assert!(!offences.forgives(Violation::BadLength { id: 0, length: 2 }));
        assert!(!offences.forgives(Violation::WrongInfoHash));
        assert!(!offences.forgives(Violation::Flood { id: 20 }));
    }
}
