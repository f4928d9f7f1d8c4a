//! Frames that carry other packets, or more than 64 KiB: tunnels, BIG TCP, segments for the router itself.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use etherparse::PacketBuilder;
use libtest_mimic::Trial;
use nix::sys::socket::{setsockopt, sockopt};
use nsrouter_wire::offload::{Gso, Offload, PendingChecksum};
use rtnetlink::sys::protocols::NETLINK_ROUTE;
use rtnetlink::sys::{Socket, SocketAddr as NetlinkAddr};

use crate::common::{BACKENDS, Case, Lab, USERSPACE, promptly, wait_for};

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
    Case {
        name: "tiny_segments_for_the_router_hold_up_nobody",
        modes: BACKENDS,
        programs: &["ping"],
        body: tiny_segments,
    },
    Case {
        name: "hosts_send_no_segmentation_that_has_no_name",
        modes: USERSPACE,
        programs: &["ethtool"],
        body: |lab| {
            let features = lab.succeed("t1", &["ethtool", "-k", "t1-eth0"]);
            assert!(features.contains("tx-sctp-segmentation: off"), "{features}");
        },
    },
    Case {
        name: "big_tcp_over_ipv4",
        modes: &["kernel", "userspace"],
        programs: &["ip", "iperf3"],
        body: |lab| big_tcp(lab, "10.10.252.1", &LINKS),
    },
    // The kernel's own forwarding takes an IPv6 jumbogram for too big where the next link is a veth.
    Case {
        name: "big_tcp_over_ipv6",
        modes: &["userspace"],
        programs: &["ip", "iperf3"],
        body: |lab| big_tcp(lab, "fd00:252::1", &LINKS),
    },
    Case {
        name: "big_tcp_to_a_link_that_takes_less",
        modes: &["kernel", "userspace"],
        programs: &["ip", "iperf3"],
        body: |lab| big_tcp(lab, "10.10.252.1", &LINKS[..3]),
    },
    Case {
        name: "big_tcp_to_the_router_itself",
        modes: &["kernel", "userspace"],
        programs: &["ip", "iperf3"],
        body: big_tcp_to_the_router,
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

/// The second link takes less than the tunnel's packets: without DF they are fragmented, with it their sender
/// is told how much the link takes, and the tunnel has its own senders send less.
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

/// TCP segments of a byte each, tens of thousands in a frame, for the router's own address: the traffic of other
/// hosts is forwarded in the meantime.
fn tiny_segments(lab: &Lab) {
    lab.succeed("t1", &["ping", "-q", "-c", "1", "-W", "5", "10.10.252.1"]);
    let neighbour = lab.succeed("t1", &["ip", "neigh", "show", "10.10.251.2"]);
    let router: Vec<u8> = neighbour
        .split_whitespace()
        .skip_while(|word| *word != "lladdr")
        .nth(1)
        .unwrap()
        .split(':')
        .map(|it| u8::from_str_radix(it, 16).unwrap())
        .collect();
    let mut frame = Vec::new();
    PacketBuilder::ethernet2(lab.mac("t1", "t1-eth0"), router.try_into().unwrap())
        .ipv4([10, 10, 251, 1], [10, 10, 251, 2], 64)
        .tcp(1000, 80, 1, 512)
        .ack(1)
        .write(&mut frame, &[7; 60_000])
        .unwrap();
    let offload = Offload {
        checksum: Some(PendingChecksum { start: 34, offset: 16 }),
        gso: Gso::Tcp4 { ecn: false },
        gso_size: 1,
        header_bytes: 54,
    };
    let mut tap = lab.tap("t1", "t1-eth0");
    promptly("the longest round trip", Duration::from_millis(150), || {
        let pings = std::thread::scope(|scope| {
            let pings =
                scope.spawn(|| lab.succeed("t2", &["ping", "-i", "0.01", "-c", "150", "10.10.251.1"]));
            for _ in 0..20 {
                tap.send_offloaded(&frame, offload);
                std::thread::sleep(Duration::from_millis(50));
            }
            pings.join().unwrap()
        });
        // 150 packets transmitted, 150 received, 0% packet loss, time 1635ms
        let lost = pings.split(", ").find_map(|part| part.strip_suffix("% packet loss")?.parse::<f64>().ok());
        // Over xdp the sender's own kernel segments: of the tens of thousands of frames, and the answers to
        // them, some find t1's queue full, and so may an echo request among them.
        let bearable = if lab.mode.contains("xdp") { 20.0 } else { 0.0 };
        assert!(lost.unwrap() <= bearable, "{pings}\n{}", lab.dump());
        // rtt min/avg/max/mdev = 0.036/0.060/0.311/0.041 ms
        let longest_ms: f64 = pings.rsplit('/').nth(1).unwrap().parse().unwrap();
        Duration::from_secs_f64(longest_ms / 1e3)
    });
}

/// The links of the built-in lab from t1 to t2, end by end.
const LINKS: [(&str, &str); 4] =
    [("t1", "t1-eth0"), ("router", "eth-t1"), ("t2", "t2-eth0"), ("router", "eth-t2")];

/// Frames of this many bytes are larger than what TCP sends without BIG TCP.
const BIG_FRAME_BYTES: usize = 65_536 + 18;

/// Has a link send and receive GSO packets of up to 190,000 bytes, of both families: ip(8) sets the limits of
/// IPv4 from release 6.3 on only.
fn allow_big_frames(lab: &Lab, node: &str, interface: &str) {
    const RTM_NEWLINK: u16 = 16;
    const REQUEST_ACK: u16 = 1 | 4;
    /// IFLA_GSO_MAX_SIZE, IFLA_GRO_MAX_SIZE, IFLA_GSO_IPV4_MAX_SIZE, IFLA_GRO_IPV4_MAX_SIZE
    /// (linux/if_link.h).
    const LIMITS: [u16; 4] = [41, 58, 63, 64];
    let index = lab.succeed(node, &["cat", &format!("/sys/class/net/{interface}/ifindex")]);
    let index: i32 = index.trim().parse().unwrap();
    // struct ifinfomsg: family, padding, type, index, flags, change.
    let mut body = [[0; 4], index.to_ne_bytes(), [0; 4], [0; 4]].concat();
    for limit in LIMITS {
        body.extend([8u16.to_ne_bytes(), limit.to_ne_bytes()].concat());
        body.extend(190_000u32.to_ne_bytes());
    }
    let mut request = Vec::from(u32::try_from(16 + body.len()).unwrap().to_ne_bytes());
    request.extend([RTM_NEWLINK.to_ne_bytes(), REQUEST_ACK.to_ne_bytes()].concat());
    request.extend([0; 8]);
    request.extend(body);
    let answer = lab
        .namespace(node)
        .run(|| {
            let mut socket = Socket::new(NETLINK_ROUTE).unwrap();
            socket.bind_auto().unwrap();
            socket.send_to(&request, &NetlinkAddr::new(0, 0), 0).unwrap();
            socket.recv_from_full().unwrap().0
        })
        .unwrap();
    let code = i32::from_ne_bytes(answer[16..20].try_into().unwrap());
    assert_eq!(code, 0, "{node} {interface}: {}", std::io::Error::from_raw_os_error(-code));
}

fn big_tcp(lab: &Lab, to: &str, links: &[(&str, &str)]) {
    links.iter().for_each(|(node, interface)| allow_big_frames(lab, node, interface));
    let mut tap = lab.tap("router", "eth-t1");
    let mbits = tcp_mbits(lab, to);
    let largest = tap.take().iter().map(|(frame, _)| frame.len()).max().unwrap();
    assert!(largest > BIG_FRAME_BYTES, "the largest frame that t1 sent has {largest} bytes");
    assert!(mbits > 100.0, "{mbits} Mbit/s\n{}", lab.dump());
    assert_eq!(drops(lab, &[MISUNDERSTOOD, &["rx_too_big"]].concat()), 0, "{}", lab.dump());
}

fn big_tcp_to_the_router(lab: &Lab) {
    LINKS[..2].iter().for_each(|(node, interface)| allow_big_frames(lab, node, interface));
    for to in ["10.10.251.2", "fd00:251::2"] {
        let _server = lab.iperf3_server("router");
        let report = lab.succeed("t1", &["timeout", "20", "iperf3", "-J", "-c", to, "-n", "24M"]);
        let report: serde_json::Value = serde_json::from_str(&report).unwrap();
        let mbits = report["end"]["sum_received"]["bits_per_second"].as_f64().unwrap() / 1e6;
        assert!(mbits > 100.0, "to {to}: {mbits} Mbit/s\n{}", lab.dump());
    }
    assert_eq!(drops(lab, &[MISUNDERSTOOD, &["rx_too_big"]].concat()), 0, "{}", lab.dump());
}
