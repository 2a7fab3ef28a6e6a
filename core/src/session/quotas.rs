//! What remote hosts may bring about in a time: dials, what is served to an address, lines in the log.

use crate::session::dials::Dials;
use crate::session::ports::Ports;
use crate::session::shares::Shares;
use crate::session::violations::Violations;

/// The quotas of a session.
#[derive(Debug)]
pub(crate) struct Quotas {
    /// How often we have dialled lately, and whom.
    pub(crate) dials: Dials,
    /// Which ports of hosts strangers had us try lately.
    pub(crate) ports: Ports,
    /// What the peers of each address had of us lately.
    pub(crate) shares: Shares,
    /// Violations that the application was shown lately.
    pub(crate) violations: Violations,
}

impl Quotas {
    pub(crate) fn new() -> Self {
        Quotas {
            dials: Dials::default(),
            ports: Ports::default(),
            shares: Shares::new(),
            violations: Violations::default(),
        }
    }
}
