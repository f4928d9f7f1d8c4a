//! Where the userspace router differs from Linux, once, with the reason.

/// A scene in which the modes are to differ.
pub struct Difference {
    /// `subject::scene`.
    pub scene: &'static str,
    /// Why.
    pub reason: &'static str,
}

const fn meant(scene: &'static str, reason: &'static str) -> Difference {
    Difference { scene, reason }
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
    ),
    meant(
        "arp::arp_sender_is_a_group",
        "RFC 1812 section 3.3.2: no group is believed to be a neighbour's address; Linux answers to the group",
    ),
    meant(
        "ipv6::about_a_redirect",
        "RFC 4443 section 2.4 (e.2): no error about a redirect; Linux spares only errors",
    ),
    meant(
        "nd::solicitation_of_a_zero_address",
        "no station has the MAC address 0, so the option is as good as none; Linux answers to it",
    ),
    meant(
        "ipv4_options::commercial_security",
        "CIPSO is for those who label packets; Linux with NetLabel refuses domains that it was not told of",
    ),
    meant(
        "ipv6::from_no_address_back_out",
        "RFC 4291 section 2.5.2: what comes from no address is never forwarded; Linux does within a link",
    ),
    meant(
        "ipv6::no_redirect_to_a_source_of_the_other_link",
        "RFC 4861 section 8.2: redirects are for neighbours; Linux looks at the ports alone",
    ),
    meant("ipv6::hop_by_hop_option_to_discard", UNPARSED),
    meant("ipv6::hop_by_hop_option_to_report", UNPARSED),
    meant("ipv6::hop_by_hop_option_beyond_its_header", UNPARSED),
    meant(
        "ip_route::the_flows_of_the_first_hop_alone_move",
        "only the flows of a next hop that goes away are to move; Linux cuts its hash anew (RFC 2992)",
    ),
    meant("settings::a_router_alert_for_a_listener", LISTENER),
    meant("settings::an_ipv6_router_alert_for_a_listener", LISTENER),
];
