//! The host guard: a program at the ingress hook of an interface that drops in the kernel what the router
//! owns, after the packet tap has seen it.
//!
//! Taps bound to `ETH_P_ALL` see a frame before tc ingress does (net/core/dev.c, __netif_receive_skb_core),
//! so dropping everything there costs the router nothing and spares the kernel its own input path. It comes
//! on top of the sysctls that silence the kernel on a port: without BPF rights those keep it just as correct,
//! only slower.
//!
//! TCX runs the program with the least in between, but to attach one waits for an RCU grace period, some 20
//! ms, under a lock that the whole machine's networking shares (tcx_entry_sync), and so does to detach it.
//! Where there are many interfaces, a filter of an ingress qdisc is used instead, which waits for nothing.

mod tc;

use std::io;
use std::os::fd::OwnedFd;

use self::tc::Control;
use crate::sys::bpf::{Instruction, link_tcx_ingress, load_classifier};

/// `TC_ACT_SHOT` (include/uapi/linux/pkt_cls.h): the frame is dropped.
const SHOT: i32 = 2;

/// Interfaces up to which each has a TCX program of its own.
const TCX_INTERFACES: usize = 8;

/// A guard on one interface.
#[derive(Debug)]
pub struct Guard(Kind);

#[derive(Debug)]
enum Kind {
    /// It goes away with this value, or with the process.
    Tcx {
        /// Closing the link's descriptor detaches the program.
        _link: OwnedFd,
    },
    /// It goes away with its interface.
    Filter,
}

impl Guard {
    /// What holds the program: `tcx`, or `tc` for a filter.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self.0 {
            Kind::Tcx { .. } => "tcx",
            Kind::Filter => "tc",
        }
    }
}

/// How many descriptors guards on so many interfaces keep open.
#[must_use]
pub fn descriptors(interfaces: usize) -> usize {
    if interfaces <= TCX_INTERFACES { interfaces } else { 0 }
}

/// Puts a guard on each of these interfaces of the calling thread's network namespace: from now on its kernel
/// receives nothing there.
///
/// # Errors
/// `EPERM` without CAP_BPF and CAP_NET_ADMIN over the whole machine (in a user namespace always), `EINVAL` on
/// a kernel before 6.6, `ENOENT` for many interfaces on a kernel without ingress qdiscs.
pub fn attach(interfaces: &[u32]) -> io::Result<Vec<Guard>> {
    let program = load_classifier(&[Instruction::return_value(SHOT), Instruction::exit()])?;
    if interfaces.len() <= TCX_INTERFACES {
        let tcx = |ifindex: &u32| Ok(Guard(Kind::Tcx { _link: link_tcx_ingress(&program, *ifindex)? }));
        return interfaces.iter().map(tcx).collect();
    }
    let control = Control::open()?;
    let filter = |ifindex: &u32| {
        control.drop_on_ingress(*ifindex, &program)?;
        Ok(Guard(Kind::Filter))
    };
    interfaces.iter().map(filter).collect()
}
