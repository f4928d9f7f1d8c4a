//! Changes of the ports' links, of the host port's link and of its addresses: the effect of each on the
//! router's ports.

use nsrouter_wire::frame::PortId;

use crate::control::plan::PlannedPort;
use crate::control::{Control, PAUSE_NS};
use crate::netlink::link::{LinkState, PortState};
use crate::netlink::monitor::{Answer, Monitor};
use crate::netlink::socket::ListError;
use crate::port::PortHandle;

impl Control {
    /// Takes over the links' states. A port that is not in a list that is whole is gone.
    pub(super) fn take_links(&mut self, answer: Result<Answer<LinkState>, ListError>) {
        let Ok(Answer { found, is_whole }) = answer else { return };
        let ports = self.plan.ports().map(|planned| planned.port.ifindex);
        let ours = ports.chain(self.plan.host_ifindex);
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

    /// A link that goes down takes its routes out at once; one that comes up brings them back. A new MTU is
    /// in force from the next burst on.
    pub(super) fn link_changed(&mut self, link: &LinkState) {
        if self.plan.host_ifindex == Some(link.ifindex) {
            return self.host_port_changed(link);
        }
        let slot = self.plan.slot_of(link.ifindex);
        let Some((slot, planned)) = slot.and_then(|slot| Some((slot, self.plan.port_mut(slot)?))) else {
            return self.look_for_successor(link);
        };
        let mtu = link.mtu.unwrap_or(planned.port.mtu);
        let has_new_mtu = std::mem::replace(&mut planned.port.mtu, mtu) != mtu;
        if has_new_mtu && planned.max_mtu < mtu {
            self.shared.warn(format!(
                "port {}: its link has an MTU of {mtu}, and {} is the most that its backend can send",
                planned.port.name, planned.max_mtu
            ));
        }
        self.port_changed(slot, PortState::of(link), has_new_mtu);
    }

    /// Takes over the state of the other end of a port's link, unless that is of a port that is there no
    /// longer.
    pub(super) fn far_link_changed(&mut self, handle: PortHandle, state: PortState) {
        if self.slots.handle(handle.slot) == Some(handle) {
            self.port_changed(handle.slot, state, false);
        }
    }

    /// Brings a port into a state, with another MTU or not.
    fn port_changed(&mut self, slot: PortId, state: PortState, has_new_mtu: bool) {
        let Some(planned) = self.plan.port_mut(slot) else { return };
        let has_new_state = std::mem::replace(&mut planned.state, state) != state;
        if !has_new_state && !has_new_mtu {
            return;
        }
        planned.port.up = matches!(state, PortState::Up | PortState::NoCarrier);
        if has_new_state {
            self.shared.warn(format!("port {} {}", planned.port.name, state.sentence()));
            self.shared.set_carrier(slot, state == PortState::Up);
        }
        if state == PortState::NoCarrier && has_new_state {
            self.neighbours.carrier_lost(slot, &mut self.actions);
        }
        self.schedule_addresses_and_routes(PAUSE_NS);
        self.publish_ports();
    }

    /// An interface that was created with a deleted port's name is another, on which the router has no
    /// socket.
    fn look_for_successor(&self, link: &LinkState) {
        let is_gone = |planned: &PlannedPort| {
            let PlannedPort { port, state, .. } = planned;
            *state == PortState::Gone && port.name == link.name && port.ifindex != 0
        };
        if link.exists && self.plan.ports().any(is_gone) {
            self.shared.warn(format!(
                "port {0} was made anew, and the router still has the {0} that was deleted; start the lab again",
                link.name
            ));
        }
    }

    /// The host port carries the packets of local programs on the router, and its addresses are the ports' as
    /// the kernel has them. Without it the ports keep their addresses.
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

    /// Takes over the host port's addresses, where they have changed. Addresses that go with the host port
    /// itself stay.
    pub(super) async fn read_addresses(&mut self, monitor: &Monitor) {
        let Some(host) = self.plan.host_ifindex else { return };
        let answer = monitor.addresses(host).await;
        self.lists_due.addresses_ns = self.retry_at("the host port's addresses", &answer);
        let Ok(Answer { found, is_whole: true }) = answer else { return };
        if self.plan.would_lose(&found) {
            // A device loses its addresses before the kernel says that it is gone; the list of links comes
            // after that.
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
