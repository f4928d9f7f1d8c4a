use super::*;
use crate::testing::{P1, P2, T1_MAC, addr, lab_ports};
use crate::{Settings, Tables};

const S: u64 = 1_000_000_000;
const MAC: MacAddr = MacAddr(T1_MAC);
const OTHER: MacAddr = MacAddr([2, 9, 9, 9, 9, 9]);

fn tables() -> Tables {
    Tables::new(&lab_ports(), &[], Settings::default()).unwrap()
}

fn hop(text: &str) -> NextHop {
    NextHop { port: P1, addr: addr(text) }
}

fn unresolved(next_hop: NextHop) -> Event {
    Event::Unresolved { next_hop, asker: None }
}

struct Table {
    neighbours: Neighbours,
    tables: Tables,
    now: u64,
}

impl Table {
    fn new(config: NeighConfig) -> Table {
        Table { neighbours: Neighbours::new(config), tables: tables(), now: S }
    }

    fn event(&mut self, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        self.neighbours.event(&event, &self.tables, self.now, &mut actions);
        actions
    }

    fn seen(&mut self, text: &str, mac: Option<MacAddr>, kind: Seen) -> Vec<Action> {
        self.event(Event::NeighbourSeen { port: P1, addr: addr(text), mac, kind })
    }

    /// Lets time pass until the next timer, and fires it.
    fn next(&mut self) -> Vec<Action> {
        self.now = self.neighbours.next_deadline().unwrap();
        let mut actions = Vec::new();
        self.neighbours.tick(&self.tables, self.now, &mut actions);
        actions
    }

    fn state(&self, text: &str) -> Option<(&'static str, Option<MacAddr>)> {
        let entry = self.neighbours.list().find(|entry| entry.addr == addr(text))?;
        Some((entry.state, entry.mac))
    }

    fn knows(&mut self, text: &str) -> Option<MacAddr> {
        let map = NeighbourMap::clone_from_table(&self.neighbours);
        map.get(&hop(text)).map(|known| known.mac)
    }
}

impl NeighbourMap {
    /// The map as it would be published now, whether or not it changed.
    fn clone_from_table(neighbours: &Neighbours) -> NeighbourMap {
        let usable: Vec<_> = neighbours
            .list()
            .filter_map(|entry| Some((NextHop { port: entry.port, addr: entry.addr }, entry.mac?, false)))
            .collect();
        NeighbourMap::new(1, neighbours.ports.clone(), &usable)
    }
}

fn probes(actions: &[Action]) -> usize {
    actions.iter().filter(|action| matches!(action, Action::Probe { .. })).count()
}

#[test]
fn resolution_asks_three_times_and_fails() {
    for text in ["10.10.251.77", "fd00:251::77"] {
        let mut table = Table::new(NeighConfig::default());
        let began = table.now;
        let first = table.event(unresolved(hop(text)));
        assert_eq!(probes(&first), 1);
        assert_eq!(table.event(unresolved(hop(text))), [], "asked already");
        assert_eq!(probes(&table.next()), 1);
        assert_eq!(probes(&table.next()), 1);
        assert_eq!(table.next(), [Action::Failed(hop(text), DropReason::NeighbourFailed)]);
        assert_eq!(table.now, began + 3 * S);
        assert_eq!(table.state(text), Some(("failed", None)));
        // The next packet asks again.
        assert_eq!(probes(&table.event(unresolved(hop(text)))), 1);
        assert_eq!(table.state(text), Some(("incomplete", None)));
    }
}

#[test]
fn an_answer_resolves_and_ages() {
    let mut table = Table::new(NeighConfig::default());
    table.event(unresolved(hop("10.10.251.1")));
    let actions = table.seen("10.10.251.1", Some(MAC), Seen::ArpReply);
    assert_eq!(actions, [Action::Resolved(hop("10.10.251.1"))]);
    assert_eq!(table.state("10.10.251.1"), Some(("reachable", Some(MAC))));
    let confirmed = table.now;
    assert_eq!(table.next(), []);
    let lifetime = table.now - confirmed;
    assert!((15 * S..=45 * S).contains(&lifetime), "{lifetime}");
    assert_eq!(table.state("10.10.251.1"), Some(("stale", Some(MAC))));
    // Used: delay for five seconds, then three unicast probes, then failed.
    let map = table.neighbours.map().unwrap();
    assert!(map.get(&hop("10.10.251.1")).unwrap().take_report());
    table.event(Event::InUse(hop("10.10.251.1")));
    assert_eq!(table.state("10.10.251.1"), Some(("delay", Some(MAC))));
    let used = table.now;
    let actions = table.next();
    assert_eq!(table.now - used, 5 * S);
    let [Action::Probe { frame, .. }] = actions.as_slice() else { panic!("{actions:?}") };
    assert_eq!(frame[..6], T1_MAC, "to it alone");
    assert_eq!(table.state("10.10.251.1"), Some(("probe", Some(MAC))));
    assert_eq!((probes(&table.next()), probes(&table.next())), (1, 1));
    assert_eq!(table.next(), [Action::Failed(hop("10.10.251.1"), DropReason::NeighbourFailed)]);
    assert_eq!(table.knows("10.10.251.1"), None);
}

#[test]
fn requests_are_golden() {
    let mut table = Table::new(NeighConfig::default());
    let actions = table.event(unresolved(hop("10.10.251.1")));
    let [Action::Probe { port: P1, frame }] = actions.as_slice() else { panic!("{actions:?}") };
    let arp = pnet_packet::arp::ArpPacket::new(&frame[14..]).unwrap();
    assert_eq!(frame[..14], [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 1, 2, 3, 4, 1, 8, 6]);
    assert_eq!(arp.get_sender_proto_addr().octets(), [10, 10, 251, 2]);
    assert_eq!(arp.get_target_proto_addr().octets(), [10, 10, 251, 1]);

    let actions = table.event(unresolved(hop("fd00:251::1")));
    let [Action::Probe { port: P1, frame }] = actions.as_slice() else { panic!("{actions:?}") };
    assert_eq!(frame[..14], [0x33, 0x33, 0xff, 0, 0, 1, 2, 1, 2, 3, 4, 1, 0x86, 0xdd]);
    let sliced = etherparse::SlicedPacket::from_ethernet(frame).unwrap();
    let Some(etherparse::NetSlice::Ipv6(ip)) = sliced.net else { panic!() };
    assert_eq!(ip.header().hop_limit(), 255);
    let (from, to) = (ip.header().source_addr(), ip.header().destination_addr());
    assert_eq!(
        (from.to_string().as_str(), to.to_string().as_str()),
        ("fe80::1:2ff:fe03:401", "ff02::1:ff00:1")
    );
    let Some(etherparse::TransportSlice::Icmpv6(icmp)) = sliced.transport else { panic!() };
    assert!(icmp.is_checksum_valid(from.octets(), to.octets()));
}

#[test]
fn a_packet_of_our_own_is_asked_for_in_its_name_until_it_is_answered() {
    for (text, ours, at) in [("10.10.251.9", "10.10.252.2", 28..32), ("fd00:251::9", "fd00:251::2", 22..38)] {
        let own = match addr(ours) {
            std::net::IpAddr::V4(own) => own.octets().to_vec(),
            std::net::IpAddr::V6(own) => own.octets().to_vec(),
        };
        let asker = |actions: &[Action]| match actions {
            [Action::Probe { frame, .. }] => frame[at.clone()] == own,
            other => panic!("{other:?}"),
        };
        let mut table = Table::new(NeighConfig::default());
        assert!(!asker(&table.event(unresolved(hop(text)))), "forwarded");
        table.event(Event::Unresolved { next_hop: hop(text), asker: Some(addr(ours)) });
        assert!(asker(&table.next()), "the one that came last counts");
        table.seen(text, Some(MAC), Seen::Solicitation);
        table.event(Event::InUse(hop(text)));
        assert!(!asker(&table.next()), "nothing waits any more");
    }
}

#[test]
fn advertisements_follow_rfc_4861_section_7_2_5() {
    let na = |solicited, overrides| Seen::Advertisement { solicited, overrides };
    let who = "fd00:251::1";
    let mut table = Table::new(NeighConfig::default());
    assert_eq!(table.seen(who, Some(MAC), na(true, true)), [], "nobody asked");
    assert_eq!(table.state(who), None);
    table.event(unresolved(hop(who)));
    assert_eq!(table.seen(who, None, na(true, true)), [], "no address in it");
    assert_eq!(table.seen(who, Some(MAC), na(false, false)), [Action::Resolved(hop(who))]);
    assert_eq!(table.state(who), Some(("stale", Some(MAC))));
    table.seen(who, None, na(true, false));
    assert_eq!(table.state(who), Some(("reachable", Some(MAC))));
    table.seen(who, Some(OTHER), na(true, false));
    assert_eq!(table.state(who), Some(("stale", Some(MAC))), "in doubt, but not overridden");
    table.seen(who, Some(OTHER), na(false, true));
    assert_eq!(table.state(who), Some(("stale", Some(OTHER))));
    table.seen(who, Some(MAC), na(true, true));
    assert_eq!(table.state(who), Some(("reachable", Some(MAC))));
}

#[test]
fn a_gratuitous_announcement_updates_but_does_not_create() {
    let mut table = Table::new(NeighConfig::default());
    table.seen("10.10.251.1", Some(MAC), Seen::ArpAnnouncement);
    assert_eq!(table.state("10.10.251.1"), None);
    table.seen("10.10.251.1", Some(MAC), Seen::ArpRequest);
    assert_eq!(table.state("10.10.251.1"), Some(("stale", Some(MAC))));
    assert!(table.neighbours.map().is_some());
    table.seen("10.10.251.1", Some(OTHER), Seen::ArpAnnouncement);
    assert_eq!(table.state("10.10.251.1"), Some(("stale", Some(OTHER))));
    assert!(table.neighbours.map().is_some(), "workers must hear of it");
    assert!(table.neighbours.map().is_none());
}

#[test]
fn the_first_of_two_answers_counts() {
    let mut table = Table::new(NeighConfig::default());
    table.event(unresolved(hop("10.10.251.1")));
    table.seen("10.10.251.1", Some(MAC), Seen::ArpReply);
    table.seen("10.10.251.1", Some(OTHER), Seen::ArpReply);
    assert_eq!(table.state("10.10.251.1").unwrap().1, Some(MAC));
}

#[test]
fn a_scan_cannot_displace_what_is_in_use_nor_outgrow_the_table() {
    let config = NeighConfig { max_entries: 64, ..NeighConfig::default() };
    let mut table = Table::new(config);
    table.event(unresolved(hop("10.10.251.1")));
    table.seen("10.10.251.1", Some(MAC), Seen::ArpReply);
    let mut failed = 0;
    for last in 2..=255u8 {
        let actions = table.event(unresolved(hop(&format!("10.10.251.{last}"))));
        failed += actions
            .iter()
            .filter(|action| matches!(action, Action::Failed(_, DropReason::NeighbourTableFull)))
            .count();
    }
    assert_eq!(table.neighbours.list().count(), 64);
    assert_eq!(table.neighbours.evicted(), 191);
    assert_eq!(failed, 191, "nothing is held for who was evicted");
    assert_eq!(table.knows("10.10.251.1"), Some(MAC));
}

#[test]
fn spoofed_questions_are_bounded_and_displace_no_traffic() {
    let config = NeighConfig { max_entries: 64, ..NeighConfig::default() };
    let mut table = Table::new(config);
    table.event(unresolved(hop("10.10.251.1")));
    table.seen("10.10.251.1", Some(MAC), Seen::ArpRequest);
    for last in 2..=255u8 {
        table.seen(&format!("10.10.251.{last}"), Some(OTHER), Seen::ArpRequest);
        table.seen(&format!("10.99.0.{last}"), Some(OTHER), Seen::ArpRequest);
    }
    assert_eq!(table.neighbours.list().count(), 64);
    assert!(table.neighbours.list().all(|entry| entry.addr.to_string().starts_with("10.10.251.")));
    assert_eq!(table.knows("10.10.251.1"), Some(MAC));
}

#[test]
fn a_link_that_goes_down_takes_its_neighbours_along() {
    let mut table = Table::new(NeighConfig::default());
    table.next_tick();
    table.event(unresolved(hop("10.10.251.1")));
    table.event(unresolved(NextHop { port: P2, addr: addr("10.10.252.1") }));
    let mut ports = lab_ports();
    ports[0].up = false;
    table.tables = Tables::new(&ports, &[], Settings::default()).unwrap();
    assert_eq!(table.next_tick(), [Action::Failed(hop("10.10.251.1"), DropReason::PortDown)]);
    assert_eq!(table.neighbours.list().count(), 1);
    let actions = table.event(unresolved(hop("10.10.251.1")));
    assert_eq!(actions, [Action::Failed(hop("10.10.251.1"), DropReason::PortDown)]);
}

impl Table {
    /// Fires what is due now, without letting time pass.
    fn next_tick(&mut self) -> Vec<Action> {
        let mut actions = Vec::new();
        self.neighbours.tick(&self.tables, self.now, &mut actions);
        actions
    }
}

#[test]
fn permanent_entries_stay() {
    let mut table = Table::new(NeighConfig::default());
    let mut actions = Vec::new();
    table.event(unresolved(hop("10.10.251.1")));
    table.neighbours.set_permanent(hop("10.10.251.1"), MAC, &mut actions);
    assert_eq!(actions, [Action::Resolved(hop("10.10.251.1"))]);
    table.seen("10.10.251.1", Some(OTHER), Seen::ArpAnnouncement);
    assert_eq!(table.state("10.10.251.1"), Some(("permanent", Some(MAC))));
    assert_eq!(table.neighbours.next_deadline(), None);
}
