use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use nsrouter_wire::frame::PortId;
use proptest::prelude::*;

use super::*;
use crate::config::{RouteKind, RouteNextHop};
use crate::drop::DropReason;
use crate::testing::lab_ports;

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn via(prefix: &str, gateway: &str) -> Route {
    via_at(net(prefix), gateway, 0)
}

fn via_at(prefix: IpNet, gateway: &str, metric: u32) -> Route {
    let hop = RouteNextHop { port: None, via: Some(gateway.parse().unwrap()), weight: 1 };
    Route { prefix, kind: RouteKind::Unicast(vec![hop]), metric, mtu: None }
}

fn table() -> Rib {
    Rib::new(&lab_ports(), Settings::default()).unwrap()
}

/// The ports with their slots, from 0 on.
fn numbered(ports: &[PortConfig]) -> impl Iterator<Item = (PortId, &PortConfig)> {
    (0..).map(PortId).zip(ports)
}

fn learn(table: &mut Rib, route: &Route) {
    table.insert(Origin::Learned, InsertMode::Prepend, route).unwrap();
}

fn way4(tables: &Tables, address: &str) -> Adjacency {
    tables.route4(address.parse().unwrap()).adjacency.clone()
}

fn gateway(port: u16, address: &str) -> Adjacency {
    Adjacency::Via(PortId(port), address.parse().unwrap())
}

#[test]
fn changes_show_in_tables_that_were_taken_before() {
    let mut table = table();
    let tables = table.tables();
    let no_route = Adjacency::Reject(DropReason::NoRoute);
    assert_eq!(way4(&tables, "192.0.2.1"), no_route);
    learn(&mut table, &via("192.0.2.0/24", "10.10.251.1"));
    assert_eq!(way4(&tables, "192.0.2.1"), gateway(0, "10.10.251.1"));
    learn(&mut table, &via("192.0.2.0/25", "10.10.252.1"));
    assert_eq!(way4(&tables, "192.0.2.1"), gateway(1, "10.10.252.1"));
    assert_eq!(way4(&tables, "192.0.2.129"), gateway(0, "10.10.251.1"));
    assert!(table.remove(Origin::Learned, &via("192.0.2.0/25", "10.10.252.1")).unwrap());
    assert!(table.remove(Origin::Learned, &via("192.0.2.0/24", "10.10.251.1")).unwrap());
    assert!(!table.remove(Origin::Learned, &via("192.0.2.0/24", "10.10.251.1")).unwrap());
    assert_eq!(way4(&tables, "192.0.2.1"), no_route);
}

#[test]
fn of_equal_routes_the_placement_decides_and_replacing_replaces() {
    let mut table = table();
    let tables = table.tables();
    let prefix = net("192.0.2.0/24");
    let route = |last: u8| via_at(prefix, &format!("10.10.251.{last}"), 5);
    table.insert(Origin::Learned, InsertMode::Prepend, &route(10)).unwrap();
    table.insert(Origin::Learned, InsertMode::Append, &route(11)).unwrap();
    assert_eq!(way4(&tables, "192.0.2.1"), gateway(0, "10.10.251.10"));
    table.insert(Origin::Learned, InsertMode::Prepend, &route(12)).unwrap();
    assert_eq!(way4(&tables, "192.0.2.1"), gateway(0, "10.10.251.12"));
    table.insert(Origin::Learned, InsertMode::Replace, &route(13)).unwrap();
    assert_eq!(way4(&tables, "192.0.2.1"), gateway(0, "10.10.251.13"));
    // A lower metric wins wherever it is.
    table.insert(Origin::Configured, InsertMode::Append, &via_at(prefix, "10.10.252.9", 1)).unwrap();
    assert_eq!(way4(&tables, "192.0.2.1"), gateway(1, "10.10.252.9"));
    table.retain(Origin::Configured, &[]).unwrap();
    for expected in ["10.10.251.13", "10.10.251.10", "10.10.251.11"] {
        assert_eq!(way4(&tables, "192.0.2.1"), gateway(0, expected));
        assert!(table.remove_first(Origin::Learned, prefix, 5).unwrap());
    }
    assert!(!table.remove_first(Origin::Learned, prefix, 5).unwrap());
}

#[test]
fn own_subnets_are_not_overridden_and_come_back() {
    let mut table = table();
    let tables = table.tables();
    learn(&mut table, &via("10.10.252.0/24", "10.10.251.1"));
    assert_eq!(way4(&tables, "10.10.252.7"), Adjacency::OnLink(PortId(1)));
    let mut ports = lab_ports();
    ports[1].up = false;
    table.set_ports(numbered(&ports)).unwrap();
    assert_eq!(way4(&table.tables(), "10.10.252.7"), gateway(0, "10.10.251.1"));
    table.set_ports(numbered(&lab_ports())).unwrap();
    assert_eq!(way4(&table.tables(), "10.10.252.7"), Adjacency::OnLink(PortId(1)));
    assert_eq!(way4(&table.tables(), "10.10.252.2"), Adjacency::Local);
}

#[test]
fn all_declared_routes_are_listed_as_they_were_declared() {
    let mut table = table();
    let configured = via("192.0.2.0/24", "10.10.252.1");
    let learned = Route { metric: 3, mtu: Some(1400), ..via("fd99::/64", "fd00:251::1") };
    let refusing = Route { kind: RouteKind::Prohibit, ..via_at(net("192.0.2.0/24"), "10.10.251.1", 9) };
    table.configure(std::slice::from_ref(&configured)).unwrap();
    learn(&mut table, &learned);
    learn(&mut table, &refusing);
    let listed: Vec<(Origin, Route)> = table.routes().collect();
    let expected =
        [(Origin::Configured, configured), (Origin::Learned, refusing), (Origin::Learned, learned)];
    assert_eq!(listed, expected);
}

#[test]
fn a_gateway_behind_a_route_is_found_when_that_comes() {
    let mut table = table();
    let tables = table.tables();
    let far = via("198.51.100.0/24", "192.0.2.77");
    let error = table.insert(Origin::Learned, InsertMode::Prepend, &far).unwrap_err();
    assert!(matches!(error, TablesError::GatewayUnreachable { .. }), "{error}");
    assert_eq!(way4(&tables, "198.51.100.1"), Adjacency::Reject(DropReason::NoRoute));
    assert!(table.check_gateways().is_err());
    learn(&mut table, &via("192.0.2.0/24", "10.10.252.1"));
    assert_eq!(way4(&tables, "198.51.100.1"), gateway(1, "10.10.252.1"));
    table.check_gateways().unwrap();
    learn(&mut table, &via("192.0.2.64/26", "10.10.251.1"));
    assert_eq!(way4(&tables, "198.51.100.1"), gateway(0, "10.10.251.1"));
    table.retain(Origin::Learned, &[far]).unwrap();
    assert_eq!(way4(&tables, "198.51.100.1"), Adjacency::Reject(DropReason::NoRoute));
}

#[test]
fn memory_of_removed_prefixes_waits_for_who_may_be_inside() {
    let mut table = table();
    let route = via("192.0.2.1/32", "10.10.251.1");
    let mut cycle = |tables: &mut Vec<Tables>, keep: bool| {
        learn(&mut table, &route);
        table.remove(Origin::Learned, &route).unwrap();
        let fresh = table.tables();
        if !keep {
            tables.clear();
        }
        tables.push(fresh);
        table.fib_memory_bytes()
    };
    let mut tables = Vec::new();
    let begin = (0..3).map(|_| cycle(&mut tables, false)).max().unwrap();
    assert_eq!((0..100).map(|_| cycle(&mut tables, false)).max(), Some(begin), "used again");
    let held = (0..100).map(|_| cycle(&mut tables, true)).max().unwrap();
    assert!(held > begin + 90 * 1024, "{held} bytes: used again while somebody may be inside");
    let after = (0..100).map(|_| cycle(&mut tables, false)).max().unwrap();
    assert!(after <= held + 4096, "{after} bytes: used again when all have gone on");
}

#[test]
fn targets_that_nothing_leads_to_are_forgotten() {
    let mut table = table();
    let mut tables = table.tables();
    learn(&mut table, &via("198.51.100.0/24", "10.10.251.1"));
    let prefix = net("192.0.2.0/24");
    for gateway in 0..150_000u32 {
        let to = Ipv4Addr::from(0x0b00_0000 + gateway);
        let hop = RouteNextHop { port: Some(PortId(0)), via: Some(to.into()), weight: 1 };
        let route = Route { prefix, kind: RouteKind::Unicast(vec![hop]), metric: 0, mtu: None };
        table.insert(Origin::Learned, InsertMode::Replace, &route).unwrap();
        tables = table.tables();
        assert_eq!(tables.route4([192, 0, 2, 1].into()).adjacency, Adjacency::Via(PortId(0), to.into()));
    }
    assert!(table.next_hops.len() < 2 << 16, "{}", table.next_hops.len());
    assert_eq!(way4(&tables, "198.51.100.1"), gateway(0, "10.10.251.1"));
    assert_eq!(way4(&tables, "10.10.252.2"), Adjacency::Local);
}

#[derive(Clone, Debug)]
enum Step {
    Insert(InsertMode, Route),
    Remove(Route),
    Port(usize, bool),
}

fn route() -> impl Strategy<Value = Route> {
    let prefix = (0..4u32, 0..8u32, 20..=32u8, any::<bool>()).prop_map(|(high, low, length, v6)| {
        let v4 = 0xc000_0200 + (high << 10) + low;
        if v6 {
            let length = (length - 20) * 9 + 20;
            IpNet::new(Ipv6Addr::from(0xfd09 << 112 | u128::from(v4) << 60).into(), length).unwrap()
        } else {
            IpNet::new(Ipv4Addr::from(v4).into(), length).unwrap()
        }
    });
    let gateways =
        prop_oneof![Just((1, None)), Just((2, None)), (1..3u8, 0..8u32).prop_map(|(n, g)| (n, Some(g)))];
    let kind = prop_oneof![
        1 => Just(None),
        8 => gateways.prop_map(Some),
    ];
    (prefix, kind, 0..3u32).prop_map(|(prefix, kind, metric)| {
        let v6 = prefix.addr().is_ipv6();
        let kind = match kind {
            None => RouteKind::Blackhole,
            Some((network, recursive)) => {
                let via: IpAddr = match (v6, recursive) {
                    (true, _) => format!("fd00:25{network}::1").parse().unwrap(),
                    (false, Some(low)) => Ipv4Addr::from(0xc000_0200 + low * 300).into(),
                    (false, None) => format!("10.10.25{network}.1").parse().unwrap(),
                };
                RouteKind::Unicast(vec![RouteNextHop { port: None, via: Some(via), weight: 1 }])
            }
        };
        Route { prefix, kind, metric, mtu: None }
    })
}

fn step() -> impl Strategy<Value = Step> {
    let placement =
        prop_oneof![Just(InsertMode::Prepend), Just(InsertMode::Append), Just(InsertMode::Replace)];
    prop_oneof![
        6 => (placement, route()).prop_map(|(placement, route)| Step::Insert(placement, route)),
        4 => route().prop_map(Step::Remove),
        1 => (0..2usize, any::<bool>()).prop_map(|(port, up)| Step::Port(port, up)),
    ]
}

/// What the declared routes would come to if they were declared all at once.
fn from_scratch(ports: &[PortConfig], table: &Rib) -> Tables {
    let mut fresh = Rib::new(ports, Settings::default()).unwrap();
    for (prefix, entry) in table.declared.iter() {
        let kind = table.infos.get(entry.info).unwrap().kind.clone();
        let _ = fresh.insert(
            Origin::Learned,
            InsertMode::Append,
            &Route { prefix, kind, metric: entry.metric, mtu: None },
        );
    }
    fresh.tables()
}

proptest! {
    #[test]
    fn change_by_change_equals_all_at_once(steps in proptest::collection::vec(step(), 1..40)) {
        let mut ports = lab_ports();
        let mut table = table();
        let mut tables = table.tables();
        let mut touched = Vec::new();
        for step in steps {
            match &step {
                Step::Insert(placement, route) => {
                    let _ = table.insert(Origin::Learned, *placement, route);
                    touched.push(route.prefix);
                }
                Step::Remove(route) => {
                    // What is there is found whatever else it is compared with.
                    let route = touched.last().map_or(route.clone(), |prefix| Route { prefix: *prefix, ..route.clone() });
                    table.remove(Origin::Learned, &route).unwrap();
                }
                Step::Port(port, up) => {
                    ports[*port].up = *up;
                    table.set_ports(numbered(&ports)).unwrap();
                    tables = table.tables();
                }
            }
            let expected = from_scratch(&ports, &table);
            for prefix in &touched {
                for address in [prefix.network(), prefix.broadcast()] {
                    match address {
                        IpAddr::V4(a) => prop_assert_eq!(tables.route4(a), expected.route4(a), "{} {:?}", a, step),
                        IpAddr::V6(a) => prop_assert_eq!(tables.route6(a), expected.route6(a), "{} {:?}", a, step),
                    }
                }
            }
        }
    }
}

/// Readers look up while routes come and go: an answer is always one of those that were right at some moment
/// of the look-up, and never that of no route or of memory that serves something else by now.
#[test]
fn readers_never_see_a_torn_answer() {
    let mut table = table();
    // Two gateways a prefix length; the covering route never goes, though it changes.
    let gateway = |length: u8, which: u8| format!("10.10.25{}.{}", which + 1, 100 + length);
    learn(&mut table, &via("192.0.0.0/8", &gateway(8, 0)));
    let address = Ipv4Addr::new(192, 0, 2, 129);
    let other = Ipv4Addr::new(192, 0, 3, 7);
    let published = std::sync::Mutex::new(table.tables());
    let stop = AtomicBool::new(false);
    let reads = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let tables = published.lock().unwrap().clone();
                    for _ in 0..64 {
                        for (address, longest) in [(address, 32), (other, 24)] {
                            let Adjacency::Via(PortId(port), IpAddr::V4(via)) =
                                tables.route4(address).adjacency
                            else {
                                panic!("{address}: {:?}", tables.route4(address));
                            };
                            let length = via.octets()[3] - 100;
                            assert!((8..=longest).contains(&length), "{address}: a route of /{length}");
                            assert_eq!(via.to_string(), gateway(length, port as u8));
                        }
                        reads.fetch_add(2, Ordering::Relaxed);
                    }
                }
            });
        }
        let nested: Vec<(IpAddr, u8)> =
            [12, 16, 20, 24, 25, 28, 32].into_iter().map(|length| (IpAddr::V4(address), length)).collect();
        let beside = [20, 23, 24].into_iter().map(|length| (IpAddr::V4(other), length));
        let prefixes: Vec<IpNet> =
            nested.into_iter().chain(beside).map(|(a, l)| IpNet::new(a, l).unwrap().trunc()).collect();
        let mut random = 12345u32;
        let mut changes = 0u64;
        // Bounded, for a reader that saw a wrong answer reads no more.
        while changes < 20_000 || reads.load(Ordering::Relaxed) < 200_000 && changes < 2_000_000 {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let prefix = prefixes[(random >> 8) as usize % prefixes.len()];
            let route = via_at(prefix, &gateway(prefix.prefix_len(), (random >> 28) as u8 & 1), 0);
            if random >> 31 == 0 {
                table.insert(Origin::Learned, InsertMode::Replace, &route).unwrap();
            } else {
                table.remove_first(Origin::Learned, prefix, 0).unwrap();
            }
            let cover = via("192.0.0.0/8", &gateway(8, (random >> 27) as u8 & 1));
            table.insert(Origin::Learned, InsertMode::Replace, &cover).unwrap();
            *published.lock().unwrap() = table.tables();
            changes += 1;
        }
        stop.store(true, Ordering::Relaxed);
    });
}
