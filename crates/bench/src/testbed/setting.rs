//! The settings of a lab: offloads, sysctls and CPUs, as the kernel reports them inside it.

use std::collections::BTreeMap;
use std::fs;

use nsrouter_linux::procfs::fields;
use nsrouter_linux::{ethtool, sysctl};
use serde::{Deserialize, Serialize};

use super::{Host, Testbed, TestbedError};

/// The offloads that decide what crosses a link: pending checksums, GSO, and GRO on arrival.
const OFFLOADS: [&str; 8] = [
    "rx-checksum",
    "tx-checksum-ip-generic",
    "tx-scatter-gather",
    "tx-tcp-segmentation",
    "tx-tcp6-segmentation",
    "tx-udp-segmentation",
    "rx-gro",
    "rx-lro",
];
/// Sysctls of a network namespace that influence results.
const SYSCTLS: [&str; 6] = [
    "net/ipv4/ip_forward",
    "net/ipv6/conf/all/forwarding",
    "net/ipv4/tcp_congestion_control",
    "net/ipv4/tcp_rmem",
    "net/ipv4/tcp_wmem",
    "net/core/somaxconn",
];

/// The settings of one lab.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// By node and interface, `t1 t1-eth0`: the offloads that are on, of those that decide what crosses a
    /// link.
    pub offloads: BTreeMap<String, Vec<String>>,
    /// By node: the sysctls of its namespace.
    pub sysctls: BTreeMap<String, BTreeMap<String, String>>,
    /// The CPUs that hosts and generators may use, as a kernel's CPU list.
    pub cpus: String,
    /// The CPUs that the process which keeps the lab may use.
    pub router_cpus: String,
}

impl Setting {
    /// Reads them. What the kernel does not report is left out.
    pub(crate) fn of(testbed: &Testbed) -> Result<Setting, TestbedError> {
        let mut setting = Setting {
            cpus: cpus_allowed("/proc/self/status").unwrap_or_default(),
            router_cpus: cpus_allowed(&format!("/proc/{}/status", testbed.keeper)).unwrap_or_default(),
            ..Setting::default()
        };
        for node in [&testbed.client, &testbed.router, &testbed.server] {
            let read = || Ok::<_, TestbedError>((offloads_of(node), sysctls(&SYSCTLS)));
            let (offloads, sysctls) = node.run(read)?;
            setting.offloads.extend(offloads);
            setting.sysctls.insert(node.name.clone(), sysctls);
        }
        Ok(setting)
    }
}

fn cpus_allowed(status: &str) -> Option<String> {
    fields::value(&fs::read_to_string(status).ok()?, "Cpus_allowed_list").map(str::to_owned)
}

/// Sysctls of the calling thread's namespace, by the names that sysctl(8) has for them. One that this kernel
/// lacks is left out.
pub(crate) fn sysctls(keys: &[&str]) -> BTreeMap<String, String> {
    let value = |key: &str| {
        let text = sysctl::read(key).ok()?;
        Some((key.replace('/', "."), text.split_whitespace().collect::<Vec<&str>>().join(" ")))
    };
    keys.iter().filter_map(|key| value(key)).collect()
}

/// The offloads of a node's interfaces, read in the calling thread's namespace. A port that is not an
/// interface there, the router's end of a TAP link, has none.
fn offloads_of(node: &Host) -> Vec<(String, Vec<String>)> {
    let on = |ifname: &str| {
        let mut on = ethtool::active_features(ifname).ok()?;
        on.retain(|name| OFFLOADS.contains(&name.as_str()));
        Some((format!("{} {ifname}", node.name), on))
    };
    node.ports.iter().filter_map(|port| on(&port.ifname)).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_process_has_cpus_and_a_kernel_its_sysctls() {
        assert!(cpus_allowed("/proc/self/status").is_some_and(|list| !list.is_empty()));
        let sysctls = sysctls(&["net/ipv4/ip_forward", "net/no/such"]);
        assert_eq!(sysctls.keys().collect::<Vec<_>>(), ["net.ipv4.ip_forward"]);
    }
}
