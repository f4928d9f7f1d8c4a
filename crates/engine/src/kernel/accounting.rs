//! The packet accounting of kernel mode, from the kernel's counters.
//!
//! It is in IP packets, from the counters of RFC 4293 as Linux keeps them (`/proc/net/snmp`, `netstat` and
//! `snmp6`), in the names of the userspace router where they mean the same. Those counters leave some fates
//! out, so the packets that are missing have a line of their own, `unaccounted`, and both sides of the
//! account are equal.

use std::collections::BTreeMap;

use nsrouter_linux::procfs::snmp::Counters;
use nsrouter_router::DropReason;

use crate::status::drops::{self, KernelDrop};
use crate::status::{Events, Totals};

fn sum(counters: &Counters, names: &[&str]) -> u64 {
    names.iter().filter_map(|name| counters.get(*name)).sum()
}

/// Kernel counters with the meaning of a drop reason of the userspace router.
const SHARED: &[(DropReason, &[&str])] = &[
    (DropReason::Ip4Checksum, &["IpExt.InCsumErrors"]),
    (DropReason::Ip4TotalLength, &["IpExt.InTruncatedPkts"]),
    (DropReason::Ip6PayloadLength, &["Ip6InTruncatedPkts"]),
    (DropReason::NoRoute, &["IpExt.InNoRoutes", "Ip6InNoRoutes"]),
    (DropReason::TooBig, &["Ip.FragFails", "Ip6FragFails"]),
    (DropReason::ProtocolUnreachable, &["Ip.InUnknownProtos", "Ip6InUnknownProtos"]),
];

/// Counters of the kernel's drops that the userspace router has no reason for.
const OWN: [(KernelDrop, &[&str]); 6] = [
    (drops::HEADER_ERRORS, &["Ip.InHdrErrors", "Ip6InHdrErrors"]),
    (drops::ADDRESS_ERRORS, &["Ip.InAddrErrors", "Ip6InAddrErrors"]),
    (drops::RP_FILTER, &["TcpExt.IPReversePathFilter"]),
    (drops::IN_DISCARDS, &["Ip.InDiscards", "Ip6InDiscards"]),
    (drops::OUT_DISCARDS, &["Ip.OutDiscards", "Ip6OutDiscards"]),
    (drops::UNACCOUNTED, &[]),
];

/// The packet accounting, whose two sides are equal.
pub(super) fn account(ip: &Counters) -> (Totals, BTreeMap<String, u64>) {
    let shared = SHARED.iter().map(|(reason, fields)| (reason.name(), sum(ip, fields)));
    let own = OWN.iter().map(|(drop, fields)| (drop.name, sum(ip, fields)));
    let mut drops: BTreeMap<String, u64> =
        shared.chain(own).map(|(name, packets)| (name.to_owned(), packets)).collect();
    // ip_rcv_core() of net/ipv4/ip_input.c counts a wrong checksum in both.
    if let Some(packets) = drops.get_mut(drops::HEADER_ERRORS.name) {
        *packets = packets.saturating_sub(sum(ip, &["IpExt.InCsumErrors"]));
    }
    let made = sum(ip, &["Ip.FragCreates", "Ip6FragCreates"]);
    let replaced = sum(ip, &["Ip.FragOKs", "Ip6FragOKs"]);
    // Fragments for this host that became part of a packet, or wait to.
    let merged =
        sum(ip, &["Ip.ReasmReqds", "Ip6ReasmReqds"]).saturating_sub(sum(ip, &["Ip.ReasmOKs", "Ip6ReasmOKs"]));
    let requests = sum(ip, &["Ip.OutRequests", "Ip6OutRequests"]);
    let sent = if ip.contains_key("Ip.OutTransmits") {
        sum(ip, &["Ip.OutTransmits", "Ip6OutTransmits"])
    } else {
        // Before Linux 6.8.
        (requests + sum(ip, &["Ip.ForwDatagrams", "Ip6OutForwDatagrams"]) + made).saturating_sub(replaced)
    };
    let mut totals = Totals {
        received: sum(ip, &["Ip.InReceives", "Ip6InReceives"]),
        originated: requests + made,
        sent,
        to_host: sum(ip, &["Ip.InDelivers", "Ip6InDelivers"]),
        consumed: replaced + merged,
        held: 0,
        dropped: drops.values().sum(),
    };
    let inward = totals.received + totals.originated;
    let outward = totals.sent + totals.to_host + totals.consumed + totals.dropped;
    let missing = inward.saturating_sub(outward);
    drops.insert(drops::UNACCOUNTED.name.to_owned(), missing);
    totals.dropped += missing;
    // Segments of a packet larger than the link takes, and copies of multicasts, are sent without being made.
    totals.originated += outward.saturating_sub(inward);
    drops.retain(|_, packets| *packets > 0);
    (totals, drops)
}

/// Events that are counted beside the fate of packets.
pub(super) fn events(ip: &Counters) -> Events {
    let errors = [
        "Icmp.OutDestUnreachs",
        "Icmp.OutTimeExcds",
        "Icmp.OutParmProbs",
        "Icmp.OutRedirects",
        "Icmp6OutDestUnreachs",
        "Icmp6OutPktTooBigs",
        "Icmp6OutTimeExcds",
        "Icmp6OutParmProblems",
        "Icmp6OutRedirects",
    ];
    let limited = ["Icmp.OutRateLimitGlobal", "Icmp.OutRateLimitHost", "Icmp6OutRateLimitHost"];
    Events { icmp_errors: sum(ip, &errors), icmp_rate_limited: sum(ip, &limited), ..Events::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(fields: &[(&str, u64)]) -> Counters {
        fields.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
    }

    /// received + originated, and where it went.
    fn sides(totals: &Totals) -> (u64, u64) {
        let outward = totals.sent + totals.to_host + totals.consumed + totals.held + totals.dropped;
        (totals.received + totals.originated, outward)
    }

    #[test]
    fn the_account_adds_up_in_the_userspace_router_s_names() {
        let (totals, drops) = account(&counted(&[
            ("Ip.InReceives", 100),
            ("Ip.InHdrErrors", 7),
            ("IpExt.InCsumErrors", 2),
            ("IpExt.InNoRoutes", 3),
            ("Ip6InNoRoutes", 1),
            ("Ip.InDelivers", 10),
            ("Ip.OutTransmits", 85),
            ("Ip.OutRequests", 10),
            ("Ip.OutNoRoutes", 9),
            ("Ip.FragOKs", 1),
            ("Ip.FragCreates", 3),
        ]));
        assert_eq!(sides(&totals), (113, 113));
        let expected = [("header_errors", 5), ("ip4_checksum", 2), ("no_route", 4), ("unaccounted", 6)];
        assert_eq!(drops, counted(&expected));
        assert_eq!((totals.consumed, totals.dropped), (1, 17));
    }

    #[test]
    fn packets_that_were_sent_and_not_made_count_as_originated() {
        let (totals, drops) = account(&counted(&[("Ip.InReceives", 1), ("Ip.OutTransmits", 44)]));
        assert_eq!((sides(&totals), totals.originated, drops.len()), ((44, 44), 43, 0));
        // A kernel that does not count what it transmits.
        let (totals, drops) = account(&counted(&[("Ip.InReceives", 2), ("Ip.ForwDatagrams", 1)]));
        assert_eq!((sides(&totals), totals.sent, drops), ((2, 2), 1, counted(&[("unaccounted", 1)])));
    }

    #[test]
    fn every_drop_of_the_kernel_s_is_counted() {
        let counted: Vec<KernelDrop> = OWN.iter().map(|(drop, _)| *drop).collect();
        assert_eq!(counted, drops::KERNEL_DROPS);
    }
}
