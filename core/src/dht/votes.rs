//! What our own address is, by the word of others (BEP 42, "bootstrapping").
//!
//! Only answers to our own queries vote, each network once among the last voters; an address is
//! taken for ours when most of enough voters name it. So a few liars decide nothing, and a new
//! address wins as soon as it is what most have seen lately.

use std::collections::VecDeque;
use std::net::IpAddr;

use super::node_id::is_exempt;
use super::table::network;

/// Voters remembered (chosen).
const WINDOW: usize = 24;

/// Voters needed for a decision (chosen).
const QUORUM: usize = 7;

/// The votes on our address in one family.
#[derive(Debug, Default)]
pub(super) struct Votes {
    /// Who said what, the oldest first.
    votes: VecDeque<(IpAddr, IpAddr)>,
    decided: Option<IpAddr>,
}

impl Votes {
    /// `voter` says that we are at `addr`. Returns the address if that decides it anew.
    pub(super) fn vote(&mut self, voter: IpAddr, addr: IpAddr) -> Option<IpAddr> {
        // To a local address ids are not bound, so it is no use to know ours.
        if is_exempt(addr) || is_exempt(voter) || addr.is_ipv4() != voter.is_ipv4() {
            return None;
        }
        self.votes.retain(|(other, _)| network(*other) != network(voter));
        if self.votes.len() >= WINDOW {
            self.votes.pop_front();
        }
        self.votes.push_back((voter, addr));
        let count = self.votes.iter().filter(|(_, named)| *named == addr).count();
        let wins = self.votes.len() >= QUORUM && count * 2 > self.votes.len();
        (wins && self.decided.replace(addr) != Some(addr)).then_some(addr)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn voter(n: u8) -> IpAddr {
        IpAddr::from([50, n, 1, 1])
    }

    #[test]
    fn most_of_enough_voters_decide_once() {
        let ours: IpAddr = "9.9.9.9".parse().unwrap();
        let mut votes = Votes::default();
        let decisions: Vec<_> = (0..20).filter_map(|n| votes.vote(voter(n), ours)).collect();
        assert_eq!((decisions, votes.decided), (vec![ours], Some(ours)));
        let new: IpAddr = "9.9.9.10".parse().unwrap();
        let at = (20..60).position(|n| votes.vote(voter(n), new).is_some());
        assert!(at.is_some_and(|at| at >= WINDOW / 2), "{at:?}");
    }

    #[test]
    fn a_few_liars_and_one_network_decide_nothing() {
        let lie: IpAddr = "6.6.6.6".parse().unwrap();
        let mut votes = Votes::default();
        for last in 0..100 {
            assert_eq!(votes.vote(IpAddr::from([50, 1, 1, last]), lie), None);
        }
        for n in 0..100 {
            let says = if n % 3 == 0 { lie } else { "9.9.9.9".parse().unwrap() };
            assert_ne!(votes.vote(voter(n), says), Some(lie));
        }
    }

    #[test]
    fn local_addresses_do_not_vote_and_are_not_elected() {
        let mut votes = Votes::default();
        for n in 0..50 {
            assert_eq!(votes.vote(voter(n), IpAddr::from([192, 168, 0, 1])), None);
            assert_eq!(votes.vote(IpAddr::from([127, 0, 0, n]), IpAddr::from([9; 4])), None);
        }
    }
}
