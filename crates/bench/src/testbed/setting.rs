//! What a lab really was: offloads, sysctls and processors, as the kernel tells them inside it.

use std::collections::BTreeMap;
use std::fs;
use std::io;

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, connect, recv, send, socket,
};
use serde::{Deserialize, Serialize};

use crate::agent::AgentError;
use crate::testbed::{Host, Lab};
use std::os::fd::AsRawFd;

/// The offloads that decide what crosses a link: pending checksums, super-frames, and their making on arrival.
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
/// Sysctls of a network namespace that move results.
const SYSCTLS: [&str; 6] = [
    "net/ipv4/ip_forward",
    "net/ipv6/conf/all/forwarding",
    "net/ipv4/tcp_congestion_control",
    "net/ipv4/tcp_rmem",
    "net/ipv4/tcp_wmem",
    "net/core/somaxconn",
];

const GENL_ID_CTRL: u16 = 16;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;
const ETHTOOL_MSG_FEATURES_GET: u8 = 11;
const FEATURES_HEADER: u16 = 1;
const FEATURES_ACTIVE: u16 = 4;
const HEADER_DEV_NAME: u16 = 2;
const BITSET_BITS: u16 = 3;
const BIT_NAME: u16 = 2;
const NESTED: u16 = 0x8000;
const NLM_F_REQUEST: u16 = 1;
/// struct nlmsghdr, and struct genlmsghdr after it.
const HEADERS_BYTES: usize = 16 + 4;
const NLMSG_ERROR: u16 = 2;

/// The settings of one lab.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// By node and interface, `t1 t1-eth0`: the offloads that are on, of those that decide what crosses a link.
    pub offloads: BTreeMap<String, Vec<String>>,
    /// By node: the namespace's own sysctls.
    pub sysctls: BTreeMap<String, BTreeMap<String, String>>,
    /// Processors that everything in the lab may use, as the kernel writes lists of them.
    pub cpus: String,
    /// The lab's own process may use these.
    pub router_cpus: String,
}

impl Setting {
    /// Looks. What the kernel does not tell is left out.
    pub(crate) fn of(lab: &Lab) -> Result<Setting, AgentError> {
        let mut setting = Setting {
            cpus: cpus_allowed("/proc/self/status").unwrap_or_default(),
            router_cpus: cpus_allowed(&format!("/proc/{}/status", lab.keeper)).unwrap_or_default(),
            ..Setting::default()
        };
        for node in [&lab.client, &lab.router, &lab.server] {
            let (offloads, sysctls) = node.run(|| Ok((offloads_of(node), sysctls(&SYSCTLS))))?;
            setting.offloads.extend(offloads);
            setting.sysctls.insert(node.name.clone(), sysctls);
        }
        Ok(setting)
    }
}

fn cpus_allowed(status: &str) -> Option<String> {
    let text = fs::read_to_string(status).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    Some(line.trim().to_owned())
}

/// Those of the calling thread's namespace, under the names that sysctl(8) has for them; what there is not is left out.
pub(crate) fn sysctls(paths: &[&str]) -> BTreeMap<String, String> {
    let value = |name: &str| {
        let text = fs::read_to_string(format!("/proc/sys/{name}")).ok()?;
        Some((name.replace('/', "."), text.split_whitespace().collect::<Vec<&str>>().join(" ")))
    };
    paths.iter().filter_map(|name| value(name)).collect()
}

/// Of the node's interfaces, in the calling thread's namespace. A port that is no interface there, a TAP's other end, has none.
fn offloads_of(node: &Host) -> Vec<(String, Vec<String>)> {
    let on = |ifname: &str| {
        let mut on = active_features(ifname).ok()?;
        on.retain(|name| OFFLOADS.contains(&name.as_str()));
        Some((format!("{} {ifname}", node.name), on))
    };
    node.ports.iter().filter_map(|port| on(&port.ifname)).collect()
}

/// The names of an interface's active features, over ethtool's generic netlink family
/// (Documentation/networking/ethtool-netlink.rst, FEATURES_GET).
fn active_features(ifname: &str) -> io::Result<Vec<String>> {
    let socket =
        socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkGeneric)?;
    connect(socket.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
    let ask = |family: u16, command: u8, body: &[u8]| -> io::Result<Vec<u8>> {
        let length = u32::try_from(HEADERS_BYTES + body.len()).unwrap_or(u32::MAX);
        let mut request = Vec::from(length.to_ne_bytes());
        request.extend(family.to_ne_bytes());
        request.extend(NLM_F_REQUEST.to_ne_bytes());
        request.extend([0; 8]);
        request.extend([command, 1, 0, 0]);
        request.extend(body);
        send(socket.as_raw_fd(), &request, MsgFlags::empty())?;
        let mut answer = vec![0; 1 << 16];
        let len = recv(socket.as_raw_fd(), &mut answer, MsgFlags::empty())?;
        answer.truncate(len);
        match answer.get(4..6) {
            Some(kind) if kind != NLMSG_ERROR.to_ne_bytes() && len >= HEADERS_BYTES => {
                Ok(answer.split_off(HEADERS_BYTES))
            }
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    };
    let name = attribute(CTRL_ATTR_FAMILY_NAME, b"ethtool\0");
    let answer = ask(GENL_ID_CTRL, CTRL_CMD_GETFAMILY, &name)?;
    let family = attributes(&answer).find(|(kind, _)| *kind == CTRL_ATTR_FAMILY_ID);
    let family = family.and_then(|(_, id)| id.try_into().ok()).map(u16::from_ne_bytes);
    let family = family.ok_or(io::ErrorKind::Unsupported)?;
    let device = attribute(HEADER_DEV_NAME, &[ifname.as_bytes(), &[0]].concat());
    let answer = ask(family, ETHTOOL_MSG_FEATURES_GET, &attribute(NESTED | FEATURES_HEADER, &device))?;
    let active =
        attributes(&answer).find(|(kind, _)| *kind == FEATURES_ACTIVE).map_or(&[][..], |(_, set)| set);
    let bits = attributes(active).find(|(kind, _)| *kind == BITSET_BITS).map_or(&[][..], |(_, bits)| bits);
    let names = attributes(bits).filter_map(|(_, bit)| attributes(bit).find(|(kind, _)| *kind == BIT_NAME));
    Ok(names.map(|(_, name)| String::from_utf8_lossy(name).trim_end_matches('\0').to_owned()).collect())
}

/// struct nlattr and its value, padded to a multiple of four bytes.
fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::from(u16::try_from(4 + value.len()).unwrap_or(u16::MAX).to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// Kinds, without the flag of nesting, and values.
fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let len = usize::from(u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(bytes.get(2..4)?.try_into().ok()?) & !NESTED;
        let value = bytes.get(4..len)?;
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn attributes_come_back_as_they_went() {
        let bytes = [attribute(NESTED | 3, b"abc"), attribute(7, b"")].concat();
        let read: Vec<(u16, &[u8])> = attributes(&bytes).collect();
        assert_eq!(read, [(3, &b"abc"[..]), (7, &b""[..])]);
        assert_eq!(attributes(&bytes[..6]).count(), 0, "cut short");
        assert_eq!(attributes(&[0; 4]).count(), 0, "a length that lies");
    }

    #[test]
    fn the_loopback_interface_has_features() {
        let features = active_features("lo").unwrap();
        assert!(features.iter().any(|name| name == "tx-tcp-segmentation"), "{features:?}");
        assert!(active_features("no-such-link").is_err());
        assert!(cpus_allowed("/proc/self/status").is_some_and(|list| !list.is_empty()));
    }
}
