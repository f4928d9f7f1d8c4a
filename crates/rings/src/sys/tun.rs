//! What the TUN code needs of the system beside the `tun-tap` crate.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// Borrows a descriptor for as long as its owner is borrowed.
pub(crate) fn borrow<T>(_owner: &T, fd: RawFd) -> BorrowedFd<'_> {
    // SAFETY: the caller passes the descriptor that `_owner` owns and keeps open for its whole life.
    unsafe { BorrowedFd::borrow_raw(fd) }
}

/// `TUNSETIFF` with a name of the kernel's choice; the device goes away with the descriptor.
pub(crate) fn create(fd: &OwnedFd, flags: libc::c_int) -> io::Result<()> {
    // SAFETY: all zero is a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
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
