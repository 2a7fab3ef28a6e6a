//! Message stream encryption (MSE): what we do with it, and what a connection has of it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Whether connections to peers are encrypted (MSE), of which the other side has a say.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum EncryptionPolicy {
    /// Never: encrypted connections are refused.
    Off,
    /// We dial without, and with it where that is refused; who dials us chooses.
    Allow,
    /// We dial with it, and without where that is refused; who dials us chooses.
    Prefer,
    /// Always, and all that is said (RC4): everything else is refused.
    Require,
}

impl EncryptionPolicy {
    /// Whether there are connections with it.
    pub const fn is_on(self) -> bool {
        !matches!(self, EncryptionPolicy::Off)
    }

    /// Whether there are connections without it.
    pub const fn allows_none(self) -> bool {
        !matches!(self, EncryptionPolicy::Require)
    }

    /// Whether an address of which nothing is known is dialled with it.
    pub const fn is_preferred(self) -> bool {
        matches!(self, EncryptionPolicy::Prefer | EncryptionPolicy::Require)
    }
}

/// How a connection to a peer is encrypted.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Encryption {
    /// Not at all.
    #[default]
    None,
    /// The handshake of MSE alone; what follows is not.
    Handshake,
    /// Everything, by RC4.
    Rc4,
}

impl Encryption {
    /// One word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Encryption::None => "none",
            Encryption::Handshake => "handshake",
            Encryption::Rc4 => "rc4",
        }
    }
}

impl fmt::Display for Encryption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}
