//! `lt_donthave`: a peer no longer has a piece (BEP 54).
//!
//! Only received here: what we have we keep. Requests for the piece are answered with rejects if
//! the fast extension is on, and are void if it is not.

use crate::piece::PieceIndex;
use crate::wire::Violation;
use crate::wire::extension::Extension;

/// The piece that a message names.
pub fn decode(payload: &[u8]) -> Result<PieceIndex, Violation> {
    match payload.try_into() {
        Ok(index) => Ok(PieceIndex(u32::from_be_bytes(index))),
        Err(_) => Err(Violation::BadExtensionMessage { id: Extension::DontHave.our_id() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_four_bytes() {
        assert_eq!(decode(&[0, 0, 1, 2]), Ok(PieceIndex(0x102)));
        for bad in [&[][..], &[0; 3], &[0; 5]] {
            assert_eq!(decode(bad), Err(Violation::BadExtensionMessage { id: 3 }));
        }
    }
}
