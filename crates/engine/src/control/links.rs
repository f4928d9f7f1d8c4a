//! The ports' links and the host port's: what becomes of a port when its interface changes, as Linux has it.

use nsrouter_wire::frame::PortId;
use rtnetlink::MulticastGroup;
use rtnetlink::packet_route::RouteNetlinkMessage;
use tokio::sync::mpsc;

use crate::control::monitor::{Answer, Interfaces, LinkState, Monitor, state};
use crate::control::netlink::{FarSocket, List, QuestionError};
use crate::control::{Control, PAUSE_NS};

/// How a port's link is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum PortState {
    #[default]
    Up,
    /// Up, but the other end is down: its routes stay, and its neighbours do not answer (Linux with
    /// `ignore_routes_with_linkdown` 0, the default).
    NoCarrier,
    /// Switched off: its routes go.
    Down,
    /// Deleted.
    Gone,
}

impl PortState {
    fn of(link: &LinkState) -> PortState {
        match (link.is_there, link.up, link.carrier) {
            (false, ..) => PortState::Gone,
            (true, false, _) => PortState::Down,
            (true, true, false) => PortState::NoCarrier,
            (true, true, true) => PortState::Up,
        }
    }

    /// What has happened to a port that is in this state now.
    const fn sentence(self) -> &'static str {
        match self {
            PortState::Up => "is up again",
            PortState::NoCarrier => "lost its carrier: the other end of its link is down",
            PortState::Down => "went down",
            PortState::Gone => "was deleted; start the lab again to have it back",
        }
    }
}

/// Watches the interface at the other end of a port's link, in its own network namespace, for a port that is no
/// interface itself.
#[derive(Debug)]
pub struct FarLink {
    socket: FarSocket,
    name: String,
}

impl FarLink {
    /// Begins to watch the interface of that name in the network namespace of the calling thread.
    ///
    /// # Errors
    /// What the system said to a netlink socket.
    pub fn watch(name: &str) -> std::io::Result<FarLink> {
        Ok(FarLink { socket: FarSocket::open(&[MulticastGroup::Link])?, name: name.to_owned() })
    }

    /// Tells what becomes of the interface, from what it is now on, until nobody listens.
    pub(super) async fn tell(self, port: PortId, told: mpsc::Sender<(PortId, PortState)>) {
        let FarLink { socket, name } = self;
        // Without a socket that works there is nothing to tell.
        let Ok(mut socket) = socket.into_socket() else { return };
        let names = Interfaces::default();
        // What was told before the answer is older than it.
        const QUESTION: u32 = 1;
        let mut ifindex = None;
        let mut is_asked = false;
        loop {
            if !is_asked {
                is_asked = socket.request(List::Links, 0, QUESTION).is_ok();
            }
            // What was lost is in the list.
            is_asked &= socket.read().await.is_ok();
            while let Some(message) = socket.take() {
                let is_answer = message.sequence == QUESTION;
                let (link, is_there) = match message.parse() {
                    Some(RouteNetlinkMessage::NewLink(link)) => (link, true),
                    Some(RouteNetlinkMessage::DelLink(link)) => (link, false),
                    _ => continue,
                };
                let link = state(&link, is_there, &names);
                if ifindex.is_none() && is_answer && link.name == name {
                    ifindex = Some(link.ifindex);
                }
                if ifindex != Some(link.ifindex) {
                    continue;
                }
                // For the port the other end's state is that of its carrier.
                let state = match PortState::of(&link) {
                    PortState::Up => PortState::Up,
                    PortState::NoCarrier | PortState::Down => PortState::NoCarrier,
                    PortState::Gone => PortState::Gone,
                };
                if told.send((port, state)).await.is_err() {
                    return;
                }
            }
        }
    }
}

impl Control {
    /// Takes over the links' states. A port that is not in a list that is whole is gone.
    pub(super) fn take_links(&mut self, answer: Result<Answer<LinkState>, QuestionError>) {
        let Ok(Answer { found, is_whole }) = answer else { return };
        let ours = self.plan.ports.iter().map(|port| port.ifindex).chain(self.plan.host_ifindex);
        let gone: Vec<u32> = ours
            .filter(|ifindex| *ifindex != 0 && !found.iter().any(|link| link.ifindex == *ifindex))
            .filter(|_| is_whole)
            .collect();
        found.iter().for_each(|link| self.link_changed(link));
        for ifindex in gone {
            let name = String::new();
            let gone = LinkState { ifindex, name, is_there: false, up: false, carrier: false, mtu: None };
            self.link_changed(&gone);
        }
    }

    /// A link that goes down takes its routes out at once; one that comes up brings them back. A new MTU
    /// holds from the next burst on.
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
            self.shared.trouble(format!(
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
            self.shared.trouble(format!("port {} {}", port.name, state.sentence()));
            self.shared.set_carrier(number, state == PortState::Up);
        }
        if state == PortState::NoCarrier && has_new_state {
            self.neighbours.carrier_lost(number, &mut self.actions);
        }
        self.ask_for_all(PAUSE_NS);
        self.ports_changed();
    }

    /// An interface that has a deleted port's name now is another, which the router has no socket on.
    fn look_for_successor(&self, link: &LinkState) {
        let ports = self.plan.ports.iter().zip(&self.states);
        let is_gone = |(port, state): (&crate::Port, &PortState)| {
            *state == PortState::Gone && port.name == link.name && port.ifindex != 0
        };
        if link.is_there && ports.into_iter().any(is_gone) {
            self.shared.trouble(format!(
                "port {0} was made anew, and the router still has the {0} that was deleted; start the lab again",
                link.name
            ));
        }
    }

    /// The host port carries the router's own programs' packets, and with its addresses the kernel's word on the ports'. Without
    /// it the ports keep what they have.
    fn host_port_changed(&mut self, link: &LinkState) {
        let state = PortState::of(link);
        if std::mem::replace(&mut self.host_state, state) != state {
            match state {
                PortState::Gone => {
                    self.plan.host_ifindex = None;
                    self.shared.trouble(
                        "the host port was deleted: the router's programs are cut off, and what `ip` changes of \
                         addresses is not followed any more; start the lab again to have it back"
                            .to_owned(),
                    );
                }
                PortState::Down | PortState::NoCarrier => self.shared.trouble(
                    "the host port went down: the router's programs are cut off, and its routes are gone"
                        .to_owned(),
                ),
                PortState::Up => self.shared.trouble("the host port is up again".to_owned()),
            }
        }
        self.ask_for_all(PAUSE_NS);
    }

    /// Takes over the host port's addresses, where they have changed. Those that go with the host port itself stay.
    pub(super) async fn look_at_addresses(&mut self, monitor: &Monitor) {
        let Some(host) = self.plan.host_ifindex else { return };
        let answer = monitor.addresses(host).await;
        self.due.addresses_ns = self.again("the host port's addresses", &answer);
        let Ok(Answer { found, is_whole: true }) = answer else { return };
        if self.plan.would_lose(&found) {
            // A device loses its addresses before the kernel says that it is gone; the list of links comes after that.
            let links = monitor.links().await;
            if links.is_err() {
                self.due.addresses_ns = self.again("the links", &links);
                return;
            }
            self.take_links(links);
            if self.plan.host_ifindex.is_none() {
                return;
            }
        }
        let taken = self.plan.take_addresses(&found);
        for address in taken.homeless {
            self.shared.trouble(format!(
                "{address} is in no subnet that a port was started with, so it is the router's programs' alone"
            ));
        }
        if taken.is_changed {
            self.ports_changed();
        }
    }
}
