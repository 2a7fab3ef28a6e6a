//! Address families, IPv4 and IPv6, and sets of them.
//!
//! A host may be known to others by an address of each family, and peers, trackers and DHT nodes of
//! one family often cannot reach the other (BEP 7, BEP 32).

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// An address family.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both, in the order in which they are used where nothing else decides.
    pub const ALL: [Family; 2] = [Family::V4, Family::V6];

    /// The family of an address; an IPv4 address in IPv6 form is one of IPv4.
    pub fn of(ip: IpAddr) -> Self {
        if ip.to_canonical().is_ipv4() { Family::V4 } else { Family::V6 }
    }

    /// The other one.
    pub fn other(self) -> Self {
        match self {
            Family::V4 => Family::V6,
            Family::V6 => Family::V4,
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        })
    }
}

/// One thing of each family.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PerFamily<T> {
    /// Of IPv4.
    pub v4: T,
    /// Of IPv6.
    pub v6: T,
}

impl<T> PerFamily<T> {
    /// The one of this family.
    pub fn get(&self, family: Family) -> &T {
        match family {
            Family::V4 => &self.v4,
            Family::V6 => &self.v6,
        }
    }

    /// The same, to be changed.
    pub fn get_mut(&mut self, family: Family) -> &mut T {
        match family {
            Family::V4 => &mut self.v4,
            Family::V6 => &mut self.v6,
        }
    }

    /// Both.
    pub fn both(&self) -> [&T; 2] {
        [&self.v4, &self.v6]
    }

    /// Both, to be changed.
    pub fn both_mut(&mut self) -> [&mut T; 2] {
        [&mut self.v4, &mut self.v6]
    }
}

/// A set of address families.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Families {
    v4: bool,
    v6: bool,
}

impl Families {
    /// None.
    pub const NONE: Families = Families { v4: false, v6: false };
    /// Both.
    pub const BOTH: Families = Families { v4: true, v6: true };

    /// One alone.
    pub const fn only(family: Family) -> Self {
        match family {
            Family::V4 => Families { v4: true, v6: false },
            Family::V6 => Families { v4: false, v6: true },
        }
    }

    /// Those of these addresses.
    pub fn of(addrs: impl IntoIterator<Item = SocketAddr>) -> Self {
        let mut families = Families::NONE;
        addrs.into_iter().for_each(|addr| families.insert(Family::of(addr.ip())));
        families
    }

    /// With one more.
    pub fn insert(&mut self, family: Family) {
        match family {
            Family::V4 => self.v4 = true,
            Family::V6 => self.v6 = true,
        }
    }

    /// Without this one.
    pub fn remove(&mut self, family: Family) {
        match family {
            Family::V4 => self.v4 = false,
            Family::V6 => self.v6 = false,
        }
    }

    /// Whether it has this one.
    pub const fn contains(self, family: Family) -> bool {
        match family {
            Family::V4 => self.v4,
            Family::V6 => self.v6,
        }
    }

    /// Whether it has none.
    pub const fn is_empty(self) -> bool {
        !self.v4 && !self.v6
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_have_the_families_of_their_addresses() {
        let addrs = |list: &[&str]| {
            Families::of(list.iter().map(|text| text.parse::<SocketAddr>().unwrap()))
        };
        assert_eq!(addrs(&[]), Families::NONE);
        assert_eq!(addrs(&["1.2.3.4:5", "[::ffff:1.2.3.4]:5"]), Families::only(Family::V4));
        assert_eq!(addrs(&["[::1]:5"]), Families::only(Family::V6));
        assert_eq!(addrs(&["[::1]:5", "1.2.3.4:5"]), Families::BOTH);
        assert!(Families::BOTH.contains(Family::V6) && Families::NONE.is_empty());
    }
}
