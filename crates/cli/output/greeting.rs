//! The text shown when a lab is up: its links, and commands to try.

use std::fmt::Write as _;
use std::net::IpAddr;

use nsrouter_bench::export::terminal::Look;
use nsrouter_engine::status::Status;
use nsrouter_lab::records::State;
use nsrouter_lab::topology::{Role, Topology};

use crate::output::report;

/// The text. `why` is the reason for the backend, where the user left the choice open.
pub(crate) fn greeting(state: &State, status: &Status, why: Option<&str>, look: Look) -> String {
    let mut text = format!("lab `{}`: {} mode, {}\n", state.name, status.mode, status.backend);
    // Writing to a String cannot fail.
    if let Some(why) = why {
        let _ = writeln!(text, "  {} because {why}", status.backend);
    }
    let _ = writeln!(text, "\n{}", report::picture(&state.topology, state.taps, look));
    if !status.host_port.available {
        let _ = writeln!(text, "no host port: {}\n", status.host_port.reason);
    }
    let name = if state.name == "default" { String::new() } else { format!(" --name {}", state.name) };
    let _ = writeln!(text, "Try, in another terminal:\n  nsrouter check{name}");
    if let Some((from, to, address)) = far_hosts(&state.topology) {
        let _ = writeln!(
            text,
            "  nsrouter exec{name} {from} -- ping {address}
  nsrouter exec{name} {to} -- iperf3 -s -1   and meanwhile
  nsrouter exec{name} {from} -- iperf3 -c {address}"
        );
    }
    let _ = writeln!(text, "  nsrouter status{name}\n\nCtrl-C takes the lab down.");
    text
}

/// The first host and the last, and an address of the last in a family that both have.
fn far_hosts(topology: &Topology) -> Option<(&str, &str, IpAddr)> {
    let hosts =
        || topology.nodes.iter().filter(|node| node.role == Role::Host).map(|node| node.name.as_str());
    let (from, to) = (hosts().next()?, hosts().next_back()?);
    let addresses = |name: &str| -> Vec<IpAddr> {
        topology.endpoints(name).flat_map(|(end, _)| end.addresses.iter().map(|net| net.addr())).collect()
    };
    let own = addresses(from);
    let shared = |to: &IpAddr| own.iter().any(|own| own.is_ipv4() == to.is_ipv4());
    let address = addresses(to).into_iter().find(shared)?;
    (from != to).then_some((from, to, address))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_to_try_is_there() {
        let built_in = Topology::default_lab();
        assert_eq!(far_hosts(&built_in), Some(("t1", "t2", "10.10.252.1".parse().unwrap())));
        let chain = Topology::from_toml(include_str!("../../../tests/data/chain.toml")).unwrap();
        assert_eq!(far_hosts(&chain), Some(("a", "b", "10.2.0.1".parse().unwrap())));
    }
}
