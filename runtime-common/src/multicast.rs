//! Multicast groups: joining one on each interface, and sending to it through each.
//!
//! Interfaces come and go, so they are looked up, and joined, anew before each datagram that is sent:
//! there are few of those. Loopback is used only where there is nothing else, since other programs on
//! this machine hear what leaves through any interface. With a local address given, only the
//! interface that has it is used.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use if_addrs::{IfAddr, IfOperStatus, Interface};
use socket2::{InterfaceIndexOrAddress, SockRef};

/// Routers that a datagram passes (chosen: a house or an office, not a whole organisation).
const HOPS: u32 = 4;

/// The group of a socket that [`net::bind`](crate::net::bind) has opened.
#[derive(Debug)]
pub struct Group {
    addr: SocketAddr,
    /// Those of its family; empty: all.
    bind: Vec<IpAddr>,
}

/// An interface as the socket options name it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Outlet {
    V4(Ipv4Addr),
    V6(u32),
}

impl Group {
    /// The group at `addr`, on the interfaces that have an address of `bind`; on all if it names none.
    pub fn new(addr: SocketAddr, bind: &[IpAddr]) -> Self {
        let of_family = |ip: &&IpAddr| ip.is_ipv4() == addr.is_ipv4();
        let mut bind: Vec<IpAddr> = bind.iter().filter(of_family).copied().collect();
        if bind.iter().any(IpAddr::is_unspecified) {
            bind.clear();
        }
        Group { addr, bind }
    }

    /// Prepares a socket, and joins the group on the interfaces that are there now.
    pub fn open(&self, socket: &SockRef<'_>) -> io::Result<()> {
        if self.addr.is_ipv4() {
            socket.set_multicast_ttl_v4(HOPS)?;
            // Only what comes in through the interfaces that were joined.
            #[cfg(target_os = "linux")]
            socket.set_multicast_all_v4(false)?;
        } else {
            socket.set_multicast_hops_v6(HOPS)?;
            #[cfg(target_os = "linux")]
            socket.set_multicast_all_v6(false)?;
        }
        self.join(socket, &self.outlets()?);
        Ok(())
    }

    /// Sends a datagram to the group through every interface. Where that fails it is lost, as it
    /// might be on the way.
    pub fn send(&self, socket: &SockRef<'_>, data: &[u8]) {
        let outlets = self.outlets().unwrap_or_default();
        self.join(socket, &outlets);
        for outlet in outlets {
            let sent = match outlet {
                Outlet::V4(ip) => socket.set_multicast_if_v4(&ip),
                Outlet::V6(index) => socket.set_multicast_if_v6(index),
            }
            .and_then(|()| socket.send_to(data, &self.addr.into()));
            if let Err(error) = sent {
                tracing::debug!(group = %self.addr, ?outlet, %error, "not sent to the group");
            }
        }
    }

    fn join(&self, socket: &SockRef<'_>, outlets: &[Outlet]) {
        for outlet in outlets {
            let joined = match (self.addr.ip(), outlet) {
                (IpAddr::V4(group), Outlet::V4(ip)) => {
                    socket.join_multicast_v4_n(&group, &InterfaceIndexOrAddress::Address(*ip))
                }
                (IpAddr::V6(group), Outlet::V6(index)) => socket.join_multicast_v6(&group, *index),
                _ => Ok(()),
            };
            match joined {
                // It was joined before.
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                Err(error) => tracing::debug!(group = %self.addr, ?outlet, %error, "not joined"),
                Ok(()) => {}
            }
        }
    }

    fn outlets(&self) -> io::Result<Vec<Outlet>> {
        if self.addr.is_ipv6() || self.bind.is_empty() {
            return Ok(self.choose(if_addrs::get_if_addrs()?));
        }
        // The system knows addresses that no interface lists, such as all of 127/8.
        let v4 = self.bind.iter().filter_map(|ip| match ip {
            IpAddr::V4(ip) => Some(Outlet::V4(*ip)),
            IpAddr::V6(_) => None,
        });
        Ok(v4.collect())
    }

    fn choose(&self, mut interfaces: Vec<Interface>) -> Vec<Outlet> {
        interfaces.retain(|interface| {
            interface.oper_status != IfOperStatus::Down
                && interface.ip().is_ipv4() == self.addr.is_ipv4()
                && (self.bind.is_empty() || self.bind.contains(&interface.ip()))
        });
        if interfaces.iter().any(|interface| !interface.is_loopback()) {
            interfaces.retain(|interface| !interface.is_loopback());
        }
        // One that has several addresses is one.
        let mut chosen = BTreeMap::new();
        for interface in interfaces {
            let index = interface.index.unwrap_or(0);
            let outlet = match interface.addr {
                IfAddr::V4(v4) => Outlet::V4(v4.ip),
                IfAddr::V6(_) => Outlet::V6(index),
            };
            chosen.entry((index, interface.name)).or_insert(outlet);
        }
        chosen.into_values().collect()
    }
}

#[cfg(test)]
mod tests {
    use std::mem::MaybeUninit;
    use std::time::Duration;

    use bitswarm_core::action::{SocketKind, SocketSpec};
    use if_addrs::{Ifv4Addr, Ifv6Addr};

    use super::*;
    use crate::net;

    const V4: &str = "239.255.77.77:0";

    fn interface(name: &str, index: u32, addr: &str) -> Interface {
        let addr = match addr.parse().unwrap() {
            IpAddr::V4(ip) => {
                let netmask = Ipv4Addr::new(255, 255, 255, 0);
                IfAddr::V4(Ifv4Addr { ip, netmask, prefixlen: 24, broadcast: None })
            }
            IpAddr::V6(ip) => {
                let netmask = [0xffff; 8].into();
                IfAddr::V6(Ifv6Addr { ip, netmask, prefixlen: 128, broadcast: None })
            }
        };
        let oper_status = IfOperStatus::Up;
        Interface { name: name.to_owned(), addr, index: Some(index), oper_status, is_p2p: false }
    }

    #[test]
    fn each_interface_is_used_once_and_loopback_only_if_there_is_nothing_else() {
        let lo = || interface("lo", 1, "127.0.0.1");
        let all = vec![
            lo(),
            interface("eth0", 2, "10.0.0.5"),
            interface("eth0", 2, "10.0.1.5"),
            interface("eth0", 2, "fe80::1"),
            interface("eth0", 2, "2001:db8::1"),
            interface("wlan0", 3, "192.168.1.5"),
        ];
        let v4 = Group::new(V4.parse().unwrap(), &[]);
        let [eth, wlan] = [Ipv4Addr::new(10, 0, 0, 5), Ipv4Addr::new(192, 168, 1, 5)];
        assert_eq!(v4.choose(all.clone()), [Outlet::V4(eth), Outlet::V4(wlan)]);
        assert_eq!(v4.choose(vec![lo()]), [Outlet::V4(Ipv4Addr::LOCALHOST)]);
        let group = "[ff15::efc0:988f]:6771".parse().unwrap();
        assert_eq!(Group::new(group, &[]).choose(all.clone()), [Outlet::V6(2)]);
        let bound = |ip: &str| Group::new(group, &[ip.parse().unwrap()]).choose(all.clone());
        assert_eq!(bound("2001:db8::1"), [Outlet::V6(2)]);
        assert_eq!(bound("2001:db8::2"), []);
    }

    #[test]
    fn two_sockets_share_the_port_and_both_hear_what_one_sends() {
        let bind = IpAddr::from([127, 0, 0, 1]);
        let open = |addr: SocketAddr| {
            let socket =
                net::bind(&SocketSpec { kind: SocketKind::Multicast, addr, bind: None }).unwrap();
            let group = Group::new(net::local_addr(&SockRef::from(&socket)).unwrap(), &[bind]);
            group.open(&SockRef::from(&socket)).unwrap();
            socket.set_nonblocking(false).unwrap();
            socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            (socket, group)
        };
        let (one, group) = open(V4.parse().unwrap());
        let (other, _) = open(group.addr);
        group.send(&SockRef::from(&one), b"hello");
        for socket in [&one, &other] {
            let mut buffer = [MaybeUninit::uninit(); 16];
            let (count, from) = socket.recv_from(&mut buffer).unwrap();
            assert_eq!((count, from.as_socket().unwrap().ip()), (5, bind));
        }
    }
}
