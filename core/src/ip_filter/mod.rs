//! The IP filter: addresses that we neither dial, accept, ask nor answer.
//!
//! - `ranges`: the sorted ranges of one address family;
//! - `file`: lists in all formats, of bytes; `list`: what they say;
//! - `text`, `p2b`: the formats that are lines of text, and the binary one.
//!
//! A filter is a value that never changes: another takes its place. It is asked wherever an address comes
//! in or goes out: connections that are accepted or dialled, addresses of peers that are learnt, datagrams of
//! every protocol, hosts after they were looked up. An IPv6 address that holds an IPv4 address is refused
//! if either is; a mapped one is that IPv4 address and nothing else.

pub mod file;
mod list;
mod p2b;
mod ranges;
mod text;

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use crate::reach::meant;
use ranges::Ranges;

/// Most ranges of one list (chosen: eight times the longest that is in use).
pub const MOST_RANGES: usize = 4_000_000;

/// Which addresses are refused.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct IpFilter {
    v4: Ranges<u32>,
    v6: Ranges<u128>,
}

/// An address range, both ends included. Ends that are given the wrong way round are swapped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Range {
    /// Of IPv4.
    V4(u32, u32),
    /// Of IPv6.
    V6(u128, u128),
}

impl Range {
    /// From one address to another; `None` if they are of different families.
    pub(crate) fn between(a: IpAddr, b: IpAddr) -> Option<Self> {
        match (a, b) {
            (IpAddr::V4(a), IpAddr::V4(b)) => Some(Range::V4(a.to_bits(), b.to_bits()).in_order()),
            (IpAddr::V6(a), IpAddr::V6(b)) => Some(Range::V6(a.to_bits(), b.to_bits()).in_order()),
            _ => None,
        }
    }

    /// A network; `None` if the prefix is longer than an address.
    pub(crate) fn network(ip: IpAddr, prefix_len: u8) -> Option<Self> {
        let len = u32::from(prefix_len);
        match ip {
            IpAddr::V4(ip) => {
                let host = u32::MAX.checked_shr(len).unwrap_or(0);
                let first = ip.to_bits() & !host;
                (len <= 32).then(|| Range::V4(first, first | host).in_order())
            }
            IpAddr::V6(ip) => {
                let host = u128::MAX.checked_shr(len).unwrap_or(0);
                let first = ip.to_bits() & !host;
                (len <= 128).then(|| Range::V6(first, first | host).in_order())
            }
        }
    }

    /// How many addresses it has besides the first.
    pub(crate) fn span(self) -> u128 {
        match self {
            Range::V4(first, last) => u128::from(last - first),
            Range::V6(first, last) => last - first,
        }
    }

    /// With the lower end first, and as IPv4 if it is that, mapped.
    fn in_order(self) -> Self {
        match self {
            Range::V4(a, b) => Range::V4(a.min(b), a.max(b)),
            Range::V6(a, b) => {
                let (a, b) = (a.min(b), a.max(b));
                let v4 = |bits| Ipv6Addr::from_bits(bits).to_ipv4_mapped();
                match (v4(a), v4(b)) {
                    (Some(a), Some(b)) => Range::V4(a.to_bits(), b.to_bits()),
                    _ => Range::V6(a, b),
                }
            }
        }
    }
}

/// Ranges that are to become a filter.
#[derive(Debug, Default)]
pub(crate) struct Builder {
    v4: Vec<(u32, u32)>,
    v6: Vec<(u128, u128)>,
}

impl Builder {
    pub(crate) fn push(&mut self, range: Range) {
        match range {
            Range::V4(first, last) => self.v4.push((first, last)),
            Range::V6(first, last) => self.v6.push((first, last)),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.v4.len() + self.v6.len()
    }

    pub(crate) fn build(self) -> IpFilter {
        IpFilter { v4: Ranges::new(self.v4), v6: Ranges::new(self.v6) }
    }
}

impl IpFilter {
    /// Whether an address is refused. O(log n).
    pub fn refuses(&self, ip: IpAddr) -> bool {
        match (ip.to_canonical(), meant(ip)) {
            (IpAddr::V6(own), IpAddr::V6(_)) => self.v6.contains(own.to_bits()),
            (IpAddr::V6(own), IpAddr::V4(held)) => {
                self.v6.contains(own.to_bits()) || self.v4.contains(held.to_bits())
            }
            (IpAddr::V4(ip), _) => self.v4.contains(ip.to_bits()),
        }
    }

    /// How many ranges of addresses it has; ones that touch count as one.
    pub fn len(&self) -> usize {
        self.v4.len() + self.v6.len()
    }

    /// Whether it refuses nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What several refuse.
    #[must_use]
    pub fn union(filters: impl IntoIterator<Item = IpFilter>) -> Self {
        let mut filters = filters.into_iter();
        let Some(first) = filters.next() else { return IpFilter::default() };
        let Some(second) = filters.next() else { return first };
        let mut all = Builder { v4: first.v4.into_inner(), v6: first.v6.into_inner() };
        for filter in std::iter::once(second).chain(filters) {
            all.v4.extend(filter.v4.into_inner());
            all.v6.extend(filter.v6.into_inner());
        }
        all.build()
    }
}

/// Its size: a list may have half a million ranges.
impl fmt::Debug for IpFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IpFilter({} + {} ranges)", self.v4.len(), self.v6.len())
    }
}

#[cfg(test)]
mod tests {
    use quickcheck::quickcheck;

    use super::*;

    fn filter(ranges: &[(IpAddr, IpAddr)]) -> IpFilter {
        let mut all = Builder::default();
        for range in ranges.iter().filter_map(|(a, b)| Range::between(*a, *b)) {
            all.push(range);
        }
        all.build()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn every_form_of_a_refused_address_is_refused() {
        let filter = filter(&[(ip("1.2.3.0"), ip("1.2.3.255"))]);
        for text in [
            "1.2.3.0",
            "1.2.3.255",
            "::ffff:1.2.3.4",
            "64:ff9b::1.2.3.4",
            "2002:102:304::1",
            "2001:0:1:2:3:4:fefd:fcfb",
        ] {
            assert!(filter.refuses(ip(text)), "{text}");
        }
        for text in ["1.2.2.255", "1.2.4.0", "::ffff:1.2.4.4", "2002:102:404::1", "2a00::1"] {
            assert!(!filter.refuses(ip(text)), "{text}");
        }
        let mapped = super::tests::filter(&[(ip("::ffff:9.9.9.9"), ip("::ffff:9.9.9.1"))]);
        assert!(mapped.refuses(ip("9.9.9.5")), "swapped ends, and mapped");
    }

    #[test]
    fn a_network_is_all_that_begins_like_it() {
        let network = |text: &str, len| Range::network(ip(text), len);
        assert_eq!(network("10.1.2.3", 8), Range::between(ip("10.0.0.0"), ip("10.255.255.255")));
        assert_eq!(network("10.1.2.3", 32), Range::between(ip("10.1.2.3"), ip("10.1.2.3")));
        assert_eq!(network("1.1.1.1", 0), Some(Range::V4(0, u32::MAX)));
        assert_eq!(network("1.1.1.1", 33), None);
        assert_eq!(network("2001:db8::1", 32).unwrap().span(), u128::MAX >> 32);
        assert_eq!(network("::ffff:1.1.1.7", 120), Some(Range::V4(0x0101_0100, 0x0101_01ff)));
        assert_eq!(network("::1", 129), None);
    }

    quickcheck! {
        fn a_filter_refuses_what_a_range_has(ranges: Vec<(IpAddr, IpAddr)>, asked: Vec<IpAddr>) -> bool {
            let filter = filter(&ranges);
            let ends = ranges.iter().flat_map(|(a, b)| [*a, *b]);
            let near = |ip: IpAddr| match ip {
                IpAddr::V4(ip) => [ip.to_bits().wrapping_add(1), ip.to_bits().wrapping_sub(1)]
                    .map(|bits| IpAddr::V4(bits.into())),
                IpAddr::V6(ip) => [ip.to_bits().wrapping_add(1), ip.to_bits().wrapping_sub(1)]
                    .map(|bits| IpAddr::V6(bits.into())),
            };
            let has = |ip: IpAddr| ranges.iter().any(|(a, b)| {
                let (a, b) = (*a.min(b), *a.max(b));
                a.is_ipv4() == b.is_ipv4() && a.is_ipv4() == ip.is_ipv4() && a <= ip && ip <= b
            });
            let asked = asked.into_iter().chain(ends.clone()).chain(ends.flat_map(near));
            asked.into_iter().all(|ip| filter.refuses(ip) == (has(ip) || has(meant(ip))))
        }

        fn together_they_refuse_what_one_refuses(ranges: Vec<Vec<(IpAddr, IpAddr)>>, asked: Vec<IpAddr>) -> bool {
            let filters: Vec<IpFilter> = ranges.iter().map(|ranges| filter(ranges)).collect();
            let all = IpFilter::union(filters.clone());
            asked.into_iter().chain(ranges.concat().into_iter().map(|(a, _)| a))
                .all(|ip| all.refuses(ip) == filters.iter().any(|filter| filter.refuses(ip)))
        }
    }
}
