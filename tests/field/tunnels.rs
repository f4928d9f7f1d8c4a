//! Frames that carry other packets, or more than 64 KiB: tunnels, BIG TCP, segments for the router itself.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use libtest_mimic::Trial;
use nix::sys::socket::{setsockopt, sockopt};

use crate::common::{BACKENDS, Case, Lab, wait_for};

/// Where links have an MTU of their own for the router: a TAP has no second end.
const TWO_ENDED: &[&str] = &["kernel", "userspace", "userspace:xdp"];

/// Cases beside the built-in lab.
pub(crate) const CASES: &[Case] = &[
    Case {
        name: "tcp_in_vxlan_over_ipv4",
        modes: BACKENDS,
        programs: &["ip", "iperf3"],
        body: |lab| tcp_through(lab, &[("4", ""), ("4", "udpcsum df set")]),
    },
    Case {
        name: "tcp_in_vxlan_over_ipv6",
        modes: BACKENDS,
        programs: &["ip", "iperf3"],
        body: |lab| tcp_through(lab, &[("6", "udp6zerocsumtx udp6zerocsumrx"), ("6", "noudp6zerocsumtx")]),
    },
    Case { name: "udp_trains_in_vxlan", modes: BACKENDS, programs: &["ip"], body: udp_trains },
    Case {
        name: "tunnelled_segments_too_large_for_a_link",
        modes: TWO_ENDED,
        programs: &["ip", "iperf3"],
        body: segments_too_large,
    },
];

/// Trials that make labs of their own.
pub(crate) fn trials() -> Vec<Trial> {
    Vec::new()
}

/// Makes a VXLAN device on both hosts, number `id` of the lab, over this family and with these options.
fn vxlan(lab: &Lab, id: usize, family: &str, options: &str) {
    for (own, other) in [("1", "2"), ("2", "1")] {
        let node = format!("t{own}");
        let address = |host: &str| match family {
            "4" => format!("10.10.25{host}.1"),
            _ => format!("fd00:25{host}::1"),
        };
        let device = format!("vx{id}");
        let make = format!(
            "ip link add {device} type vxlan id {id} dstport {port} local {} remote {} {options}",
            address(own),
            address(other),
            port = 4789 + id,
        );
        let commands = [
            make,
            format!("ip addr add 192.168.{id}.{own}/24 dev {device}"),
            format!("ip addr add fd00:77:{id}::{own}/64 dev {device} nodad"),
            format!("ip link set {device} up"),
        ];
        lab.succeed(&node, &["sh", "-e", "-c", &commands.join("\n")]);
    }
    for to in [format!("192.168.{id}.2"), format!("fd00:77:{id}::2")] {
        wait_for("the tunnel", || {
            lab.exec("t1", &["ping", "-q", "-c", "1", "-W", "1", &to]).status.success().then_some(())
        });
    }
}

/// Megabits a second that TCP brings from t1 to t2 at this address, by the receiver's count.
fn tcp_mbits(lab: &Lab, to: &str) -> f64 {
    let _server = lab.iperf3_server("t2");
    let report = lab.succeed("t1", &["timeout", "20", "iperf3", "-J", "-c", to, "-n", "24M"]);
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    assert!(report["error"].is_null(), "{}", report["error"]);
    report["end"]["sum_received"]["bits_per_second"].as_f64().unwrap() / 1e6
}

/// Frames that the router dropped for these reasons; none in kernel mode, which does not name any of them.
fn drops(lab: &Lab, reasons: &[&str]) -> u64 {
    let status = lab.status();
    let drops = status["engine"]["drops"].as_object().unwrap();
    drops.iter().filter(|(name, _)| reasons.contains(&name.as_str())).map(|(_, n)| n.as_u64().unwrap()).sum()
}

/// What only a router says that does not understand the frames.
const MISUNDERSTOOD: &[&str] =
    &["bad_offload", "too_big", "too_many_segments", "tx_too_big", "tx_error", "rx_unsupported"];

fn tcp_through(lab: &Lab, tunnels: &[(&str, &str)]) {
    for (index, (family, options)) in tunnels.iter().enumerate() {
        let id = index + 1;
        vxlan(lab, id, family, options);
        for to in [format!("192.168.{id}.2"), format!("fd00:77:{id}::2")] {
            let mbits = tcp_mbits(lab, &to);
            assert!(mbits > 30.0, "IPv{family} {options}, to {to}: {mbits} Mbit/s\n{}", lab.dump());
        }
    }
    assert_eq!(drops(lab, MISUNDERSTOOD), 0, "{}", lab.dump());
}

/// Datagrams of one train (UDP_SEGMENT), and their bytes.
const TRAIN: usize = 40;
const DATAGRAM_BYTES: usize = 1000;

fn udp_trains(lab: &Lab) {
    for (id, (family, options)) in
        [("4", ""), ("4", "udpcsum"), ("6", "noudp6zerocsumtx")].into_iter().enumerate()
    {
        let id = id + 1;
        vxlan(lab, id, family, options);
        for (from, to) in [
            (format!("192.168.{id}.1"), format!("192.168.{id}.2")),
            (format!("fd00:77:{id}::1"), format!("fd00:77:{id}::2")),
        ] {
            let bind = |node: &str, address: &str| {
                let address = SocketAddr::new(address.parse::<IpAddr>().unwrap(), 0);
                lab.namespace(node).run(|| UdpSocket::bind(address)).unwrap().unwrap()
            };
            let (receiver, sender) = (bind("t2", &to), bind("t1", &from));
            setsockopt(&sender, sockopt::UdpGsoSegment, &i32::try_from(DATAGRAM_BYTES).unwrap()).unwrap();
            let train: Vec<u8> =
                (0..TRAIN).flat_map(|n| [u8::try_from(n).unwrap(); DATAGRAM_BYTES]).collect();
            // The last datagram is a short one.
            sender.send_to(&train[..train.len() - 1], receiver.local_addr().unwrap()).unwrap();
            receiver.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            let mut buffer = [0; 2 * DATAGRAM_BYTES];
            for number in 0..TRAIN {
                let len = receiver
                    .recv(&mut buffer)
                    .unwrap_or_else(|error| panic!("datagram {number} to {to}: {error}\n{}", lab.dump()));
                let expected = if number + 1 == TRAIN { DATAGRAM_BYTES - 1 } else { DATAGRAM_BYTES };
                assert_eq!(len, expected);
                assert!(buffer[..len].iter().all(|byte| usize::from(*byte) == number), "in order and whole");
            }
        }
    }
    assert_eq!(drops(lab, MISUNDERSTOOD), 0, "{}", lab.dump());
}

/// The second link takes less than the tunnel's packets: without DF they are fragmented, with it their sender is told how
/// much the link takes, and the tunnel has its own senders send less.
fn segments_too_large(lab: &Lab) {
    lab.succeed("router", &["ip", "link", "set", "eth-t2", "mtu", "1400"]);
    lab.succeed("t2", &["ip", "link", "set", "t2-eth0", "mtu", "1400"]);
    wait_for("the router knows", || {
        let refused =
            lab.exec("t1", &["ping", "-c", "1", "-W", "1", "-M", "do", "-s", "1450", "10.10.252.1"]);
        String::from_utf8_lossy(&refused.stdout).contains("mtu = 1400").then_some(())
    });
    for (id, options) in [(1, "df unset"), (2, "df set")] {
        vxlan(lab, id, "4", options);
        // What the first packets taught of the underlay must not count for the second tunnel.
        lab.succeed("t1", &["ip", "route", "flush", "cache"]);
        let mbits = tcp_mbits(lab, &format!("192.168.{id}.2"));
        assert!(mbits > 5.0, "{options}: {mbits} Mbit/s\n{}", lab.dump());
    }
    let misunderstood: Vec<&str> = MISUNDERSTOOD.iter().copied().filter(|name| *name != "too_big").collect();
    assert_eq!(drops(lab, &misunderstood), 0, "{}", lab.dump());
}
