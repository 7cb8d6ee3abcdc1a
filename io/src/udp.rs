//! UDP sockets for media: bound with clear errors, never blocking, with room for a burst.
//!
//! Why not `std::net::UdpSocket` alone: a socket on a wildcard address must say which local address a
//! datagram reached (ICE pairs are pairs of addresses) and answer from that one; a socket on `[::]` speaks
//! to IPv4 peers by mapped addresses that nobody else should see; and the default receive buffer of
//! 208 KiB overflows while a busy machine schedules somebody else for 50 ms.

#[cfg(target_os = "linux")]
mod linux;

use socket2::{Domain, Protocol, Type};
use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};

/// Wanted socket buffers, each way, the largest that is granted. Linux cuts a wish to its limit
/// (`net.core.rmem_max`), macOS refuses what is over it; to get less is no error.
const BUFFER_BYTES: [usize; 4] = [2 << 20, 1 << 20, 512 << 10, 256 << 10];

/// The largest datagram that UDP can carry: a receive buffer of this size never truncates.
pub const MAX_DATAGRAM: usize = 65_536;

/// IP and UDP headers of a datagram to or from `peer`: what a link carries besides the payload.
pub fn header_bytes(peer: SocketAddr) -> usize {
    if peer.is_ipv4() { 28 } else { 48 }
}

/// Why a socket could not be bound.
#[derive(Debug)]
pub struct BindError {
    /// The address that was asked for.
    pub addr: SocketAddr,
    /// `UDP` or `TCP`.
    pub protocol: &'static str,
    /// What the operating system said.
    pub source: io::Error,
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let BindError { addr, protocol, source } = self;
        let (ip, port) = (addr.ip(), addr.port());
        match source.kind() {
            ErrorKind::AddrInUse => write!(
                f,
                "{protocol} port {port} on {ip} is taken by another program: stop that program, or choose \
                 another port (0 lets the system choose)"
            ),
            ErrorKind::PermissionDenied => write!(
                f,
                "{protocol} port {port} is reserved for privileged programs: choose one from 1024 up, or grant \
                 the permission (Linux: setcap cap_net_bind_service=+ep)"
            ),
            ErrorKind::AddrNotAvailable => write!(
                f,
                "no interface of this machine has the address {ip}: use one that `ip address` lists, or \
                 {} for all of them",
                if addr.is_ipv4() { "0.0.0.0" } else { "[::]" }
            ),
            _ => write!(f, "{protocol} address {addr} cannot be bound: {source}"),
        }
    }
}

impl std::error::Error for BindError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// A datagram that was received into the caller's buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Its length in bytes.
    pub len: usize,
    /// Who sent it.
    pub from: SocketAddr,
    /// The local address that it reached; specific even if the socket is bound to a wildcard.
    pub to: SocketAddr,
}

/// A bound UDP socket that never blocks.
#[derive(Debug)]
pub struct Socket {
    pub(crate) socket: UdpSocket,
    bound: SocketAddr,
}

impl Socket {
    /// Binds. Port 0 lets the system choose; `[::]` serves IPv4 peers too.
    ///
    /// # Errors
    /// [`BindError`], whose text says what to do.
    pub fn bind(addr: SocketAddr) -> Result<Socket, BindError> {
        let open = || -> io::Result<Socket> {
            let socket = socket2::Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
            if addr.is_ipv6() {
                socket.set_only_v6(!addr.ip().is_unspecified())?;
            }
            let _ = BUFFER_BYTES.into_iter().find(|&bytes| socket.set_recv_buffer_size(bytes).is_ok());
            let _ = BUFFER_BYTES.into_iter().find(|&bytes| socket.set_send_buffer_size(bytes).is_ok());
            socket.set_nonblocking(true)?;
            socket.bind(&addr.into())?;
            let socket = UdpSocket::from(socket);
            let bound = socket.local_addr()?;
            #[cfg(target_os = "linux")]
            linux::report_destination(&socket, bound)?;
            Ok(Socket { socket, bound })
        };
        open().map_err(|source| BindError { addr, protocol: "UDP", source })
    }

    /// The address that it is bound to, with the port that was chosen; a wildcard stays one.
    pub fn local_addr(&self) -> SocketAddr {
        self.bound
    }

    /// The addresses under which a peer may reach this socket: its own, or behind a wildcard those of all
    /// interfaces that are up (loopback only if there is nothing else). These are the host candidates of ICE.
    pub fn reachable_addrs(&self) -> Vec<SocketAddr> {
        if !self.bound.ip().is_unspecified() {
            return vec![self.bound];
        }
        interface_addresses()
            .into_iter()
            .filter(|ip| self.bound.is_ipv6() || ip.is_ipv4())
            .map(|ip| SocketAddr::new(ip, self.bound.port()))
            .collect()
    }

    /// Takes one datagram, or `None` if none waits. What other hosts do wrong (an ICMP error that answers
    /// something sent earlier) is skipped, not reported.
    ///
    /// # Errors
    /// Only when the socket itself is unusable.
    pub fn recv(&self, buffer: &mut [u8]) -> io::Result<Option<Received>> {
        loop {
            match self.recv_once(buffer) {
                Ok(received) => return Ok(Some(received)),
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(e)
                    if matches!(
                        e.kind(),
                        ErrorKind::Interrupted
                            | ErrorKind::ConnectionReset
                            | ErrorKind::ConnectionRefused
                            | ErrorKind::HostUnreachable
                            | ErrorKind::NetworkUnreachable
                            | ErrorKind::NetworkDown
                    ) => {}
                Err(e) => return Err(e),
            }
        }
    }

    fn recv_once(&self, buffer: &mut [u8]) -> io::Result<Received> {
        #[cfg(target_os = "linux")]
        let (len, from, to) = linux::recv(&self.socket, buffer)?;
        #[cfg(not(target_os = "linux"))]
        let (len, from, to) = self.socket.recv_from(buffer).map(|(len, from)| (len, from, None))?;
        let from = canonical(from);
        let ip = match to {
            _ if !self.bound.ip().is_unspecified() => self.bound.ip(),
            Some(ip) => ip.to_canonical(),
            None => address_towards(from).unwrap_or(self.bound.ip()),
        };
        Ok(Received { len, from, to: SocketAddr::new(ip, self.bound.port()) })
    }

    /// Sends one datagram, from the local address `from` if the socket has several.
    ///
    /// # Errors
    /// The network's (no route, a full send buffer) as well as the socket's: a sender of media counts them
    /// and goes on, as with any lost datagram.
    pub fn send(&self, bytes: &[u8], to: SocketAddr, from: Option<SocketAddr>) -> io::Result<()> {
        let to = if self.bound.is_ipv6() { mapped(to) } else { to };
        #[cfg(target_os = "linux")]
        if self.bound.ip().is_unspecified()
            && let Some(from) = from
            && !from.ip().is_unspecified()
        {
            let from = if self.bound.is_ipv6() { mapped(from) } else { from };
            return linux::send(&self.socket, bytes, to, from.ip());
        }
        let _ = from;
        self.socket.send_to(bytes, to).map(drop)
    }

    /// Whether this socket can speak to `peer` at all: the same IP version, or both.
    pub fn reaches(&self, peer: SocketAddr) -> bool {
        self.bound.is_ipv4() == peer.is_ipv4() || (self.bound.is_ipv6() && self.bound.ip().is_unspecified())
    }
}

/// The local address from which this machine would speak to `peer`, by its routing table; nothing is sent.
/// `None`: no route.
pub fn address_towards(peer: SocketAddr) -> Option<IpAddr> {
    let any: SocketAddr =
        if peer.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
    let socket = UdpSocket::bind(any).ok()?;
    socket.connect(peer).ok()?;
    socket.local_addr().ok().map(|addr| addr.ip())
}

/// The addresses of all interfaces that are up, without duplicates, IPv4 first. Loopback only if there is no
/// other; link-local never, since a peer needs a zone to reach it.
pub fn interface_addresses() -> Vec<IpAddr> {
    let mut all = system_addresses();
    all.retain(|ip| match ip {
        IpAddr::V4(v4) => !v4.is_link_local() && !v4.is_unspecified(),
        IpAddr::V6(v6) => !v6.is_unicast_link_local() && !v6.is_unspecified(),
    });
    all.sort_by_key(|ip| (ip.is_ipv6(), *ip));
    all.dedup();
    if all.iter().any(|ip| !ip.is_loopback()) {
        all.retain(|ip| !ip.is_loopback());
    }
    all
}

#[cfg(unix)]
#[allow(unsafe_code)] // std does not list interfaces.
fn system_addresses() -> Vec<IpAddr> {
    let mut found = Vec::new();
    let mut head: *mut libc::ifaddrs = std::ptr::null_mut();
    // SAFETY: getifaddrs writes one pointer; on success it owns a list that freeifaddrs releases below.
    if unsafe { libc::getifaddrs(&mut head) } != 0 {
        return found;
    }
    let mut next = head;
    while !next.is_null() {
        // SAFETY: `next` is a node of the list, which lives until freeifaddrs.
        let entry = unsafe { &*next };
        next = entry.ifa_next;
        if entry.ifa_addr.is_null() || entry.ifa_flags & libc::IFF_UP as libc::c_uint == 0 {
            continue;
        }
        // SAFETY: a non-null address starts with its family, and the family says how long it is.
        unsafe {
            match libc::c_int::from((*entry.ifa_addr).sa_family) {
                libc::AF_INET => {
                    let v4 = &*entry.ifa_addr.cast::<libc::sockaddr_in>();
                    found.push(IpAddr::V4(u32::from_be(v4.sin_addr.s_addr).into()));
                }
                libc::AF_INET6 => {
                    let v6 = &*entry.ifa_addr.cast::<libc::sockaddr_in6>();
                    found.push(IpAddr::V6(v6.sin6_addr.s6_addr.into()));
                }
                _ => {}
            }
        }
    }
    // SAFETY: `head` came from getifaddrs and no reference into the list is left.
    unsafe { libc::freeifaddrs(head) };
    found
}

#[cfg(not(unix))]
fn system_addresses() -> Vec<IpAddr> {
    // The routing table knows at least the address that leads out of here (a documentation address).
    let out = [SocketAddr::from(([192, 0, 2, 1], 9)), SocketAddr::from(([127, 0, 0, 1], 9))];
    out.into_iter().filter_map(address_towards).collect()
}

/// `::ffff:192.0.2.1` is 192.0.2.1 to everybody else.
fn canonical(addr: SocketAddr) -> SocketAddr {
    match addr.ip().to_canonical() {
        IpAddr::V4(v4) => SocketAddr::new(IpAddr::V4(v4), addr.port()),
        IpAddr::V6(_) => addr,
    }
}

/// The form in which an IPv6 socket takes an IPv4 address.
fn mapped(addr: SocketAddr) -> SocketAddr {
    match addr {
        SocketAddr::V4(v4) => SocketAddrV6::new(v4.ip().to_ipv6_mapped(), v4.port(), 0, 0).into(),
        SocketAddr::V6(_) => addr,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bind(addr: &str) -> Socket {
        Socket::bind(addr.parse().unwrap()).unwrap()
    }

    fn wait_for(socket: &Socket, buffer: &mut [u8]) -> Received {
        for _ in 0..1000 {
            if let Some(received) = socket.recv(buffer).unwrap() {
                return received;
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        panic!("nothing came within a second");
    }

    #[test]
    fn a_wildcard_socket_knows_which_address_was_reached_and_answers_from_it() {
        for (wildcard, peer_at) in
            [("0.0.0.0:0", "127.0.0.1:0"), ("[::]:0", "127.0.0.1:0"), ("[::]:0", "[::1]:0")]
        {
            let Ok(server) = Socket::bind(wildcard.parse().unwrap()) else {
                continue; // This machine has no IPv6.
            };
            let Ok(peer) = Socket::bind(peer_at.parse().unwrap()) else { continue };
            // Any 127/8 address is local on Linux; the second makes sure that the answer is not from the default.
            let second = if cfg!(target_os = "linux") { "127.0.0.2" } else { "127.0.0.1" };
            let target: IpAddr = if peer.local_addr().is_ipv4() {
                second.parse().unwrap()
            } else {
                Ipv6Addr::LOCALHOST.into()
            };
            let target = SocketAddr::new(target, server.local_addr().port());
            let mut buffer = [0; 100];
            assert_eq!(server.recv(&mut buffer).unwrap(), None);
            peer.send(b"hello", target, None).unwrap();
            let got = wait_for(&server, &mut buffer);
            assert_eq!(got, Received { len: 5, from: peer.local_addr(), to: target }, "{wildcard} {peer_at}");
            server.send(b"hi", got.from, Some(got.to)).unwrap();
            let answer = wait_for(&peer, &mut buffer);
            assert_eq!(answer.from, target, "{wildcard} {peer_at}");
            assert_eq!(&buffer[..answer.len], b"hi");
        }
    }

    #[test]
    fn a_taken_port_is_named_with_what_to_do() {
        let first = bind("127.0.0.1:0");
        let error = Socket::bind(first.local_addr()).unwrap_err().to_string();
        assert!(error.contains(&format!("UDP port {}", first.local_addr().port())), "{error}");
        assert!(error.contains("taken by another program") && error.contains("another port"), "{error}");
    }

    #[test]
    fn an_address_of_another_machine_is_named() {
        let error = Socket::bind("192.0.2.1:0".parse().unwrap()).unwrap_err().to_string();
        assert!(error.contains("no interface of this machine has the address 192.0.2.1"), "{error}");
    }

    #[test]
    fn a_closed_peer_does_not_break_the_socket() {
        let socket = bind("127.0.0.1:0");
        let gone = bind("127.0.0.1:0").local_addr();
        let mut buffer = [0; 10];
        for _ in 0..3 {
            let _ = socket.send(b"x", gone, None);
            assert_eq!(socket.recv(&mut buffer).unwrap(), None);
        }
    }

    #[test]
    fn some_address_of_this_machine_is_reachable() {
        assert!(!interface_addresses().is_empty());
        let loopback = SocketAddr::from(([127, 0, 0, 1], 9));
        assert_eq!(address_towards(loopback), Some(loopback.ip()));
        assert_eq!(bind("127.0.0.1:0").reachable_addrs().len(), 1);
        assert!(bind("0.0.0.0:0").reachable_addrs().iter().all(|addr| addr.is_ipv4() && addr.port() != 0));
    }
}
