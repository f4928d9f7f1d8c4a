//! Settings below `/proc/sys`, of the namespace of the calling thread.

use std::fs;

use nsrouter_linux::sysctl::{self, SysctlError, has_ipv6, interface_has_ipv6, read, write};

use crate::Error;
use crate::netlink::Netlink;
use crate::state::{SavedRoute, SavedSysctl};

/// Brings a new namespace to known values: IPv4 settings are copied from the machine's own, which may
/// forward already (devinet_init_net() in net/ipv4/devinet.c).
///
/// `silent`: links begin without IPv6. So does one to which the kernel gives IPv6 later, as its MTU is raised to 1280
/// bytes, which makes its settings anew.
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

/// For a host: an overload with fragments leaves it full of datagrams that nobody completes, and until their time is up it takes
/// no others (inet_frag_alloc() in net/ipv4/inet_fragment.c). The kernel's 30 and 60 seconds are for paths that a lab does not
/// have. Best effort: without it a host is deaf to fragments for longer.
pub(crate) fn shorten_reassembly() {
    for (family, prefix) in [("ipv4", "ip"), ("ipv6", "ip6")] {
        for (name, value) in [("time", "1"), ("high_thresh", "16777216")] {
            if let Err(error) = write(&format!("net/{family}/{prefix}frag_{name}"), value) {
                tracing::debug!("{error}");
            }
        }
    }
}

/// For a link whose addresses the kernel owns: IPv6, where the link has it, is on and usable at once, nobody advertises.
pub(crate) fn prepare_link(ifname: &str) -> Result<(), SysctlError> {
    if interface_has_ipv6(ifname) {
        for (name, value) in [("disable_ipv6", "0"), ("accept_dad", "0"), ("accept_ra", "0")] {
            write(&format!("net/ipv6/conf/{ifname}/{name}"), value)?;
        }
    }
    Ok(())
}

/// For the host port: the addresses that it is given and no link-local one made by the kernel.
pub(crate) fn prepare_host_port(ifname: &str) -> Result<(), SysctlError> {
    // Answers come in by this port for the addresses on it; its peer is our engine alone.
    write(&format!("net/ipv4/conf/{ifname}/rp_filter"), "0")?;
    // ICMP errors about what the router's own programs sent come from the router's own address, which
    // __fib_validate_source() in net/ipv4/fib_frontend.c takes for a martian source otherwise.
    write(&format!("net/ipv4/conf/{ifname}/accept_local"), "1")?;
    prepare_link(ifname)?;
    if interface_has_ipv6(ifname) {
        // IN6_ADDR_GEN_MODE_NONE of include/uapi/linux/if_link.h.
        write(&format!("net/ipv6/conf/{ifname}/addr_gen_mode"), "1")?;
        // The addresses are the ports': they do not go when somebody takes this device down and up again.
        write(&format!("net/ipv6/conf/{ifname}/keep_addr_on_down"), "1")?;
    }
    Ok(())
}

/// Switches forwarding on in a namespace that goes away with the lab.
pub(crate) fn forward() -> Result<(), SysctlError> {
    write("net/ipv4/ip_forward", "1")?;
    if has_ipv6() {
        write("net/ipv6/conf/all/forwarding", "1")?;
    }
    Ok(())
}

/// What switching forwarding on changes in a namespace that stays.
#[derive(Debug, Default)]
pub(crate) struct Before {
    /// In the order to write them back: the global ones rewrite those of the links.
    pub(crate) sysctls: Vec<SavedSysctl>,
    /// Default routes that the kernel may purge.
    pub(crate) routes: Vec<SavedRoute>,
}

/// Reads all that [`forward_and_keep`] will change. `ours`: links that go away with the lab.
pub(crate) fn before(netlink: &Netlink, ours: &[&str]) -> Result<Before, Error> {
    let mut before = Before::default();
    let mut keys = vec!["net/ipv4/ip_forward".to_owned(), "net/ipv4/conf/all/accept_redirects".to_owned()];
    keys.extend(per_link("ipv4", "forwarding", ours)?);
    if has_ipv6() {
        keys.extend(per_link("ipv6", "forwarding", ours)?);
        for key in per_link("ipv6", "accept_ra", ours)? {
            if read(&key)? == "1" && !key.contains("/lo/") {
                keys.push(key);
            }
        }
        before.routes = netlink.advertised_routes()?;
    }
    for key in keys {
        before.sysctls.push(SavedSysctl { value: read(&key)?, key });
    }
    Ok(before)
}

/// `net/FAMILY/conf/*/NAME`: `all` and `default` first.
fn per_link(family: &str, name: &str, ours: &[&str]) -> Result<Vec<String>, Error> {
    let dir = sysctl::path_of(&format!("net/{family}/conf"));
    let mut links: Vec<String> = fs::read_dir(&dir)
        .map_err(Error::file("read", &dir))?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|link| !["all", "default"].contains(&link.as_str()) && !ours.contains(&link.as_str()))
        .collect();
    links.sort();
    let global = ["all", "default"].map(str::to_owned);
    Ok(global.into_iter().chain(links).map(|link| format!("net/{family}/conf/{link}/{name}")).collect())
}

/// Switches forwarding on where other links than ours are, once [`before`] is on record.
///
/// IPv6 forwarding purges the default routes that advertisements brought, except on links that accept
/// advertisements even so (accept_ra 2; __rt6_purge_dflt_routers() in net/ipv6/route.c), so those that
/// accept them now are told to go on.
pub(crate) fn forward_and_keep(netlink: &Netlink, before: &Before) -> Result<(), Error> {
    for saved in &before.sysctls {
        let is_link = !saved.key.contains("/all/") && !saved.key.contains("/default/");
        if saved.key.ends_with("/accept_ra") && is_link {
            write(&saved.key, "2")?;
        }
    }
    forward()?;
    let (_, problems) = restore_routes(netlink, &before.routes)?;
    match problems.into_iter().next() {
        None => Ok(()),
        Some(problem) => Err(Error::Cannot {
            what: format!("switching IPv6 forwarding on would cost this machine a route: {problem}"),
            hint: "leave out `--router-ns host`: the router then has a namespace of its own".to_owned(),
        }),
    }
}

/// Writes back what differs, in order. Answers the keys written and what went wrong.
pub(crate) fn restore(saved: &[SavedSysctl]) -> (Vec<String>, Vec<String>) {
    let (mut written, mut problems) = (Vec::new(), Vec::new());
    for SavedSysctl { key, value } in saved {
        match sysctl::restore(key, value).map_err(Error::from) {
            Ok(true) => written.push(key.clone()),
            Ok(false) => {}
            Err(error) => problems.push(error.to_string()),
        }
    }
    (written, problems)
}

/// Adds those default routes that are there no more. Answers those added and what went wrong.
pub(crate) fn restore_routes(
    netlink: &Netlink,
    saved: &[SavedRoute],
) -> Result<(Vec<String>, Vec<String>), Error> {
    let (mut added, mut problems) = (Vec::new(), Vec::new());
    if saved.is_empty() {
        return Ok((added, problems));
    }
    let now = netlink.advertised_routes()?;
    for route in saved {
        let is_there = now
            .iter()
            .any(|it| (&it.ifname, it.gateway, it.table) == (&route.ifname, route.gateway, route.table));
        if !is_there {
            match netlink.restore_route(route) {
                Ok(()) => added.push(format!("default via {} dev {}", route.gateway, route.ifname)),
                Err(error) => problems.push(error.to_string()),
            }
        }
    }
    Ok((added, problems))
}
