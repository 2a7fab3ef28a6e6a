//! Where connections are dialled from.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::config::{Config, Transports};
use crate::socket::Local;

/// The local end of connections to come.
#[derive(Debug)]
pub(crate) struct Dial {
    bind: Vec<IpAddr>,
    device: Option<Arc<str>>,
    /// The class of packets to peers.
    dscp: Option<u8>,
    transports: Transports,
}

impl Dial {
    pub(crate) fn new(config: &Config) -> Self {
        Dial {
            bind: config.bind.clone(),
            device: config.device.clone(),
            dscp: config.dscp,
            transports: config.transports,
        }
    }

    /// Whether peers are connected to by TCP.
    pub(super) fn peers_by_tcp(&self) -> bool {
        self.transports.tcp
    }

    /// Where a connection to there comes from: the first address of its family that is configured. If
    /// there are only others, one of these, from which the host reaches nobody. `None`: from
    /// anywhere.
    pub(super) fn local(&self, to: SocketAddr, is_peer: bool) -> Option<Box<Local>> {
        let fits = |ip: &&IpAddr| ip.is_ipv4() == to.is_ipv4();
        let address = self.bind.iter().find(fits).or(self.bind.first()).copied();
        let local =
            Local { address, device: self.device.clone(), dscp: self.dscp.filter(|_| is_peer) };
        (local != Local::default()).then(|| Box::new(local))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn local(bind: &[&str], device: Option<&str>, to: &str) -> Option<Local> {
        let bind = bind.iter().map(|ip| addr(ip)).collect();
        let transports = Transports::default();
        let dial = Dial { bind, device: device.map(Arc::from), dscp: None, transports };
        dial.local(SocketAddr::new(addr(to), 1), true).map(|local| *local)
    }

    #[test]
    fn a_connection_comes_from_the_first_address_of_its_family() {
        let bind = ["fd00::1", "10.0.0.1", "10.0.0.2"];
        let from = |ip: &str| Some(Local { address: Some(addr(ip)), ..Local::default() });
        assert_eq!(local(&bind, None, "1.1.1.1"), from("10.0.0.1"));
        assert_eq!(local(&bind, None, "2000::1"), from("fd00::1"));
        assert_eq!(local(&bind[..1], None, "1.1.1.1"), from("fd00::1"), "and reaches nobody");
        assert_eq!(local(&[], None, "1.1.1.1"), None);
    }

    #[test]
    fn a_device_is_named_with_and_without_an_address() {
        let from =
            |address| Some(Local { address, device: Some("tun0".into()), ..Local::default() });
        assert_eq!(local(&[], Some("tun0"), "1.1.1.1"), from(None));
        assert_eq!(local(&["10.0.0.1"], Some("tun0"), "1.1.1.1"), from(Some(addr("10.0.0.1"))));
    }

    #[test]
    fn connections_to_peers_have_a_class_and_others_have_none() {
        let config = Config { dscp: Some(1), ..Config::default() };
        let dial = Dial::new(&config);
        let class = |is_peer| dial.local(([1, 1, 1, 1], 1).into(), is_peer).map(|local| *local);
        assert_eq!(class(true), Some(Local { dscp: Some(1), ..Local::default() }));
        assert_eq!(class(false), None);
    }
}
