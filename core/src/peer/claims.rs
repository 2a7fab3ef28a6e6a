//! Claims about the whole torrent: `have all` and `have none` (BEP 6).
//!
//! Each is five bytes long and concerns every piece, and BEP 6 has one of them as the first message of a
//! connection. So each counts once per connection, and is left out when it comes again (defence 40). A
//! bitfield is as long as the torrent has pieces, and counts each time.

/// Which of the claims a peer has made.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct WholeClaims {
    all: bool,
    none: bool,
}

/// What a peer says of all pieces at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum WholeClaim {
    /// It has all.
    All,
    /// It has none.
    None,
}

impl WholeClaims {
    /// A peer makes a claim; whether it counts.
    pub(crate) fn make(&mut self, claim: WholeClaim) -> bool {
        let made = match claim {
            WholeClaim::All => &mut self.all,
            WholeClaim::None => &mut self.none,
        };
        !std::mem::replace(made, true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_claim_counts_once_in_either_order() {
        let mut claims = WholeClaims::default();
        assert!(claims.make(WholeClaim::None) && claims.make(WholeClaim::All));
        let again = [WholeClaim::None, WholeClaim::All, WholeClaim::All, WholeClaim::None];
        assert!(again.into_iter().all(|claim| !claims.make(claim)));
    }
}
