//! Facilities of the kernel beside those of a backend, tried for real. Everything acts in the network
//! namespace of the calling thread and is gone on return; errors keep the failing system call's errno.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use crate::sys::bpf::{PASS, link_tcx_ingress, load_classifier};
use crate::sys::{socket, tuntap};

/// Loads a classifier program by bpf(2).
///
/// # Errors
/// `EPERM` without CAP_BPF (and CAP_NET_ADMIN) over the whole machine; `ENOSYS` without bpf(2).
pub fn bpf() -> io::Result<()> {
    load_classifier(&PASS).map(drop)
}

/// Attaches a program to the TCX ingress hook of an interface.
///
/// # Errors
/// As [`bpf`]; `EINVAL` on a kernel before 6.6.
pub fn tcx(ifindex: u32) -> io::Result<()> {
    link_tcx_ingress(&load_classifier(&PASS)?, ifindex).map(drop)
}

/// Makes a TUN device.
///
/// # Errors
/// `ENOENT` or `EACCES` where /dev/net/tun is missing or closed to the user, `EPERM` without CAP_NET_ADMIN
/// here.
pub fn tun() -> io::Result<()> {
    let fd = OwnedFd::from(OpenOptions::new().read(true).write(true).open("/dev/net/tun")?);
    tuntap::create(&fd, "", libc::IFF_TUN | libc::IFF_NO_PI)
}

/// Asks for a socket buffer beyond the machine's limit.
///
/// # Errors
/// `EPERM` without CAP_NET_ADMIN over the whole machine, in a user namespace always.
pub fn rcvbuf_force(bytes: u32) -> io::Result<()> {
    let fd = socket::open(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
    socket::set_option(fd.as_fd(), libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, bytes)
}
