//! Why a tracker gave no answer, or a refusal.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use crate::family::Family;
use crate::http::{HttpError, UrlError};
use crate::net_error::{NetError, ResolveError};

/// Longest text of a tracker that is kept, in characters (chosen).
const MAX_TEXT_LEN: usize = 300;

/// Why an announce or scrape failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TrackerError {
    /// The URL cannot be used.
    Url(UrlError),
    /// BEP 48 names no scrape URL for this announce URL.
    NoScrape,
    /// The host has no address.
    Resolve(ResolveError),
    /// The host has no address of the family that it is to be asked in.
    NoAddress(Family),
    /// No address of the host accepts a connection; this is the last one's error.
    Connect(NetError),
    /// The tracker, or a redirect of it, leads to an address where it must not (defence 29).
    ForbiddenAddress(IpAddr),
    /// The connection broke before the answer was complete.
    Disconnected(NetError),
    /// The answer is not HTTP.
    Http(HttpError),
    /// The answer's HTTP status is an error, and its body is no tracker's.
    Status(u16),
    /// More redirects than are followed.
    TooManyRedirects,
    /// The answer is not that of a tracker; this is what is wrong with it.
    Malformed(&'static str),
    /// The tracker says no.
    Refused {
        /// Its words, fit to be shown.
        reason: String,
        /// When it may be asked again, if it says so (BEP 31).
        retry: Option<RetryIn>,
    },
    /// No answer in time.
    TimedOut,
    /// Too many requests are under way already; try again later.
    Busy,
}

/// When a tracker that refused may be asked again (BEP 31).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RetryIn {
    /// After this time.
    After(Duration),
    /// Never.
    Never,
}

impl TrackerError {
    /// Whether asking again cannot help.
    pub fn is_permanent(&self) -> bool {
        matches!(
            self,
            TrackerError::Url(_) | TrackerError::Refused { retry: Some(RetryIn::Never), .. }
        )
    }

    /// Whether it says only that there is no way in one address family.
    pub fn is_of_family(&self) -> bool {
        matches!(
            self,
            TrackerError::NoAddress(_)
                | TrackerError::Connect(NetError::Unreachable | NetError::AddrNotAvailable)
        )
    }

    /// Whether nothing was sent to the tracker: there is no way to it from here now, or nobody to ask for
    /// its address.
    pub fn is_unsent(&self) -> bool {
        matches!(
            self,
            TrackerError::Resolve(ResolveError::Unavailable)
                | TrackerError::Connect(NetError::Unreachable | NetError::AddrNotAvailable)
        )
    }

    /// How long the tracker wants to be left alone.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            TrackerError::Refused { retry: Some(RetryIn::After(time)), .. } => Some(*time),
            _ => None,
        }
    }
}

impl fmt::Display for TrackerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TrackerError::Url(why) => write!(f, "{why}"),
            TrackerError::NoScrape => f.write_str("the tracker's URL has no scrape form"),
            TrackerError::Resolve(why) => write!(f, "{why}"),
            TrackerError::NoAddress(family) => write!(f, "the host has no {family} address"),
            TrackerError::Connect(why) => write!(f, "cannot connect: {why}"),
            TrackerError::ForbiddenAddress(ip) => {
                write!(f, "refused to ask at {ip}: a torrent must not lead there")
            }
            TrackerError::Disconnected(why) => write!(f, "connection lost: {why}"),
            TrackerError::Http(why) => write!(f, "{why}"),
            TrackerError::Status(status) => write!(f, "the tracker answered HTTP {status}"),
            TrackerError::TooManyRedirects => f.write_str("too many redirects"),
            TrackerError::Malformed(what) => write!(f, "not a tracker's answer: {what}"),
            TrackerError::Refused { reason, .. } => write!(f, "the tracker says: {reason}"),
            TrackerError::TimedOut => f.write_str("no answer in time"),
            TrackerError::Busy => f.write_str("too many tracker requests at once"),
        }
    }
}

impl std::error::Error for TrackerError {}

/// A tracker's words, fit for a terminal: no control or direction-changing characters, not endless
/// (defence 4).
pub(super) fn shown_text(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes.get(..4 * MAX_TEXT_LEN).unwrap_or(bytes));
    text.trim().chars().filter(|&c| !is_invisible(c)).take(MAX_TEXT_LEN).collect()
}

/// Control characters, and those of Unicode that change direction or take no space.
fn is_invisible(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}')
        || matches!(c, '\u{61c}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_a_tracker_is_cleaned_and_cut() {
        assert_eq!(shown_text(b" not \x1b[31mregistered\r\n"), "not [31mregistered");
        assert_eq!(shown_text("a\u{202e}b\u{feff}".as_bytes()), "ab");
        assert_eq!(shown_text(&[b'x'; 100_000]).len(), MAX_TEXT_LEN);
        assert_eq!(shown_text(b"\xff"), "\u{fffd}");
    }
}
