//! Numbers of packets: 16 bits that wrap.

/// The number of a packet (`seq_nr` and `ack_nr` of BEP 29).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Seq(pub(crate) u16);

impl Seq {
    /// The number `n` further on.
    pub(crate) fn plus(self, n: u16) -> Seq {
        Seq(self.0.wrapping_add(n))
    }

    /// The number `n` before.
    pub(crate) fn minus(self, n: u16) -> Seq {
        Seq(self.0.wrapping_sub(n))
    }

    /// How far this lies behind `earlier`: negative if it lies before. Right for numbers that are
    /// less than 32,768 apart.
    pub(crate) fn since(self, earlier: Seq) -> i32 {
        i32::from(self.0.wrapping_sub(earlier.0) as i16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_wrap() {
        assert_eq!(Seq(65535).plus(2), Seq(1));
        assert_eq!(Seq(1).minus(2), Seq(65535));
        assert_eq!(Seq(1).since(Seq(65535)), 2);
        assert_eq!(Seq(65535).since(Seq(1)), -2);
    }
}
