//! Routes: many in the router, with destinations among them, and the congestion control of the hosts' default
//! routes.
//!
//! The router's are loaded as a user would load them, by `ip -batch` in its namespace, in every mode. All
//! lead to the server's host, which accepts every address in them as its own.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::{Testbed, TestbedError, address};
use crate::plan::Family;

/// Routes that could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum RoutesError {
    /// `ip` failed.
    #[error("`{command}`: {said}")]
    Ip {
        /// The command.
        command: String,
        /// The first line of its standard error.
        said: String,
    },
    /// A host has no address, or cannot be entered.
    #[error(transparent)]
    Testbed(#[from] TestbedError),
}

/// The longest that a million routes take to be in effect.
pub(crate) const IN_EFFECT_WITHIN: Duration = Duration::from_secs(120);
/// The most destinations of the generators: enough that no table of a few megabytes stays in a cache by
/// chance.
const DESTINATIONS: u32 = 65_536;
/// 16.0.0.0/4 has room for 2^20 networks of 24 bits. Nothing of it leaves the testbed.
const V4_BASE: u32 = 16 << 24;
const V4_BLOCK: &str = "16.0.0.0/4";
/// The documentation prefix (RFC 3849), with room for 2^32 networks of 64 bits.
const V6_BASE: u128 = 0x2001_0db8 << 96;
const V6_BLOCK: &str = "2001:db8::/32";

/// A host's address in the `n`th of the networks.
pub(crate) fn destination(family: Family, n: u32) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::from(V4_BASE + (n << 8) + 1).into(),
        Family::V6 => Ipv6Addr::from(V6_BASE + (u128::from(n) << 64) + 1).into(),
    }
}

/// Addresses in networks that are far apart, in an order without a pattern that a cache could use.
pub(crate) fn destinations(family: Family, routes: u32) -> Vec<IpAddr> {
    // A step that has no factor in common with the number of routes visits each before it returns to the
    // first.
    let step = (618_033_989 % u64::from(routes)) | 1;
    let nth = |n: u32| u64::from(n) * step % u64::from(routes);
    (0..routes.min(DESTINATIONS)).map(|n| destination(family, u32::try_from(nth(n)).unwrap_or(0))).collect()
}

/// Loads the routes, and makes the server's host accept their addresses. An echo shows when they are in
/// effect.
pub(crate) fn load(testbed: &Testbed, family: Family, routes: u32) -> Result<(), RoutesError> {
    let gateway = testbed.server.address(family)?;
    let (ip, block, length) = match family {
        Family::V4 => ("-4", V4_BLOCK, 24),
        Family::V6 => ("-6", V6_BLOCK, 64),
    };
    testbed.server.run(|| run_ip(&[ip, "route", "add", "local", block, "dev", "lo"], ""))?;
    let mut batch = String::new();
    for n in 0..routes {
        let network = match destination(family, n) {
            IpAddr::V4(v4) => IpAddr::from(Ipv4Addr::from(u32::from(v4) - 1)),
            IpAddr::V6(v6) => IpAddr::from(Ipv6Addr::from(u128::from(v6) - 1)),
        };
        // Writing to a String cannot fail.
        let _ = writeln!(batch, "route add {network}/{length} via {gateway}");
    }
    testbed.router.run(|| run_ip(&[ip, "-batch", "-"], &batch))
}

/// Sets the congestion control of all TCP on both hosts, as an attribute of their default routes: a
/// namespace's sysctl accepts only those that the machine allows to every user
/// (tcp_allowed_congestion_control).
pub(crate) fn use_congestion_control(testbed: &Testbed, name: &str) -> Result<(), RoutesError> {
    for host in [&testbed.client, &testbed.server] {
        let port = testbed.port_towards(host)?;
        for (ip, family) in [("-4", Family::V4), ("-6", Family::V6)] {
            let Some((gateway, _)) = address(port, family) else { continue };
            let gateway = gateway.to_string();
            let words = [ip, "route", "replace", "default", "via", &gateway, "congctl", name];
            host.run(|| run_ip(&words, ""))?;
        }
    }
    Ok(())
}

fn run_ip(arguments: &[&str], input: &str) -> Result<(), RoutesError> {
    let failed = |said: String| RoutesError::Ip { command: format!("ip {}", arguments.join(" ")), said };
    let mut child = Command::new("ip")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| failed(error.to_string()))?;
    if let Some(mut stdin) = child.stdin.take() {
        // Where it ends early, its standard error says why.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(failed(said.lines().next().unwrap_or("it failed").trim().to_owned()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn networks_are_different_and_inside_their_block() {
        assert_eq!(destination(Family::V4, 0).to_string(), "16.0.0.1");
        assert_eq!(destination(Family::V4, 999_999).to_string(), "31.66.63.1");
        assert_eq!(destination(Family::V6, 999_999).to_string(), "2001:db8:f:423f::1");
    }

    #[test]
    fn destinations_are_spread_and_none_comes_twice() {
        for (routes, expect) in [(1, 1), (1_000, 1_000), (1_000_000, 65_536)] {
            let all = destinations(Family::V4, routes);
            assert_eq!(all.len(), expect);
            let different: HashSet<&IpAddr> = all.iter().collect();
            assert_eq!(different.len(), expect, "{routes}");
        }
    }
}
