//! Which addresses of a host a request may go to: the family it is for, and the rules against
//! server-side request forgery of [`origin`], asked again after each redirect (defence 29).

use std::net::{IpAddr, SocketAddr};

use super::{Url, origin};
use crate::family::{Families, Family};
use crate::net_error::ResolveError;

/// What a host is asked for, which decides where that may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// A tracker's answer.
    Tracker,
}

/// Where a request may go.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reach {
    purpose: Purpose,
    families: Families,
    /// Whether the user named the URL, and knows what is there.
    by_user: bool,
    /// The address that redirected us to where we go now.
    redirected_by: Option<IpAddr>,
}

/// Why a request may go to no address of a host.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unreachable {
    /// The host has no address.
    Resolve(ResolveError),
    /// The host has no address of this family.
    NoAddress(Family),
    /// The request must not go to this address.
    Forbidden(IpAddr),
}

impl Reach {
    /// A request to addresses of these families. What the user named may be anywhere.
    pub fn new(purpose: Purpose, families: Families, by_user: bool) -> Self {
        Reach { purpose, families, by_user, redirected_by: None }
    }

    /// The host at this address has redirected the request.
    pub fn redirected(&mut self, by: IpAddr) {
        self.redirected_by = Some(by);
    }

    /// Whether strangers choose where the request goes: who named the URL, or redirected it.
    pub fn is_of_strangers(&self) -> bool {
        !self.by_user || self.redirected_by.is_some()
    }

    /// Whether a request for `url` may go to this address, and is meant for its family.
    pub fn fits(&self, url: &Url, ip: IpAddr) -> bool {
        self.families.contains(Family::of(ip)) && self.allows(url, ip)
    }

    /// Those of a host's addresses that a request for `url` may go to, in their order.
    pub fn choose(&self, url: &Url, found: &[IpAddr]) -> Result<Vec<SocketAddr>, Unreachable> {
        let of_family = |ip: &&IpAddr| self.families.contains(Family::of(**ip));
        let mut here: Vec<IpAddr> = found.iter().filter(of_family).copied().collect();
        if here.is_empty() && self.redirected_by.is_some() {
            // Where it leads to is not in the first host's hand alone: better there than nowhere.
            here = found.to_vec();
        }
        let allowed = here.iter().filter(|ip| self.allows(url, **ip));
        let allowed: Vec<_> = allowed.map(|ip| SocketAddr::new(*ip, url.port())).collect();
        match (allowed.is_empty(), here.first(), found.first()) {
            (false, ..) => Ok(allowed),
            (true, Some(first), _) => Err(Unreachable::Forbidden(*first)),
            (true, None, Some(first)) => Err(Unreachable::NoAddress(Family::of(*first).other())),
            (true, None, None) => Err(Unreachable::Resolve(ResolveError::NotFound)),
        }
    }

    fn allows(&self, url: &Url, ip: IpAddr) -> bool {
        let from_here = match self.redirected_by {
            None if self.by_user => return true,
            None => true,
            Some(from) => origin::redirect_allowed(from, ip),
        };
        let to_there = match self.purpose {
            Purpose::Tracker => origin::tracker_allowed(url, ip),
        };
        from_here && to_there
    }
}
