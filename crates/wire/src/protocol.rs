//! IP protocol numbers, which are the next-header values of IPv6 too (the IANA registry of protocol numbers).

/// The hop-by-hop options of IPv6 (RFC 8200 section 4.3).
pub const HOP_BY_HOP: u8 = 0;
/// ICMP (RFC 792).
pub const ICMP: u8 = 1;
/// IGMP (RFC 3376).
pub const IGMP: u8 = 2;
/// IPv4 in IP (RFC 2003).
pub const IPV4: u8 = 4;
/// TCP (RFC 9293).
pub const TCP: u8 = 6;
/// UDP (RFC 768).
pub const UDP: u8 = 17;
/// IPv6 in IP (RFC 2473, RFC 4213).
pub const IPV6: u8 = 41;
/// The routing header of IPv6 (RFC 8200 section 4.4).
pub const ROUTING: u8 = 43;
/// The fragment header of IPv6 (RFC 8200 section 4.5).
pub const FRAGMENT: u8 = 44;
/// Generic routing encapsulation (RFC 2784).
pub const GRE: u8 = 47;
/// The authentication header (RFC 4302).
pub const AUTHENTICATION: u8 = 51;
/// ICMPv6 (RFC 4443).
pub const ICMPV6: u8 = 58;
/// IPv6: no next header (RFC 8200 section 4.7).
pub const NONE: u8 = 59;
/// The destination options of IPv6 (RFC 8200 section 4.6).
pub const DESTINATION_OPTIONS: u8 = 60;
/// SCTP (RFC 9260).
pub const SCTP: u8 = 132;
