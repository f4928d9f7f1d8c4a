//! The router's own programs, and what it says and counts of itself.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use libtest_mimic::Trial;

use crate::common::{BACKENDS, Case, Lab, wait_for};

/// Where the router has interfaces of its own, whose MTU can be set.
const INTERFACES: &[&str] = &["kernel", "userspace", "userspace:xdp"];

/// Cases beside the built-in lab.
pub(crate) const CASES: &[Case] = &[
    Case {
        name: "the_router_s_own_programs_hear_of_a_dead_neighbour",
        modes: BACKENDS,
        programs: &["ping"],
        body: own_unreachable,
    },
    Case {
        name: "a_server_in_the_router_finds_a_lowered_mtu",
        modes: INTERFACES,
        programs: &["ip"],
        body: own_path_mtu,
    },
];

/// Trials that make labs of their own.
pub(crate) fn trials() -> Vec<Trial> {
    Vec::new()
}

fn own_unreachable(lab: &Lab) {
    let dead = ["10.10.251.77", "fd00:251::77"];
    // An address that does not answer is given up after three seconds: all of them are tried at once.
    std::thread::scope(|scope| {
        let pings = dead.map(|address| {
            scope.spawn(move || {
                let output = lab.exec("router", &["ping", "-n", "-c", "1", "-W", "8", address]);
                String::from_utf8_lossy(&output.stdout).into_owned()
            })
        });
        let connections = dead.map(|address| {
            let to = SocketAddr::new(address.parse().unwrap(), 5201);
            scope.spawn(move || {
                let connect = || TcpStream::connect_timeout(&to, Duration::from_secs(8));
                lab.namespace("router").run(connect).unwrap().unwrap_err().kind()
            })
        });
        for (ping, words) in pings
            .into_iter()
            .zip(["Destination Host Unreachable", "Destination unreachable: Address unreachable"])
        {
            let said = ping.join().unwrap();
            assert!(said.contains(words), "{said}\n{}", lab.dump());
        }
        for connection in connections {
            assert_eq!(connection.join().unwrap(), ErrorKind::HostUnreachable, "{}", lab.dump());
        }
    });
}

/// Sends `bytes` over TCP from a server in the router to a client in t2.
fn serve_t2(lab: &Lab, address: IpAddr, bytes: usize) {
    let listener = lab.namespace("router").run(|| TcpListener::bind((address, 0))).unwrap().unwrap();
    let to = listener.local_addr().unwrap();
    let connect = || TcpStream::connect_timeout(&to, Duration::from_secs(5));
    let mut client = lab.namespace("t2").run(connect).unwrap().unwrap();
    let (mut server, _) = listener.accept().unwrap();
    for stream in [&client, &server] {
        stream.set_read_timeout(Some(Duration::from_secs(8))).unwrap();
        stream.set_write_timeout(Some(Duration::from_secs(8))).unwrap();
    }
    std::thread::scope(|scope| {
        scope.spawn(move || server.write_all(&vec![7; bytes]).unwrap());
        let mut received = vec![0; bytes];
        let read = client.read_exact(&mut received);
        assert!(read.is_ok(), "{address}: {read:?}\n{}", lab.dump());
    });
}

fn own_path_mtu(lab: &Lab) {
    lab.succeed("router", &["ip", "link", "set", "eth-t2", "mtu", "1300"]);
    if lab.is_userspace() {
        wait_for("the engine sees the new MTU", || {
            (lab.status()["engine"]["ports"][1]["mtu"] == 1300).then_some(())
        });
    }
    for address in ["10.10.252.2", "fd00:252::2"] {
        serve_t2(lab, address.parse().unwrap(), 1 << 20);
    }
}
