//! Changes of the ports' links, of the host port's link and of its addresses: the effect of each on the router's ports.

use nsrouter_wire::frame::PortId;

use crate::control::{Control, PAUSE_NS};
use crate::netlink::link::{LinkState, PortState};
use crate::netlink::monitor::{Answer, Monitor};
use crate::netlink::socket::ListError;

impl Control {
    /// Takes over the links' states. A port that is not in a list that is whole is gone.
    pub(super) fn take_links(&mut self, answer: Result<Answer<LinkState>, ListError>) {
        let Ok(Answer { found, is_whole }) = answer else { return };
        let ours = self.plan.ports.iter().map(|port| port.ifindex).chain(self.plan.host_ifindex);
        let gone: Vec<u32> = ours
            .filter(|ifindex| *ifindex != 0 && !found.iter().any(|link| link.ifindex == *ifindex))
            .filter(|_| is_whole)
            .collect();
        found.iter().for_each(|link| self.link_changed(link));
        for ifindex in gone {
            let name = String::new();
            let gone = LinkState { ifindex, name, exists: false, up: false, carrier: false, mtu: None };
            self.link_changed(&gone);
        }
    }

    /// A link that goes down takes its routes out at once; one that comes up brings them back. A new MTU is in force from
    /// the next burst on.
    pub(super) fn link_changed(&mut self, link: &LinkState) {
        if self.plan.host_ifindex == Some(link.ifindex) {
            return self.host_port_changed(link);
        }
        let index = self.plan.ports.iter().position(|port| port.ifindex == link.ifindex);
        let Some((index, number)) = index.and_then(|index| Some((index, u16::try_from(index).ok()?))) else {
            return self.look_for_successor(link);
        };
        let port = &mut self.plan.ports[index];
        let mtu = link.mtu.unwrap_or(port.mtu);
        let has_new_mtu = std::mem::replace(&mut port.mtu, mtu) != mtu;
        if let Some(most) = self.plan.max_mtus.get(index).filter(|most| has_new_mtu && **most < mtu) {
            self.shared.warn(format!(
                "port {}: its link has an MTU of {mtu}, and {most} is the most that its backend can send",
                port.name
            ));
        }
        self.port_changed(PortId(number), PortState::of(link), has_new_mtu);
    }

    /// Brings a port into a state, with another MTU or not.
    pub(super) fn port_changed(&mut self, number: PortId, state: PortState, has_new_mtu: bool) {
        let (Some(port), Some(before)) =
            (self.plan.ports.get_mut(number.index()), self.states.get_mut(number.index()))
        else {
            return;
        };
        let has_new_state = std::mem::replace(before, state) != state;
        if !has_new_state && !has_new_mtu {
            return;
        }
        port.up = matches!(state, PortState::Up | PortState::NoCarrier);
        if has_new_state {
            self.shared.warn(format!("port {} {}", port.name, state.sentence()));
            self.shared.set_carrier(number, state == PortState::Up);
        }
        if state == PortState::NoCarrier && has_new_state {
            self.neighbours.carrier_lost(number, &mut self.actions);
        }
        self.schedule_addresses_and_routes(PAUSE_NS);
        self.publish_ports();
    }

    /// An interface that was created with a deleted port's name is another, on which the router has no socket.
    fn look_for_successor(&self, link: &LinkState) {
        let ports = self.plan.ports.iter().zip(&self.states);
        let is_gone = |(port, state): (&crate::Port, &PortState)| {
            *state == PortState::Gone && port.name == link.name && port.ifindex != 0
        };
        if link.exists && ports.into_iter().any(is_gone) {
            self.shared.warn(format!(
                "port {0} was made anew, and the router still has the {0} that was deleted; start the lab again",
                link.name
            ));
        }
    }

    /// The host port carries the packets of local programs on the router, and its addresses are the ports' as the kernel has
    /// them. Without it the ports keep their addresses.
    fn host_port_changed(&mut self, link: &LinkState) {
        let state = PortState::of(link);
        if std::mem::replace(&mut self.host_state, state) != state {
            match state {
                PortState::Gone => {
                    self.plan.host_ifindex = None;
                    self.shared.warn(
                        "the host port was deleted: the router's programs are cut off, and what `ip` changes of \
                         addresses is not followed any more; start the lab again to have it back"
                            .to_owned(),
                    );
                }
                PortState::Down | PortState::NoCarrier => self.shared.warn(
                    "the host port went down: the router's programs are cut off, and its routes are gone"
                        .to_owned(),
                ),
                PortState::Up => self.shared.warn("the host port is up again".to_owned()),
            }
        }
        self.schedule_addresses_and_routes(PAUSE_NS);
    }

    /// Takes over the host port's addresses, where they have changed. Addresses that go with the host port itself stay.
    pub(super) async fn read_addresses(&mut self, monitor: &Monitor) {
        let Some(host) = self.plan.host_ifindex else { return };
        let answer = monitor.addresses(host).await;
        self.lists_due.addresses_ns = self.retry_at("the host port's addresses", &answer);
        let Ok(Answer { found, is_whole: true }) = answer else { return };
        if self.plan.would_lose(&found) {
            // A device loses its addresses before the kernel says that it is gone; the list of links comes after that.
            let links = monitor.links().await;
            if links.is_err() {
                self.lists_due.addresses_ns = self.retry_at("the links", &links);
                return;
            }
            self.take_links(links);
            if self.plan.host_ifindex.is_none() {
                return;
            }
        }
        let change = self.plan.take_addresses(&found);
        for address in change.outside_subnets {
            self.shared.warn(format!(
                "{address} is outside every port's subnet; only local programs on the router can use it"
            ));
        }
        if change.is_changed {
            self.publish_ports();
        }
    }
}
