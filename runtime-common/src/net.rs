//! Sockets as every runtime wants them, and their errors as the engine knows them.
//!
//! Except for those of [`stream_to`], sockets made here do not block. Listeners and datagram sockets on IPv6 addresses take IPv6
//! only, so that both families can have the same port.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::AsFd;

use bitswarm_core::Segments;
use bitswarm_core::action::{SocketKind, SocketSpec};
use bitswarm_core::event::NetError;
use bitswarm_core::socket::Local;
use rustix::io::Errno;
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::{sys, tls};

/// Connections that wait to be accepted (chosen; the system has its own maximum).
const BACKLOG: i32 = 1024;

/// Slices in one vectored write (chosen: 16 blocks with their headers are 32).
const SLICES: usize = 64;

/// Makes a socket for a TCP connection that is not begun yet.
///
/// If it comes from an address, one of the other family is unreachable rather than reached some other
/// way.
pub fn stream_to(to: SocketAddr, from: Option<&Local>) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))?;
    prepare_stream(SockRef::from(&socket));
    if let Some(device) = from.and_then(|from| from.device.as_deref()) {
        bind_device(&socket, device)?;
    }
    if let Some(dscp) = from.and_then(|from| from.dscp) {
        try_dscp(&socket, to.is_ipv4(), dscp);
    }
    if let Some(ip) = from.and_then(|from| from.address) {
        if ip.is_ipv4() != to.is_ipv4() {
            return Err(Errno::NETUNREACH.into());
        }
        socket.bind(&SocketAddr::new(ip, 0).into())?;
    }
    Ok(socket)
}

/// Has everything of a socket go through one network device.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn bind_device(socket: &Socket, device: &str) -> io::Result<()> {
    socket.bind_device(Some(device.as_bytes()))
}

/// Elsewhere that is not to be had: nothing is reached rather than some other way.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn bind_device(_: &Socket, _: &str) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Begins to open a TCP connection, as by [`stream_to`]. It is open, or has failed, when it becomes
/// writable: see [`connected`].
pub fn connect(to: SocketAddr, from: Option<&Local>) -> io::Result<Socket> {
    let socket = stream_to(to, from)?;
    socket.set_nonblocking(true)?;
    match socket.connect(&to.into()) {
        Err(error) if !is_in_progress(&error) => Err(error),
        _ => Ok(socket),
    }
}

/// Whether a connection that has become writable is open: its own address, or why not. `None`: it is
/// not decided yet.
pub fn connected(socket: &SockRef<'_>) -> Option<io::Result<SocketAddr>> {
    match socket.take_error() {
        Ok(None) => {}
        Ok(Some(error)) | Err(error) => return Some(Err(error)),
    }
    match socket.peer_addr() {
        Ok(_) => Some(local_addr(socket)),
        Err(error) if error.kind() == io::ErrorKind::NotConnected => None,
        Err(error) => Some(Err(error)),
    }
}

/// Sets the options of a connection, made or accepted: small messages are not held back.
pub fn prepare_stream(socket: SockRef<'_>) {
    // Without it the connection is slower, not wrong.
    if let Err(error) = socket.set_tcp_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY not set");
    }
}

/// Opens a listener or datagram socket. One for a multicast group hears nothing until it joins:
/// see [`Group`](crate::multicast::Group).
pub fn bind(spec: &SocketSpec) -> io::Result<Socket> {
    let (kind, protocol) = match spec.kind {
        SocketKind::TcpListener => (Type::STREAM, Protocol::TCP),
        SocketKind::Udp | SocketKind::Multicast => (Type::DGRAM, Protocol::UDP),
    };
    let socket = Socket::new(Domain::for_address(spec.addr), kind, Some(protocol))?;
    socket.set_nonblocking(true)?;
    if spec.addr.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // A restart finds old connections of the port still in TIME_WAIT; a group's port is everybody's.
    if spec.kind != SocketKind::Udp {
        socket.set_reuse_address(true)?;
    }
    // Linux shares a group's port by the first option, others by the second.
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    if spec.kind == SocketKind::Multicast {
        socket.set_reuse_port(true)?;
    }
    if let Some(binding) = &spec.bind {
        if let Some(device) = &binding.device {
            bind_device(&socket, device)?;
        }
        if let Some(dscp) = binding.dscp {
            try_dscp(&socket, spec.addr.is_ipv4(), dscp);
        }
    }
    socket.bind(&spec.addr.into())?;
    if spec.kind == SocketKind::TcpListener {
        socket.listen(BACKLOG)?;
    }
    Ok(socket)
}

/// Sets the class of a socket's packets, if the system lets it.
fn try_dscp(socket: &Socket, is_ipv4: bool, dscp: u8) {
    if let Err(error) = set_dscp(socket, is_ipv4, dscp) {
        tracing::debug!(%error, dscp, "class of packets not set");
    }
}

/// Sets the class of a socket's packets. (Two bits below it are for congestion.)
fn set_dscp(socket: &Socket, is_ipv4: bool, dscp: u8) -> io::Result<()> {
    let class = (dscp & 63) << 2;
    if is_ipv4 {
        return socket.set_tos_v4(u32::from(class));
    }
    Ok(rustix::net::sockopt::set_ipv6_tclass(socket, u32::from(class))?)
}

/// Whether the system may cut datagrams of a socket that are too long for their way.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn set_fragments(socket: &impl AsFd, may: bool) -> io::Result<()> {
    use rustix::net::sockopt::{
        Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery, set_ip_mtu_discover, set_ipv6_mtu_discover,
    };
    if local_addr(&SockRef::from(socket))?.is_ipv4() {
        let how = if may { Ipv4PathMtuDiscovery::WANT } else { Ipv4PathMtuDiscovery::PROBE };
        return Ok(set_ip_mtu_discover(socket, how)?);
    }
    let how = if may { Ipv6PathMtuDiscovery::WANT } else { Ipv6PathMtuDiscovery::PROBE };
    set_ipv6_mtu_discover(socket, how)?;
    sys::set_ipv6_dontfrag(socket, !may)
}

/// Elsewhere it is as the system has it.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn set_fragments(_: &impl AsFd, _: bool) -> io::Result<()> {
    Ok(())
}

/// The next connection that waits at a listener, and who it is from.
pub fn accept(listener: &SockRef<'_>) -> io::Result<(Socket, SocketAddr)> {
    let (socket, from) = listener.accept()?;
    socket.set_nonblocking(true)?;
    Ok((socket, ip_addr(from.as_socket())?))
}

/// What a write brought.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Written {
    /// Bytes that the socket took.
    pub count: usize,
    /// Whether these were all that it was offered. If not, it is full.
    pub all: bool,
}

/// Writes the beginning of `out`, with one system call, and takes off what the socket took.
pub fn send(socket: &SockRef<'_>, out: &mut Segments) -> io::Result<Written> {
    let mut slices = [IoSlice::new(&[]); SLICES];
    let used = out.slices(&mut slices);
    let offered: usize = slices[..used].iter().map(|slice| slice.len()).sum();
    let count = socket.send_vectored(&slices[..used])?;
    if count == 0 {
        return Err(io::ErrorKind::WriteZero.into());
    }
    out.advance(count);
    Ok(Written { count, all: count == offered })
}

/// The address a socket is bound to.
pub fn local_addr(socket: &SockRef<'_>) -> io::Result<SocketAddr> {
    ip_addr(socket.local_addr()?.as_socket())
}

fn ip_addr(addr: Option<SocketAddr>) -> io::Result<SocketAddr> {
    addr.ok_or_else(|| io::Error::other("neither an IPv4 nor an IPv6 address"))
}

/// Whether the system or the process is out of file descriptors or memory for sockets.
pub fn is_exhausted(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM)
    )
}

/// Whether a listener or datagram socket that fails so will never be of use again: it is no longer
/// open or listening, or its device is gone.
pub fn is_lost(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::BADF | Errno::INVAL | Errno::NODEV | Errno::NOTSOCK | Errno::OPNOTSUPP)
    )
}

/// The engine's word for an error of a socket.
pub fn net_error(error: &io::Error) -> NetError {
    if let Some(error) = tls::net_error(error) {
        return error;
    }
    match Errno::from_io_error(error) {
        Some(Errno::CONNREFUSED) => NetError::Refused,
        Some(Errno::CONNRESET | Errno::CONNABORTED | Errno::PIPE) => NetError::Reset,
        Some(Errno::TIMEDOUT) => NetError::TimedOut,
        Some(Errno::HOSTUNREACH | Errno::NETUNREACH | Errno::NETDOWN | Errno::HOSTDOWN) => {
            NetError::Unreachable
        }
        Some(Errno::ADDRINUSE) => NetError::AddrInUse,
        // A family that the system does not have has no addresses either.
        Some(Errno::ADDRNOTAVAIL | Errno::AFNOSUPPORT) => NetError::AddrNotAvailable,
        Some(Errno::ACCESS | Errno::PERM) => NetError::Denied,
        Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => NetError::TooManyOpen,
        _ if error.kind() == io::ErrorKind::UnexpectedEof => NetError::UnexpectedEnd,
        _ => NetError::Other,
    }
}

fn is_in_progress(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
        || Errno::from_io_error(error) == Some(Errno::INPROGRESS)
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use bitswarm_core::socket::Binding;

    use super::*;

    fn listener(addr: &str) -> io::Result<Socket> {
        bound(addr, None)
    }

    fn bound(addr: &str, bind: Option<Binding>) -> io::Result<Socket> {
        let kind = SocketKind::TcpListener;
        let bind = bind.map(Box::new);
        super::bind(&SocketSpec { kind, addr: addr.parse().unwrap(), bind })
    }

    /// Waits until the connection is decided.
    fn outcome(socket: &Socket) -> io::Result<SocketAddr> {
        loop {
            if let Some(outcome) = connected(&SockRef::from(socket)) {
                return outcome;
            }
            std::thread::yield_now();
        }
    }

    #[test]
    fn connection_to_a_listener_opens() {
        let listener = listener("127.0.0.1:0").unwrap();
        let to = local_addr(&SockRef::from(&listener)).unwrap();
        let from =
            Local { address: Some([127, 0, 0, 9].into()), dscp: Some(1), ..Local::default() };
        let socket = connect(to, Some(&from)).unwrap();
        assert_eq!(outcome(&socket).unwrap().ip(), IpAddr::from([127, 0, 0, 9]));
        assert!(socket.tcp_nodelay().unwrap());
        assert_eq!(socket.tos_v4().unwrap(), 4);
    }

    #[test]
    fn connection_to_nobody_is_refused() {
        let listener = listener("127.0.0.1:0").unwrap();
        let to = local_addr(&SockRef::from(&listener)).unwrap();
        drop(listener);
        let failed = connect(to, None).and_then(|socket| outcome(&socket)).unwrap_err();
        assert_eq!(net_error(&failed), NetError::Refused);
    }

    #[test]
    fn address_of_the_family_not_bound_is_unreachable() {
        let bound = Local { address: Some([127, 0, 0, 1].into()), ..Local::default() };
        let failed = connect("[::1]:1".parse().unwrap(), Some(&bound)).unwrap_err();
        assert_eq!(net_error(&failed), NetError::Unreachable);
    }

    #[test]
    fn socket_is_bound_to_a_device_and_a_class_of_packets() {
        let binding = |device: &str| Binding { device: Some(device.into()), dscp: Some(8) };
        assert!(bound("127.0.0.1:0", Some(binding("none-such"))).is_err());
        let socket = bound("127.0.0.1:0", Some(binding("lo"))).unwrap();
        assert_eq!(socket.device().unwrap(), Some(b"lo".to_vec()));
        assert_eq!(socket.tos_v4().unwrap(), 32);
        match bound("[::1]:0", Some(binding("lo"))) {
            Ok(socket) => {
                assert_eq!(rustix::net::sockopt::ipv6_tclass(&socket).unwrap(), 32);
            }
            Err(_) => eprintln!("skipped: no IPv6 here"),
        }
    }

    #[test]
    fn nothing_is_reached_through_a_device_that_is_not_there() {
        let listener = listener("127.0.0.1:0").unwrap();
        let to = local_addr(&SockRef::from(&listener)).unwrap();
        let through = |device: &str| Local { device: Some(device.into()), ..Local::default() };
        assert!(connect(to, Some(&through("none-such"))).is_err());
        let socket = connect(to, Some(&through("lo"))).unwrap();
        outcome(&socket).unwrap();
    }

    #[test]
    fn port_taken_is_in_use_and_the_families_share_one() {
        let first = listener("127.0.0.1:0").unwrap();
        let addr = local_addr(&SockRef::from(&first)).unwrap();
        let taken = listener(&addr.to_string()).unwrap_err();
        assert_eq!(net_error(&taken), NetError::AddrInUse);
        let any = listener("0.0.0.0:0").unwrap();
        let port = local_addr(&SockRef::from(&any)).unwrap().port();
        match listener(&format!("[::]:{port}")) {
            Ok(_) => {}
            Err(error) => {
                assert_eq!(net_error(&error), NetError::AddrNotAvailable);
                eprintln!("skipped: no IPv6 here");
            }
        }
    }
}
