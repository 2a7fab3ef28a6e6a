//! What a list of addresses says, and what may be wrong with it.

use std::fmt;

use super::{IpFilter, MOST_RANGES};

/// Longest list after unpacking, in bytes (chosen: 4 million lines of 64 bytes would be more than are
/// read).
pub const MAX_UNPACKED: u64 = 256 << 20;

/// Bad lines that are described; of more it is known how many there are (chosen).
pub const MOST_DESCRIBED: usize = 5;

/// What a list says.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct List {
    /// Which addresses are refused.
    pub filter: IpFilter,
    /// The first lines that are none, at most [`MOST_DESCRIBED`].
    pub bad: Vec<BadLine>,
    /// How many lines are none.
    pub bad_lines: u64,
}

/// A line that is none of a list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BadLine {
    /// Its number, from 1.
    pub line: u64,
    /// What is wrong with it.
    pub why: BadLineReason,
}

/// What is wrong with a line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BadLineReason {
    /// It has no address, range or network where one belongs.
    NoRange,
    /// A network's prefix is no number, or longer than an address.
    Prefix,
    /// One end is an IPv4 address, the other an IPv6 address.
    MixedFamilies,
    /// The access level is no number.
    Level,
    /// It is longer than lines of lists are.
    TooLong,
}

impl fmt::Display for BadLineReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            BadLineReason::NoRange => "no address, range or network",
            BadLineReason::Prefix => "the length of the prefix is none",
            BadLineReason::MixedFamilies => "a range from IPv4 to IPv6",
            BadLineReason::Level => "the access level is no number",
            BadLineReason::TooLong => "too long for a line",
        })
    }
}

/// Why a list cannot be used at all.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ListError {
    /// It is packed, and cannot be unpacked.
    Gzip,
    /// It is longer than [`MAX_UNPACKED`] when unpacked.
    TooLong,
    /// It has more than [`MOST_RANGES`] ranges.
    TooManyRanges,
    /// It is binary, of a version that is not known.
    Version(u8),
    /// It is binary and ends within a record; how many were whole.
    CutOff {
        /// Ranges before that.
        after: usize,
    },
    /// A range of it names a label that it does not have; which one, from 1.
    NoLabel {
        /// Which range.
        range: usize,
    },
    /// No line is one of a list; the first that is not.
    NoList {
        /// Its number, from 1.
        line: u64,
        /// What is wrong with it.
        why: BadLineReason,
    },
}

impl fmt::Display for ListError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ListError::Gzip => f.write_str("it is packed with gzip and damaged"),
            ListError::TooLong => write!(f, "it has more than {} MiB", MAX_UNPACKED >> 20),
            ListError::TooManyRanges => write!(f, "it has more than {MOST_RANGES} ranges"),
            ListError::Version(version) => {
                write!(f, "a P2B file of version {version}; those from 1 to 3 are known")
            }
            ListError::CutOff { after } => {
                write!(f, "a P2B file that is cut off after {after} ranges")
            }
            ListError::NoLabel { range } => {
                write!(f, "a P2B file whose range {range} names a label that it does not have")
            }
            ListError::NoList { line, why } => {
                write!(f, "line {line}: {why}; no other line has one either")
            }
        }
    }
}

impl std::error::Error for ListError {}
