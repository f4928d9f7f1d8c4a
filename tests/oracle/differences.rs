//! Where the userspace router differs from Linux, and what cannot be played over a backend: once, with the
//! reason.

/// A scene in which the modes are to differ.
pub struct Difference {
    /// `subject::scene`.
    pub scene: &'static str,
    /// Why.
    pub reason: &'static str,
    /// What our router lets be seen.
    pub ours: &'static [&'static str],
}

const fn meant(scene: &'static str, reason: &'static str, ours: &'static [&'static str]) -> Difference {
    Difference { scene, reason, ours }
}

const UNPARSED: &str =
    "RFC 8200 section 4 lets routers pass hop-by-hop options on unread, and we do; Linux reads them";

const LISTENER: &str = "our listener is a setting; Linux's is a socket with IP_ROUTER_ALERT or IPV6_ROUTER_ALERT, and no program \
    here has one";

/// All of them.
pub const ALL: &[Difference] = &[
    meant(
        "ipv4_errors::an_error_to_a_subnet_s_broadcast_address",
        "RFC 1812 section 4.3.2.7: no error to a source that is not one host; Linux broadcasts it",
        &[],
    ),
    meant(
        "arp::arp_sender_is_a_group",
        "RFC 1812 section 3.3.2: no group is believed to be a neighbour's address; Linux answers to the group",
        &[],
    ),
    meant(
        "ipv6::about_a_redirect",
        "RFC 4443 section 2.4 (e.2): no error about a redirect; Linux spares only errors",
        &[],
    ),
    meant(
        "nd::solicitation_of_a_zero_address",
        "no station has the MAC address 0, so the option is as good as none; Linux answers to it",
        &[],
    ),
    meant(
        "ipv4_options::commercial_security",
        "CIPSO is for those who label packets; Linux with NetLabel refuses domains that it was not told of",
        &[
            "T2 router2 > t2.60: 10.10.251.60 > 10.10.252.60 tos 0x0 len 47 id 1234 frag 0x0 ttl 63 sum ok options 860a00000001010400010000 udp 00050006000f sum ok 6f7074696f6e73",
        ],
    ),
    meant(
        "ipv6::from_no_address_back_out",
        "RFC 4291 section 2.5.2: what comes from no address is never forwarded; Linux does within a link",
        &[],
    ),
    meant(
        "ipv6::no_redirect_to_a_source_of_the_other_link",
        "RFC 4861 section 8.2: redirects are for neighbours; Linux looks at the ports alone",
        &[
            "T1 router1 > t1.8: fd00:252::26 > fd00:251::8 class 0x0 flow 0x0 len 18 hops 63 udp 000500060012 sum ok 6173796d6d6574726963",
        ],
    ),
    meant(
        "ipv6::hop_by_hop_option_to_discard",
        UNPARSED,
        &[
            "T2 router2 > t2.86: fd00:251::56 > fd00:252::56 class 0x0 flow 0x0 len 24 hops 63 protocol 0 11005e040102030400050006001052cc657874656e646564",
        ],
    ),
    meant(
        "ipv6::hop_by_hop_option_to_report",
        UNPARSED,
        &[
            "T2 router2 > t2.87: fd00:251::57 > fd00:252::57 class 0x0 flow 0x0 len 24 hops 63 protocol 0 11009e040102030400050006001052ca657874656e646564",
        ],
    ),
    meant(
        "ipv6::hop_by_hop_option_beyond_its_header",
        UNPARSED,
        &[
            "T2 router2 > t2.88: fd00:251::58 > fd00:252::58 class 0x0 flow 0x0 len 24 hops 63 protocol 0 11001e280102030400050006001052c8657874656e646564",
        ],
    ),
    meant(
        "ip_route::the_flows_of_the_first_hop_alone_move",
        "only the flows of a next hop that goes away are to move; Linux cuts its hash anew (RFC 2992)",
        &[
            "T2 t2.8 gets its 50% of 10000 flows",
            "T2 t2.9 gets its 50% of 10000 flows",
            "T2 flows of other next hops stay",
        ],
    ),
    meant("settings::a_router_alert_for_a_listener", LISTENER, &[]),
    meant("settings::an_ipv6_router_alert_for_a_listener", LISTENER, &[]),
];

/// Scenes of one subject that are not played over a backend.
pub struct NotPlayed {
    /// The backend.
    pub backend: &'static str,
    /// The subject.
    pub subject: &'static str,
    /// Its scenes.
    pub scenes: &'static [&'static str],
    /// Why.
    #[allow(dead_code, reason = "for the reader")]
    pub reason: &'static str,
}

const OFFLOADS: &str = "about what a sender leaves to its interface: hosts of the xdp backend leave nothing, so their kernel sums and \
    cuts before a frame leaves them";

/// All of those.
pub const NOT_PLAYED: &[NotPlayed] = &[
    NotPlayed {
        backend: "xdp",
        subject: "ipv4_fragments",
        scenes: &[
            "a_pending_checksum",
            "a_pending_checksum_of_a_packet_too_big",
            "a_gso_packet_of_small_segments",
            "a_gso_packet_of_large_segments_with_df",
            "a_gso_packet_of_large_segments_without_df",
            "a_udp_gso_packet_of_small_datagrams",
            "a_udp_gso_packet_of_large_datagrams_with_df",
            "a_udp_gso_packet_of_large_datagrams_without_df",
            "a_gso_packet_with_no_hops_left",
        ],
        reason: OFFLOADS,
    },
    NotPlayed {
        backend: "xdp",
        subject: "ipv6",
        scenes: &["a_gso_packet_of_small_segments", "a_gso_packet_of_large_segments"],
        reason: OFFLOADS,
    },
    NotPlayed {
        backend: "tap",
        subject: "ip_route",
        scenes: &[
            "destinations_on_the_link",
            "a_gateway_of_no_subnet_on_the_link",
            "next_hops_on_both_links",
            "a_link_that_goes_down_takes_its_subnet_out",
            "a_link_that_goes_down_takes_its_ipv6_subnet_out",
            "a_link_that_goes_down_leaves_the_next_metric",
            "a_link_that_comes_up_again",
        ],
        reason: "about an interface of the router's, and a TAP link has none there",
    },
];

/// Scenes that are not played with several workers: which of several flows' errors come before the limit is
/// struck depends on which worker is first.
pub const NOT_WITH_WORKERS: &[&str] = &[
    "ipv4_errors::six_errors_at_once_to_one_destination",
    "ipv4_errors::errors_without_route_are_charged_twice",
    "ipv4_errors::errors_without_route_after_others",
    "ipv4_errors::errors_after_others_without_route",
    "ipv4_errors::what_is_never_told_is_charged_too",
    "ipv6::six_errors_at_once_to_one_destination",
];
