//! The ioctls of TUN and TAP devices (drivers/net/tun.c).

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

/// `TUNSETIFF`: makes a device of this name, or of the kernel's choice where it is empty; the device goes
/// away with the descriptor. With `IFF_MULTI_QUEUE` a device that exists gets another queue.
pub(crate) fn create(fd: &OwnedFd, name: &str, flags: libc::c_int) -> io::Result<()> {
    // SAFETY: all zero is a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // The last byte stays zero.
    if name.len() >= request.ifr_name.len() || !name.is_ascii() {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = libc::c_char::try_from(from).unwrap_or(0);
    }
    request.ifr_ifru.ifru_flags =
        libc::c_short::try_from(flags).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    // SAFETY: TUNSETIFF reads and writes one ifreq, which is live.
    let rc = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
    if rc < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// `TUNSETOFFLOAD`.
pub(crate) fn set_offload(fd: &OwnedFd, offload: libc::c_uint) -> io::Result<()> {
    // SAFETY: the argument is an integer by value.
    let rc = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETOFFLOAD, libc::c_ulong::from(offload)) };
    if rc < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// `TUNSETPERSIST`: the device stays when its last descriptor is closed.
pub(crate) fn set_persistent(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: the argument is an integer by value.
    let rc = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETPERSIST, 1 as libc::c_ulong) };
    if rc < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// `TUNSETSNDBUF` or `TUNSETVNETHDRSZ`: a number of bytes.
fn set_bytes(fd: &OwnedFd, request: libc::Ioctl, bytes: libc::c_int) -> io::Result<()> {
    // SAFETY: both requests read one int, which is live.
    let rc = unsafe { libc::ioctl(fd.as_raw_fd(), request, &raw const bytes) };
    if rc < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// `TUNSETSNDBUF`: bytes that may be on their way to the device's owner.
pub(crate) fn set_send_buffer(fd: &OwnedFd, bytes: libc::c_int) -> io::Result<()> {
    set_bytes(fd, libc::TUNSETSNDBUF, bytes)
}

/// `TUNSETVNETHDRSZ`: bytes of the virtio-net header before each frame.
pub(crate) fn set_vnet_header(fd: &OwnedFd, bytes: libc::c_int) -> io::Result<()> {
    set_bytes(fd, libc::TUNSETVNETHDRSZ, bytes)
}
