use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use nsrouter_wire::frame::PortId;

use crate::nexthop::Adjacency;
use crate::testing::*;
use crate::*;

fn rib() -> Rib {
    Rib::new(&lab_ports(), Settings::default()).unwrap()
}

fn via(prefix: &str, gateway: &str) -> Route {
    let hop = RouteNextHop { port: None, via: Some(addr(gateway)), weight: 1 };
    Route { prefix: prefix.parse().unwrap(), kind: RouteKind::Unicast(vec![hop]), metric: 0, mtu: None }
}

/// Makes a change, and says whether the epoch moved; tables that were taken before must say so, or have no
/// epoch.
fn moves(rib: &mut Rib, change: impl FnOnce(&mut Rib)) -> bool {
    let before = rib.tables();
    let epoch = before.epoch().unwrap();
    change(rib);
    let after = rib.tables().epoch();
    assert!(after.is_some(), "no change is under way");
    assert!(before.epoch().is_none_or(|now| Some(now) == after));
    assert_eq!(before.epoch() == Some(epoch), after == Some(epoch));
    after != Some(epoch)
}

#[test]
fn routes_and_ports_that_change_move_the_epoch_and_what_stays_does_not() {
    let rib = &mut rib();
    let route = via("10.5.0.0/16", "10.10.251.1");
    let insert =
        |rib: &mut Rib, route: &Route| rib.insert(Origin::Learned, InsertMode::Replace, route).unwrap();
    assert!(!moves(rib, |_| {}));
    assert!(moves(rib, |rib| insert(rib, &route)));
    assert!(!moves(rib, |rib| insert(rib, &route)), "replaced by its equal");
    let worse = Route { metric: 9, ..via("10.5.0.0/16", "10.10.252.1") };
    assert!(!moves(rib, |rib| insert(rib, &worse)), "not used");
    assert!(moves(rib, |rib| insert(rib, &via("10.5.0.0/16", "10.10.251.7"))), "another next hop");
    assert!(!moves(rib, |rib| rib
        .retain(Origin::Learned, &[worse.clone(), via("10.5.0.0/16", "10.10.251.7")])
        .unwrap()));
    assert!(moves(rib, |rib| rib.retain(Origin::Learned, std::slice::from_ref(&worse)).unwrap()));
    assert!(moves(rib, |rib| assert!(rib.remove(Origin::Learned, &worse).unwrap())));
    assert!(!moves(rib, |rib| assert!(!rib.remove(Origin::Learned, &worse).unwrap())));

    let mut ports = lab_ports();
    let set = |rib: &mut Rib, ports: &[PortConfig]| rib.set_ports((0..).map(PortId).zip(ports)).unwrap();
    assert!(!moves(rib, |rib| set(rib, &ports)), "as they were");
    ports[1].up = false;
    assert!(moves(rib, |rib| set(rib, &ports)));
    ports[1].mtu = 1400;
    assert!(moves(rib, |rib| set(rib, &ports)));
    ports[0].mac = MacAddr(T1_MAC);
    assert!(moves(rib, |rib| set(rib, &ports)));
    ports[0].addresses.pop();
    assert!(moves(rib, |rib| set(rib, &ports)));
    assert!(!moves(rib, |rib| set(rib, &ports)));
    assert!(moves(rib, |rib| assert!(rib.remove_port(P2).unwrap())));
    assert!(!moves(rib, |rib| assert!(!rib.remove_port(P2).unwrap())));
    assert!(moves(rib, |rib| rib.add_port(P2, &ports[1]).unwrap()));
    assert!(!moves(rib, |rib| assert!(rib.add_port(P2, &ports[1]).is_err())));
}

#[test]
fn neighbours_that_change_move_the_epoch_and_a_confirmation_does_not() {
    let rib = &mut rib();
    let tables = rib.tables();
    let mut neighbours = Neighbours::new(NeighConfig { min_entries: 0, ..NeighConfig::default() });
    let mut now_ns = 0;
    let mut seen = |rib: &mut Rib, mac: [u8; 6], kind| {
        let event =
            Event::NeighbourSeen { port: P1, addr: addr("10.10.251.1"), mac: Some(MacAddr(mac)), kind };
        now_ns += 2_000_000_000;
        neighbours.event(&event, &tables, now_ns, &mut Vec::new());
        neighbours.map().into_iter().for_each(|map| rib.set_neighbours(map));
    };
    assert!(moves(rib, |rib| seen(rib, T1_MAC, Seen::ArpRequest)), "it is there");
    assert!(!moves(rib, |rib| seen(rib, T1_MAC, Seen::ArpReply)), "confirmed");
    assert!(!moves(rib, |rib| seen(rib, T1_MAC, Seen::ArpReply)), "again");
    assert!(moves(rib, |rib| seen(rib, T2_MAC, Seen::ArpReply)), "another MAC address");
    let ages = |rib: &mut Rib, neighbours: &mut Neighbours| {
        let due_ns = neighbours.next_deadline().unwrap();
        neighbours.tick(&tables, due_ns, &mut Vec::new());
        neighbours.map().into_iter().for_each(|map| rib.set_neighbours(map));
    };
    assert!(moves(rib, |rib| ages(rib, &mut neighbours)), "stale: its use is to be reported");
    assert!(moves(rib, |rib| ages(rib, &mut neighbours)), "gone");
    assert_eq!(neighbours.list().count(), 0);
    // As if nothing had happened: the same map once more.
    let same = Arc::clone(&rib.tables().neighbours);
    assert!(!moves(rib, |rib| rib.set_neighbours(same)));
}

#[test]
fn older_tables_have_no_epoch_once_newer_ones_have_what_they_lack() {
    let mut rib = rib();
    let first = rib.tables();
    rib.insert(Origin::Learned, InsertMode::Append, &via("10.5.0.0/16", "10.10.251.1")).unwrap();
    assert!(first.epoch().is_some(), "a route is in all tables at once");
    assert_eq!(first.epoch(), rib.tables().epoch());
    rib.remove_port(P2).unwrap();
    assert_eq!(first.epoch(), None);
    assert!(rib.tables().epoch().is_some());
}

/// The writer moves a route to and fro between two gateways. While the epoch that a reader decided under
/// reads the same, its decision must be the one of that epoch.
#[test]
fn a_decision_is_what_the_tables_say_for_as_long_as_the_epoch_reads_the_same() {
    const CHANGES: usize = 40_000;
    let mut rib = rib();
    let routes = ["10.10.251.1", "10.10.252.1"].map(|gateway| via("10.5.0.0/16", gateway));
    rib.insert(Origin::Learned, InsertMode::Append, &routes[0]).unwrap();
    let tables = rib.tables();
    let number = || tables.epoch.number();
    // The port by epoch, in steps of two, of which each change takes one.
    let first = number();
    let said: Vec<AtomicU64> = (0..=CHANGES).map(|_| AtomicU64::new(0)).collect();
    let IpAddr::V4(destination) = addr("10.5.0.1") else { unreachable!() };
    let decide = || match tables.route4(destination).adjacency {
        Adjacency::Via(port, _) => u64::from(port.0),
        _ => u64::MAX,
    };
    let is_done = AtomicBool::new(false);
    let kept = AtomicU64::new(0);
    let read = || {
        while !is_done.load(Ordering::Acquire) {
            let Some(epoch) = tables.epoch() else { continue };
            let decision = decide();
            if tables.epoch() == Some(epoch) {
                let at = usize::try_from((epoch.number() - first) / 2).unwrap();
                assert_eq!(decision, said[at].load(Ordering::Acquire), "in epoch {epoch:?}");
                kept.fetch_add(1, Ordering::Relaxed);
            }
        }
    };
    std::thread::scope(|scope| {
        let reader = scope.spawn(read);
        for change in 1..=CHANGES {
            said[change].store(change as u64 % 2, Ordering::Release);
            rib.insert(Origin::Learned, InsertMode::Replace, &routes[change % 2]).unwrap();
            assert_eq!(number(), first + 2 * change as u64);
            if reader.is_finished() {
                break;
            }
        }
        // One more look, if the reader had no turn until now.
        while kept.load(Ordering::Relaxed) == 0 && !reader.is_finished() {
            std::thread::yield_now();
        }
        is_done.store(true, Ordering::Release);
    });
}
