//! Policy routing rules (`ip rule`), with a sentence on each that the router does not follow.

use rtnetlink::packet_core::NlasIterator;

/// A sentence on a rule that the router does not follow (struct fib_rule_hdr and `FRA_...`,
/// include/uapi/linux/fib_rules.h); nothing on one of those that every namespace begins with
/// (`fib_default_rules_init`).
pub(crate) fn unsupported_rule(payload: &[u8]) -> Option<String> {
    const DEFAULT_RULES: [(u32, u32); 3] = [(0, 255), (32_766, 254), (32_767, 253)];
    const LOOKUP: u8 = 1;
    let header: [u8; 12] = *payload.first_chunk()?;
    let family = match i32::from(header[0]) {
        libc::AF_INET => "",
        libc::AF_INET6 => "-6 ",
        // Multicast routing has rules of its own (RTNL_FAMILY_IPMR).
        _ => return None,
    };
    let (mut priority, mut table) = (0, u32::from(header[4]));
    for attribute in NlasIterator::new(payload.get(12..)?).filter_map(Result::ok) {
        let value = attribute.value().first_chunk().map(|bytes| u32::from_ne_bytes(*bytes));
        match (attribute.kind(), value) {
            (6, Some(value)) => priority = value,
            (15, Some(value)) => table = value,
            _ => {}
        }
    }
    if header[7] == LOOKUP && DEFAULT_RULES.contains(&(priority, table)) {
        return None;
    }
    Some(format!(
        "rule {priority} of `ip {family}rule` is not followed: the router looks at the main table alone"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rules_that_every_namespace_begins_with_cause_no_warning() {
        // struct fib_rule_hdr, FRA_TABLE and FRA_PRIORITY, as the kernel lists them.
        let message = |family: i32, table: u8, priority: u32| {
            let mut payload =
                vec![u8::try_from(family).unwrap_or_default(), 0, 0, 0, table, 0, 0, 1, 0, 0, 0, 0];
            for (kind, value) in [(15, u32::from(table)), (6, priority)] {
                payload.extend([8, 0, kind, 0]);
                payload.extend(value.to_ne_bytes());
            }
            unsupported_rule(&payload)
        };
        // RTNL_FAMILY_IPMR and RTNL_FAMILY_IP6MR, include/uapi/linux/rtnetlink.h.
        for (family, table, priority) in [
            (libc::AF_INET, 254, 32_766),
            (libc::AF_INET6, 254, 32_766),
            (128, 253, 32_767),
            (129, 254, 32_767),
        ] {
            assert_eq!(message(family, table, priority), None, "{family}");
        }
        let said = message(libc::AF_INET6, 100, 78);
        assert!(said.is_some_and(|said| said.contains("rule 78 of `ip -6 rule`")));
    }
}
