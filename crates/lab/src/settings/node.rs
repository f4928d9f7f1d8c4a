//! Sysctls of the namespaces that a lab creates, and of the interfaces in them.

use nsrouter_linux::sysctl::{SysctlError, has_ipv6, interface_has_ipv6, write};

/// Sets a new namespace to known values: the kernel copies IPv4 settings from the machine's own namespace,
/// which may already forward (devinet_init_net() in net/ipv4/devinet.c).
///
/// `silent`: interfaces start without IPv6. So does an interface to which the kernel adds IPv6 later, when
/// its MTU is raised to 1280 bytes and its settings are created anew.
pub(crate) fn normalise(silent: bool) -> Result<(), SysctlError> {
    write("net/ipv4/ip_forward", "0")?;
    for which in ["all", "default"] {
        for name in ["forwarding", "rp_filter", "arp_ignore", "arp_filter", "proxy_arp"] {
            write(&format!("net/ipv4/conf/{which}/{name}"), "0")?;
        }
    }
    if has_ipv6() {
        for which in ["all", "default"] {
            for name in ["forwarding", "disable_ipv6"] {
                write(&format!("net/ipv6/conf/{which}/{name}"), "0")?;
            }
        }
        if silent {
            write("net/ipv6/conf/default/disable_ipv6", "1")?;
        }
        write("net/ipv6/conf/default/accept_ra", "0")?;
        write("net/ipv6/conf/lo/disable_ipv6", "0")?;
    }
    Ok(())
}

/// Shortens the reassembly timeout of a host. After an overload with fragments its reassembly queue is full
/// of incomplete datagrams, and until they expire it accepts no others (inet_frag_alloc() in
/// net/ipv4/inet_fragment.c). The kernel's 30 and 60 seconds are for paths that a lab does not have. Best
/// effort: without it a host ignores fragments for longer.
pub(crate) fn shorten_reassembly() {
    for (family, prefix) in [("ipv4", "ip"), ("ipv6", "ip6")] {
        for (name, value) in [("time", "1"), ("high_thresh", "16777216")] {
            if let Err(error) = write(&format!("net/{family}/{prefix}frag_{name}"), value) {
                tracing::debug!("{error}");
            }
        }
    }
}

/// Prepares an interface whose addresses the kernel owns: IPv6, where the interface has it, is enabled and
/// usable at once, and router advertisements are ignored.
pub(crate) fn prepare_interface(ifname: &str) -> Result<(), SysctlError> {
    if interface_has_ipv6(ifname) {
        for (name, value) in [("disable_ipv6", "0"), ("accept_dad", "0"), ("accept_ra", "0")] {
            write(&format!("net/ipv6/conf/{ifname}/{name}"), value)?;
        }
    }
    Ok(())
}

/// Prepares the host port: it has the addresses that are added to it, and no link-local address from the
/// kernel.
pub(crate) fn prepare_host_port(ifname: &str) -> Result<(), SysctlError> {
    // Replies to the addresses on it arrive here; its only peer is the userspace router.
    write(&format!("net/ipv4/conf/{ifname}/rp_filter"), "0")?;
    // ICMP errors about packets of local programs have the router's own address as their source, which
    // __fib_validate_source() in net/ipv4/fib_frontend.c would take for a martian source.
    write(&format!("net/ipv4/conf/{ifname}/accept_local"), "1")?;
    prepare_interface(ifname)?;
    if interface_has_ipv6(ifname) {
        // IN6_ADDR_GEN_MODE_NONE of include/uapi/linux/if_link.h.
        write(&format!("net/ipv6/conf/{ifname}/addr_gen_mode"), "1")?;
        // The addresses belong to the ports: taking this device down and up again does not remove them.
        write(&format!("net/ipv6/conf/{ifname}/keep_addr_on_down"), "1")?;
    }
    Ok(())
}

/// Enables forwarding in a namespace that is removed with the lab.
pub(crate) fn enable_forwarding() -> Result<(), SysctlError> {
    write("net/ipv4/ip_forward", "1")?;
    if has_ipv6() {
        write("net/ipv6/conf/all/forwarding", "1")?;
    }
    Ok(())
}
