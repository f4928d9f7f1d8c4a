//! Settings below `/proc/sys`, of the namespace of the calling thread.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::Error;
use crate::netlink::Netlink;
use crate::state::{SavedRoute, SavedSysctl};

fn path(key: &str) -> PathBuf {
    Path::new("/proc/sys").join(key)
}

/// The value, without the end of the line.
pub(crate) fn read(key: &str) -> Result<String, Error> {
    let path = path(key);
    Ok(fs::read_to_string(&path).map_err(Error::file("read", &path))?.trim_end().to_owned())
}

/// Writes a value. A /proc/sys that is mounted read-only, as in many containers, is the machine's fault.
pub(crate) fn write(key: &str, value: &str) -> Result<(), Error> {
    let path = path(key);
    fs::write(&path, value).map_err(|error| match error.kind() {
        io::ErrorKind::ReadOnlyFilesystem => Error::Cannot {
            what: format!("cannot write {}: {error}", path.display()),
            hint: "in a container, start that with a writable /proc/sys; or use --private: such a lab has a /proc of its own"
                .to_owned(),
        },
        _ => Error::file("write", &path)(error),
    })
}

/// Whether the kernel has IPv6 at all (`ipv6.disable=1` removes the folder).
pub(crate) fn has_ipv6() -> bool {
    Path::new("/proc/sys/net/ipv6/conf").exists()
}

/// Whether a link has IPv6: the kernel takes it off, and its folder with it, where the MTU is below 1280 bytes
/// (`IPV6_MIN_MTU` in addrconf_notify() of net/ipv6/addrconf.c).
fn link_has_ipv6(ifname: &str) -> bool {
    path(&format!("net/ipv6/conf/{ifname}")).exists()
}

/// Brings a new namespace to known values: IPv4 settings are copied from the machine's own, which may
/// forward already (devinet_init_net() in net/ipv4/devinet.c).
///
/// `silent`: links begin without IPv6. So does one to which the kernel gives IPv6 later, as its MTU is raised to 1280
/// bytes, which makes its settings anew.
pub(crate) fn normalise(silent: bool) -> Result<(), Error> {
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
pub(crate) fn prepare_link(ifname: &str) -> Result<(), Error> {
    if link_has_ipv6(ifname) {
        for (name, value) in [("disable_ipv6", "0"), ("accept_dad", "0"), ("accept_ra", "0")] {
            write(&format!("net/ipv6/conf/{ifname}/{name}"), value)?;
        }
    }
    Ok(())
}

/// For a port of a userspace router: the kernel must not answer, forward or learn on it.
pub(crate) fn silence_link(ifname: &str) -> Result<(), Error> {
    // With rp_filter 1 a packet is dropped whose source has no route back by this port, and none has:
    // the port has no address. With arp_ignore 8 no address of ours is answered for here.
    for (name, value) in [("rp_filter", "1"), ("arp_ignore", "8"), ("forwarding", "0"), ("proxy_arp", "0")] {
        write(&format!("net/ipv4/conf/{ifname}/{name}"), value)?;
    }
    if link_has_ipv6(ifname) {
        for (name, value) in [("disable_ipv6", "1"), ("accept_ra", "0"), ("forwarding", "0")] {
            write(&format!("net/ipv6/conf/{ifname}/{name}"), value)?;
        }
    }
    Ok(())
}

/// For the host port: the addresses that it is given and no link-local one made by the kernel.
pub(crate) fn prepare_host_port(ifname: &str) -> Result<(), Error> {
    // Answers come in by this port for the addresses on it; its peer is our engine alone.
    write(&format!("net/ipv4/conf/{ifname}/rp_filter"), "0")?;
    // ICMP errors about what the router's own programs sent come from the router's own address, which
    // __fib_validate_source() in net/ipv4/fib_frontend.c takes for a martian source otherwise.
    write(&format!("net/ipv4/conf/{ifname}/accept_local"), "1")?;
    prepare_link(ifname)?;
    if link_has_ipv6(ifname) {
        // IN6_ADDR_GEN_MODE_NONE of include/uapi/linux/if_link.h.
        write(&format!("net/ipv6/conf/{ifname}/addr_gen_mode"), "1")?;
        // The addresses are the ports': they do not go when somebody takes this device down and up again.
        write(&format!("net/ipv6/conf/{ifname}/keep_addr_on_down"), "1")?;
    }
    Ok(())
}

/// Switches forwarding on in a namespace that goes away with the lab.
pub(crate) fn forward() -> Result<(), Error> {
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
    let dir = path(&format!("net/{family}/conf"));
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
        match read(key) {
            Ok(now) if now == *value => {}
            Ok(_) => match write(key, value) {
                Ok(()) => written.push(key.clone()),
                Err(error) => problems.push(error.to_string()),
            },
            // The link has gone meanwhile, and its settings with it.
            Err(Error::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
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
