//! Every reason for which a frame is dropped, in one table: variant, metric name, sentence, ICMP answer.

/// The ICMP error that a dropped packet's sender is told, for both families.
///
/// IPv4 codes are those of RFC 792 and RFC 1812 section 5.2.7, IPv6 codes those of RFC 4443 section 3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IcmpAnswer {
    /// The packet is dropped in silence.
    Silent,
    /// ICMP type 11 code 0; ICMPv6 type 3 code 0.
    TimeExceeded,
    /// ICMP type 3 code 0 (net unreachable); ICMPv6 type 1 code 0 (no route).
    NoRoute,
    /// ICMP type 3 code 1 (host unreachable); ICMPv6 type 1 code 3 (address unreachable).
    HostUnreachable,
    /// ICMP type 3 code 1; ICMPv6 type 1 code 0: what Linux says for an `unreachable` route.
    Rejected,
    /// ICMP type 3 code 13 (communication prohibited); ICMPv6 type 1 code 1.
    Prohibited,
    /// ICMP type 3 code 2 (protocol unreachable); ICMPv6 type 4 code 1 (unrecognised next header).
    ProtocolUnreachable,
    /// ICMP type 3 code 3; ICMPv6 type 1 code 4.
    PortUnreachable,
    /// ICMP type 3 code 4 with the next hop's MTU (RFC 1191); ICMPv6 type 2.
    TooBig,
    /// ICMP type 12 code 0; ICMPv6 type 4 code 0; the pointer comes from the check that failed.
    ParameterProblem,
    /// ICMP: none; ICMPv6 type 1 code 2 (beyond the scope of the source address).
    BeyondScope,
}

macro_rules! drop_reasons {
    ($($variant:ident $name:literal $sentence:literal $answer:ident;)*) => {
        /// Why a frame was dropped. The same word is used in code, metrics, JSON and README.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum DropReason {
            $(#[doc = $sentence] $variant,)*
        }

        impl DropReason {
            /// Every reason, in the order of their discriminants.
            pub const ALL: [DropReason; [$($name),*].len()] = [$(DropReason::$variant),*];
            /// How many reasons there are.
            pub const COUNT: usize = Self::ALL.len();

            /// The metric name: snake_case.
            pub const fn name(self) -> &'static str {
                match self { $(DropReason::$variant => $name,)* }
            }

            /// What happened, as a sentence for people.
            pub const fn sentence(self) -> &'static str {
                match self { $(DropReason::$variant => $sentence,)* }
            }

            /// The ICMP error that the sender of such a packet is told, rate limits permitting.
            pub const fn answer(self) -> IcmpAnswer {
                match self { $(DropReason::$variant => IcmpAnswer::$answer,)* }
            }
        }
    };
}

drop_reasons! {
    // Ethernet
    EthShort "eth_short" "The frame is shorter than an Ethernet header." Silent;
    EthNotOurs "eth_not_ours" "The destination MAC address is another station's." Silent;
    EthType "eth_type" "The EtherType is none of IPv4, IPv6 and ARP." Silent;
    Vlan "vlan" "The frame carries a VLAN tag, and no VLAN is configured." Silent;
    PortDown "port_down" "The port is down or unknown." Silent;
    // IPv4 header, RFC 1812 section 5.2.2
    Ip4Short "ip4_short" "The frame is too short for an IPv4 header." Silent;
    Ip4Version "ip4_version" "The IP version is not 4." Silent;
    Ip4HeaderLength "ip4_header_length" "The IPv4 header length is under 20 bytes or beyond the frame." Silent;
    Ip4TotalLength "ip4_total_length" "The IPv4 total length is under the header's or beyond the frame." Silent;
    Ip4Checksum "ip4_checksum" "The IPv4 header checksum is wrong." Silent;
    Ip4Options "ip4_options" "An IPv4 option is malformed." ParameterProblem;
    Ip4SourceRoute "ip4_source_route" "The packet asks for source routing, which is not done." Silent;
    L2Broadcast "l2_broadcast" "A unicast packet in a broadcast or multicast frame." Silent;
    MartianSource "martian_source" "The source address may not appear on a link." Silent;
    MartianDestination "martian_destination" "The destination address may not leave its host." Silent;
    Broadcast "broadcast" "A broadcast that no program here is waiting for; it is not forwarded." Silent;
    Multicast "multicast" "A multicast beyond its link; this router forwards none." Silent;
    LinkMulticast "link_multicast" "A multicast that stays on its link (routine: MLD reports, mDNS); the router and its programs take no part in it." Silent;
    HostMulticast "host_multicast" "A multicast of the router's own programs, which this router does not carry." Silent;
    // IPv6 header
    Ip6Short "ip6_short" "The frame is too short for an IPv6 header." Silent;
    Ip6Version "ip6_version" "The IP version is not 6." Silent;
    Ip6PayloadLength "ip6_payload_length" "The IPv6 payload length is beyond the frame." Silent;
    Ip6Off "ip6_off" "The port is without IPv6, because its MTU is under 1280." Silent;
    Ip6Extension "ip6_extension" "The IPv6 extension headers do not fit into the packet." Silent;
    BeyondScope "beyond_scope" "A link-local source may not leave its link." BeyondScope;
    LinkLocalDestination "link_local_destination" "A link-local destination, and no link that it could be on." Silent;
    // Forwarding
    TtlExceeded "ttl_exceeded" "The TTL or hop limit ran out." TimeExceeded;
    NoRoute "no_route" "No route leads to the destination." NoRoute;
    Blackhole "blackhole" "A blackhole route discards packets to this destination." Silent;
    Unreachable "unreachable_route" "An unreachable route refuses packets to this destination." Rejected;
    Prohibited "prohibited" "A prohibit route refuses packets to this destination." Prohibited;
    TooBig "too_big" "The packet exceeds the next hop's MTU and may not be fragmented." TooBig;
    NeighbourFailed "neighbour_failed" "The next hop did not answer when asked for its MAC address." HostUnreachable;
    NeighbourTableFull "neighbour_table_full" "The neighbour table had no room for the next hop." Silent;
    // To the router itself
    ProtocolUnreachable "protocol_unreachable" "For us, with a protocol that nobody here speaks." ProtocolUnreachable;
    PortUnreachable "port_unreachable" "For us, to a port that nobody here listens on." PortUnreachable;
    LocalFragment "local_fragment" "A fragment for us, and no host port to reassemble it." Silent;
    IcmpMalformed "icmp_malformed" "An ICMP message for us that is too short or has a wrong checksum." Silent;
    IcmpIgnored "icmp_ignored" "An ICMP message for us that asks for nothing we do." Silent;
    ArpMalformed "arp_malformed" "An ARP packet that is not a valid one for IPv4 over Ethernet." Silent;
    ArpNotOurs "arp_not_ours" "An ARP request for an address that is not ours." Silent;
    NdMalformed "nd_malformed" "A neighbour discovery message that fails the checks of RFC 4861." Silent;
    MldMalformed "mld_malformed" "A multicast listener message that fails the checks of RFC 3810." Silent;
    NdNotOurs "nd_not_ours" "A neighbour solicitation for an address that is not ours." Silent;
    BadOffload "bad_offload" "What is pending of the frame, a checksum or segments, does not fit its headers." Silent;
    TooManySegments "too_many_segments" "The segments of the GSO packet are so small that there are thousands of them." Silent;
    // Resources and the engine
    NoBuffer "no_buffer" "No buffer was free for what the packet needed." Silent;
    HoldOverflow "hold_overflow" "Too many frames waited for a MAC address; the oldest went." Silent;
    HoldExpired "hold_expired" "The frame waited for a MAC address for too long." Silent;
    NeighbourLimit "neighbour_limit" "Too many unknown neighbours were wanted at once, and this one was not asked for." Silent;
    RxTruncated "rx_truncated" "The port's receive queue was full, and of the frame only the beginning was kept." Silent;
    RxTooBig "rx_too_big" "The frame is larger than the port's receive buffers." Silent;
    RxUnsupported "rx_unsupported" "The frame needs a kind of segmentation that this router does not know." Silent;
    TxFull "tx_full" "The queue by which the frame was to leave was full." Silent;
    TxError "tx_error" "The kernel refused the frame." Silent;
    TxTooBig "tx_too_big" "The frame is larger than the port can send." Silent;
    WorkerStopped "worker_stopped" "The worker stopped while it held the frame." Silent;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_snake_case_and_in_discriminant_order() {
        let mut names: Vec<_> = DropReason::ALL.iter().map(|r| r.name()).collect();
        for (index, reason) in DropReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
            assert!(reason.name().bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'));
            assert!(reason.sentence().ends_with('.'));
        }
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), DropReason::COUNT);
    }
}
