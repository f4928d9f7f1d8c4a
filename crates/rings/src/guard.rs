//! The host guard: a TCX ingress program that drops in the kernel what the router owns, after the packet tap has
//! seen it.
//!
//! Taps bound to `ETH_P_ALL` see a frame before tc ingress does (net/core/dev.c, __netif_receive_skb_core), so
//! dropping everything there costs the router nothing and spares the kernel its own input path. It comes on top
//! of the sysctls that silence the kernel on a port: without BPF rights those keep it just as correct, only slower.

use std::io;
use std::os::fd::OwnedFd;

use crate::sys::bpf::{Instruction, link_tcx_ingress, load_classifier};

/// `TC_ACT_SHOT` (include/uapi/linux/pkt_cls.h): the frame is dropped.
const SHOT: i32 = 2;

/// A guard on one interface. It goes away with this value, or with the process.
#[derive(Debug)]
pub struct Guard {
    /// Closing the link's descriptor detaches the program.
    _link: OwnedFd,
}

/// Puts a guard on an interface of the calling thread's network namespace: from now on its kernel receives nothing
/// there.
///
/// # Errors
/// `EPERM` without CAP_BPF and CAP_NET_ADMIN over the whole machine (in a user namespace always), `EINVAL` on a
/// kernel before 6.6.
pub fn attach(ifindex: u32) -> io::Result<Guard> {
    let program = load_classifier(&[Instruction::return_value(SHOT), Instruction::exit()])?;
    Ok(Guard { _link: link_tcx_ingress(&program, ifindex)? })
}
