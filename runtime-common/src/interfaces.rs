//! The network of this machine: addresses, interfaces, gateways.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bitswarm_core::network::{Gateway, Interface, InterfaceAddress, NetworkState};
use if_addrs::{IfAddr, IfOperStatus};

/// Every address of this machine that others may use, the loopback ones at the end. Those of IPv6 that
/// mean something on one link only are left out: without the link's name nobody can use them.
pub fn addresses() -> io::Result<Vec<IpAddr>> {
    let mut all: Vec<IpAddr> =
        if_addrs::get_if_addrs()?.into_iter().map(|interface| interface.ip()).collect();
    all.retain(|ip| !matches!(ip, IpAddr::V6(ip) if is_link_local(*ip)));
    all.sort_by_key(|ip| (ip.is_loopback(), *ip));
    all.dedup();
    Ok(all)
}

/// What the network is like now. What the system does not say is not in it.
pub fn network() -> NetworkState {
    let mut interfaces: Vec<Interface> = Vec::new();
    for one in if_addrs::get_if_addrs().unwrap_or_default() {
        let prefix_len = match &one.addr {
            IfAddr::V4(addr) => addr.prefixlen,
            IfAddr::V6(addr) => addr.prefixlen,
        };
        let address = InterfaceAddress { ip: one.ip(), prefix_len };
        match interfaces.iter_mut().find(|interface| interface.name == one.name) {
            Some(interface) => interface.addresses.push(address),
            None => interfaces.push(Interface {
                index: one.index.unwrap_or(0),
                is_loopback: one.is_loopback(),
                is_up: one.oper_status != IfOperStatus::Down,
                addresses: vec![address],
                name: one.name,
            }),
        }
    }
    NetworkState { interfaces, gateways: gateways() }
}

/// The routers of Linux's routes to everywhere.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn gateways() -> Vec<Gateway> {
    let table = |path| std::fs::read_to_string(path).unwrap_or_default();
    let mut found = gateways_v4(&table("/proc/net/route"));
    found.extend(gateways_v6(&table("/proc/net/ipv6_route")));
    found
}

/// Elsewhere nobody has asked for them yet.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn gateways() -> Vec<Gateway> {
    Vec::new()
}

/// Columns: interface, destination, gateway, flags, three counters with the metric as the third, mask.
#[cfg_attr(not(any(target_os = "linux", target_os = "android")), allow(dead_code))]
fn gateways_v4(table: &str) -> Vec<Gateway> {
    let route = |line: &str| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let [interface, destination, gateway, _, _, _, metric, mask, ..] = columns[..] else {
            return None;
        };
        // In the processor's byte order, as the kernel has it in memory.
        let gateway = u32::from_str_radix(gateway, 16).ok()?.to_ne_bytes();
        let leads_everywhere = destination == "00000000" && mask == "00000000";
        let is_there = leads_everywhere && gateway != [0; 4];
        let metric: u32 = metric.parse().ok()?;
        is_there.then(|| (metric, Ipv4Addr::from(gateway).into(), interface.to_owned()))
    };
    by_metric(table.lines().filter_map(route).collect())
}

/// Columns: destination, its prefix, source, its prefix, gateway, metric, two counters, flags, interface.
#[cfg_attr(not(any(target_os = "linux", target_os = "android")), allow(dead_code))]
fn gateways_v6(table: &str) -> Vec<Gateway> {
    let route = |line: &str| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let [destination, prefix, _, _, gateway, metric, _, _, _, interface] = columns[..] else {
            return None;
        };
        let gateway = u128::from_str_radix(gateway, 16).ok()?;
        let leads_everywhere = prefix == "00" && destination.bytes().all(|byte| byte == b'0');
        let is_there = leads_everywhere && gateway != 0;
        let metric = u32::from_str_radix(metric, 16).ok()?;
        is_there.then(|| (metric, Ipv6Addr::from(gateway).into(), interface.to_owned()))
    };
    by_metric(table.lines().filter_map(route).collect())
}

#[cfg_attr(not(any(target_os = "linux", target_os = "android")), allow(dead_code))]
fn by_metric(mut routes: Vec<(u32, IpAddr, String)>) -> Vec<Gateway> {
    routes.sort_by_key(|(metric, ..)| *metric);
    routes.into_iter().map(|(_, ip, interface)| Gateway { ip, interface }).collect()
}

/// `fe80::/10` (RFC 4291).
fn is_link_local(ip: Ipv6Addr) -> bool {
    ip.segments()[0] & 0xffc0 == 0xfe80
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_itself_at_the_end() {
        let all = addresses().unwrap();
        assert!(all.last().unwrap().is_loopback(), "{all:?}");
        assert!(all.iter().all(|ip| !ip.is_unspecified()));
    }

    #[test]
    fn the_network_has_every_address_on_an_interface_of_its_own() {
        let network = network();
        let found = network.interfaces.iter().flat_map(|interface| &interface.addresses);
        let mut found: Vec<IpAddr> = found.map(|address| address.ip).collect();
        found.retain(|ip| addresses().unwrap().contains(ip));
        found.sort_by_key(|ip| (ip.is_loopback(), *ip));
        found.dedup();
        assert_eq!(found, addresses().unwrap());
        let loopback = network.interfaces.iter().find(|interface| interface.is_loopback).unwrap();
        let home = InterfaceAddress { ip: [127, 0, 0, 1].into(), prefix_len: 8 };
        assert!(loopback.addresses.contains(&home), "{loopback:?}");
    }

    #[test]
    fn what_means_something_on_one_link_only_is_told_apart() {
        assert!(is_link_local("fe80::1".parse().unwrap()));
        assert!(!is_link_local("fec0::1".parse().unwrap()));
        assert!(!is_link_local("2001:db8::1".parse().unwrap()));
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn routes_to_everywhere_are_read_in_the_order_of_their_metrics() {
        let v4 = "\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
wlan0\t00000000\t0101A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0
eth0\t00000000\t0100000A\t0003\t0\t0\t100\t00000000\t0\t0\t0
tun0\t00000000\t00000000\t0001\t0\t0\t50\t00000000\t0\t0\t0
eth0\t0000000A\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0
";
        let gateway = |ip: &str, interface: &str| Gateway {
            ip: ip.parse().unwrap(),
            interface: interface.to_owned(),
        };
        assert_eq!(gateways_v4(v4), [gateway("10.0.0.1", "eth0"), gateway("192.168.1.1", "wlan0")]);
        let zeros = "0".repeat(32);
        let router = "fe800000000000000000000000000001";
        let v6 = format!(
            "{zeros} 00 {zeros} 00 {router} 00000400 00000001 00000000 00000003     eth0\n\
             20010db8{} 40 {zeros} 00 {zeros} 00000100 00000001 00000000 00000001     eth0\n\
             {zeros} 00 {zeros} 00 {zeros} ffffffff 00000001 00000000 00200200       lo\n",
            "0".repeat(24)
        );
        assert_eq!(gateways_v6(&v6), [gateway("fe80::1", "eth0")]);
        assert_eq!(gateways_v4("damaged"), []);
    }
}
