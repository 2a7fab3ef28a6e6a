//! PeerGuardian's binary lists: IPv4 only, numbers in network order.
//!
//! Versions 1 and 2 have a label before each range, ended by a zero byte; version 3 has all labels first,
//! and with each range the number of its own. What labels say is of no use here.

use super::list::{List, ListError};
use super::{Builder, MOST_RANGES, Range};

/// What every file begins with, before a byte for the version.
const MAGIC: &[u8] = b"\xff\xff\xff\xffP2B";

/// The version of a list and what follows it, if it is one of these.
pub(super) fn body(bytes: &[u8]) -> Option<(u8, &[u8])> {
    let (version, body) = bytes.strip_prefix(MAGIC)?.split_first()?;
    Some((*version, body))
}

/// Reads what follows the version.
pub(super) fn read(version: u8, body: &[u8]) -> Result<List, ListError> {
    let filter = match version {
        1 | 2 => named(body)?,
        3 => indexed(body)?,
        version => return Err(ListError::Version(version)),
    };
    Ok(List { filter: filter.build(), ..List::default() })
}

fn named(mut rest: &[u8]) -> Result<Builder, ListError> {
    let mut ranges = Builder::default();
    while !rest.is_empty() {
        let next = label(&mut rest).and_then(|()| range(&mut rest));
        push(&mut ranges, next)?;
    }
    Ok(ranges)
}

fn indexed(mut rest: &[u8]) -> Result<Builder, ListError> {
    let rest = &mut rest;
    let cut_off = ListError::CutOff { after: 0 };
    let labels = number(rest).ok_or(cut_off)?;
    // Each takes a byte at least, so this ends with the file.
    for _ in 0..labels {
        label(rest).ok_or(cut_off)?;
    }
    let count = number(rest).ok_or(cut_off)?;
    let mut ranges = Builder::default();
    for _ in 0..count {
        let label = number(rest);
        push(&mut ranges, label.and_then(|_| range(rest)))?;
        if label.is_some_and(|label| label >= labels) {
            return Err(ListError::NoLabel { range: ranges.len() });
        }
    }
    Ok(ranges)
}

fn push(ranges: &mut Builder, range: Option<Range>) -> Result<(), ListError> {
    ranges.push(range.ok_or(ListError::CutOff { after: ranges.len() })?);
    if ranges.len() > MOST_RANGES { Err(ListError::TooManyRanges) } else { Ok(()) }
}

/// Skips a label.
fn label(rest: &mut &[u8]) -> Option<()> {
    let end = rest.iter().position(|byte| *byte == 0)?;
    *rest = rest.get(end + 1..)?;
    Some(())
}

fn range(rest: &mut &[u8]) -> Option<Range> {
    let (first, last) = (number(rest)?, number(rest)?);
    Some(Range::V4(first, last).in_order())
}

fn number(rest: &mut &[u8]) -> Option<u32> {
    let (bytes, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(u32::from_be_bytes(*bytes))
}
