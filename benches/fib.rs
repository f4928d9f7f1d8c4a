//! `cargo bench --bench fib`: the forwarding table against two well-known ones, with a million IPv4 and 200,000 IPv6
//! prefixes: look-ups of random and of few destinations, changes, bulk load.
//!
//! With `FIB_DUMP=DIR` it writes prefixes and destinations as `dpdk-test-fib -f` and `-t` read them, and does nothing else.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::hint::black_box;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use criterion::{BenchmarkGroup, Criterion, Throughput, measurement::WallTime};
use ip_network_table_deps_treebitmap::IpLookupTable;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use nsrouter_router::fib::{Fib, FibWriter};
use nsrouter_router::{InsertMode, Origin, PortConfig, Rib, Route, RouteKind, RouteNextHop, Settings};
use nsrouter_wire::eth::MacAddr;
use nsrouter_wire::frame::PortId;
use prefix_trie::PrefixMap;

const V4: usize = 1_000_000;
const V6: usize = 200_000;
/// Destinations that are looked up in turn.
const RANDOM: usize = 1 << 20;
/// So few that what they need is always near.
const LOCAL: usize = 64;
/// Look-ups in one measured step.
const STEP: usize = 1024;
/// Look-ups at once, as many as a worker has frames at once.
const BURST: usize = 64;

fn net4(prefix: (u32, u8)) -> Ipv4Net {
    Ipv4Net::new(prefix.0.into(), prefix.1).unwrap()
}

fn net6(prefix: (u128, u8)) -> Ipv6Net {
    Ipv6Net::new(prefix.0.into(), prefix.1).unwrap()
}

/// A value for each prefix, as many different ones as a busy router has next hops.
fn value(index: usize) -> u32 {
    u32::try_from(index % 200).unwrap()
}

fn rib(v4: &[(u32, u8)], v6: &[(u128, u8)]) -> FibWriter {
    let mut rib = FibWriter::default();
    for (index, prefix) in v4.iter().enumerate() {
        rib.insert(IpNet::V4(net4(*prefix)), value(index)).unwrap();
    }
    for (index, prefix) in v6.iter().enumerate() {
        rib.insert(IpNet::V6(net6(*prefix)), value(index)).unwrap();
    }
    rib
}

/// Measures `look` over the destinations, [`STEP`] at a time.
fn lookups<A: Copy>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    destinations: &[A],
    look: impl Fn(A) -> Option<u32>,
) {
    group.throughput(Throughput::Elements(STEP as u64));
    let mut steps = destinations.chunks_exact(STEP).cycle();
    group.bench_function(name, |bencher| {
        bencher.iter(|| {
            let step = steps.next().unwrap_or_default();
            black_box(step.iter().fold(0u32, |sum, to| sum.wrapping_add(look(*to).unwrap_or(0))))
        });
    });
}

/// Likewise, [`BURST`] of the destinations at once.
fn bursts(group: &mut BenchmarkGroup<'_, WallTime>, fib: &Fib, destinations: &[u128]) {
    group.throughput(Throughput::Elements(STEP as u64));
    let mut steps = destinations.chunks_exact(STEP).cycle();
    group.bench_function("ours, in bursts", |bencher| {
        bencher.iter(|| {
            let mut sum = 0u32;
            for burst in steps.next().unwrap_or_default().chunks(BURST) {
                fib.lookup6_each(burst, |value| sum = sum.wrapping_add(value.unwrap_or(0)));
            }
            black_box(sum)
        });
    });
}

/// A few of the destinations, over and over.
fn repeated<A: Copy>(all: &[A]) -> Vec<A> {
    all.iter().take(LOCAL).copied().cycle().take(STEP).collect()
}

fn lookup_v4(criterion: &mut Criterion, prefixes: &[(u32, u8)]) {
    let rib = rib(prefixes, &[]);
    let fib = rib.fib();
    eprintln!("{} IPv4 prefixes: {:.1} MiB for look-ups", rib.len(), mib(rib.fib_memory_bytes()));
    let mut bitmap = IpLookupTable::new();
    let mut trie = PrefixMap::new();
    for (index, prefix) in prefixes.iter().enumerate() {
        bitmap.insert(Ipv4Addr::from(prefix.0), u32::from(prefix.1), value(index));
        trie.insert(net4(*prefix), value(index));
    }
    let all = common::destinations_v4(prefixes, RANDOM);
    for (kind, destinations) in [("random", &all), ("local", &repeated(&all))] {
        let mut group = criterion.benchmark_group(format!("fib_v4_{kind}"));
        lookups(&mut group, "ours", destinations, |a| fib.lookup4(a.into()));
        lookups(&mut group, "treebitmap", destinations, |a: u32| {
            bitmap.longest_match(a.into()).map(|(_, _, value)| *value)
        });
        lookups(&mut group, "prefix-trie", destinations, |a: u32| {
            trie.get_lpm(&Ipv4Net::from(Ipv4Addr::from(a))).map(|(_, value)| *value)
        });
        group.finish();
    }
}

fn lookup_v6(criterion: &mut Criterion, prefixes: &[(u128, u8)]) {
    let rib = rib(&[], prefixes);
    let fib = rib.fib();
    eprintln!("{} IPv6 prefixes: {:.1} MiB for look-ups", rib.len(), mib(rib.fib_memory_bytes()));
    let mut bitmap = IpLookupTable::new();
    let mut trie = PrefixMap::new();
    for (index, prefix) in prefixes.iter().enumerate() {
        bitmap.insert(Ipv6Addr::from(prefix.0), u32::from(prefix.1), value(index));
        trie.insert(net6(*prefix), value(index));
    }
    let all = common::destinations_v6(prefixes, RANDOM);
    for (kind, destinations) in [("random", &all), ("local", &repeated(&all))] {
        let mut group = criterion.benchmark_group(format!("fib_v6_{kind}"));
        lookups(&mut group, "ours", destinations, |a| fib.lookup6(a.into()));
        bursts(&mut group, &fib, destinations);
        lookups(&mut group, "treebitmap", destinations, |a: u128| {
            bitmap.longest_match(a.into()).map(|(_, _, value)| *value)
        });
        lookups(&mut group, "prefix-trie", destinations, |a: u128| {
            trie.get_lpm(&Ipv6Net::from(Ipv6Addr::from(a))).map(|(_, value)| *value)
        });
        group.finish();
    }
}

/// What the lab has: two subnets and the router's own addresses in them.
fn lookup_lab(criterion: &mut Criterion) {
    let mut rib = FibWriter::default();
    let prefixes =
        ["10.10.251.0/24", "10.10.251.2/32", "10.10.251.255/32", "10.10.252.0/24", "10.10.252.2/32"];
    let prefixes6 =
        ["fd00:251::/64", "fd00:251::/128", "fd00:251::2/128", "fd00:252::/64", "fd00:252::2/128"];
    for (value, prefix) in (0..).zip(prefixes.iter().chain(&prefixes6)) {
        rib.insert(prefix.parse().unwrap(), value).unwrap();
    }
    eprintln!("{} prefixes: {:.1} MiB for look-ups", rib.len(), mib(rib.fib_memory_bytes()));
    let fib = rib.fib();
    let mut group = criterion.benchmark_group("fib_lab");
    let v4: Vec<u32> = (0..64).map(|n| 0x0a0a_fc00 + n).cycle().take(STEP).collect();
    let v6: Vec<u128> = (0..64).map(|n| 0xfd00_0252 << 96 | n).cycle().take(STEP).collect();
    lookups(&mut group, "v4", &v4, |a| fib.lookup4(a.into()));
    lookups(&mut group, "v6", &v6, |a| fib.lookup6(a.into()));
    group.finish();
}

fn mib(bytes: usize) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// A table with ports, as the control plane has it.
fn table() -> Rib {
    let port = |n: u8| PortConfig {
        name: format!("port{n}"),
        mac: MacAddr([2, 0, 0, 0, 0, n]),
        mtu: 1500,
        addresses: vec![
            format!("10.10.25{n}.2/24").parse().unwrap(),
            format!("fd00:25{n}::2/64").parse().unwrap(),
        ],
        up: true,
    };
    Rib::new(&[port(1), port(2)], Settings::default()).unwrap()
}

fn route(prefix: IpNet, gateway: usize) -> Route {
    let via = match prefix {
        IpNet::V4(_) => IpAddr::from([10, 10, 252, u8::try_from(1 + 2 * (gateway % 100)).unwrap()]),
        IpNet::V6(_) => {
            IpAddr::from([0xfd00, 0x252, 0, 0, 0, 0, 0, u16::try_from(3 + gateway % 100).unwrap()])
        }
    };
    let hop = RouteNextHop { port: Some(PortId(1)), via: Some(via), weight: 1 };
    Route { prefix, kind: RouteKind::Unicast(vec![hop]), metric: 0, mtu: None }
}

/// Bulk load, and changes one by one with a snapshot after each, as the control plane makes them.
fn changes(v4: &[(u32, u8)], v6: &[(u128, u8)]) {
    let v4 = v4.iter().map(|prefix| IpNet::V4(net4(*prefix)));
    let v6 = v6.iter().map(|prefix| IpNet::V6(net6(*prefix)));
    for (family, prefixes) in [("IPv4", v4.collect::<Vec<_>>()), ("IPv6", v6.collect())] {
        let begin = Instant::now();
        let mut table = table();
        for (index, prefix) in prefixes.iter().enumerate() {
            table.insert(Origin::Learned, InsertMode::Append, &route(*prefix, index)).unwrap();
        }
        eprintln!(
            "{} {family} routes loaded one by one in {:.2?}, {:.1} MiB for look-ups",
            prefixes.len(),
            begin.elapsed(),
            mib(table.fib_memory_bytes())
        );
        let mut tables = table.tables();
        let mut times = Vec::new();
        let mut timed = |change: &mut dyn FnMut()| {
            let begin = Instant::now();
            change();
            times.push(begin.elapsed());
        };
        // A prime step goes through the feed out of order.
        for turn in 0..100_000usize {
            let index = turn * 7919 % prefixes.len();
            let old = route(prefixes[index], index);
            timed(&mut || {
                table.remove(Origin::Learned, &old).unwrap();
                tables = table.tables();
            });
            timed(&mut || {
                table.insert(Origin::Learned, InsertMode::Replace, &old).unwrap();
                tables = table.tables();
            });
            let other = route(prefixes[index], index + 1);
            timed(&mut || {
                table.insert(Origin::Learned, InsertMode::Replace, &other).unwrap();
                tables = table.tables();
            });
            table.insert(Origin::Learned, InsertMode::Replace, &old).unwrap();
        }
        black_box(&tables);
        say_quantiles(&format!("a change among {} {family} routes", prefixes.len()), &mut times);
        let whole = if family == "IPv4" { "0.0.0.0/0" } else { "::/0" };
        let default = route(whole.parse().unwrap(), 0);
        let begin = Instant::now();
        table.insert(Origin::Learned, InsertMode::Append, &default).unwrap();
        let inserted = begin.elapsed();
        table.remove(Origin::Learned, &default).unwrap();
        eprintln!(
            "  the worst, a default route: comes in {inserted:.2?}, goes in {:.2?}",
            begin.elapsed() - inserted
        );
    }
}

fn say_quantiles(what: &str, times: &mut [Duration]) {
    times.sort_unstable();
    let quantile = |permille: usize| times[(times.len() - 1) * permille / 1000];
    eprintln!(
        "{what}: median {:.2?}, p99 {:.2?}, p99.9 {:.2?}, largest {:.2?}",
        quantile(500),
        quantile(990),
        quantile(999),
        quantile(1000)
    );
}

/// Files for `dpdk-test-fib`.
fn dump(directory: &str, v4: &[(u32, u8)], v6: &[(u128, u8)]) {
    let write = |name: &str, lines: &mut dyn Iterator<Item = String>| {
        let path = std::path::Path::new(directory).join(name);
        let mut file = std::io::BufWriter::new(std::fs::File::create(path).unwrap());
        lines.for_each(|line| writeln!(file, "{line}").unwrap());
    };
    let routes4 = v4.iter().enumerate().map(|(index, prefix)| format!("{} {}", net4(*prefix), value(index)));
    let routes6 = v6.iter().enumerate().map(|(index, prefix)| format!("{} {}", net6(*prefix), value(index)));
    write("routes4", &mut routes4.into_iter());
    write("routes6", &mut routes6.into_iter());
    let to4 = common::destinations_v4(v4, RANDOM);
    let to6 = common::destinations_v6(v6, RANDOM);
    write("destinations4", &mut to4.iter().map(|address| Ipv4Addr::from(*address).to_string()));
    write("destinations6", &mut to6.iter().map(|address| Ipv6Addr::from(*address).to_string()));
}

fn main() {
    // `cargo test --benches` only wants to see that it starts.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let (v4, v6) = (common::prefixes_v4(V4), common::prefixes_v6(V6));
    if let Ok(directory) = std::env::var("FIB_DUMP") {
        return dump(&directory, &v4, &v6);
    }
    let mut criterion = Criterion::default().configure_from_args();
    lookup_lab(&mut criterion);
    lookup_v4(&mut criterion, &v4);
    lookup_v6(&mut criterion, &v6);
    changes(&v4, &v6);
    criterion.final_summary();
}
