//! What this kernel and user can do, tried for real. Everything acts in the network namespace of the calling
//! thread and is gone again on return; errors keep the failing system call's errno.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nsrouter_wire::frame::PortId;

use crate::packet;
use crate::sys::bpf::{Instruction, link_tcx_ingress, load_classifier};
use crate::sys::{socket, tuntap};
use crate::xdp;

/// `TC_ACT_OK`: the frame goes on.
const PASS: [Instruction; 2] = [Instruction::return_value(0), Instruction::exit()];

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

/// Makes an AF_XDP socket and binds it to queue 0 of an interface in copy mode (no program, no redirect).
///
/// # Errors
/// `EAFNOSUPPORT` where the kernel lacks AF_XDP, or what the failing step said.
pub fn xdp_socket(ifindex: u32) -> io::Result<()> {
    xdp::try_bind(ifindex)
}

/// Opens a packet port with its receive ring, virtio-net headers on.
///
/// # Errors
/// What the failing step of [`packet::open`] said.
pub fn packet_ring(ifindex: u32) -> Result<(), packet::OpenError> {
    let settings = packet::Settings { slots: 32, ..packet::Settings::default() };
    packet::open(ifindex, PortId(0), settings).map(drop)
}

fn open_tun() -> io::Result<OwnedFd> {
    Ok(OpenOptions::new().read(true).write(true).open("/dev/net/tun")?.into())
}

/// Makes a TUN device.
///
/// # Errors
/// `ENOENT` or `EACCES` where /dev/net/tun is missing or closed to us, `EPERM` without CAP_NET_ADMIN here.
pub fn tun() -> io::Result<()> {
    tuntap::create(&open_tun()?, "", libc::IFF_TUN | libc::IFF_NO_PI)
}

/// Makes a TAP device with virtio-net headers, several queues and segmentation offload.
///
/// # Errors
/// As [`tun`].
pub fn tap() -> io::Result<()> {
    let fd = open_tun()?;
    tuntap::create(&fd, "", libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR | libc::IFF_MULTI_QUEUE)?;
    tuntap::set_offload(&fd, libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6)
}

/// Asks for a socket buffer beyond the machine's limit.
///
/// # Errors
/// `EPERM` without CAP_NET_ADMIN over the whole machine, in a user namespace always.
pub fn rcvbuf_force(bytes: u32) -> io::Result<()> {
    let fd = socket::open(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
    socket::set_option(fd.as_fd(), libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, bytes)
}
