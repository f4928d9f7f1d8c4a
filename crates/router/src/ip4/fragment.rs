//! IPv4 fragmentation (RFC 791 section 3.2): packets larger than the next link takes, fragments of packets too, and
//! super-frames whose segments are too large.

use nsrouter_wire::eth::{self, MacAddr};
use nsrouter_wire::frame::Frame;
use nsrouter_wire::ipv4::{self, MORE_FRAGMENTS, OFFSET_MASK};
use nsrouter_wire::offload::{Gso, Offload};
use nsrouter_wire::segment::Segments;

use crate::drop::DropReason;
use crate::ip4::options;
use crate::link::ethernet::{self, L3};
use crate::own::originate;
use crate::pipeline::{Context, Router};
use crate::port::Port;
use crate::verdict::{NextHop, Originate, Verdict};

/// Where the pieces go.
struct Way<'a> {
    port: &'a Port,
    /// Bytes that a piece may have.
    mtu: usize,
    next_hop: NextHop,
    mac: Option<MacAddr>,
}

impl Router {
    /// Replaces a packet, its TTL and options already rewritten, by its fragments of at most `mtu` bytes each.
    #[cold]
    pub(crate) fn fragment4(
        &mut self,
        frame: &mut Frame<'_>,
        context: &Context<'_>,
        (port, mtu): (&Port, usize),
        next_hop: NextHop,
        out: &mut impl Originate,
    ) -> Verdict {
        let mac = originate::resolve(context.tables, next_hop, out);
        let way = Way { port, mtu, next_hop, mac };
        let done = if frame.offload.gso == Gso::None {
            let header = ipv4::Header::parse(&frame.data()[L3..]);
            let l4 = L3 + header.map_or(0, |header| header.header_bytes());
            // The checksum covers the whole, which no receiver of a fragment sees.
            if !ethernet::complete_checksum(frame, l4) {
                return Verdict::Drop(DropReason::BadOffload);
            }
            self.split(&frame.data()[L3..], &way, out)
        } else {
            let Ok(segments) = Segments::new(frame.data(), L3, frame.offload) else {
                return Verdict::Drop(DropReason::BadOffload);
            };
            self.split_super(segments, &way, out)
        };
        if mac.is_none() {
            out.report(originate::unresolved(&frame.data()[L3..], next_hop, context.tables));
        }
        if done { Verdict::Consumed } else { Verdict::Drop(DropReason::NoBuffer) }
    }

    /// Cuts a super-frame up first: each segment is a packet with an identification of its own.
    fn split_super(&mut self, mut segments: Segments<'_>, way: &Way<'_>, out: &mut impl Originate) -> bool {
        let mut scratch = std::mem::take(&mut self.scratch);
        let mut done = true;
        // A tiny segment size makes very many of a packet: past the buffers' end none is cut in vain.
        while done && let Some(bytes) = segments.write_next(&mut scratch) {
            done = self.split(&scratch[L3..bytes], way, out);
        }
        self.scratch = scratch;
        done && segments.next_len().is_none()
    }

    /// Originates the fragments of one packet; false when buffers ran out on the way.
    fn split(&mut self, packet: &[u8], way: &Way<'_>, out: &mut impl Originate) -> bool {
        let Some(header) = ipv4::Header::parse(packet) else { return false };
        let (header_bytes, flags_offset) = (header.header_bytes(), header.flags_offset());
        let Some((whole_header, payload)) = packet.split_at_checked(header_bytes) else { return false };
        let room = way.mtu.saturating_sub(header_bytes) & !7;
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
            let bytes = if left + header_bytes <= way.mtu { left } else { room };
            let is_last = at + bytes == payload.len();
            // Units of eight bytes; a packet of 64 KiB has at most 8192 of them.
            let offset = (flags_offset & OFFSET_MASK) + u16::try_from(at / 8).unwrap_or(0);
            let more = if is_last { flags_offset & MORE_FRAGMENTS } else { MORE_FRAGMENTS };
            let total = u16::try_from(header_bytes + bytes).unwrap_or(u16::MAX);
            header[2..4].copy_from_slice(&total.to_be_bytes());
            header[6..8].copy_from_slice(&(offset & OFFSET_MASK | more).to_be_bytes());
            ipv4::fill_checksum(header);
            if !self.send_fragment(header, &payload[at..at + bytes], way, out) {
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

    fn send_fragment(
        &mut self,
        header: &[u8],
        payload: &[u8],
        way: &Way<'_>,
        out: &mut impl Originate,
    ) -> bool {
        let bytes = L3 + header.len() + payload.len();
        let Some(buffer) = out.buffer(bytes) else {
            self.counters.originate_no_buffer += 1;
            return false;
        };
        eth::write(buffer, way.mac.unwrap_or(MacAddr::ZERO), way.port.mac, eth::TYPE_IPV4);
        buffer[L3..L3 + header.len()].copy_from_slice(header);
        buffer[L3 + header.len()..].copy_from_slice(payload);
        self.counters.originated += 1;
        if way.mac.is_some() {
            out.send(way.port.id, Offload::default());
            self.counters.count_tx(way.port.id, bytes);
        } else {
            out.hold(way.next_hop);
            self.counters.held += 1;
        }
        true
    }
}

#[cfg(test)]
#[path = "fragment_tests.rs"]
mod tests;
