//! `--set NAME=VALUE`: the parameters of the userspace router, each beside the sysctl of the same meaning.

use nsrouter_engine::{Advertise, FlowHash, NeighConfig, PortId, Settings};

/// Router lifetime in advertisements, seconds, and the longest time between them, milliseconds: the defaults
/// of RFC 4861 section 6.2.1 (AdvDefaultLifetime, MaxRtrAdvInterval).
const ROUTER_LIFETIME_S: u16 = 1800;
const ADVERTISE_INTERVAL_MS: u32 = 600_000;
/// AdvValidLifetime, seconds.
const PREFIX_LIFETIME_S: u32 = 2_592_000;
/// Neighbours of a family, at most: the control plane copies the table for the workers whenever it changes.
const MAX_NEIGHBOURS: usize = 1 << 20;

/// One setting, parsed but not yet applied, because some need the number of ports.
#[derive(Clone, Debug)]
pub(crate) struct Setting {
    name: String,
    value: String,
}

/// The names, for the help text and for errors.
pub(crate) const HELP: &str = "\
Set a parameter of the userspace router; sysctls of the same meaning are in parentheses:
  redirects=on|off            send redirects (send_redirects)
  icmp-interval=MS            time for each ICMP error to a destination; 0: no limit (icmp_ratelimit)
  icmp6-interval=MS           the same for ICMPv6 (net.ipv6.icmp.ratelimit)
  icmp-burst=N                ICMP errors to a destination in a burst
  icmp-total-per-second=N     ICMP errors to all destinations; 0: no limit (icmp_msgs_per_sec)
  icmp-total-burst=N          the same in a burst (icmp_msgs_burst)
  flow-hash=l3|l3l4           fields that choose among next hops (fib_multipath_hash_policy)
  router-alert=on|off         hand packets with Router Alert to the host port
  neighbours=N                neighbours of each family, at most; 1024 by default (gc_thresh3)
  mld-reports=on|off          report the router's IPv6 groups to switches by MLD
  directed-broadcast=on|off   forward to a subnet's broadcast address (bc_forwarding)
  advertise=on|off            send IPv6 router advertisements on every port";

/// Reads `NAME=VALUE`; names and values are checked when they are applied, and here already for the error's
/// sake.
pub(crate) fn parse(text: &str) -> Result<Setting, String> {
    let (name, value) =
        text.split_once('=').ok_or_else(|| format!("`{text}` is not of the form NAME=VALUE"))?;
    let setting = Setting { name: name.to_owned(), value: value.to_owned() };
    setting.apply(&mut Settings::default(), &mut NeighConfig::default(), 0)?;
    Ok(setting)
}

impl Setting {
    /// Applies the setting to a router with `ports` ports.
    pub(crate) fn apply(
        &self,
        settings: &mut Settings,
        neighbours: &mut NeighConfig,
        ports: u16,
    ) -> Result<(), String> {
        match self.name.as_str() {
            "redirects" => settings.redirects = self.switch()?,
            "icmp-interval" => settings.icmp_interval_ms = self.number()?,
            "icmp6-interval" => settings.icmp6_interval_ms = self.number()?,
            "icmp-burst" => settings.icmp_burst = self.number()?,
            "icmp-total-per-second" => settings.icmp_total_per_s = self.number()?,
            "icmp-total-burst" => settings.icmp_total_burst = self.number()?,
            "flow-hash" => {
                settings.flow_hash = match self.value.as_str() {
                    "l3" => FlowHash::L3,
                    "l3l4" => FlowHash::L3L4,
                    other => return Err(format!("`{other}` is neither l3 nor l3l4")),
                }
            }
            "neighbours" => {
                let limit = usize::try_from(self.number()?).unwrap_or(usize::MAX);
                if !(1..=MAX_NEIGHBOURS).contains(&limit) {
                    return Err(format!("`{limit}` neighbours are outside 1 to {MAX_NEIGHBOURS}"));
                }
                neighbours.max_entries = limit;
            }
            "router-alert" => settings.router_alert = self.switch()?,
            "mld-reports" => settings.mld_reports = self.switch()?,
            "directed-broadcast" => settings.directed_broadcast = self.switch()?,
            "advertise" => {
                let ports = if self.switch()? { ports } else { 0 };
                settings.advertise = (0..ports)
                    .map(|number| Advertise {
                        port: PortId(number),
                        interval_ms: ADVERTISE_INTERVAL_MS,
                        lifetime_s: ROUTER_LIFETIME_S,
                        prefix_lifetime_s: PREFIX_LIFETIME_S,
                    })
                    .collect();
            }
            other => return Err(format!("there is no setting `{other}`; see --help for the names")),
        }
        Ok(())
    }

    fn switch(&self) -> Result<bool, String> {
        match self.value.as_str() {
            "on" => Ok(true),
            "off" => Ok(false),
            other => Err(format!("`{other}` is neither on nor off")),
        }
    }

    fn number(&self) -> Result<u32, String> {
        self.value.parse().map_err(|_| format!("`{}` is not a whole number", self.value))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_name_in_the_help_can_be_set() {
        for line in HELP.lines().skip(1) {
            let (name, values) = line.trim().split_once(' ').unwrap().0.split_once('=').unwrap();
            let value = match values.split('|').next_back().unwrap() {
                "MS" | "N" => "7",
                word => word,
            };
            parse(&format!("{name}={value}")).unwrap();
        }
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        for (text, words) in [
            ("redirects", "NAME=VALUE"),
            ("colour=red", "colour"),
            ("redirects=7", "`7`"),
            ("icmp-burst=x", "`x`"),
            ("neighbours=0", "1 to 1048576"),
            ("neighbours=1048577", "1 to 1048576"),
        ] {
            assert!(parse(text).unwrap_err().contains(words), "{text}");
        }
    }

    #[test]
    fn the_neighbour_table_grows() {
        let mut neighbours = NeighConfig::default();
        parse("neighbours=5000").unwrap().apply(&mut Settings::default(), &mut neighbours, 2).unwrap();
        assert_eq!(neighbours.max_entries, 5000);
    }

    #[test]
    fn advertisements_go_out_by_every_port() {
        let mut settings = Settings::default();
        parse("advertise=on").unwrap().apply(&mut settings, &mut NeighConfig::default(), 2).unwrap();
        assert_eq!(settings.advertise.iter().map(|on| on.port).collect::<Vec<_>>(), [PortId(0), PortId(1)]);
    }
}
