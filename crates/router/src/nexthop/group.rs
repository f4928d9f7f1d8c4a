//! Several next hops for one route: a flow hash picks a bucket, and a bucket keeps its hop as long as that is
//! there.
//!
//! Buckets are dealt by weighted rendezvous: each hop draws a number for each bucket from their two names
//! alone, and the best draw has it. So when a hop goes away only its own buckets move, with no state to keep
//! between two tables.

use std::net::IpAddr;

use nsrouter_wire::frame::PortId;
use nsrouter_wire::icmp;
use nsrouter_wire::ipv4;
use nsrouter_wire::ipv6;
use nsrouter_wire::protocol;

use crate::config::FlowHash;
use crate::hash::{GOLDEN_RATIO, halves, mix};

/// Enough for shares that are off by one or two in a hundred; 4 KiB of one byte each.
const BUCKETS: usize = 4096;

/// A member of a next-hop group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct GroupMember {
    pub(crate) port: PortId,
    pub(crate) via: Option<IpAddr>,
    pub(crate) weight: u16,
}

/// A next-hop group: its members, and which flows take which.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct NextHopGroup {
    members: Vec<GroupMember>,
    buckets: Vec<u8>,
}

impl NextHopGroup {
    /// A group of at least one member; beyond 256 the rest is not used.
    pub(crate) fn new(mut members: Vec<GroupMember>) -> NextHopGroup {
        members.truncate(256);
        let names: Vec<u64> = members.iter().map(name).collect();
        let buckets = (0..BUCKETS as u64)
            .map(|bucket| {
                let draws = members.iter().zip(&names).map(|(hop, name)| draw(bucket, *name, hop.weight));
                let best = draws.enumerate().max_by(|a, b| a.1.total_cmp(&b.1)).map_or(0, |(index, _)| index);
                u8::try_from(best).unwrap_or(0)
            })
            .collect();
        NextHopGroup { members, buckets }
    }

    /// The next hop of the flow with this hash.
    #[inline]
    pub(crate) fn pick(&self, hash: u32) -> Option<&GroupMember> {
        self.members.get(usize::from(self.buckets[hash as usize % BUCKETS]))
    }

    pub(crate) fn members(&self) -> &[GroupMember] {
        &self.members
    }
}

/// A number for the hop that does not depend on its weight or on the hops beside it.
fn name(hop: &GroupMember) -> u64 {
    let via = match hop.via {
        None => 0,
        Some(IpAddr::V4(via)) => 1 << 40 | u64::from(u32::from(via)),
        Some(IpAddr::V6(via)) => {
            let [high, low] = halves(u128::from(via));
            mix(high) ^ low
        }
    };
    mix(via ^ u64::from(hop.port.0) << 48 ^ GOLDEN_RATIO)
}

/// What the hop offers for the bucket: an exponential draw over its weight (weighted rendezvous hashing).
fn draw(bucket: u64, name: u64, weight: u16) -> f64 {
    #[allow(clippy::cast_precision_loss)] // a fraction of 53 random bits
    let uniform = ((mix(bucket.wrapping_mul(GOLDEN_RATIO) ^ name) >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
    f64::from(weight.max(1)) / -uniform.ln()
}

fn hash_words(words: impl IntoIterator<Item = u64>) -> u32 {
    let hash = words.into_iter().fold(0x2545_f491_4f6c_dd1d, |hash, word| mix(hash ^ word));
    u32::try_from(hash >> 32).unwrap_or(0)
}

/// The packet that an ICMP error quotes (Linux `ip_multipath_l3_keys`); `None` for any other packet.
fn quoted4(packet: &[u8]) -> Option<&[u8]> {
    let header = ipv4::Header::parse(packet)?;
    if header.protocol() != protocol::ICMP || header.fragment_offset_bytes() > 0 {
        return None;
    }
    let message = packet.get(header.header_bytes()..)?;
    let quoted = message.get(icmp::HEADER_BYTES..)?;
    (icmp::v4::is_error(message[0]) && quoted.len() >= ipv4::HEADER_BYTES).then_some(quoted)
}

/// The same for IPv6 (Linux `ip6_multipath_l3_keys`).
fn quoted6(packet: &[u8]) -> Option<&[u8]> {
    let header = ipv6::Header::parse(packet)?;
    let message = packet.get(ipv6::HEADER_BYTES..)?;
    let quoted = message.get(icmp::HEADER_BYTES..)?;
    let is_error = header.next_header() == protocol::ICMPV6 && icmp::v6::is_error(message[0]);
    (is_error && quoted.len() >= ipv6::HEADER_BYTES).then_some(quoted)
}

/// The hash of an IPv4 packet's flow, the same in both directions (Linux `__flow_hash_consistentify`); an
/// ICMP error has that of the packet it quotes, so that it comes to whom that packet came from. Fragments
/// have no ports after the first, so none of them uses ports.
pub(crate) fn flow_hash4(packet: &[u8], policy: FlowHash) -> u32 {
    let packet = quoted4(packet).unwrap_or(packet);
    let Some(header) = ipv4::Header::parse(packet) else { return 0 };
    let [low, high] = sorted([u32::from(header.source()), u32::from(header.destination())]);
    let l4 = match policy {
        FlowHash::L3L4 if !header.is_fragment() => l4_word(packet, header.protocol(), header.header_bytes()),
        FlowHash::L3 | FlowHash::L3L4 => 0,
    };
    hash_words([u64::from(low) << 32 | u64::from(high), l4])
}

/// The hash of an IPv6 packet's flow; as for IPv4, but the flow label that counts with the addresses alone is
/// each direction's own.
pub(crate) fn flow_hash6(packet: &[u8], policy: FlowHash) -> u32 {
    let packet = quoted6(packet).unwrap_or(packet);
    let Some(header) = ipv6::Header::parse(packet) else { return 0 };
    let l4 = match policy {
        FlowHash::L3 => u64::from(header.flow_label()) << 8 | u64::from(header.next_header()),
        FlowHash::L3L4 => match ipv6::upper_layer(packet) {
            Some(upper) if upper.fragment.is_none() => l4_word(packet, upper.protocol, upper.offset),
            Some(_) | None => 0,
        },
    };
    let [low, high] = sorted([u128::from(header.source()), u128::from(header.destination())]);
    hash_words(halves(low).into_iter().chain(halves(high)).chain([l4]))
}

fn sorted<T: Ord>(mut pair: [T; 2]) -> [T; 2] {
    pair.sort();
    pair
}

fn l4_word(packet: &[u8], number: u8, offset: usize) -> u64 {
    let ports = match (number, packet.get(offset..offset + 4)) {
        (protocol::TCP | protocol::UDP, Some(ports)) => {
            let [low, high] =
                sorted([u16::from_be_bytes([ports[0], ports[1]]), u16::from_be_bytes([ports[2], ports[3]])]);
            u64::from(low) << 16 | u64::from(high)
        }
        _ => 0,
    };
    ports << 8 | u64::from(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hop(last: u8, weight: u16) -> GroupMember {
        GroupMember { port: PortId(u16::from(last)), via: Some([10, 0, 0, last].into()), weight }
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
            let group =
                NextHopGroup::new((1..).zip(&weights).map(|(last, weight)| hop(last, *weight)).collect());
            let total: u16 = weights.iter().sum();
            for (index, weight) in weights.iter().enumerate() {
                let hop = group.members()[index];
                let got = flows().filter(|hash| group.pick(*hash) == Some(&hop)).count() as f64 / 10_000.0;
                let wanted = f64::from(*weight) / f64::from(total);
                assert!((got - wanted).abs() < 0.05 * wanted.max(0.2), "{weights:?}: {got} for {wanted}");
            }
        }
    }

    #[test]
    fn only_the_flows_of_a_lost_hop_move() {
        let all = NextHopGroup::new(vec![hop(1, 1), hop(2, 2), hop(3, 1)]);
        let fewer = NextHopGroup::new(vec![hop(1, 1), hop(3, 1)]);
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

    fn flow4(source: u32, destination: u32, ports: [u8; 4]) -> Vec<u8> {
        let mut packet = vec![0u8; 28];
        packet[0] = 0x45;
        packet[9] = protocol::UDP;
        packet[12..16].copy_from_slice(&source.to_be_bytes());
        packet[16..20].copy_from_slice(&destination.to_be_bytes());
        packet[20..24].copy_from_slice(&ports);
        packet
    }

    /// A router in between reports something about `quoted` to its sender.
    fn error4(kind: u8, quoted: &[u8]) -> Vec<u8> {
        let mut packet = vec![0u8; 20 + icmp::HEADER_BYTES];
        packet[0] = 0x45;
        packet[9] = protocol::ICMP;
        packet[12..16].copy_from_slice(&[192, 0, 2, 77]);
        packet[16..20].copy_from_slice(&quoted[12..16]);
        packet[20] = kind;
        packet.extend(quoted);
        packet
    }

    fn flow6(ends: [u8; 2], ports: [u8; 4]) -> Vec<u8> {
        let mut packet = vec![0u8; 48];
        packet[..8].copy_from_slice(&[0x60, 1, 2, 3, 0, 8, protocol::UDP, 64]);
        (packet[8], packet[23], packet[24], packet[39]) = (0xfd, ends[0], 0xfd, ends[1]);
        packet[40..44].copy_from_slice(&ports);
        packet
    }

    fn error6(kind: u8, quoted: &[u8]) -> Vec<u8> {
        let mut packet = vec![0u8; 40 + icmp::HEADER_BYTES];
        (packet[0], packet[6], packet[8], packet[23]) = (0x60, protocol::ICMPV6, 0xfd, 77);
        packet[24..40].copy_from_slice(&quoted[8..24]);
        packet[40] = kind;
        packet.extend(quoted);
        packet
    }

    #[test]
    fn both_directions_and_errors_about_them_take_one_way() {
        for policy in [FlowHash::L3, FlowHash::L3L4] {
            for n in 0..100u8 {
                let there = flow4(0x0a00_0001, 0x0b00_0000 + u32::from(n), [1, n, 2, 3]);
                let back = flow4(0x0b00_0000 + u32::from(n), 0x0a00_0001, [2, 3, 1, n]);
                let hash = flow_hash4(&there, policy);
                assert_eq!(flow_hash4(&back, policy), hash);
                for kind in [3, 4, 5, 11, 12] {
                    assert_eq!(flow_hash4(&error4(kind, &back), policy), hash);
                }
                let there = flow6([1, n], [1, n, 2, 3]);
                let back = flow6([n, 1], [2, 3, 1, n]);
                let hash = flow_hash6(&there, policy);
                assert_eq!(flow_hash6(&back, policy), hash);
                for kind in [1, 2, 3, 4] {
                    assert_eq!(flow_hash6(&error6(kind, &back), policy), hash);
                }
            }
        }
    }

    #[test]
    fn what_is_no_error_or_quotes_too_little_goes_by_its_own_addresses() {
        let flow = flow4(1, 2, [0; 4]);
        let error = error4(3, &flow);
        let own = flow_hash4(&error[..20], FlowHash::L3);
        assert_ne!(flow_hash4(&error, FlowHash::L3), own);
        assert_eq!(flow_hash4(&error4(8, &flow), FlowHash::L3), own);
        assert_eq!(flow_hash4(&error[..20 + 8 + 19], FlowHash::L3), own);
        let mut later_fragment = error.clone();
        later_fragment[7] = 1;
        assert_eq!(flow_hash4(&later_fragment, FlowHash::L3), own);
        let flow = flow6([1, 2], [0; 4]);
        let error = error6(2, &flow);
        let own = flow_hash6(&error[..40], FlowHash::L3);
        assert_ne!(flow_hash6(&error, FlowHash::L3), own);
        assert_eq!(flow_hash6(&error6(128, &flow), FlowHash::L3), own);
        assert_eq!(flow_hash6(&error[..40 + 8 + 39], FlowHash::L3), own);
    }
}
