//! `/proc/net/snmp`, `netstat` and `snmp6`: the protocol counters of a namespace (RFC 4293, RFC 1213 and
//! Linux's own).

use std::collections::BTreeMap;

/// Counters by name: `Ip.InReceives`, `IpExt.InNoRoutes`, `Ip6InReceives`.
pub type Counters = BTreeMap<String, u64>;

/// Parses `/proc/net/snmp` or `/proc/net/netstat`: pairs of lines, `Ip: NAMES` and `Ip: VALUES`, become
/// `Ip.NAME`. A value that is negative, as `Tcp.MaxConn`, is not a counter and is left out.
pub fn counters(table: &str) -> Counters {
    let lines: Vec<&str> = table.lines().collect();
    lines
        .chunks_exact(2)
        .filter_map(|pair| Some((pair[0].split_once(':')?, pair[1].split_once(':')?.1)))
        .flat_map(|((group, names), values)| {
            names
                .split_whitespace()
                .zip(values.split_whitespace())
                .filter_map(move |(name, value)| Some((format!("{group}.{name}"), value.parse().ok()?)))
        })
        .collect()
}

/// Parses `/proc/net/snmp6`: a name like `Ip6InReceives` and a value on each line.
pub fn counters6(table: &str) -> Counters {
    table
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            Some((words.next()?.to_owned(), words.next()?.parse().ok()?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn expected(counters: &[(&str, u64)]) -> Counters {
        counters.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
    }

    #[test]
    fn names_and_values_are_paired() {
        let table = "Ip: Forwarding InReceives\nIp: 1 77\nTcp: MaxConn RetransSegs\nTcp: -1 42\n";
        let expected = expected(&[("Ip.Forwarding", 1), ("Ip.InReceives", 77), ("Tcp.RetransSegs", 42)]);
        assert_eq!(counters(table), expected);
        assert_eq!(counters("Ip: Forwarding\n"), Counters::new(), "no values");
    }

    #[test]
    fn one_counter_a_line() {
        let table = "Ip6InReceives                   \t17\nIp6InHdrErrors\t3\nhalf\n";
        assert_eq!(counters6(table), expected(&[("Ip6InReceives", 17), ("Ip6InHdrErrors", 3)]));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "([A-Za-z:. \n]{0,12}[0-9]{0,21}){0,12}|.{0,60}") {
            counters(&text);
            counters6(&text);
        }
    }
}
