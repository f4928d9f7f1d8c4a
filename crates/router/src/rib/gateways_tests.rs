use nsrouter_wire::frame::PortId;

use crate::testing::*;
use crate::*;

fn via(prefix: &str, gateway: &str, metric: u32) -> Route {
    let hop = RouteNextHop { port: None, via: Some(addr(gateway)), weight: 1 };
    Route { prefix: prefix.parse().unwrap(), kind: RouteKind::Unicast(vec![hop]), metric, mtu: None }
}

/// The next hop of a packet to `destination`, whose neighbours are not known.
fn next_hop(bench: &mut Bench, destination: [u8; 4]) -> Verdict {
    bench.push(P1, &udp4_to([10, 10, 251, 1], destination, 64, b"route")).verdict
}

fn hold(port: PortId, address: &str) -> Verdict {
    Verdict::Hold(NextHop { port, addr: addr(address) })
}

#[test]
fn a_gateway_behind_other_gateways_is_reached_by_the_one_on_the_link() {
    let routes = [
        via("10.1.0.0/16", "10.2.0.1", 0),
        via("10.2.0.0/16", "10.3.0.1", 0),
        via("10.3.0.0/16", "10.10.252.8", 0),
        // The longest route to the gateway decides, not the first.
        via("10.2.0.0/15", "10.10.252.9", 0),
    ];
    let mut bench = Bench::new(&routes, Settings::default());
    for destination in [[10, 1, 0, 1], [10, 2, 0, 1], [10, 3, 0, 1]] {
        assert_eq!(next_hop(&mut bench, destination), hold(P2, "10.10.252.8"));
    }
}

#[test]
fn gateways_that_lead_to_each_other_are_refused() {
    for routes in [
        vec![via("10.1.0.0/16", "10.2.0.1", 0), via("10.2.0.0/16", "10.1.0.1", 0)],
        vec![via("10.1.0.0/16", "10.1.0.1", 0)],
        vec![via("10.1.0.0/16", "192.0.2.1", 0)],
    ] {
        let refused = Tables::new(&lab_ports(), &routes, Settings::default());
        assert!(matches!(refused, Err(TablesError::GatewayUnreachable { .. })), "{refused:?}");
    }
}

#[test]
fn the_lowest_metric_that_can_be_used_wins() {
    let routes = [
        via("10.1.0.0/16", "10.10.252.9", 30),
        via("10.1.0.0/16", "10.10.252.8", 10),
        via("10.1.0.0/16", "10.10.251.7", 20),
        via("10.1.1.0/24", "10.10.252.6", 40),
    ];
    let mut bench = Bench::new(&routes, Settings::default());
    assert_eq!(next_hop(&mut bench, [10, 1, 0, 1]), hold(P2, "10.10.252.8"));
    // A longer prefix wins before any metric is looked at.
    assert_eq!(next_hop(&mut bench, [10, 1, 1, 1]), hold(P2, "10.10.252.6"));
    let mut ports = lab_ports();
    ports[1].up = false;
    let mut bench = Bench::with_ports(&ports, &routes, Settings { redirects: false, ..Settings::default() });
    assert_eq!(next_hop(&mut bench, [10, 1, 0, 1]), hold(P1, "10.10.251.7"));
}

#[test]
fn a_next_hop_behind_a_link_that_is_down_leaves_its_flows_to_the_others() {
    let hop = |port, gateway: &str| RouteNextHop { port: Some(port), via: Some(addr(gateway)), weight: 1 };
    let kind = RouteKind::Unicast(vec![hop(P1, "10.10.251.8"), hop(P2, "10.10.252.8")]);
    let routes = [Route { prefix: "10.1.0.0/16".parse().unwrap(), kind, metric: 0, mtu: None }];
    let settings = Settings { redirects: false, ..Settings::default() };
    let mut both = Bench::new(&routes, settings.clone());
    let mut ports = lab_ports();
    ports[0].up = false;
    let mut one = Bench::with_ports(&ports, &routes, settings);
    let mut moved = 0;
    for last in 0..=255 {
        let before = next_hop(&mut both, [10, 1, 0, last]);
        // The frame comes in by the other link, for this one is down.
        let frame = udp4_to([10, 10, 251, 1], [10, 1, 0, last], 64, b"route");
        let frame = [&R2_MAC[..], &frame[6..]].concat();
        let after = one.push(P2, &frame).verdict;
        assert_eq!(after, hold(P2, "10.10.252.8"));
        moved += usize::from(before != after);
    }
    assert!((90..166).contains(&moved), "{moved} of 256");
}

#[test]
fn a_port_without_gateway_has_its_destinations_on_the_link() {
    let on_link = RouteKind::Unicast(vec![RouteNextHop { port: Some(P2), via: None, weight: 1 }]);
    let routes = [
        Route { prefix: "10.1.0.0/16".parse().unwrap(), kind: on_link, metric: 0, mtu: None },
        // A gateway that is there on the link.
        via("10.2.0.0/16", "10.1.0.9", 0),
    ];
    let mut bench = Bench::new(&routes, Settings::default());
    assert_eq!(next_hop(&mut bench, [10, 1, 0, 1]), hold(P2, "10.1.0.1"));
    assert_eq!(next_hop(&mut bench, [10, 2, 0, 1]), hold(P2, "10.1.0.9"));
}
