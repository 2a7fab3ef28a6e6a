//! Names to addresses, as every host of the world sees them.
//!
//! A name that is not known does not exist; a name whose server is down is `Unavailable` and may
//! come back. Answers take a drawn time and may overtake each other.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use bitswarm_core::event::ResolveError;

use super::dice::Dice;

/// Most addresses of a family in one answer, as the contract of `Event::Resolved` says.
const MOST_ADDRESSES: usize = 32;

/// The world's names.
#[derive(Debug)]
pub struct Resolver {
    names: BTreeMap<String, Result<Vec<IpAddr>, ResolveError>>,
    dice: Dice,
    /// Longest time an answer takes.
    pub latency: Duration,
}

impl Resolver {
    /// Knows no names.
    pub fn new(seed: u64) -> Self {
        Resolver {
            names: BTreeMap::new(),
            dice: Dice::new(seed, "resolver"),
            latency: Duration::from_millis(80),
        }
    }

    /// From now on the name has these addresses.
    pub fn set(&mut self, name: &str, addrs: impl IntoIterator<Item = IpAddr>) {
        let (v4, v6): (Vec<IpAddr>, Vec<IpAddr>) = addrs.into_iter().partition(IpAddr::is_ipv4);
        let most = |addrs: Vec<IpAddr>| addrs.into_iter().take(MOST_ADDRESSES);
        self.names.insert(name.to_owned(), Ok(most(v4).chain(most(v6)).collect()));
    }

    /// From now on looking the name up fails.
    pub fn fail(&mut self, name: &str, why: ResolveError) {
        self.names.insert(name.to_owned(), Err(why));
    }

    /// The answer, and how long it takes to come.
    pub fn look_up(&mut self, name: &str) -> (Duration, Result<Vec<IpAddr>, ResolveError>) {
        let answer = self.names.get(name).cloned().unwrap_or(Err(ResolveError::NotFound));
        (self.dice.up_to(self.latency), answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found_fails_and_is_found_again() {
        let mut resolver = Resolver::new(1);
        let home = IpAddr::from([50, 0, 0, 10]);
        assert_eq!(resolver.look_up("tracker.test").1, Err(ResolveError::NotFound));
        resolver.set("tracker.test", [home]);
        assert_eq!(resolver.look_up("tracker.test").1, Ok(vec![home]));
        resolver.fail("tracker.test", ResolveError::Unavailable);
        assert_eq!(resolver.look_up("tracker.test").1, Err(ResolveError::Unavailable));
    }
}
