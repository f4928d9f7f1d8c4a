//! Sockets and their options, one function a step (socket(7), packet(7), net/packet/af_packet.c).

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use libc::{c_int, c_void, socklen_t};

/// Length of a C structure as the socket calls want it.
fn length_of<T>() -> socklen_t {
    socklen_t::try_from(size_of::<T>()).unwrap_or(socklen_t::MAX)
}

/// `socket(2)`, close-on-exec and non-blocking.
pub(crate) fn open(domain: c_int, kind: c_int, protocol: c_int) -> io::Result<OwnedFd> {
    // SAFETY: no pointers are passed.
    let fd = unsafe { libc::socket(domain, kind | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK, protocol) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was just made and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Plain old data that socket options take and give.
///
/// # Safety
/// Every bit pattern is a valid value and there is no padding that matters.
pub(crate) unsafe trait OptionValue: Copy {}
// SAFETY: integers.
unsafe impl OptionValue for c_int {}
// SAFETY: integers.
unsafe impl OptionValue for u32 {}
// SAFETY: a structure of four integers.
unsafe impl OptionValue for libc::tpacket_req {}
// SAFETY: a structure of two integers.
unsafe impl OptionValue for libc::tpacket_stats {}

/// `setsockopt(2)`.
pub(crate) fn set_option<T: OptionValue>(
    fd: BorrowedFd<'_>,
    level: c_int,
    name: c_int,
    value: T,
) -> io::Result<()> {
    // SAFETY: the pointer is to a live value of the stated length, which the kernel only reads.
    let rc = unsafe {
        libc::setsockopt(fd.as_raw_fd(), level, name, (&raw const value).cast::<c_void>(), length_of::<T>())
    };
    if rc < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// `getsockopt(2)` into a copy of `initial`.
pub(crate) fn get_option<T: OptionValue>(
    fd: BorrowedFd<'_>,
    level: c_int,
    name: c_int,
    initial: T,
) -> io::Result<T> {
    let mut value = initial;
    let mut length = length_of::<T>();
    // SAFETY: the pointers are to live values; the kernel writes at most `length` bytes, and every bit
    // pattern of an OptionValue is valid.
    let rc = unsafe {
        libc::getsockopt(fd.as_raw_fd(), level, name, (&raw mut value).cast::<c_void>(), &raw mut length)
    };
    if rc < 0 {
        return Err(io::Error::last_os_error());
    }
    // A kernel that knows a shorter structure leaves the rest of it as it was.
    if length == length_of::<T>() { Ok(value) } else { Err(io::Error::from_raw_os_error(libc::EINVAL)) }
}

/// Takes the error that lies on a socket off it, if there is one (`SO_ERROR`).
pub(crate) fn take_error(fd: BorrowedFd<'_>) -> io::Result<()> {
    match get_option(fd, libc::SOL_SOCKET, libc::SO_ERROR, 0)? {
        0 => Ok(()),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

/// Which of a socket's buffers.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Buffer {
    Receive,
    Send,
}

/// Asks for a socket buffer: past the machine's limit where we may, up to it where we may not.
pub(crate) fn set_buffer(fd: BorrowedFd<'_>, buffer: Buffer, bytes: u32) {
    let (force, plain) = match buffer {
        Buffer::Receive => (libc::SO_RCVBUFFORCE, libc::SO_RCVBUF),
        Buffer::Send => (libc::SO_SNDBUFFORCE, libc::SO_SNDBUF),
    };
    // A smaller buffer is not an error: what was got can be asked for, and what does not fit is counted.
    if set_option(fd, libc::SOL_SOCKET, force, bytes).is_err() {
        let _ = set_option(fd, libc::SOL_SOCKET, plain, bytes);
    }
}

/// Binds a packet socket to one interface and one protocol (host byte order; 0 receives nothing).
pub(crate) fn bind_packet(fd: BorrowedFd<'_>, ifindex: u32, protocol: u16) -> io::Result<()> {
    // SAFETY: all zero is a valid sockaddr_ll.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = u16::try_from(libc::AF_PACKET).unwrap_or(0);
    address.sll_protocol = protocol.to_be();
    address.sll_ifindex = c_int::try_from(ifindex).map_err(|_| io::Error::from_raw_os_error(libc::ENODEV))?;
    // SAFETY: the pointer is to a live sockaddr_ll of the stated length.
    let rc =
        unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), length_of::<libc::sockaddr_ll>()) };
    if rc < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Attaches a filter that accepts no packet, so that a socket receives nothing, whatever it is bound to
/// (`SO_ATTACH_FILTER`).
pub(crate) fn attach_drop_filter(fd: BorrowedFd<'_>) -> io::Result<()> {
    // BPF_RET | BPF_K: zero bytes of every frame are kept, which is none of it.
    let mut nothing = libc::sock_filter { code: 0x06, jt: 0, jf: 0, k: 0 };
    let program = libc::sock_fprog { len: 1, filter: &raw mut nothing };
    // SAFETY: the program's one instruction is live, and the kernel copies both.
    let rc = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const program).cast::<c_void>(),
            length_of::<libc::sock_fprog>(),
        )
    };
    if rc < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Detaches the filter of [`attach_drop_filter`] (`SO_DETACH_FILTER`).
pub(crate) fn detach_filter(fd: BorrowedFd<'_>) -> io::Result<()> {
    set_option(fd, libc::SOL_SOCKET, libc::SO_DETACH_FILTER, 0)
}

/// Asks about the interfaces of the network namespace in which it was opened.
#[derive(Debug)]
pub(crate) struct Interfaces(OwnedFd);

impl Interfaces {
    /// Opens it in the calling thread's network namespace.
    pub(crate) fn open() -> io::Result<Interfaces> {
        open(libc::AF_INET, libc::SOCK_DGRAM, 0).map(Interfaces)
    }

    /// The MTU that an interface has now (`SIOCGIFNAME`, `SIOCGIFMTU`).
    pub(crate) fn mtu(&self, ifindex: u32) -> io::Result<u32> {
        let invalid = || io::Error::from_raw_os_error(libc::ENODEV);
        // SAFETY: all zero is a valid ifreq.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        request.ifr_ifru.ifru_ifindex = c_int::try_from(ifindex).map_err(|_| invalid())?;
        for step in [libc::SIOCGIFNAME, libc::SIOCGIFMTU] {
            // SAFETY: both read and write one ifreq, which is live; the second reads the name that the first
            // wrote.
            let rc = unsafe { libc::ioctl(self.0.as_raw_fd(), step, &raw mut request) };
            if rc < 0 {
                return Err(io::Error::last_os_error());
            }
        }
        // SAFETY: SIOCGIFMTU wrote this member, an int, of which every bit pattern is valid.
        u32::try_from(unsafe { request.ifr_ifru.ifru_mtu }).map_err(|_| invalid())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mtu_of_the_loopback_interface_is_known() {
        let interfaces = Interfaces::open().expect("a socket");
        let told = std::fs::read_to_string("/sys/class/net/lo/mtu").expect("it is there");
        assert_eq!(interfaces.mtu(1).ok(), told.trim().parse().ok());
        assert!(interfaces.mtu(u32::MAX >> 1).is_err());
    }
}
