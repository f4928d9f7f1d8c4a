//! Scenarios: the rows of the comparison, as data.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

/// A word that names no scenario, or one that cannot be sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScenarioError {
    /// There is no such scenario.
    #[error(
        "there is no scenario `{text}`; there are tcp-N, tcp-N-reverse, tcp-bidir, udp-SIZE, udp-SIZE-at-RATE, udp-imix, \
         ndr-SIZE, ping, latency-idle, latency-load and connections, each also with -v6 and then -1k or -1m (routes), and the \
         sets quick, speed and full"
    )]
    Unknown {
        /// The word.
        text: String,
    },
    /// A frame that does not exist, or is too short for a numbered datagram.
    #[error(
        "`{text}` cannot be sent: frames are 62 (IPv6: 82) to 1518 bytes long with their FCS, 64 being the usual least"
    )]
    FrameSize {
        /// The word.
        text: String,
    },
}

/// Scenarios that go by one name.
pub(super) const SETS: [(&str, &str); 3] = [
    ("quick", "tcp-1,udp-64,latency-idle"),
    ("speed", "tcp-1,tcp-4,udp-64,ndr-64,udp-64-at-kernel70,udp-64-at-own70,ping,latency-idle,latency-load"),
    (
        "full",
        "tcp-1,tcp-4,tcp-1-reverse,tcp-bidir,tcp-1-v6,udp-64,udp-128,udp-256,udp-512,udp-1024,udp-1280,udp-1518,\
         udp-imix,ndr-64,udp-64-at-kernel70,udp-64-at-own70,ping,latency-idle,latency-load,latency-idle-v6,connections",
    ),
];

/// One scenario, or a named set of them, as a command line has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scenarios(pub Vec<Scenario>);

impl FromStr for Scenarios {
    type Err = ScenarioError;

    fn from_str(text: &str) -> Result<Self, ScenarioError> {
        let set = SETS.iter().find(|(name, _)| *name == text);
        let names = set.map_or(text, |(_, names)| names);
        names.split(',').map(str::parse).collect::<Result<_, _>>().map(Scenarios)
    }
}

/// The direction of TCP data. The client is in t1, the server in t2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// t1 to t2.
    Forward,
    /// t2 to t1.
    Reverse,
    /// Both at once.
    Both,
}

/// Address family of the traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6: the scenario's name says `-v6`.
    V6,
}

/// The sizes of UDP frames, all counted with their FCS as RFC 2544 section 9.1 does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Frames {
    /// One size.
    Size(u16),
    /// The simple Internet mix: of twelve frames seven of 64 bytes, four of 594 and one of 1518.
    Imix,
}

/// The rate of UDP frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rate {
    /// As fast as the sender can.
    Full,
    /// Frames per second.
    PerSecond(u32),
    /// A percentage of the kernel's no-loss rate: the median of what `ndr` of the same size gave so far.
    OfKernel(u8),
    /// A percentage of the mode's own no-loss rate.
    OfOwn(u8),
}

/// The load of a scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Load {
    /// TCP bulk, as fast as it goes.
    Tcp {
        /// Connections at once (in each direction).
        streams: u16,
        /// The direction.
        direction: Direction,
    },
    /// UDP from t1 to t2.
    Udp {
        /// Their sizes.
        frames: Frames,
        /// Their rate.
        rate: Rate,
    },
    /// The highest rate without loss, by binary search (RFC 2544 section 26.1).
    Ndr {
        /// Their sizes.
        frames: Frames,
    },
    /// The ping program, five requests a second, over an otherwise idle path.
    Ping,
    /// The built-in echo, a thousand requests a second, one at a time, over an otherwise idle path.
    LatencyIdle,
    /// The same beside one TCP bulk stream from t1 to t2.
    LatencyLoad,
    /// New TCP connections, opened and closed as fast as they are accepted.
    Connections,
}

/// One row of the comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Scenario {
    /// The load.
    pub load: Load,
    /// The address family.
    pub family: Family,
    /// Routes in the router besides those of its links; the traffic's destinations are among them.
    pub routes: u32,
}

/// Ethernet header (14) and FCS (4), in bytes.
const ETHERNET_AND_FCS: u16 = 18;
/// UDP header, in bytes.
const UDP_HEADER: u16 = 8;
/// Smallest UDP payload that the generators can number and time-stamp, in bytes.
const MIN_UDP_PAYLOAD: u16 = 16;
/// Largest frame on a link with an MTU of 1500, FCS included, in bytes.
const MAX_FRAME: u16 = 1518;
/// The smallest frame that holds a numbered IPv6 datagram, in bytes: it stands for the mix's 64.
const MIN_V6_FRAME: u16 = 82;
/// The most streams that iperf3 opens.
const MAX_STREAMS: u16 = 128;
/// Route counts by suffix.
const ROUTES: [(&str, u32); 2] = [("-1k", 1_000), ("-1m", 1_000_000)];

impl Frames {
    /// The sizes in the order in which they are sent, over and over; bytes with FCS.
    pub fn sizes(self, family: Family) -> Vec<u16> {
        match self {
            Frames::Size(size) => vec![size],
            Frames::Imix => {
                let small = if family == Family::V4 { 64 } else { MIN_V6_FRAME };
                vec![small, 594, small, 594, small, small, 1518, small, 594, small, 594, small]
            }
        }
    }

    fn fits(self, family: Family) -> bool {
        self.sizes(family).iter().all(|&size| Scenario::udp_payload(size, family).is_some())
    }
}

impl fmt::Display for Frames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Frames::Size(size) => write!(f, "{size}"),
            Frames::Imix => f.write_str("imix"),
        }
    }
}

impl Load {
    /// The sizes of its UDP frames.
    pub fn frames(self) -> Option<Frames> {
        match self {
            Load::Udp { frames, .. } | Load::Ndr { frames } => Some(frames),
            Load::Tcp { .. } | Load::Ping | Load::LatencyIdle | Load::LatencyLoad | Load::Connections => None,
        }
    }

    /// The rate of UDP, where the load has one.
    pub fn rate(self) -> Option<Rate> {
        match self {
            Load::Udp { rate, .. } => Some(rate),
            Load::Tcp { .. }
            | Load::Ndr { .. }
            | Load::Ping
            | Load::LatencyIdle
            | Load::LatencyLoad
            | Load::Connections => None,
        }
    }
}

impl Scenario {
    /// Bytes of UDP payload that make a frame of `frame_bytes` (FCS included): a 64-byte frame has an IPv4
    /// length of 46 and 18 bytes of payload. `None` where the headers and a sequence number do not fit.
    pub fn udp_payload(frame_bytes: u16, family: Family) -> Option<u16> {
        let ip_header = match family {
            Family::V4 => 20,
            Family::V6 => 40,
        };
        let payload = frame_bytes.checked_sub(ETHERNET_AND_FCS + ip_header + UDP_HEADER)?;
        (payload >= MIN_UDP_PAYLOAD && frame_bytes <= MAX_FRAME).then_some(payload)
    }

    /// The search of whose result this one's rate is a share.
    pub fn depends_on(&self) -> Option<Scenario> {
        match self.load.rate()? {
            Rate::OfKernel(_) | Rate::OfOwn(_) => {
                Some(Scenario { load: Load::Ndr { frames: self.load.frames()? }, ..*self })
            }
            Rate::Full | Rate::PerSecond(_) => None,
        }
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.load {
            Load::Tcp { streams: 1, direction: Direction::Both } => f.write_str("tcp-bidir")?,
            Load::Tcp { streams, direction } => {
                let way = match direction {
                    Direction::Forward => "",
                    Direction::Reverse => "-reverse",
                    Direction::Both => "-bidir",
                };
                write!(f, "tcp-{streams}{way}")?;
            }
            Load::Udp { frames, rate } => {
                write!(f, "udp-{frames}")?;
                match rate {
                    Rate::Full => {}
                    Rate::PerSecond(rate) => write!(f, "-at-{rate}")?,
                    Rate::OfKernel(percent) => write!(f, "-at-kernel{percent}")?,
                    Rate::OfOwn(percent) => write!(f, "-at-own{percent}")?,
                }
            }
            Load::Ndr { frames } => write!(f, "ndr-{frames}")?,
            Load::Ping => f.write_str("ping")?,
            Load::LatencyIdle => f.write_str("latency-idle")?,
            Load::LatencyLoad => f.write_str("latency-load")?,
            Load::Connections => f.write_str("connections")?,
        }
        if self.family == Family::V6 {
            f.write_str("-v6")?;
        }
        let routes = ROUTES.iter().find(|(_, routes)| *routes == self.routes);
        routes.map_or(Ok(()), |(suffix, _)| f.write_str(suffix))
    }
}

impl Serialize for Scenario {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl FromStr for Scenario {
    type Err = ScenarioError;

    fn from_str(text: &str) -> Result<Self, ScenarioError> {
        let unknown = || ScenarioError::Unknown { text: text.into() };
        let routes = ROUTES.iter().find_map(|(suffix, n)| Some((text.strip_suffix(suffix)?, *n)));
        let (name, routes) = routes.unwrap_or((text, 0));
        let (name, family) = name.strip_suffix("-v6").map_or((name, Family::V4), |name| (name, Family::V6));
        let load = if let Some(rest) = name.strip_prefix("tcp-") {
            tcp(rest).ok_or_else(unknown)?
        } else if let Some(rest) = name.strip_prefix("udp-") {
            let (size, rate) = match rest.split_once("-at-") {
                None => (rest, Rate::Full),
                Some((size, rate)) => (size, share_or_rate(rate).ok_or_else(unknown)?),
            };
            Load::Udp { frames: frames(size).ok_or_else(unknown)?, rate }
        } else if let Some(size) = name.strip_prefix("ndr-") {
            Load::Ndr { frames: frames(size).ok_or_else(unknown)? }
        } else {
            match name {
                "ping" => Load::Ping,
                "latency-idle" => Load::LatencyIdle,
                "latency-load" => Load::LatencyLoad,
                "connections" => Load::Connections,
                _ => return Err(unknown()),
            }
        };
        if load.frames().is_some_and(|frames| !frames.fits(family)) {
            return Err(ScenarioError::FrameSize { text: text.into() });
        }
        Ok(Scenario { load, family, routes })
    }
}

fn tcp(text: &str) -> Option<Load> {
    let (streams, direction) = match text.split_once('-') {
        None if text == "bidir" => ("1", Direction::Both),
        None => (text, Direction::Forward),
        Some((streams, "reverse")) => (streams, Direction::Reverse),
        Some((streams, "bidir")) => (streams, Direction::Both),
        Some(_) => return None,
    };
    let streams: u16 = streams.parse().ok()?;
    (1..=MAX_STREAMS).contains(&streams).then_some(Load::Tcp { streams, direction })
}

fn frames(text: &str) -> Option<Frames> {
    if text == "imix" { Some(Frames::Imix) } else { text.parse().ok().map(Frames::Size) }
}

fn share_or_rate(text: &str) -> Option<Rate> {
    let percent = |text: &str| text.parse::<u8>().ok().filter(|percent| (1..=200).contains(percent));
    if let Some(text) = text.strip_prefix("kernel") {
        percent(text).map(Rate::OfKernel)
    } else if let Some(text) = text.strip_prefix("own") {
        percent(text).map(Rate::OfOwn)
    } else {
        text.parse().ok().filter(|&rate| rate > 0).map(Rate::PerSecond)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_read_as_they_are_written() {
        for name in [
            "tcp-1",
            "tcp-4",
            "tcp-1-reverse",
            "tcp-bidir",
            "tcp-4-bidir",
            "udp-64",
            "udp-1518",
            "udp-imix",
            "udp-imix-v6",
            "udp-64-at-200000",
            "udp-64-at-kernel70",
            "udp-imix-at-own70-1m",
            "ndr-64",
            "ndr-imix-v6-1k",
            "ping",
            "ping-v6",
            "latency-idle",
            "tcp-1-v6",
            "tcp-bidir-v6-1m",
            "udp-128-v6",
            "latency-idle-v6",
            "latency-load-1k",
            "connections-v6",
        ] {
            assert_eq!(name.parse::<Scenario>().unwrap().to_string(), name);
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for name in [
            "",
            "tcp",
            "tcp-0",
            "tcp-129",
            "tcp-1-sideways",
            "udp-",
            "udp-61",
            "udp-1519",
            "latency",
            "udp-64-at-",
            "udp-64-at-0",
            "udp-64-at-kernel",
            "udp-64-at-own0",
            "ndr-",
            "ndr-63-at-10",
            "tcp-1-2k",
            "tcp-1-1k-v6",
        ] {
            assert!(name.parse::<Scenario>().is_err(), "{name}");
        }
        // An IPv6 and a UDP header alone are longer than what a 64-byte frame holds.
        assert_eq!(
            "udp-64-v6".parse::<Scenario>(),
            Err(ScenarioError::FrameSize { text: "udp-64-v6".into() })
        );
    }

    #[test]
    fn a_64_byte_frame_has_an_ip_length_of_46() {
        assert_eq!(Scenario::udp_payload(64, Family::V4), Some(46 - 20 - 8));
        assert_eq!(Scenario::udp_payload(1518, Family::V4), Some(1472));
        assert_eq!(Scenario::udp_payload(1518, Family::V6), Some(1452));
        assert_eq!(Scenario::udp_payload(10, Family::V4), None);
    }

    #[test]
    fn the_mix_is_seven_to_four_to_one() {
        let sizes = Frames::Imix.sizes(Family::V4);
        let of = |size: u16| sizes.iter().filter(|&&s| s == size).count();
        assert_eq!((of(64), of(594), of(1518), sizes.len()), (7, 4, 1, 12));
        let mean = f64::from(sizes.iter().map(|&s| u32::from(s)).sum::<u32>()) / 12.0;
        assert!((mean - 361.8).abs() < 0.1, "{mean}");
    }

    #[test]
    fn sets_are_scenarios_by_one_name() {
        assert_eq!("tcp-1".parse(), Ok(Scenarios(vec!["tcp-1".parse().unwrap()])));
        assert!("fast".parse::<Scenarios>().is_err());
    }

    #[test]
    fn shares_depend_on_the_search() {
        let depends = |name: &str| name.parse::<Scenario>().unwrap().depends_on().map(|s| s.to_string());
        assert_eq!(depends("udp-64-at-kernel70").unwrap(), "ndr-64");
        assert_eq!(depends("udp-82-at-own70-v6-1k").unwrap(), "ndr-82-v6-1k");
        assert_eq!(depends("udp-64-at-1000"), None);
    }
}
