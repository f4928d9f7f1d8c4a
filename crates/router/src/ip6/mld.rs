//! Multicast listener discovery, the listener's part: queries for the groups that the router has joined are answered, and
//! what is joined or left is told unasked, so that switches which snoop let the router's own groups through (RFC 3810;
//! RFC 2710 while a querier of version 1 is heard).
//!
//! The groups are those of Linux with forwarding on: all routers, and the solicited-node groups of the port's addresses. All
//! nodes (ff02::1) is never reported. A query about a group and sources is answered as one about the group, as in Linux
//! `mld_marksources` for a group without source lists.
//!
//! A query reaches one worker, which answers it; the first worker tells what changes. So each worker knows of a querier of
//! version 1 by what it heard itself.

use std::net::{IpAddr, Ipv6Addr};

use arrayvec::ArrayVec;
use nsrouter_wire::frame::{Frame, PortId};
use nsrouter_wire::icmp;
use nsrouter_wire::ipv4::protocol;
use nsrouter_wire::ipv6::{self, Upper};
use nsrouter_wire::mld::{self, Query, Record};
use nsrouter_wire::offload::Offload;

use crate::drop::DropReason;
use crate::link::ethernet::L3;
use crate::own::originate::Exit;
use crate::pipeline::{Context, Router};
use crate::port::{ALL_ROUTERS, Port};
use crate::random::Random;
use crate::tables::Tables;
use crate::verdict::{NextHop, Originate, Time, Verdict};

const MS: u64 = 1_000_000;
/// How often a change is told (the Robustness Variable, RFC 3810 section 9.1), and within what time from one to the next
/// (Unsolicited Report Interval, section 9.11).
const ROBUSTNESS: u8 = 2;
const UNSOLICITED_NS: u64 = 1000 * MS;
/// A querier of version 1 counts as present for this long after its query (section 9.12 with the default intervals).
const V1_NS: u64 = 260_000 * MS;
/// Answers on one port are this far apart, whatever is asked.
const GAP_NS: u64 = 10 * MS;
/// Groups of one port that are asked about one by one; beyond that all are reported.
const SINGLE: usize = 16;
/// Ports that are served in one tick at most: their reports share the caller's buffers.
const PORTS_AT_ONCE: usize = 32;
/// Records in a report that fits the smallest MTU of IPv6.
const RECORDS: usize = (ipv6::MIN_MTU_BYTES - ipv6::HEADER_BYTES - mld::HOP_BY_HOP.len() - mld::REPORT_BYTES)
    / mld::RECORD_BYTES;

/// A group that was joined or left, and how often that is still to be told.
#[derive(Clone, Copy, Debug)]
struct Change {
    group: Ipv6Addr,
    record: Record,
    left: u8,
}

/// What is to be said on one port.
#[derive(Debug, Default)]
struct Pending {
    /// When all groups are to be reported.
    general_ns: Option<u64>,
    /// Groups that were asked about, and when each is to be reported.
    single: ArrayVec<(Ipv6Addr, u64), SINGLE>,
    /// When a query was answered last.
    answered_ns: Option<u64>,
    /// Until when a querier of version 1 counts as present.
    v1_until_ns: u64,
    /// The groups as they were told, or are about to be.
    told: Vec<Ipv6Addr>,
    changes: Vec<Change>,
    /// When the changes are to be told next.
    changes_ns: Option<u64>,
}

impl Pending {
    fn due_ns(&self) -> Option<u64> {
        let single = self.single.iter().map(|(_, due_ns)| *due_ns);
        single.chain(self.general_ns).chain(self.changes_ns).min()
    }

    /// A group is to be reported at that time; together with all of them, if those come sooner.
    fn report_at(&mut self, group: Ipv6Addr, due_ns: u64) {
        if self.general_ns.is_some_and(|general_ns| general_ns <= due_ns) {
            return;
        }
        if let Some((_, known_ns)) = self.single.iter_mut().find(|(known, _)| *known == group) {
            *known_ns = due_ns.min(*known_ns);
        } else if self.single.try_push((group, due_ns)).is_err() {
            self.general_ns = Some(due_ns);
        }
    }

    /// Notes what the port joined and left since it was told last.
    fn compare(&mut self, port: &Port, now_ns: u64) {
        if !listens(port) {
            // Who comes back has joined everything anew.
            *self = Pending { v1_until_ns: self.v1_until_ns, ..Pending::default() };
            return;
        }
        let joined = port.groups6.iter().filter(|group| !self.told.contains(group));
        let left = self.told.iter().filter(|group| !port.groups6.contains(group));
        let of = |record| move |group: &Ipv6Addr| Change { group: *group, record, left: ROBUSTNESS };
        let new: Vec<Change> = joined.map(of(Record::Joins)).chain(left.map(of(Record::Leaves))).collect();
        if new.is_empty() {
            return;
        }
        self.changes.retain(|old| !new.iter().any(|change| change.group == old.group));
        self.changes.extend(new);
        self.changes_ns = Some(now_ns);
        self.told = port.groups6.to_vec();
    }
}

/// A port that is down says nothing, and IPv6 needs its smallest MTU.
fn listens(port: &Port) -> bool {
    port.up && port.mtu >= ipv6::MIN_MTU_BYTES
}

/// What a worker has to say about groups, and when.
#[derive(Debug)]
pub(crate) struct Listener {
    /// Only one worker tells of changes.
    speaks: bool,
    /// Whether the ports may have changed since they were looked at.
    is_to_look: bool,
    ports: Vec<Pending>,
    /// When the first of all that is pending is due.
    due_ns: Option<u64>,
    random: Random,
}

impl Listener {
    pub(crate) fn new(worker: u16, ports: usize, seed: u64) -> Listener {
        Listener {
            speaks: worker == 0,
            is_to_look: worker == 0,
            ports: (0..ports).map(|_| Pending::default()).collect(),
            due_ns: None,
            random: Random::new(seed),
        }
    }

    pub(crate) fn next_deadline(&self) -> Option<u64> {
        if self.is_to_look { Some(0) } else { self.due_ns }
    }

    /// Makes room for the port of this slot.
    pub(crate) fn grow(&mut self, slot: PortId) {
        let missing = (slot.index() + 1).saturating_sub(self.ports.len());
        self.ports.extend(std::iter::repeat_with(Pending::default).take(missing));
    }

    /// The slot's port was removed: nothing is to be said any more, and nothing is known of the link.
    pub(crate) fn forget(&mut self, slot: PortId) {
        if let Some(pending) = self.ports.get_mut(slot.index()) {
            *pending = Pending::default();
        }
    }

    /// The ports are others now, or have other addresses.
    pub(crate) fn ports_changed(&mut self) {
        self.is_to_look = self.speaks;
    }

    fn asked(&mut self, port: &Port, query: &Query, now_ns: u64) {
        let Some(pending) = self.ports.get_mut(port.id.index()).filter(|_| listens(port)) else { return };
        if query.is_v1 {
            pending.v1_until_ns = now_ns + V1_NS;
        }
        let longest_ns = u64::from(query.max_response_ms.max(1)) * MS;
        let earliest_ns = pending.answered_ns.map_or(0, |answered_ns| answered_ns + GAP_NS);
        let random = &mut self.random;
        let mut due_ns = || (now_ns + random.below(longest_ns)).max(earliest_ns);
        if !query.group.is_unspecified() {
            if port.groups6.contains(&query.group) {
                pending.report_at(query.group, due_ns());
            }
        } else if now_ns < pending.v1_until_ns {
            // RFC 2710 section 4: each group at a time of its own.
            port.groups6.iter().for_each(|group| pending.report_at(*group, due_ns()));
        } else {
            let due_ns = due_ns();
            pending.general_ns = Some(pending.general_ns.map_or(due_ns, |before_ns| due_ns.min(before_ns)));
        }
        self.due_ns = self.due_ns.into_iter().chain(pending.due_ns()).min();
    }
}

impl Router {
    /// Handles a query, or a report of version 1, whose checksum is right.
    #[cold]
    pub(crate) fn mld(
        &mut self,
        frame: &Frame<'_>,
        context: &Context<'_>,
        ingress: &Port,
        upper: &Upper,
    ) -> Verdict {
        const MALFORMED: Verdict = Verdict::Drop(DropReason::MldMalformed);
        let Some(header) = ipv6::Header::parse(&frame.data()[L3..]) else { return MALFORMED };
        let message = frame.data().get(L3 + upper.offset..).unwrap_or_default();
        if message.first() == Some(&icmp::v6::LISTENER_REPORT) {
            // RFC 2710 section 4: one listener that reports is enough.
            let Some(group) = message.get(8..).and_then(|rest| rest.first_chunk()) else { return MALFORMED };
            let group = Ipv6Addr::from_octets(*group);
            if let Some(pending) = self.listener.ports.get_mut(ingress.id.index()) {
                pending.single.retain(|(asked, _)| *asked != group);
            }
            return Verdict::Consumed;
        }
        // RFC 3810 section 6.2.
        let is_of_link = header.source().is_unicast_link_local() && header.hop_limit() == 1;
        if !is_of_link || upper.router_alert != Some(mld::ROUTER_ALERT) {
            return MALFORMED;
        }
        let Some(query) = Query::parse(message) else { return MALFORMED };
        if context.tables.settings().mld_reports {
            self.listener.asked(ingress, &query, context.now.mono_ns);
        }
        Verdict::Consumed
    }

    /// Sends the reports that are due.
    pub(crate) fn report_due(&mut self, now: Time, tables: &Tables, out: &mut impl Originate) {
        if std::mem::take(&mut self.listener.is_to_look) {
            for port in tables.ports().filter(|_| tables.settings().mld_reports) {
                if let Some(pending) = self.listener.ports.get_mut(port.id.index()) {
                    pending.compare(port, now.mono_ns);
                }
            }
        } else if self.listener.due_ns.is_none_or(|due_ns| due_ns > now.mono_ns) {
            return;
        }
        let mut served = 0;
        for port in tables.ports() {
            let Some(slot) = self.listener.ports.get_mut(port.id.index()) else { continue };
            if served < PORTS_AT_ONCE && slot.due_ns().is_some_and(|due_ns| due_ns <= now.mono_ns) {
                let mut pending = std::mem::take(slot);
                self.report_port(port, &mut pending, now.mono_ns, tables, out);
                self.listener.ports[port.id.index()] = pending;
                served += 1;
            }
        }
        self.listener.due_ns = self.listener.ports.iter().filter_map(Pending::due_ns).min();
    }

    fn report_port(
        &mut self,
        port: &Port,
        pending: &mut Pending,
        now_ns: u64,
        tables: &Tables,
        out: &mut impl Originate,
    ) {
        let is_due = |due_ns: u64| due_ns <= now_ns;
        let is_v1 = now_ns < pending.v1_until_ns;
        let changes_are_due = pending.changes_ns.is_some_and(is_due);
        let all_are_due = pending.general_ns.is_some_and(is_due);
        let mut records: ArrayVec<(Ipv6Addr, Record), RECORDS> = ArrayVec::new();
        if listens(port) {
            let changes = pending.changes.iter().filter(|_| changes_are_due);
            let changes = changes.map(|change| (change.group, change.record));
            let all = port.groups6.iter().filter(|_| all_are_due).copied();
            let single = pending
                .single
                .iter()
                .filter(|(group, due_ns)| is_due(*due_ns) && !all_are_due && port.groups6.contains(group));
            let answers = all.chain(single.map(|(group, _)| *group)).map(|group| (group, Record::Joined));
            for record in changes.chain(answers) {
                if is_v1 {
                    self.report_v1(port, record, tables, out);
                    continue;
                }
                records.push(record);
                if records.is_full() {
                    self.report_v2(port, &records, tables, out);
                    records.clear();
                }
            }
            if !records.is_empty() {
                self.report_v2(port, &records, tables, out);
            }
        }
        if all_are_due || pending.single.iter().any(|(_, due_ns)| is_due(*due_ns)) {
            pending.answered_ns = Some(now_ns);
        }
        if all_are_due {
            pending.general_ns = None;
            pending.single.clear();
        }
        pending.single.retain(|(_, due_ns)| !is_due(*due_ns));
        if changes_are_due {
            pending.changes.iter_mut().for_each(|change| change.left -= 1);
            pending.changes.retain(|change| change.left > 0);
            let wait_ns = 1 + self.listener.random.below(UNSOLICITED_NS);
            pending.changes_ns = (!pending.changes.is_empty()).then_some(now_ns + wait_ns);
        }
    }

    fn report_v2(
        &mut self,
        port: &Port,
        records: &[(Ipv6Addr, Record)],
        tables: &Tables,
        out: &mut impl Originate,
    ) {
        let bytes = mld::REPORT_BYTES + records.len() * mld::RECORD_BYTES;
        self.send_mld(port, mld::ALL_V2_ROUTERS, bytes, tables, out, |body| mld::write_report(body, records));
    }

    /// Version 1 knows reports, to the group itself, and Done, to all routers (RFC 2710 sections 4 and 5).
    fn report_v1(
        &mut self,
        port: &Port,
        (group, record): (Ipv6Addr, Record),
        tables: &Tables,
        out: &mut impl Originate,
    ) {
        let (kind, destination) = match record {
            Record::Joined | Record::Joins => (icmp::v6::LISTENER_REPORT, group),
            Record::Leaves => (icmp::v6::LISTENER_DONE, ALL_ROUTERS),
        };
        self.send_mld(port, destination, mld::V1_BYTES, tables, out, |body| {
            if let Some(body) = body.first_chunk_mut() {
                mld::write_v1(body, kind, group);
            }
        });
    }

    fn send_mld(
        &mut self,
        port: &Port,
        destination: Ipv6Addr,
        bytes: usize,
        tables: &Tables,
        out: &mut impl Originate,
        write: impl FnOnce(&mut [u8]),
    ) {
        let payload = mld::HOP_BY_HOP.len() + bytes;
        let fields = ipv6::Fields {
            traffic_class: 0,
            payload_bytes: u16::try_from(payload).unwrap_or(u16::MAX),
            next_header: protocol::HOP_BY_HOP,
            hop_limit: 1,
            source: port.link_local,
            destination,
        };
        let next_hop = NextHop { port: port.id, addr: IpAddr::V6(destination) };
        let exit = Exit::Link { port, next_hop, prefix_len: 64, mtu: port.mtu };
        self.originate(exit, ipv6::HEADER_BYTES + payload, Offload::default(), tables, out, |buffer| {
            let (ip, rest) = buffer.split_at_mut(ipv6::HEADER_BYTES);
            if let Some(ip) = ip.first_chunk_mut() {
                fields.write(ip);
            }
            let (options, body) = rest.split_at_mut(mld::HOP_BY_HOP.len());
            options.copy_from_slice(&mld::HOP_BY_HOP);
            write(body);
            icmp::v6_fill(body, fields.source, destination);
        });
    }
}

#[cfg(test)]
#[path = "mld_tests.rs"]
mod tests;
