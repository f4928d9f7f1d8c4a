//! `cargo bench --bench wire`: header views, checksums, segmentation.
#![allow(clippy::unwrap_used, missing_docs)]

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use etherparse::PacketBuilder;
use nsrouter_wire::offload::{Gso, Offload};
use nsrouter_wire::segment::Segments;
use nsrouter_wire::{checksum, eth, ipv4, ipv6};

fn frame_v4(payload: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    let builder = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4([10, 0, 0, 1], [10, 0, 1, 1], 64);
    builder.tcp(1000, 2000, 1, 65535).write(&mut bytes, &vec![7; payload]).unwrap();
    bytes
}

fn frame_v6(payload: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    let builder = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv6([1; 16], [2; 16], 64);
    builder.tcp(1000, 2000, 1, 65535).write(&mut bytes, &vec![7; payload]).unwrap();
    bytes
}

fn headers(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("wire_headers");
    let (v4, v6) = (frame_v4(10), frame_v6(10));
    group.bench_function("ethernet_and_ipv4", |bencher| {
        bencher.iter(|| {
            let frame = black_box(&v4[..]);
            let l2 = eth::Header::parse(frame).unwrap();
            let l3 = ipv4::Header::parse(&frame[14..]).unwrap();
            (l2.destination(), l2.ether_type(), l3.source(), l3.destination(), l3.ttl(), l3.total_bytes())
        });
    });
    group.bench_function("ethernet_and_ipv6", |bencher| {
        bencher.iter(|| {
            let frame = black_box(&v6[..]);
            let l2 = eth::Header::parse(frame).unwrap();
            let l3 = ipv6::Header::parse(&frame[14..]).unwrap();
            (
                l2.destination(),
                l2.ether_type(),
                l3.source(),
                l3.destination(),
                l3.hop_limit(),
                l3.payload_bytes(),
            )
        });
    });
    group.bench_function("decrement_ttl", |bencher| {
        let mut header: [u8; 20] = v4[14..34].try_into().unwrap();
        bencher.iter(|| ipv4::decrement_ttl(black_box(&mut header)));
    });
    group.finish();
}

fn checksums(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("wire_checksum");
    for bytes in [20usize, 64, 1500, 65_000] {
        let data = vec![0x5a; bytes];
        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_function(format!("{bytes}_bytes"), |bencher| {
            bencher.iter(|| checksum::checksum(black_box(&data)))
        });
    }
    group.finish();
}

fn segmentation(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("wire_segmentation");
    for (name, data, gso) in [
        ("tcp4_64k", frame_v4(65_000), Gso::Tcp4 { ecn: false }),
        ("tcp6_64k", frame_v6(65_000), Gso::Tcp6 { ecn: false }),
    ] {
        let offload = Offload { gso, gso_size: 1448, ..Offload::default() };
        let mut buffer = [0; 2048];
        group.throughput(Throughput::Bytes(data.len() as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let mut segments = Segments::new(black_box(&data), 14, offload).unwrap();
                while let Some(bytes) = segments.write_next(&mut buffer) {
                    black_box(&buffer[..bytes]);
                }
            });
        });
    }
    group.finish();
}

fn main() {
    // `cargo test --benches` only wants to see that it starts.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let mut criterion = Criterion::default().configure_from_args();
    headers(&mut criterion);
    checksums(&mut criterion);
    segmentation(&mut criterion);
    criterion.final_summary();
}
