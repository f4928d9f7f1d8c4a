//! IPv4 fragmentation (RFC 791 section 3.2): packets larger than the next link takes, fragments of packets
//! too, and GSO packets whose segments are too large.

use nsrouter_wire::bytes::length16;
use nsrouter_wire::eth;
use nsrouter_wire::ipv4::{self, MORE_FRAGMENTS, OFFSET_MASK};
use nsrouter_wire::offload::Gso;
use nsrouter_wire::segment::Segments;

use crate::context::{Context, Originate};
use crate::drop::DropReason;
use crate::egress::Egress;
use crate::ip4::options;
use crate::link::output;
use crate::own::originate::{self, Link};
use crate::packet::{L3, Packet4};
use crate::verdict::Verdict;

/// Where the fragments go, and how large they may be, in bytes.
struct FragmentPlan<'a> {
    link: &'a Link<'a>,
    mtu: usize,
}

/// Replaces a packet, its TTL and options already rewritten, by fragments that the link takes.
#[cold]
pub(crate) fn replace<O: Originate>(
    packet: &mut Packet4<'_, '_>,
    egress: &Egress<'_>,
    context: &mut Context<'_, O>,
) -> Verdict {
    let next_hop = egress.next_hop(packet.ip.destination.into());
    let mac = output::resolve(&next_hop, context);
    let link = Link { port: egress.port, next_hop, mac, ether_type: eth::TYPE_IPV4 };
    let plan = FragmentPlan { link: &link, mtu: egress.mtu };
    let is_whole = if packet.frame.offload.gso == Gso::None {
        // The checksum covers the whole, which no receiver of a fragment sees.
        if !packet.complete_checksum(packet.ip.header_bytes) {
            return Verdict::Drop(DropReason::BadOffload);
        }
        split(packet.bytes(), &plan, context)
    } else {
        let Ok(segments) = Segments::new(packet.frame.data(), L3, packet.frame.offload) else {
            return Verdict::Drop(DropReason::BadOffload);
        };
        split_segments(segments, &plan, context)
    };
    if mac.is_none() {
        let source = packet.ip.source.into();
        context.out.report(output::unresolved(source, next_hop, context.tables));
    }
    if is_whole { Verdict::Consumed } else { Verdict::Drop(DropReason::NoBuffer) }
}

/// Segments a GSO packet first: each segment is a packet with an identification of its own.
fn split_segments<O: Originate>(
    mut segments: Segments<'_>,
    plan: &FragmentPlan<'_>,
    context: &mut Context<'_, O>,
) -> bool {
    let mut scratch = std::mem::take(&mut context.state.scratch);
    let mut done = true;
    // A tiny segment size makes very many of a packet: past the buffers' end none is made in vain.
    while done && let Some(bytes) = segments.write_next(&mut scratch) {
        done = split(&scratch[L3..bytes], plan, context);
    }
    context.state.scratch = scratch;
    done && segments.next_len().is_none()
}

/// Originates the fragments of one packet; false when buffers ran out before the last.
fn split<O: Originate>(packet: &[u8], plan: &FragmentPlan<'_>, context: &mut Context<'_, O>) -> bool {
    let Some(header) = ipv4::Header::parse(packet) else { return false };
    let (header_bytes, flags_offset) = (header.header_bytes(), header.flags_offset());
    let Some((whole_header, payload)) = packet.split_at_checked(header_bytes) else { return false };
    let room = plan.mtu.saturating_sub(header_bytes) & !7;
    if room == 0 {
        return false;
    }
    let mut header = [0; ipv4::MAX_HEADER_BYTES];
    let header = &mut header[..header_bytes];
    header.copy_from_slice(whole_header);
    let mut at = 0;
    while at < payload.len() || at == 0 {
        // The last piece need not be a multiple of eight bytes, so it may be a little longer than the others.
        let left = payload.len() - at;
        let bytes = if left + header_bytes <= plan.mtu { left } else { room };
        let is_last = at + bytes == payload.len();
        // Units of eight bytes; a packet of 64 KiB has at most 8192 of them.
        let offset = (flags_offset & OFFSET_MASK) + u16::try_from(at / 8).unwrap_or(0);
        let more = if is_last { flags_offset & MORE_FRAGMENTS } else { MORE_FRAGMENTS };
        let total = length16(header_bytes + bytes);
        header[2..4].copy_from_slice(&total.to_be_bytes());
        header[6..8].copy_from_slice(&(offset & OFFSET_MASK | more).to_be_bytes());
        ipv4::fill_checksum(header);
        let is_made = originate::frame(context, plan.link, header_bytes + bytes, |fragment| {
            fragment[..header_bytes].copy_from_slice(header);
            fragment[header_bytes..].copy_from_slice(&payload[at..at + bytes]);
        });
        if !is_made {
            return false;
        }
        if at == 0 {
            options::blank_uncopied(header);
        }
        at += bytes;
        if is_last {
            break;
        }
    }
    true
}

#[cfg(test)]
#[path = "fragment_tests.rs"]
mod tests;
