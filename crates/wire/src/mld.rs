//! Multicast listener discovery for IPv6: queries of both versions, reports (RFC 2710, RFC 3810 section 5).

use std::net::Ipv6Addr;

/// Bytes of a query, report or done of version 1, and of a query of version 2 without its sources.
pub const V1_BYTES: usize = 24;
const V2_QUERY_BYTES: usize = 28;
const ADDRESS_BYTES: usize = 16;

/// Bytes of a version 2 report before its records.
pub const REPORT_BYTES: usize = 8;
/// Bytes of a record without sources.
pub const RECORD_BYTES: usize = 20;

/// The hop-by-hop header of every message: ICMPv6 follows; router alert with value 0, which is MLD's (RFC
/// 2711), and two bytes of padding.
pub const HOP_BY_HOP: [u8; 8] = [58, 0, 5, 2, 0, 0, 1, 0];
/// The value of the router alert option by which MLD messages are known.
pub const ROUTER_ALERT: u16 = 0;

/// Where reports of version 2 go: all routers that speak it.
pub const ALL_V2_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x16);

/// What a querier asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Query {
    /// By its length: a query of version 1 has 24 bytes.
    pub is_v1: bool,
    /// The longest that an answer may take, in milliseconds.
    pub max_response_ms: u32,
    /// The group that is asked about; unspecified for all of them.
    pub group: Ipv6Addr,
}

impl Query {
    /// Reads a query from its ICMPv6 header on. `None` if it is cut short, asks about what is no group, or
    /// about sources of every group.
    pub fn parse(message: &[u8]) -> Option<Query> {
        let is_v1 = message.len() == V1_BYTES;
        let code = u16::from_be_bytes([*message.get(4)?, *message.get(5)?]);
        let group = Ipv6Addr::from_octets(*message.get(8..V1_BYTES)?.first_chunk()?);
        if !group.is_unspecified() && !group.is_multicast() {
            return None;
        }
        if is_v1 {
            return Some(Query { is_v1, max_response_ms: code.into(), group });
        }
        let sources = message.get(V2_QUERY_BYTES - 2..V2_QUERY_BYTES)?;
        let sources = usize::from(u16::from_be_bytes([sources[0], sources[1]]));
        let is_whole = message.len() >= V2_QUERY_BYTES + sources * ADDRESS_BYTES;
        let is_sensible = sources == 0 || !group.is_unspecified();
        (is_whole && is_sensible).then_some(Query { is_v1, max_response_ms: response_ms(code), group })
    }
}

/// RFC 3810 section 5.1.3: from 32768 on a floating-point number.
fn response_ms(code: u16) -> u32 {
    let code = u32::from(code);
    if code < 0x8000 { code } else { (code & 0xfff | 0x1000) << ((code >> 12 & 7) + 3) }
}

/// What a record of a report says (RFC 3810 section 5.2.12); the groups of a router have no source lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record {
    /// The answer to a query: everybody is listened to, `MODE_IS_EXCLUDE` of no source.
    Joined,
    /// The group has been joined, `CHANGE_TO_EXCLUDE_MODE`.
    Joins,
    /// It has been left, `CHANGE_TO_INCLUDE_MODE`.
    Leaves,
}

/// Writes a report of version 2 about these groups, its checksum left out: `body` has [`REPORT_BYTES`], and
/// [`RECORD_BYTES`] for each of them.
pub fn write_report(body: &mut [u8], records: &[(Ipv6Addr, Record)]) {
    const REPORT: u8 = 143;
    let Some((header, rest)) = body.split_first_chunk_mut::<REPORT_BYTES>() else { return };
    let count = u16::try_from(records.len()).unwrap_or(u16::MAX).to_be_bytes();
    *header = [REPORT, 0, 0, 0, 0, 0, count[0], count[1]];
    for (record, (group, what)) in rest.chunks_exact_mut(RECORD_BYTES).zip(records) {
        let kind = match what {
            Record::Joined => 2,
            Record::Leaves => 3,
            Record::Joins => 4,
        };
        record[..4].copy_from_slice(&[kind, 0, 0, 0]);
        record[4..].copy_from_slice(&group.octets());
    }
}

/// Writes a report of version 1 about a group, or that it has been left, its checksum left out.
pub fn write_v1(body: &mut [u8; V1_BYTES], kind: u8, group: Ipv6Addr) {
    *body = [0; V1_BYTES];
    body[0] = kind;
    body[8..].copy_from_slice(&group.octets());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn group() -> Ipv6Addr {
        "ff02::1:ff00:2".parse().unwrap()
    }

    /// A query with this code and so many sources.
    fn query(code: u16, group: Ipv6Addr, sources: Option<u16>) -> Vec<u8> {
        let mut message = vec![130, 0, 0, 0];
        message.extend(code.to_be_bytes());
        message.extend([0, 0]);
        message.extend(group.octets());
        if let Some(sources) = sources {
            message.extend([2, 125]);
            message.extend(sources.to_be_bytes());
            message.extend(vec![0x20; usize::from(sources) * 16]);
        }
        message
    }

    #[test]
    fn queries_of_both_versions_are_told_apart_by_their_length() {
        let v1 = Query { is_v1: true, max_response_ms: 0x9001, group: group() };
        assert_eq!(Query::parse(&query(0x9001, group(), None)), Some(v1));
        // (0x001 | 0x1000) << (1 + 3)
        let v2 = Query { is_v1: false, max_response_ms: 0x1001 << 4, group: group() };
        assert_eq!(Query::parse(&query(0x9001, group(), Some(2))), Some(v2));
        let general = Query { is_v1: false, max_response_ms: 10_000, group: Ipv6Addr::UNSPECIFIED };
        assert_eq!(Query::parse(&query(10_000, Ipv6Addr::UNSPECIFIED, Some(0))), Some(general));
        assert_eq!(response_ms(0xffff), 0x1fff << 10);
    }

    #[test]
    fn queries_that_make_no_sense_are_refused() {
        let mut short = query(0, group(), Some(2));
        short.pop();
        let between = query(0, group(), Some(0))[..26].to_vec();
        let nobody = query(0, "fe80::1".parse().unwrap(), None);
        let sources_of_all = query(0, Ipv6Addr::UNSPECIFIED, Some(1));
        for message in [short, between, nobody, sources_of_all] {
            assert_eq!(Query::parse(&message), None, "{message:x?}");
        }
    }

    #[test]
    fn reports_are_golden() {
        let mut body = [0xff; REPORT_BYTES + 2 * RECORD_BYTES];
        write_report(&mut body, &[(group(), Record::Joined), (ALL_V2_ROUTERS, Record::Leaves)]);
        let mut golden = vec![143, 0, 0, 0, 0, 0, 0, 2, 2, 0, 0, 0];
        golden.extend(group().octets());
        golden.extend([3, 0, 0, 0, 0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x16]);
        assert_eq!(body[..], golden);
        let mut body = [0xff; V1_BYTES];
        write_v1(&mut body, 131, group());
        assert_eq!((body[..8].to_vec(), &body[8..]), (vec![131, 0, 0, 0, 0, 0, 0, 0], &group().octets()[..]));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            if let Some(query) = Query::parse(&bytes) {
                prop_assert!(query.group.is_multicast() || query.group.is_unspecified());
            }
        }
    }
}
