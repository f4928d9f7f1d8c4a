//! Every reason for which a frame is dropped, in one table: variant, metric name, sentence, ICMP answer. The unit is frames.
//!
//! A new reason is one line below; status, metrics and the README's rules for names need nothing else.

/// The ICMP error that the sender of a dropped packet receives, for both families.
///
/// IPv4 codes are those of RFC 792 and RFC 1812 section 5.2.7, IPv6 codes those of RFC 4443 section 3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IcmpAnswer {
    /// No ICMP error.
    Silent,
    /// ICMP type 11 code 0; ICMPv6 type 3 code 0.
    TimeExceeded,
    /// ICMP type 3 code 0 (net unreachable); ICMPv6 type 1 code 0 (no route).
    NoRoute,
    /// ICMP type 3 code 1 (host unreachable); ICMPv6 type 1 code 3 (address unreachable).
    HostUnreachable,
    /// ICMP type 3 code 1; ICMPv6 type 1 code 0: what Linux sends for an `unreachable` route.
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

            /// The help text: a sentence.
            pub const fn sentence(self) -> &'static str {
                match self { $(DropReason::$variant => $sentence,)* }
            }

            /// The ICMP error that the sender receives, rate limits permitting.
            pub const fn answer(self) -> IcmpAnswer {
                match self { $(DropReason::$variant => IcmpAnswer::$answer,)* }
            }
        }
    };
}

drop_reasons! {
    // Ethernet
    EthShort "eth_short" "The frame is shorter than an Ethernet header." Silent;
    EthNotOurs "eth_not_ours" "The destination MAC address belongs to another station." Silent;
    EthType "eth_type" "The EtherType is not IPv4, IPv6 or ARP." Silent;
    Vlan "vlan" "The frame carries a VLAN tag, and no VLAN is configured." Silent;
    PortDown "port_down" "The port is down or unknown." Silent;
    // IPv4 header, RFC 1812 section 5.2.2
    Ip4Short "ip4_short" "The frame is too short for an IPv4 header." Silent;
    Ip4Version "ip4_version" "The IP version is not 4." Silent;
    Ip4HeaderLength "ip4_header_length" "The IPv4 header length is less than 20 bytes or exceeds the frame." Silent;
    Ip4TotalLength "ip4_total_length" "The IPv4 total length is less than the header length or exceeds the frame." Silent;
    Ip4Checksum "ip4_checksum" "The IPv4 header checksum is wrong." Silent;
    Ip4Options "ip4_options" "An IPv4 option is malformed." ParameterProblem;
    Ip4SourceRoute "ip4_source_route" "The packet has a source route option; source routing is disabled." Silent;
    L2Broadcast "l2_broadcast" "A unicast packet in a broadcast or multicast frame." Silent;
    MartianSource "martian_source" "The source address is invalid on a link (martian)." Silent;
    MartianDestination "martian_destination" "The destination address is invalid outside its host (martian)." Silent;
    Broadcast "broadcast" "A broadcast that no program on the router receives; broadcasts are not forwarded." Silent;
    Multicast "multicast" "A routed multicast; the router does not forward multicast." Silent;
    LinkMulticast "link_multicast" "A link-scope multicast that no handler on the router receives (routine: MLD reports, mDNS)." Silent;
    HostMulticast "host_multicast" "A multicast from a program on the router; the router does not send these." Silent;
    // IPv6 header
    Ip6Short "ip6_short" "The frame is too short for an IPv6 header." Silent;
    Ip6Version "ip6_version" "The IP version is not 6." Silent;
    Ip6PayloadLength "ip6_payload_length" "The IPv6 payload length exceeds the frame." Silent;
    Ip6Off "ip6_off" "IPv6 is off on the port: its MTU is less than 1280." Silent;
    Ip6Extension "ip6_extension" "The IPv6 extension headers exceed the packet." Silent;
    BeyondScope "beyond_scope" "The source address is link-local and the next hop is on another link." BeyondScope;
    LinkLocalDestination "link_local_destination" "The destination address is link-local and no link was given for it." Silent;
    // Forwarding
    TtlExceeded "ttl_exceeded" "The TTL or hop limit expired." TimeExceeded;
    NoRoute "no_route" "No route matches the destination." NoRoute;
    Blackhole "blackhole" "A blackhole route discards packets to this destination." Silent;
    Unreachable "unreachable_route" "An unreachable route rejects packets to this destination." Rejected;
    Prohibited "prohibited" "A prohibit route rejects packets to this destination." Prohibited;
    TooBig "too_big" "The packet exceeds the next hop's MTU and may not be fragmented." TooBig;
    NeighbourFailed "neighbour_failed" "The next hop's MAC address did not resolve." HostUnreachable;
    NeighbourTableFull "neighbour_table_full" "The neighbour table was full." Silent;
    // To the router itself
    ProtocolUnreachable "protocol_unreachable" "Addressed to the router, and no handler for its IP protocol." ProtocolUnreachable;
    PortUnreachable "port_unreachable" "Addressed to the router, and no listener on its port." PortUnreachable;
    LocalFragment "local_fragment" "A fragment addressed to the router, and no host port to reassemble it." Silent;
    IcmpMalformed "icmp_malformed" "An ICMP message to the router that is too short or has a wrong checksum." Silent;
    IcmpIgnored "icmp_ignored" "An ICMP message to the router of a type that it does not handle." Silent;
    ArpMalformed "arp_malformed" "The ARP packet is not valid for IPv4 over Ethernet." Silent;
    ArpNotOurs "arp_not_ours" "An ARP request for an address that the router does not have." Silent;
    NdMalformed "nd_malformed" "The neighbour discovery message fails the checks of RFC 4861." Silent;
    MldMalformed "mld_malformed" "The multicast listener message fails the checks of RFC 3810." Silent;
    NdNotOurs "nd_not_ours" "A neighbour solicitation for an address that the router does not have." Silent;
    BadOffload "bad_offload" "The offload metadata (checksum or GSO) does not match the headers." Silent;
    TooManySegments "too_many_segments" "The GSO packet would need too many segments." Silent;
    // Resources and the engine
    NoBuffer "no_buffer" "No buffer was free." Silent;
    HoldOverflow "hold_overflow" "Too many frames were pending for a MAC address; the oldest was dropped." Silent;
    HoldExpired "hold_expired" "The frame was pending for a MAC address for too long." Silent;
    NeighbourLimit "neighbour_limit" "Too many neighbours were being resolved at once." Silent;
    RxTruncated "rx_truncated" "The frame was truncated: the port's receive queue was full." Silent;
    RxTooBig "rx_too_big" "The frame is larger than the port's receive buffers." Silent;
    RxUnsupported "rx_unsupported" "The frame needs an unsupported kind of segmentation." Silent;
    TxFull "tx_full" "The transmit queue was full." Silent;
    TxError "tx_error" "The kernel rejected the frame on transmit." Silent;
    TxTooBig "tx_too_big" "The frame exceeds what the port can transmit." Silent;
    WorkerStopped "worker_stopped" "The worker stopped while the frame was pending." Silent;
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
