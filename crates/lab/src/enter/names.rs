//! Name resolution inside a node: the names of all nodes in /etc/hosts, and the node's host name.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::Path;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::sethostname;

use crate::records::{NodeState, State};
use crate::topology::Topology;

const HOSTS: &str = "/etc/hosts";

/// The lines of hosts(5) for every node, as seen from `own`: the addresses on a link with `own` come first,
/// because many programs use the first.
fn lines(topology: &Topology, own: &str) -> String {
    let mut lines = String::new();
    for node in &topology.nodes {
        let mut addresses: Vec<(bool, IpAddr)> = topology
            .endpoints(&node.name)
            .flat_map(|(end, link)| {
                let is_far = ![&link.a, &link.b].iter().any(|end| end.node == own);
                end.addresses.iter().map(move |net| (is_far, net.addr()))
            })
            .collect();
        addresses.sort_by_key(|(is_far, _)| *is_far);
        for (_, address) in addresses {
            lines += &format!("{address} {}\n", node.name);
        }
    }
    lines
}

/// Puts the names of the nodes in front of the contents of /etc/hosts, for this mount namespace alone: in the
/// lab its own names take precedence.
pub(super) fn bind_hosts(state: &State, own: &NodeState) -> io::Result<()> {
    let machine = fs::read_to_string(HOSTS)?;
    let dir = state.dir();
    // Only a file on a mount of this namespace can be bound. A small file system provides it, and is
    // unmounted as soon as only the file is in use.
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("nsrouter"), &dir, Some("tmpfs"), flags, Some("mode=0755,size=1m"))?;
    let bound = bind_text(&dir.join("hosts"), &(lines(&state.topology, &own.name) + &machine));
    umount2(&dir, MntFlags::MNT_DETACH)?;
    bound
}

fn bind_text(file: &Path, text: &str) -> io::Result<()> {
    fs::write(file, text)?;
    mount(Some(file), HOSTS, None::<&str>, MsFlags::MS_BIND, None::<&str>)?;
    Ok(())
}

/// Gives the process a host name of its own.
pub(super) fn set_host_name(name: &str) -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWUTS)?;
    sethostname(name)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_on_the_own_link_come_first() {
        let lines = |own| lines(&Topology::default_lab(), own);
        let of_router = |own| {
            let lines = lines(own);
            let found: Vec<&str> = lines.lines().filter_map(|line| line.strip_suffix(" router")).collect();
            found.iter().map(|address| (*address).to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(of_router("t1"), ["10.10.251.2", "fd00:251::2", "10.10.252.2", "fd00:252::2"]);
        assert_eq!(of_router("t2"), ["10.10.252.2", "fd00:252::2", "10.10.251.2", "fd00:251::2"]);
        assert!(lines("t1").contains("10.10.252.1 t2\n"));
    }
}
