//! The machine's network as its host knows it: interfaces, their addresses, gateways.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// What the machine's network is like. See `Event::Network`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct NetworkState {
    /// Its interfaces, in the system's order.
    pub interfaces: Vec<Interface>,
    /// The ways out of it, the preferred one first.
    pub gateways: Vec<Gateway>,
}

/// An interface of the machine.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// The system's number for it; 0 if it has none.
    pub index: u32,
    /// Whether it leads nowhere but to this machine.
    pub is_loopback: bool,
    /// Whether it is up, as far as the system says.
    pub is_up: bool,
    /// Its addresses.
    pub addresses: Vec<InterfaceAddress>,
}

/// An address of an interface.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct InterfaceAddress {
    /// The address.
    pub ip: IpAddr,
    /// How many bits of it are the network's.
    pub prefix_len: u8,
}

/// A way out of the machine's network.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Gateway {
    /// The router.
    pub ip: IpAddr,
    /// The name of the interface that leads to it.
    pub interface: String,
}
