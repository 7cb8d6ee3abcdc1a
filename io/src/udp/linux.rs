//! Linux: datagrams with their local address, through control messages (ip(7) `IP_PKTINFO`, RFC 3542
//! `IPV6_PKTINFO`). Batches (`recvmmsg`, `sendmmsg`, `UDP_SEGMENT`) belong here too.

#![allow(unsafe_code)] // std neither sends nor receives control messages.

use std::io;
use std::mem::{size_of, zeroed};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;

/// Room for one control message of either IP version, aligned as `cmsghdr` wants it.
#[repr(C, align(8))]
struct Control([u8; 64]);

/// Asks the kernel to tell which local address each datagram reached, if there is a choice.
pub(super) fn report_destination(socket: &UdpSocket, bound: SocketAddr) -> io::Result<()> {
    if !bound.ip().is_unspecified() {
        return Ok(());
    }
    let (level, name) = match bound {
        SocketAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_PKTINFO),
        SocketAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO),
    };
    let on: libc::c_int = 1;
    // SAFETY: the option takes an int, and pointer and size are those of a local int.
    let done = unsafe {
        let size = size_of::<libc::c_int>() as libc::socklen_t;
        libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const on).cast(), size)
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// One datagram: its length, its sender and, if the kernel told, the local address that it reached.
pub(super) fn recv(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr, Option<IpAddr>)> {
    let mut control = Control([0; 64]);
    let mut slice = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    let mut local = None;
    // SAFETY: all zeros are a valid msghdr; every pointer in it is to a local that outlives the call, with
    // its true size. `try_init` gives storage for any address and its length. Control messages are walked
    // with the CMSG macros over what the kernel says it wrote, and read unaligned.
    let (len, from) = unsafe {
        socket2::SockAddr::try_init(|name, name_len| {
            let mut header: libc::msghdr = zeroed();
            header.msg_name = name.cast();
            header.msg_namelen = *name_len;
            header.msg_iov = &mut slice;
            header.msg_iovlen = 1;
            header.msg_control = control.0.as_mut_ptr().cast();
            header.msg_controllen = control.0.len() as _;
            let len = libc::recvmsg(socket.as_raw_fd(), &mut header, 0);
            if len < 0 {
                return Err(io::Error::last_os_error());
            }
            *name_len = header.msg_namelen;
            let mut message = libc::CMSG_FIRSTHDR(&header);
            while !message.is_null() {
                let data = libc::CMSG_DATA(message);
                match ((*message).cmsg_level, (*message).cmsg_type) {
                    (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                        let info = data.cast::<libc::in_pktinfo>().read_unaligned();
                        local = Some(IpAddr::V4(u32::from_be(info.ipi_spec_dst.s_addr).into()));
                    }
                    (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                        let info = data.cast::<libc::in6_pktinfo>().read_unaligned();
                        local = Some(IpAddr::V6(info.ipi6_addr.s6_addr.into()));
                    }
                    _ => {}
                }
                message = libc::CMSG_NXTHDR(&header, message);
            }
            Ok(len as usize)
        })?
    };
    let from = from.as_socket().ok_or_else(|| io::Error::other("a datagram without an IP sender"))?;
    Ok((len, from, local))
}

/// Sends one datagram from a chosen local address. `to` and `from` are of the socket's own IP version.
pub(super) fn send(socket: &UdpSocket, bytes: &[u8], to: SocketAddr, from: IpAddr) -> io::Result<()> {
    let to = socket2::SockAddr::from(to);
    let mut control = Control([0; 64]);
    let mut slice = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    // SAFETY: all zeros are valid for these plain C structs; every pointer is to a local or an argument that
    // outlives the call, with its true size; sendmsg only reads. The control buffer is larger than
    // CMSG_SPACE of either structure, so CMSG_FIRSTHDR is not null and CMSG_DATA has room for it.
    let sent = unsafe {
        let mut header: libc::msghdr = zeroed();
        header.msg_name = to.as_ptr().cast_mut().cast();
        header.msg_namelen = to.len();
        header.msg_iov = &mut slice;
        header.msg_iovlen = 1;
        header.msg_control = control.0.as_mut_ptr().cast();
        header.msg_controllen = control.0.len() as _;
        let message = libc::CMSG_FIRSTHDR(&header);
        match from {
            IpAddr::V4(from) => {
                let mut info: libc::in_pktinfo = zeroed();
                info.ipi_spec_dst.s_addr = u32::from(from).to_be();
                fill(message, libc::IPPROTO_IP, libc::IP_PKTINFO, info);
                header.msg_controllen = libc::CMSG_SPACE(size_of::<libc::in_pktinfo>() as u32) as _;
            }
            IpAddr::V6(from) => {
                let mut info: libc::in6_pktinfo = zeroed();
                info.ipi6_addr.s6_addr = from.octets();
                fill(message, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, info);
                header.msg_controllen = libc::CMSG_SPACE(size_of::<libc::in6_pktinfo>() as u32) as _;
            }
        }
        libc::sendmsg(socket.as_raw_fd(), &header, 0)
    };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Writes one control message.
///
/// # Safety
/// `message` points to a control buffer with room for a header and a `T`.
unsafe fn fill<T>(message: *mut libc::cmsghdr, level: libc::c_int, kind: libc::c_int, info: T) {
    // SAFETY: the caller promises the room; the payload is written unaligned.
    unsafe {
        (*message).cmsg_level = level;
        (*message).cmsg_type = kind;
        (*message).cmsg_len = libc::CMSG_LEN(size_of::<T>() as u32) as _;
        libc::CMSG_DATA(message).cast::<T>().write_unaligned(info);
    }
}
