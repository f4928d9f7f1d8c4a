//! Several next hops for one route: a flow hash picks a bucket, and a bucket keeps its hop as long as that is there.
//!
//! Buckets are dealt by weighted rendezvous: each hop draws a number for each bucket from their two names alone, and the
//! best draw has it. So when a hop goes away only its own buckets move, with no state to keep between two tables.

use std::net::IpAddr;

use nsrouter_wire::frame::PortId;
use nsrouter_wire::ipv4::{self, protocol};
use nsrouter_wire::ipv6;

use crate::config::FlowHash;

/// Enough for shares that are off by one or two in a hundred; 4 KiB of one byte each.
const BUCKETS: usize = 4096;

/// One way on of several.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct GroupHop {
    pub(crate) port: PortId,
    pub(crate) via: Option<IpAddr>,
    pub(crate) weight: u16,
}

/// The ways on of one route and which flows take which.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct HopGroup {
    hops: Vec<GroupHop>,
    buckets: Vec<u8>,
}

impl HopGroup {
    /// A group of at least one hop; beyond 256 the rest is not used.
    pub(crate) fn new(mut hops: Vec<GroupHop>) -> HopGroup {
        hops.truncate(256);
        let names: Vec<u64> = hops.iter().map(name).collect();
        let buckets = (0..BUCKETS as u64)
            .map(|bucket| {
                let draws = hops.iter().zip(&names).map(|(hop, name)| draw(bucket, *name, hop.weight));
                let best = draws.enumerate().max_by(|a, b| a.1.total_cmp(&b.1)).map_or(0, |(index, _)| index);
                u8::try_from(best).unwrap_or(0)
            })
            .collect();
        HopGroup { hops, buckets }
    }

    /// The hop of the flow with this hash.
    #[inline]
    pub(crate) fn pick(&self, hash: u32) -> Option<&GroupHop> {
        self.hops.get(usize::from(self.buckets[hash as usize % BUCKETS]))
    }

    pub(crate) fn hops(&self) -> &[GroupHop] {
        &self.hops
    }
}

fn mix(mut x: u64) -> u64 {
    // The finaliser of splitmix64: every input bit reaches every output bit.
    x ^= x >> 30;
    x = x.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x ^= x >> 27;
    x = x.wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ x >> 31
}

/// A number for the hop that does not depend on its weight or on the hops beside it.
fn name(hop: &GroupHop) -> u64 {
    let via = match hop.via {
        None => 0,
        Some(IpAddr::V4(via)) => 1 << 40 | u64::from(u32::from(via)),
        Some(IpAddr::V6(via)) => {
            let bits = u128::from(via).to_be_bytes();
            let (high, low) = bits.split_at(8);
            let word = |half: &[u8]| half.iter().fold(0u64, |word, octet| word << 8 | u64::from(*octet));
            mix(word(high)) ^ word(low)
        }
    };
    mix(via ^ u64::from(hop.port.0) << 48 ^ 0x9e37_79b9_7f4a_7c15)
}

/// What the hop offers for the bucket: an exponential draw over its weight (weighted rendezvous hashing).
fn draw(bucket: u64, name: u64, weight: u16) -> f64 {
    #[allow(clippy::cast_precision_loss)] // a fraction of 53 random bits
    let uniform =
        ((mix(bucket.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ name) >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
    f64::from(weight.max(1)) / -uniform.ln()
}

fn hash_words(words: impl IntoIterator<Item = u64>) -> u32 {
    let hash = words.into_iter().fold(0x2545_f491_4f6c_dd1d, |hash, word| mix(hash ^ word));
    u32::try_from(hash >> 32).unwrap_or(0)
}

/// The hash of an IPv4 packet's flow. Fragments have no ports after the first, so none of them uses ports.
pub(crate) fn flow_hash4(packet: &[u8], policy: FlowHash) -> u32 {
    let Some(header) = ipv4::Header::parse(packet) else { return 0 };
    let addresses = u64::from(u32::from(header.source())) << 32 | u64::from(u32::from(header.destination()));
    let l4 = match policy {
        FlowHash::L3L4 if !header.is_fragment() => l4_word(packet, header.protocol(), header.header_bytes()),
        FlowHash::L3 | FlowHash::L3L4 => 0,
    };
    hash_words([addresses, l4])
}

/// The hash of an IPv6 packet's flow.
pub(crate) fn flow_hash6(packet: &[u8], policy: FlowHash) -> u32 {
    let Some(header) = ipv6::Header::parse(packet) else { return 0 };
    let l4 = match policy {
        FlowHash::L3 => u64::from(header.flow_label()) << 8 | u64::from(header.next_header()),
        FlowHash::L3L4 => match ipv6::upper_layer(packet) {
            Some(upper) if upper.fragment.is_none() => l4_word(packet, upper.protocol, upper.offset),
            Some(_) | None => 0,
        },
    };
    let words = packet[8..40]
        .chunks_exact(8)
        .map(|w| u64::from_be_bytes([w[0], w[1], w[2], w[3], w[4], w[5], w[6], w[7]]));
    hash_words(words.chain([l4]))
}

fn l4_word(packet: &[u8], number: u8, offset: usize) -> u64 {
    let ports = match (number, packet.get(offset..offset + 4)) {
        (protocol::TCP | protocol::UDP, Some(ports)) => {
            u64::from(u32::from_be_bytes([ports[0], ports[1], ports[2], ports[3]]))
        }
        _ => 0,
    };
    ports << 8 | u64::from(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hop(last: u8, weight: u16) -> GroupHop {
        GroupHop { port: PortId(u16::from(last)), via: Some([10, 0, 0, last].into()), weight }
    }

    fn flows() -> impl Iterator<Item = u32> {
        (0..10_000u32).map(|flow| {
            let mut packet = [0u8; 24];
            packet[0] = 0x45;
            packet[12..16].copy_from_slice(&(0x0a00_0000 + flow / 100).to_be_bytes());
            packet[16..20].copy_from_slice(&(0x0b00_0000 + flow % 100).to_be_bytes());
            flow_hash4(&packet, FlowHash::L3)
        })
    }

    #[test]
    fn shares_follow_the_weights_within_five_percent() {
        for weights in [vec![1, 1], vec![1, 1, 1, 1], vec![1, 2, 3], vec![9, 1]] {
            let group = HopGroup::new((1..).zip(&weights).map(|(last, weight)| hop(last, *weight)).collect());
            let total: u16 = weights.iter().sum();
            for (index, weight) in weights.iter().enumerate() {
                let hop = group.hops()[index];
                let got = flows().filter(|hash| group.pick(*hash) == Some(&hop)).count() as f64 / 10_000.0;
                let wanted = f64::from(*weight) / f64::from(total);
                assert!((got - wanted).abs() < 0.05 * wanted.max(0.2), "{weights:?}: {got} for {wanted}");
            }
        }
    }

    #[test]
    fn only_the_flows_of_a_lost_hop_move() {
        let all = HopGroup::new(vec![hop(1, 1), hop(2, 2), hop(3, 1)]);
        let fewer = HopGroup::new(vec![hop(1, 1), hop(3, 1)]);
        for hash in flows() {
            let before = all.pick(hash).unwrap();
            if before.port != PortId(2) {
                assert_eq!(fewer.pick(hash), Some(before));
            }
        }
    }

    #[test]
    fn ports_count_only_when_asked_for_and_never_in_fragments() {
        let mut a = [0u8; 24];
        a[0] = 0x45;
        a[9] = protocol::UDP;
        let mut b = a;
        b[21] = 9;
        assert_eq!(flow_hash4(&a, FlowHash::L3), flow_hash4(&b, FlowHash::L3));
        assert_ne!(flow_hash4(&a, FlowHash::L3L4), flow_hash4(&b, FlowHash::L3L4));
        a[6] = 0x20;
        b[6] = 0x20;
        assert_eq!(flow_hash4(&a, FlowHash::L3L4), flow_hash4(&b, FlowHash::L3L4));
    }
}
