//! Multicast listener discovery, the listener's part: queries for the groups that the router has joined are
//! answered, and joining and leaving is reported unasked, so that switches which snoop let the router's own
//! groups through (RFC 3810; RFC 2710 while a querier of version 1 is heard).
//!
//! The groups are those of Linux with forwarding on: all routers, and the solicited-node groups of the port's
//! addresses. All nodes (ff02::1) is never reported. A query about a group and sources is answered as one
//! about the group, as in Linux `mld_marksources` for a group without source lists.

use std::net::Ipv6Addr;

use arrayvec::ArrayVec;
use nsrouter_wire::icmp::{self, Icmp6};
use nsrouter_wire::ipv6::{self, Upper};
use nsrouter_wire::mld::{self, Query, Record};

use crate::context::{Context, Originate};
use crate::drop::DropReason;
use crate::egress::Outgoing;
use crate::own::originate;
use crate::packet::Packet6;
use crate::port::Port;
use crate::verdict::Verdict;

/// Ports that are served in one tick at most: their reports share the caller's buffers.
const PORTS_AT_ONCE: usize = 32;
/// Records in a report that fits the smallest MTU of IPv6.
const RECORDS: usize = (ipv6::MIN_MTU_BYTES - ipv6::HEADER_BYTES - mld::HOP_BY_HOP.len() - mld::REPORT_BYTES)
    / mld::RECORD_BYTES;

/// Handles a query, or a report of version 1, whose checksum is right.
#[cold]
pub(crate) fn input<O: Originate>(
    packet: &Packet6<'_, '_>,
    ingress: &Port,
    upper: &Upper,
    context: &mut Context<'_, O>,
) -> Verdict {
    const MALFORMED: Verdict = Verdict::Drop(DropReason::MldMalformed);
    let message = packet.bytes().get(upper.offset..).unwrap_or_default();
    if message.first() == Some(&icmp::v6::LISTENER_REPORT) {
        let Some(group) = message.get(8..).and_then(|rest| rest.first_chunk()) else { return MALFORMED };
        context.state.listener.heard_report(ingress.id, Ipv6Addr::from_octets(*group));
        return Verdict::Consumed;
    }
    // RFC 3810 section 6.2.
    let is_of_link = packet.ip.source.is_unicast_link_local() && packet.ip.ttl == 1;
    if !is_of_link || upper.router_alert != Some(mld::ROUTER_ALERT) {
        return MALFORMED;
    }
    let Some(query) = Query::parse(message) else { return MALFORMED };
    if context.tables.settings().mld_reports {
        context.state.listener.asked(ingress, &query, context.now.mono_ns);
    }
    Verdict::Consumed
}

/// Sends the reports that are due.
pub(crate) fn send_due<O: Originate>(context: &mut Context<'_, O>) {
    let (tables, now_ns) = (context.tables, context.now.mono_ns);
    if !context.state.listener.is_due(tables.ports(), tables.settings().mld_reports, now_ns) {
        return;
    }
    let mut served = 0;
    for port in tables.ports() {
        if served < PORTS_AT_ONCE
            && let Some(pending) = context.state.listener.take_due(port.id, now_ns)
        {
            report(port, pending.is_v1(now_ns), pending.due(port, now_ns), context);
            context.state.listener.put_back(port.id, pending, now_ns);
            served += 1;
        }
    }
    context.state.listener.settle();
}

fn report<O: Originate>(
    port: &Port,
    is_v1: bool,
    due: impl Iterator<Item = (Ipv6Addr, Record)>,
    context: &mut Context<'_, O>,
) {
    let mut records: ArrayVec<(Ipv6Addr, Record), RECORDS> = ArrayVec::new();
    for record in due {
        if is_v1 {
            report_v1(port, record, context);
            continue;
        }
        records.push(record);
        if records.is_full() {
            report_v2(port, &records, context);
            records.clear();
        }
    }
    if !records.is_empty() {
        report_v2(port, &records, context);
    }
}

fn report_v2<O: Originate>(port: &Port, records: &[(Ipv6Addr, Record)], context: &mut Context<'_, O>) {
    let bytes = mld::REPORT_BYTES + records.len() * mld::RECORD_BYTES;
    send(port, mld::ALL_V2_ROUTERS, bytes, context, |body| mld::write_report(body, records));
}

/// Version 1 knows reports, to the group itself, and Done, to all routers (RFC 2710 sections 4 and 5).
fn report_v1<O: Originate>(port: &Port, (group, record): (Ipv6Addr, Record), context: &mut Context<'_, O>) {
    let (kind, destination) = match record {
        Record::Joined | Record::Joins => (icmp::v6::LISTENER_REPORT, group),
        Record::Leaves => (icmp::v6::LISTENER_DONE, ipv6::ALL_ROUTERS),
    };
    send(port, destination, mld::V1_BYTES, context, |body| {
        if let Some(body) = body.first_chunk_mut() {
            mld::write_v1(body, kind, group);
        }
    });
}

fn send<O: Originate>(
    port: &Port,
    destination: Ipv6Addr,
    bytes: usize,
    context: &mut Context<'_, O>,
    write: impl FnOnce(&mut [u8]),
) {
    let message = Icmp6 { source: port.link_local, destination, hop_limit: 1, extension: &mld::HOP_BY_HOP };
    originate::icmp6(context, Outgoing::on_link(port, destination), &message, bytes, write);
}

#[cfg(test)]
#[path = "mld_tests.rs"]
mod tests;
