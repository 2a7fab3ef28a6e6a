//! How much an engine looks at for what it receives: at most so many things a byte, and some for each
//! connection and input (defence 40).

/// Things that may be looked at for each byte received.
const A_BYTE: u64 = 64;
/// The same for each input, however short (chosen: a round over all peers of a session).
const AN_INPUT: u64 = 256;
/// The same for each connection, and for each 64 pieces of the torrents that it may be of: what both sides
/// have is looked at as a whole when they begin and end.
const A_CONNECTION: u64 = 4096;
const A_WORD: u64 = 16;

/// The work of one engine, and what it may have been.
#[derive(Debug, Default)]
pub struct Work {
    /// 64 pieces each.
    words: u64,
    allowed: u64,
    done: u64,
}

impl Work {
    /// The engine has another torrent, of so many pieces.
    pub fn add_torrent(&mut self, pieces: u32) {
        self.words += u64::from(pieces).div_ceil(64);
        self.allowed += A_CONNECTION + A_WORD * self.words;
    }

    /// The engine is gone; another will have the same torrents.
    pub fn restarted(&mut self) {
        (self.allowed, self.done) = (A_CONNECTION + A_WORD * self.words, 0);
    }

    /// A connection begins.
    pub fn opened(&mut self) {
        self.allowed += A_CONNECTION + A_WORD * self.words;
    }

    /// So many bytes came in, and so many things were looked at for that; what is wrong if that is too much.
    pub fn received(&mut self, bytes: usize, done: u64) -> Result<(), String> {
        self.allowed += AN_INPUT + A_BYTE * bytes as u64;
        self.done += done;
        if self.done <= self.allowed {
            return Ok(());
        }
        let (done, allowed) = (self.done, self.allowed);
        Err(format!("looks at {done} things for what it received, of {allowed} allowed"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scan_of_all_pieces_for_each_claim_is_too_much_and_one_for_each_connection_is_not() {
        let mut work = Work::default();
        work.add_torrent(100_000);
        for _ in 0..100 {
            work.opened();
            assert!(work.received(73, 2 * 1563).is_ok());
        }
        let mut work = Work::default();
        work.add_torrent(100_000);
        work.opened();
        let scans = (0..1000).take_while(|_| work.received(9, 1563).is_ok()).count();
        assert!(scans < 100, "{scans} scans go unseen");
    }
}
