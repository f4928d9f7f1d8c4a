//! Labs built, broken and removed by the library alone, with a kernel to refuse and to confirm.
//!
//! The program makes itself a private lab first, so its cases see a network, a /run and processes of their
//! own and nothing of the machine's. Where that cannot be had they are ignored, with the reason.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::process::{Child, Command, ExitCode};
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Failed, Trial};
use nsrouter_lab::clean::{CleanSelection, Removed, clean};
use nsrouter_lab::enter::{self, Entered};
use nsrouter_lab::records::STATE_DIR;
use nsrouter_lab::topology::Topology;
use nsrouter_lab::{Error, Forwarder, Lab, LabOptions, RouterNs, Stop};
use nsrouter_linux::netns::Netns;
use nsrouter_linux::netns::names::NETNS_DIR;

const CASES: &[(&str, fn())] = &[
    ("packets_pass_at_once_and_nothing_is_left", packets_pass),
    ("the_kernel_is_silent_on_userspace_ports", silent_ports),
    ("failure_half_way_leaves_nothing", failure_half_way),
    ("a_foreign_namespace_is_named_and_kept", foreign_namespace),
    ("a_name_that_means_another_namespace_is_left", recurring_name),
    ("the_dead_are_cleaned_and_their_processes_ended", dead_lab),
    ("a_process_that_ignores_sigterm_does_not_delay", stubborn_process),
    ("a_router_in_the_host_puts_settings_back", host_router),
    ("two_labs_do_not_share_names", two_labs),
];

fn main() -> ExitCode {
    match enter::first() {
        Ok(None) => {}
        Ok(Some(code)) => return ExitCode::from(code),
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    }
    let mut arguments = Arguments::from_args();
    // They share one /run/netns.
    arguments.test_threads = Some(1);
    let trial = |(name, case): &(&str, fn())| {
        let case = *case;
        Trial::test(*name, move || {
            case();
            Ok(())
        })
    };
    let required = std::env::var_os("NSROUTER_REQUIRE_ALL").is_some_and(|value| value == "1");
    let trials: Vec<Trial> = match enter::rights::try_user_namespace()
        .or_else(|error| if enter::rights::can_build_here()? { Ok(()) } else { Err(error) })
    {
        Ok(()) => match enter::private("lab-tests", true, false) {
            Ok(Entered::Here) => CASES.iter().map(trial).collect(),
            Ok(Entered::Done(code)) => return ExitCode::from(code),
            Err(error) => refused(&error, required),
        },
        Err(error) => refused(&error, required),
    };
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// Every case, ignored with the reason, or failed where nothing may be missing.
fn refused(error: &Error, required: bool) -> Vec<Trial> {
    let reason = error.to_string();
    let trial = |name: &str| {
        let reason = reason.clone();
        if required {
            Trial::test(name, move || Err(Failed::from(reason)))
        } else {
            Trial::test(name, || Ok(())).with_kind(reason).with_ignored_flag(true)
        }
    };
    CASES.iter().map(|(name, _)| trial(name)).collect()
}

fn options(name: &str, forwarder: Forwarder) -> LabOptions {
    LabOptions {
        name: name.to_owned(),
        router_ns: RouterNs::Node,
        replace: false,
        forwarder,
        host_offloads: true,
        link_queues: 1,
        stop: Stop::default(),
        mode: "test".to_owned(),
        backend: None,
    }
}

fn build(name: &str, forwarder: Forwarder) -> Lab {
    Lab::build(&Topology::default_lab(), &options(name, forwarder)).unwrap()
}

/// Everything that a lab could leave: names of namespaces, records, links.
fn traces() -> Vec<String> {
    let list = |dir: &str| -> Vec<String> {
        let entries = fs::read_dir(dir).into_iter().flatten();
        entries.map(|entry| entry.unwrap().path().display().to_string()).collect()
    };
    let mut all = list(NETNS_DIR);
    all.extend(list(STATE_DIR).into_iter().filter(|path| !path.ends_with("/.lock")));
    all.extend(list("/proc/sys/net/ipv4/conf"));
    all.sort();
    all
}

/// How long a datagram may take to arrive on a busy machine.
const ARRIVAL_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a datagram is waited for that must not arrive.
const ABSENCE_TIMEOUT: Duration = Duration::from_millis(300);

/// Sends a datagram from one node to an address of another; whether it arrives.
fn passes(lab: &Lab, from: &str, to: &str, addr: &str) -> bool {
    arrives_within(ARRIVAL_TIMEOUT, lab, from, to, addr)
}

/// The same for a datagram that must not arrive.
fn is_blocked(lab: &Lab, from: &str, to: &str, addr: &str) -> bool {
    !arrives_within(ABSENCE_TIMEOUT, lab, from, to, addr)
}

fn arrives_within(timeout: Duration, lab: &Lab, from: &str, to: &str, addr: &str) -> bool {
    let addr: SocketAddr = addr.parse().unwrap();
    let receiver = lab.node(to).unwrap().ns.run(|| UdpSocket::bind(addr)).unwrap().unwrap();
    receiver.set_read_timeout(Some(timeout)).unwrap();
    let any = if addr.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let sender = lab.node(from).unwrap().ns.run(|| UdpSocket::bind(any)).unwrap().unwrap();
    // Without a route an earlier ICMP error may be reported here: nothing arrives then, either.
    let _ = sender.send_to(b"hello", addr);
    let mut buffer = [0; 16];
    receiver.recv(&mut buffer).is_ok_and(|length| buffer[..length] == *b"hello")
}

const T2_V4: &str = "10.10.252.1:7000";
const T2_V6: &str = "[fd00:252::1]:7000";

fn packets_pass() {
    let before = traces();
    let mut lab = build("default", Forwarder::Kernel);
    assert!(passes(&lab, "router", "t2", T2_V4));
    assert!(passes(&lab, "router", "t2", T2_V6));
    assert!(is_blocked(&lab, "t1", "t2", T2_V4), "forwarding is off");
    lab.set_forwarding().unwrap();
    assert!(passes(&lab, "t1", "t2", T2_V4));
    assert!(passes(&lab, "t1", "t2", T2_V6));
    assert!(matches!(lab.add_host_port("router", 1500), Err(Error::Usage(_))));
    let removed = lab.down();
    assert_eq!(removed.namespaces, ["t1", "t2", "router"]);
    assert!(removed.problems.is_empty(), "{removed:?}");
    assert_eq!(traces(), before);
}

fn silent_ports() {
    let lab = build("quiet", Forwarder::Userspace);
    let router = lab.node("router").unwrap();
    let value = |key: &str| {
        let path = format!("/proc/sys/net/{key}");
        router.ns.run(|| fs::read_to_string(&path).unwrap().trim().to_owned()).unwrap()
    };
    assert_eq!(value("ipv4/ip_forward"), "0");
    for port in &router.ports {
        let ifname = &port.ifname;
        assert_eq!(value(&format!("ipv4/conf/{ifname}/rp_filter")), "1");
        assert_eq!(value(&format!("ipv4/conf/{ifname}/arp_ignore")), "8");
        assert_eq!(value(&format!("ipv4/conf/{ifname}/forwarding")), "0");
        assert_eq!(value(&format!("ipv6/conf/{ifname}/disable_ipv6")), "1");
        assert_eq!(port.addresses.len(), 2, "the router answers for them");
    }
    let bind = router.ns.run(|| UdpSocket::bind("10.10.251.2:0")).unwrap();
    assert!(bind.is_err(), "no address of the router is the kernel's");
    assert!(is_blocked(&lab, "t1", "t2", T2_V4));
}

/// A valid topology with a route that the kernel has already and refuses.
fn failure_half_way() {
    let before = traces();
    let mut topology = Topology::default_lab();
    let mut route = topology.nodes[1].routes[0];
    route.to = "10.10.252.0/24".parse().unwrap();
    topology.nodes[1].routes.insert(0, route);
    // The connected route has the same prefix and metric, so adding this one is EEXIST.
    let error = Lab::build(&topology, &options("half", Forwarder::Kernel)).unwrap_err();
    assert!(error.to_string().starts_with("cannot add the route to 10.10.252.0/24: "), "{error}");
    assert_eq!(traces(), before);
}

/// A namespace with a name that no lab created.
fn make_foreign(name: &str) -> Netns {
    fs::create_dir_all(NETNS_DIR).unwrap();
    let ns = Netns::create().unwrap();
    let path = format!("{NETNS_DIR}/{name}");
    fs::File::create(&path).unwrap();
    let source = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&std::os::fd::AsFd::as_fd(&ns)));
    let flags = nix::mount::MsFlags::MS_BIND;
    nix::mount::mount(Some(source.as_str()), path.as_str(), None::<&str>, flags, None::<&str>).unwrap();
    ns
}

fn remove_name(name: &str) {
    let path = format!("{NETNS_DIR}/{name}");
    nix::mount::umount2(path.as_str(), nix::mount::MntFlags::MNT_DETACH).unwrap();
    fs::remove_file(path).unwrap();
}

fn foreign_namespace() {
    let foreign = make_foreign("t2");
    let before = traces();
    let error = Lab::build(&Topology::default_lab(), &options("default", Forwarder::Kernel)).unwrap_err();
    assert!(matches!(&error, Error::NamespaceClash(name) if name == "t2"), "{error}");
    assert!(error.hint().unwrap().contains("--replace"));
    assert_eq!(traces(), before);
    assert_eq!(Netns::named("t2").unwrap().inode(), foreign.inode());

    let taken = LabOptions { replace: true, ..options("default", Forwarder::Kernel) };
    let lab = Lab::build(&Topology::default_lab(), &taken).unwrap();
    assert_eq!(lab.replaced()[0].namespaces, ["t2"]);
}

/// Leaves a lab as `kill -9` of its process would: on record, without a live process that keeps it.
fn die(lab: Lab) {
    let path = lab.dir().join("state.json");
    let ticks = format!("\"start_ticks\": {}", lab.state().owner.start_ticks);
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(&ticks));
    fs::write(&path, text.replace(&ticks, "\"start_ticks\": 1")).unwrap();
    std::mem::forget(lab);
}

fn clean_one(name: &str) -> Removed {
    let mut removed = clean(&CleanSelection { name: Some(name.to_owned()), pid: None, all: false }).unwrap();
    assert_eq!(removed.len(), 1);
    removed.remove(0)
}

fn recurring_name() {
    die(build("gone", Forwarder::Kernel));
    remove_name("gone-t2");
    let foreign = make_foreign("gone-t2");
    let removed = clean_one("gone");
    assert_eq!(removed.namespaces, ["gone-t1", "gone-router"]);
    assert_eq!(removed.left, ["left network namespace gone-t2: nsrouter did not create it"]);
    assert_eq!(Netns::named("gone-t2").unwrap().inode(), foreign.inode());
    remove_name("gone-t2");
}

fn sleeper(lab: &Lab, node: &str, script: &str) -> Child {
    lab.node(node).unwrap().ns.spawn(Command::new("sh").args(["-c", script])).unwrap()
}

fn dead_lab() {
    let before = traces();
    let lab = build("default", Forwarder::Kernel);
    let mut inside = sleeper(&lab, "t2", "exec sleep 1000");
    let mut outside = Command::new("sleep").arg("1000").spawn().unwrap();
    die(lab);
    let removed = clean_one("default");
    assert_eq!(removed.namespaces, ["t1", "t2", "router"]);
    assert_eq!(removed.processes.len(), 1, "{removed:?}");
    assert_eq!(u32::try_from(removed.processes[0].pid).unwrap(), inside.id());
    assert!(!inside.wait().unwrap().success());
    assert!(outside.try_wait().unwrap().is_none(), "a process elsewhere is left alone");
    outside.kill().unwrap();
    outside.wait().unwrap();
    assert_eq!(traces(), before);

    die(build("default", Forwarder::Kernel));
    let lab = build("default", Forwarder::Kernel);
    assert_eq!(lab.replaced()[0].namespaces, ["t1", "t2", "router"], "a new lab replaces a dead one");
}

fn stubborn_process() {
    let lab = build("stubborn", Forwarder::Kernel);
    let mut child = sleeper(&lab, "t1", "trap '' TERM INT HUP; while :; do sleep 1000; done");
    let start = Instant::now();
    let removed = lab.down();
    // A lab that is replaced has as long, and it takes a tenth of that.
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    assert!(removed.problems.is_empty(), "{removed:?}");
    assert!(!removed.processes.is_empty());
    assert!(!child.wait().unwrap().success());
}

fn host_router() {
    let settings = || {
        ["net/ipv4/ip_forward", "net/ipv4/conf/lo/forwarding", "net/ipv6/conf/all/forwarding"]
            .map(|key| fs::read_to_string(format!("/proc/sys/{key}")).unwrap())
    };
    let (before, settings_before) = (traces(), settings());
    let host = LabOptions { router_ns: RouterNs::Host, ..options("default", Forwarder::Kernel) };
    let mut lab = Lab::build(&Topology::default_lab(), &host).unwrap();
    lab.set_forwarding().unwrap();
    assert!(passes(&lab, "t1", "t2", T2_V4));
    assert_ne!(settings(), settings_before);
    assert!(fs::exists("/proc/sys/net/ipv4/conf/eth-t1").unwrap());
    die(lab);
    let removed = clean_one("default");
    assert_eq!(removed.links, ["eth-t1", "eth-t2"]);
    assert!(removed.sysctls.contains(&"net/ipv4/ip_forward".to_owned()), "{removed:?}");
    assert_eq!(settings(), settings_before);
    assert_eq!(traces(), before);
}

fn two_labs() {
    let one = build("default", Forwarder::Kernel);
    let again = Lab::build(&Topology::default_lab(), &options("default", Forwarder::Kernel)).unwrap_err();
    assert!(matches!(&again, Error::Running { name, .. } if name == "default"), "{again}");
    let other = build("other", Forwarder::Kernel);
    let clash =
        LabOptions { router_ns: RouterNs::Named("router".to_owned()), ..options("third", Forwarder::Kernel) };
    let error = Lab::build(&Topology::default_lab(), &clash).unwrap_err();
    assert_eq!(error.to_string(), "the network namespace `router` belongs to lab `default`");
    assert_eq!(other.down().namespaces, ["other-t1", "other-t2", "other-router"]);
    assert_eq!(Netns::named("t1").unwrap().inode(), one.node("t1").unwrap().ns.inode());
}
