//! Any bytes through the parsers of `nsrouter-wire`: none may panic.
#![no_main]

mod input;

use libfuzzer_sys::fuzz_target;
use nsrouter_wire::{arp, eth, ipv4, ipv6, mld, nd, segment};

fuzz_target!(|data: &[u8]| {
    let _ = eth::Header::parse(data);
    let _ = arp::Packet::parse(data);
    let _ = ipv4::Header::parse(data);
    let _ = ipv6::Header::parse(data);
    let _ = ipv6::packet_bytes(data);
    let _ = ipv6::upper_layer(data);
    let _ = mld::Query::parse(data);
    let _ = nd::Options::parse(data);
    let _ = nd::target(data);
    let Some(case) = input::case(data) else { return };
    // The IP header begins inside the frame: the caller has read what is before it.
    for l3 in [0, 14].into_iter().filter(|l3| *l3 <= case.frame.len()) {
        let _ = segment::packet_bytes(&case.frame, l3, &case.offload);
        if let Ok(mut segments) = segment::Segments::new(&case.frame, l3, case.offload) {
            let mut buffer = vec![0; 1 << 16];
            while segments.write_next(&mut buffer).is_some() {}
        }
    }
});
