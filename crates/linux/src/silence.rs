//! Silence: the sysctls that keep the kernel from answering, forwarding or learning on an interface.
//!
//! A userspace router reads the interface's frames, and the kernel receives them as well. Without these
//! settings both would answer.

use crate::sysctl::{self, SysctlError};

/// Silences the kernel on `ifname`, an interface without addresses in the namespace of the calling thread.
///
/// The effect needs `net.ipv4.conf.all.rp_filter` to be other than 2: see [`is_possible`].
///
/// # Errors
/// [`SysctlError`] for the first sysctl that could not be written.
pub fn silence(ifname: &str) -> Result<(), SysctlError> {
    // With rp_filter 1 the kernel drops a packet whose source has no route back by this interface, and none
    // has: the interface has no address. With arp_ignore 8 it answers ARP for none of its addresses here.
    for (name, value) in [("rp_filter", "1"), ("arp_ignore", "8"), ("forwarding", "0"), ("proxy_arp", "0")] {
        sysctl::write(&format!("net/ipv4/conf/{ifname}/{name}"), value)?;
    }
    if sysctl::interface_has_ipv6(ifname) {
        for (name, value) in [("disable_ipv6", "1"), ("accept_ra", "0"), ("forwarding", "0")] {
            sysctl::write(&format!("net/ipv6/conf/{ifname}/{name}"), value)?;
        }
    }
    Ok(())
}

/// Whether [`silence`] has its effect in the namespace of the calling thread. The kernel applies the larger
/// of an interface's rp_filter and that of `all`, and 2, the loose mode, is larger than the strict 1
/// (IN_DEV_RPFILTER in include/linux/inetdevice.h).
///
/// # Errors
/// [`SysctlError::Read`].
pub fn is_possible() -> Result<bool, SysctlError> {
    Ok(sysctl::read("net/ipv4/conf/all/rp_filter")? != "2")
}
