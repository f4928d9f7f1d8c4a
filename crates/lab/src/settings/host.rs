//! Forwarding in the namespace where nsrouter was started, which outlives the lab: what it changes is
//! recorded, proved harmless, and restored.

use std::fs;

use nsrouter_linux::sysctl::{self, has_ipv6, read, write};

use super::node;
use crate::error::Error;
use crate::netlink::Netlink;
use crate::records::{SavedRoute, SavedSysctl};

/// Everything that enabling forwarding changes, as it was before.
#[derive(Debug, Default)]
pub(crate) struct FormerSettings {
    /// In the order in which to restore them: writing the global ones overwrites those of the interfaces.
    pub(crate) sysctls: Vec<SavedSysctl>,
    /// Default routes that the kernel may remove.
    pub(crate) routes: Vec<SavedRoute>,
}

/// Reads everything that [`enable_forwarding`] changes. `own`: interfaces that are removed with the lab.
pub(crate) fn read_former(netlink: &Netlink, own: &[&str]) -> Result<FormerSettings, Error> {
    let mut former = FormerSettings::default();
    let mut keys = vec!["net/ipv4/ip_forward".to_owned(), "net/ipv4/conf/all/accept_redirects".to_owned()];
    keys.extend(per_interface("ipv4", "forwarding", own)?);
    if has_ipv6() {
        keys.extend(per_interface("ipv6", "forwarding", own)?);
        for key in per_interface("ipv6", "accept_ra", own)? {
            if read(&key)? == "1" && !key.contains("/lo/") {
                keys.push(key);
            }
        }
        former.routes = netlink.advertised_routes()?;
    }
    for key in keys {
        former.sysctls.push(SavedSysctl { value: read(&key)?, key });
    }
    Ok(former)
}

/// `net/FAMILY/conf/*/NAME`: `all` and `default` first.
fn per_interface(family: &str, name: &str, own: &[&str]) -> Result<Vec<String>, Error> {
    let dir = sysctl::path_of(&format!("net/{family}/conf"));
    let mut links: Vec<String> = fs::read_dir(&dir)
        .map_err(Error::file("read", &dir))?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|link| !["all", "default"].contains(&link.as_str()) && !own.contains(&link.as_str()))
        .collect();
    links.sort();
    let global = ["all", "default"].map(str::to_owned);
    Ok(global.into_iter().chain(links).map(|link| format!("net/{family}/conf/{link}/{name}")).collect())
}

/// Enables forwarding where interfaces of others are, once `former` is on record.
///
/// IPv6 forwarding removes the default routes that router advertisements added, except on interfaces that
/// accept advertisements while forwarding (accept_ra 2; __rt6_purge_dflt_routers() in net/ipv6/route.c). So
/// interfaces that accept them now are set to 2.
///
/// # Errors
/// [`Error::Cannot`] where a route was lost and could not be restored.
pub(crate) fn enable_forwarding(netlink: &Netlink, former: &FormerSettings) -> Result<(), Error> {
    for saved in &former.sysctls {
        let is_of_interface = !saved.key.contains("/all/") && !saved.key.contains("/default/");
        if saved.key.ends_with("/accept_ra") && is_of_interface {
            write(&saved.key, "2")?;
        }
    }
    node::enable_forwarding()?;
    let (_, problems) = restore_routes(netlink, &former.routes)?;
    match problems.into_iter().next() {
        None => Ok(()),
        Some(problem) => Err(Error::Cannot {
            what: format!("enabling IPv6 forwarding would remove a route of this machine: {problem}"),
            hint: "omit `--router-ns host`, so that the router has a namespace of its own".to_owned(),
        }),
    }
}

/// Restores the sysctls that differ, in order. Returns the keys written, and what failed.
pub(crate) fn restore_sysctls(saved: &[SavedSysctl]) -> (Vec<String>, Vec<String>) {
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

/// Adds the default routes that are missing. Returns those added, and what failed.
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
        let is_present = now
            .iter()
            .any(|it| (&it.ifname, it.gateway, it.table) == (&route.ifname, route.gateway, route.table));
        if !is_present {
            match netlink.restore_route(route) {
                Ok(()) => added.push(format!("default via {} dev {}", route.gateway, route.ifname)),
                Err(error) => problems.push(error.to_string()),
            }
        }
    }
    Ok((added, problems))
}
