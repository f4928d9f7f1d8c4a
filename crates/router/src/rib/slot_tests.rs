use std::sync::Arc;

use ipnet::IpNet;
use nsrouter_wire::frame::PortId;

use crate::nexthop::Adjacency;
use crate::testing::*;
use crate::*;

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn table() -> Rib {
    Rib::new(&lab_ports(), Settings::default()).unwrap()
}

/// The ports with their slots, from 0 on.
fn numbered(ports: &[PortConfig]) -> impl Iterator<Item = (PortId, &PortConfig)> {
    (0..).map(PortId).zip(ports)
}

fn way(tables: &Tables, address: &str) -> Adjacency {
    match addr(address) {
        std::net::IpAddr::V4(address) => tables.route4(address).adjacency.clone(),
        std::net::IpAddr::V6(address) => tables.route6(address).adjacency.clone(),
    }
}

/// A hop by a named port.
fn by(port: PortId, via: Option<&str>) -> RouteNextHop {
    RouteNextHop { port: Some(port), via: via.map(addr), weight: 1 }
}

fn unicast(prefix: &str, hops: Vec<RouteNextHop>) -> Route {
    Route { prefix: net(prefix), kind: RouteKind::Unicast(hops), metric: 0, mtu: None }
}

/// The neighbours that answered, as a map.
fn known(neighbours: &mut Neighbours, tables: &Tables, hops: &[(PortId, &str)]) -> Arc<NeighbourMap> {
    for (port, address) in hops {
        let seen = Event::NeighbourSeen {
            port: *port,
            addr: addr(address),
            mac: Some(MacAddr(T2_MAC)),
            kind: Seen::ArpRequest,
        };
        neighbours.event(&seen, tables, 0, &mut Vec::new());
    }
    neighbours.map().unwrap()
}

#[test]
fn a_removed_port_takes_along_what_came_with_it_and_declared_routes_come_back_with_it() {
    let mut table = table();
    table.configure(&[unicast("10.5.0.0/16", vec![by(P2, Some("10.10.252.1"))])]).unwrap();
    let learned =
        unicast("fd05::/64", vec![RouteNextHop { port: None, via: Some(addr("fd00:252::9")), weight: 1 }]);
    table.insert(Origin::Learned, InsertMode::Append, &learned).unwrap();
    let before = table.tables();
    let destinations = ["10.5.0.1", "10.10.252.1", "10.10.252.2", "10.10.252.255", "fd05::1", "fd00:252::1"];
    let ways = |tables: &Tables| destinations.map(|to| way(tables, to));
    let with_port = ways(&before);
    assert_eq!(table.remove_port(P2), Ok(true));
    assert_eq!(table.remove_port(P2), Ok(false));
    let without = table.tables();
    assert_eq!(ways(&without), [const { Adjacency::Reject(DropReason::NoRoute) }; 6]);
    assert!(without.port(P2).is_none() && without.port(P1).is_some());
    assert!(!without.is_own4([10, 10, 252, 2].into()) && !without.is_own6("fd00:252::2".parse().unwrap()));
    assert_eq!(without.ports().map(Port::id).collect::<Vec<_>>(), [P1]);
    assert_eq!(table.routes().count(), 2, "both stay declared");
    let refused = table.set_ports([(P2, &lab_ports()[1])]);
    assert_eq!(refused, Err(TablesError::SlotEmpty(P2)));
    table.add_port(P2, &lab_ports()[1]).unwrap();
    assert_eq!(table.add_port(P2, &lab_ports()[1]), Err(TablesError::SlotTaken(P2)));
    assert_eq!(ways(&table.tables()), with_port);
}

#[test]
fn a_route_by_a_slot_without_port_is_refused_and_one_with_a_gateway_does_not_look_elsewhere() {
    let mut table = table();
    // Were the port not named, the gateway would be on the other link.
    let route = unicast("10.5.0.0/16", vec![by(P2, Some("10.10.251.1"))]);
    table.configure(std::slice::from_ref(&route)).unwrap();
    table.remove_port(P2).unwrap();
    assert_eq!(way(&table.tables(), "10.5.0.1"), Adjacency::Reject(DropReason::NoRoute));
    let gone = unicast("10.6.0.0/16", vec![by(P2, None)]);
    let refused = table.insert(Origin::Learned, InsertMode::Append, &gone);
    assert_eq!(refused, Err(TablesError::NoSuchPort { prefix: gone.prefix, port: P2 }));
}

#[test]
fn a_multipath_group_goes_on_without_a_removed_port_and_with_it_again() {
    let mut table = table();
    let hops = vec![by(P1, Some("10.10.251.1")), by(P2, Some("10.10.252.1"))];
    table.configure(&[unicast("10.5.0.0/16", hops)]).unwrap();
    let before = table.tables();
    let both = way(&before, "10.5.0.1");
    let Adjacency::Group(group) = &both else { panic!("{both:?}") };
    assert_eq!(group.members().len(), 2);
    table.remove_port(P2).unwrap();
    let only = Adjacency::Via(P1, addr("10.10.251.1"));
    assert_eq!(way(&table.tables(), "10.5.0.1"), only);
    // Readers that began before are told so too, and know the port for as long as they have their tables.
    assert_eq!(way(&before, "10.5.0.1"), only);
    assert!(before.port(P2).is_some());
    table.remove_port(P1).unwrap();
    assert_eq!(way(&table.tables(), "10.5.0.1"), Adjacency::Reject(DropReason::NoRoute));
    for (slot, config) in numbered(&lab_ports()) {
        table.add_port(slot, config).unwrap();
    }
    assert_eq!(way(&table.tables(), "10.5.0.1"), both);
}

#[test]
fn a_slot_has_another_port_with_other_addresses() {
    let mut table = table();
    table.tables();
    table.remove_port(P1).unwrap();
    let other = port("eth-x", T1_MAC, &["192.0.2.1/24", "fd09::1/64"]);
    table.add_port(P1, &other).unwrap();
    let tables = table.tables();
    assert_eq!(way(&tables, "192.0.2.9"), Adjacency::OnLink(P1));
    assert_eq!(way(&tables, "192.0.2.1"), Adjacency::Local);
    assert_eq!(way(&tables, "fd09::9"), Adjacency::OnLink(P1));
    for gone in ["10.10.251.1", "10.10.251.2", "10.10.251.255", "fd00:251::1"] {
        assert_eq!(way(&tables, gone), Adjacency::Reject(DropReason::NoRoute), "{gone}");
    }
    let port = tables.port(P1).unwrap();
    assert_eq!((port.mac(), port.mtu_bytes(), port.is_up()), (MacAddr(T1_MAC), 1500, true));
    assert_eq!(port.addresses().collect::<Vec<_>>(), other.addresses);
}

#[test]
fn a_slot_is_free_when_no_route_names_it_and_nobody_reads_tables_with_its_last_port() {
    let mut table = table();
    assert_eq!(table.free_slot(|_| false), Ok(PortId(2)));
    table.add_port(PortId(4), &port("eth-far", T1_MAC, &[])).unwrap();
    assert_eq!(table.free_slot(|_| false), Ok(PortId(2)));
    let hold = unicast("10.5.0.0/16", vec![by(P2, None)]);
    table.configure(std::slice::from_ref(&hold)).unwrap();
    let readers = [table.tables(), table.tables()];
    table.remove_port(P1).unwrap();
    table.remove_port(P2).unwrap();
    assert_eq!(table.free_slot(|_| false), Ok(PortId(2)), "the removal is not published");
    let [oldest, last] = readers;
    let after = table.tables();
    drop(last);
    assert_eq!(table.free_slot(|_| false), Ok(PortId(2)), "an older reader is at work");
    drop(oldest);
    assert_eq!(table.free_slot(|_| false), Ok(P1), "who reads newer tables does not matter");
    assert_eq!(table.free_slot(|slot| slot == P1), Ok(PortId(2)), "the caller has plans for it");
    table.add_port(P1, &lab_ports()[0]).unwrap();
    assert_eq!(table.free_slot(|_| false), Ok(PortId(2)), "a route waits for the port");
    table.remove(Origin::Configured, &hold).unwrap();
    assert_eq!(table.free_slot(|_| false), Ok(P2));
    drop(after);
}

#[test]
fn neighbours_of_a_removed_port_never_answer_for_the_next_one() {
    let mut table = table();
    let mut neighbours = Neighbours::new(NeighConfig::default());
    let first = table.tables();
    let late = known(&mut neighbours, &first, &[(P1, "10.10.251.1"), (P2, "10.10.252.1")]);
    table.set_neighbours(Arc::clone(&late));
    let permanent = NextHop { port: P2, addr: addr("10.10.252.7") };
    neighbours.set_permanent(permanent, MacAddr(T2_MAC), &mut Vec::new());
    let knows = |tables: &Tables| {
        let at = |port, address| tables.neighbours().get(&NextHop { port, addr: addr(address) }).is_some();
        [at(P1, "10.10.251.1"), at(P2, "10.10.252.1"), at(P2, "10.10.252.7")]
    };
    assert_eq!(knows(&table.tables()), [true, true, false]);
    // The next port has the same subnet, and nothing but its MAC address is another.
    table.remove_port(P2).unwrap();
    table.add_port(P2, &port("eth-x", T1_MAC, &["10.10.252.2/24", "fd00:252::2/64"])).unwrap();
    let second = table.tables();
    assert_eq!(knows(&second), [true, false, false]);
    // A map that was made before the state machine heard of the removal.
    table.set_neighbours(late);
    assert_eq!(knows(&table.tables()), [true, false, false]);
    table.set_neighbours(neighbours.map().unwrap());
    assert_eq!(knows(&table.tables()), [true, false, false]);
    // The state machine itself, with the first event or tick under the new tables.
    let (mut actions, unresolved) = (Vec::new(), NextHop { port: P2, addr: addr("10.10.252.1") });
    neighbours.event(&Event::Unresolved { next_hop: unresolved, asker: None }, &second, 1, &mut actions);
    assert!(matches!(actions[..], [Action::Probe { port: P2, .. }]), "{actions:?}");
    let states: Vec<_> = neighbours.list().map(|entry| (entry.port, entry.state)).collect();
    assert_eq!(states.len(), 2, "{states:?}");
    assert!(states.contains(&(P2, "incomplete")));
    // What answers behind the new port counts.
    let answered = known(&mut neighbours, &second, &[(P2, "10.10.252.1")]);
    table.set_neighbours(answered);
    assert_eq!(knows(&table.tables()), [true, true, false]);
}

#[test]
fn frames_that_wait_for_a_neighbour_of_a_removed_port_are_given_up() {
    let mut table = table();
    let mut neighbours = Neighbours::new(NeighConfig::default());
    let mut actions = Vec::new();
    let next_hop = NextHop { port: P2, addr: addr("10.10.252.1") };
    neighbours.event(&Event::Unresolved { next_hop, asker: None }, &table.tables(), 0, &mut actions);
    table.remove_port(P2).unwrap();
    actions.clear();
    neighbours.tick(&table.tables(), 1, &mut actions);
    assert_eq!(actions, [Action::Failed(next_hop, DropReason::PortDown)]);
    assert_eq!(neighbours.list().count(), 0);
}

#[test]
fn packet_accounting_goes_on_over_a_removal() {
    let mut bench = Bench::lab();
    let mut table = table();
    table.set_neighbours(Arc::clone(&bench.tables.neighbours));
    let arp = [&[0xff; 6][..], &T1_MAC, &[8, 6], &[0; 46]].concat();
    let settled = |bench: &mut Bench| {
        let counters = bench.router.counters();
        counters.check_conservation().unwrap();
        let ports = counters.ports.iter().chain([&counters.departed]);
        let (rx, tx) = ports.fold((0, 0), |(rx, tx), port| (rx + port.rx_frames, tx + port.tx_frames));
        assert_eq!((rx, tx), (counters.received, counters.sent));
    };
    assert_eq!(bench.push(P1, &udp4(64, b"out by the port")).verdict, Verdict::Send(P2));
    bench.push(P2, &arp);
    settled(&mut bench);
    table.remove_port(P2).unwrap();
    bench.tables = table.tables();
    bench.router.remove_port(P2);
    settled(&mut bench);
    assert_eq!(bench.router.counters().port(P2), PortCounters::default());
    bench.expect_drop(P1, &udp4(64, b"no port"), DropReason::NoRoute);
    bench.out.sent.clear();
    // What a ring still had of the port is dropped, and counted with the slot.
    bench.expect_drop(P2, &arp, DropReason::PortDown);
    settled(&mut bench);
    // Another port, in a slot that the router did not begin with.
    let slot = PortId(6);
    bench.router.add_port(slot);
    table.add_port(slot, &port("eth-x", T2_MAC, &["10.10.252.2/24"])).unwrap();
    bench.tables = table.tables();
    let waits = NextHop { port: slot, addr: addr("10.10.252.1") };
    assert_eq!(bench.push(P1, &udp4(64, b"once more")).verdict, Verdict::Hold(waits));
    bench.push(slot, &arp);
    settled(&mut bench);
    let counters = bench.router.counters();
    assert_eq!((counters.departed.rx_frames, counters.departed.tx_frames), (1, 1));
    assert_eq!((counters.port(P2).rx_frames, counters.port(slot).rx_frames), (1, 1));
}
