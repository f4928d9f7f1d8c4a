//! What is measured: modes, scenarios, and the order in which their cells run.

use std::fmt;
use std::str::FromStr;

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use crate::traffic::TrafficChoice;

/// Backend of the userspace mode where none is named.
const DEFAULT_BACKEND: &str = "packet";

/// Who forwards: one column of the comparison.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Mode {
    /// The kernel's `ip_forward`.
    Kernel,
    /// Our engine over the named backend. Which backends exist is the binary's business: it refuses what it lacks.
    Userspace {
        /// The word for `--backend`.
        backend: String,
    },
}

impl Mode {
    /// The binary's own arguments that start this mode.
    pub fn arguments(&self) -> Vec<String> {
        match self {
            Mode::Kernel => vec!["--mode".into(), "kernel".into()],
            Mode::Userspace { backend } => {
                vec!["--mode".into(), "userspace".into(), "--backend".into(), backend.clone()]
            }
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Mode::Kernel => f.write_str("kernel"),
            Mode::Userspace { backend } => write!(f, "userspace:{backend}"),
        }
    }
}

impl FromStr for Mode {
    type Err = PlanError;

    fn from_str(text: &str) -> Result<Self, PlanError> {
        match text.split_once(':') {
            None if text == "kernel" => Ok(Mode::Kernel),
            None if text == "userspace" => Ok(Mode::Userspace { backend: DEFAULT_BACKEND.into() }),
            Some(("userspace", backend))
                if !backend.is_empty()
                    && backend.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit()) =>
            {
                Ok(Mode::Userspace { backend: backend.into() })
            }
            _ => Err(PlanError::Mode { text: text.into() }),
        }
    }
}

/// Which way TCP data flows. The client is in t1, the server in t2.
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
    /// IPv6: the scenario's name ends in `-v6`.
    V6,
}

/// What a scenario sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Load {
    /// TCP bulk, as fast as it goes.
    Tcp {
        /// Connections at once (in each direction).
        streams: u16,
        /// Which way.
        direction: Direction,
    },
    /// UDP of one frame size, as fast as the sender can.
    Udp {
        /// Bytes of the Ethernet frame including its FCS, as RFC 2544 section 9.1 counts.
        frame_bytes: u16,
    },
    /// Echo round trips one at a time, over an otherwise idle path.
    LatencyIdle,
    /// The same beside one TCP bulk stream from t1 to t2.
    LatencyLoad,
    /// New TCP connections, opened and closed as fast as they are accepted.
    Connections,
}

/// One row of the comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Scenario {
    /// What is sent.
    pub load: Load,
    /// In which address family.
    pub family: Family,
}

/// Ethernet header (14) and FCS (4), in bytes: what a frame is longer than its IP packet.
const ETHERNET_AND_FCS: u16 = 18;
/// UDP header, in bytes.
const UDP_HEADER: u16 = 8;
/// Smallest UDP payload that the generators can number and time-stamp, in bytes.
const MIN_UDP_PAYLOAD: u16 = 16;
/// Largest frame on a link with an MTU of 1500, FCS included, in bytes.
const MAX_FRAME: u16 = 1518;

impl Scenario {
    /// Bytes of UDP payload that make a frame of `frame_bytes` (FCS included): a 64-byte frame has an IPv4 length of 46
    /// and 18 bytes of payload. `None` where the headers and a sequence number do not fit.
    pub fn udp_payload(frame_bytes: u16, family: Family) -> Option<u16> {
        let ip_header = match family {
            Family::V4 => 20,
            Family::V6 => 40,
        };
        let payload = frame_bytes.checked_sub(ETHERNET_AND_FCS + ip_header + UDP_HEADER)?;
        (payload >= MIN_UDP_PAYLOAD && frame_bytes <= MAX_FRAME).then_some(payload)
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
            Load::Udp { frame_bytes } => write!(f, "udp-{frame_bytes}")?,
            Load::LatencyIdle => f.write_str("latency-idle")?,
            Load::LatencyLoad => f.write_str("latency-load")?,
            Load::Connections => f.write_str("connections")?,
        }
        match self.family {
            Family::V4 => Ok(()),
            Family::V6 => f.write_str("-v6"),
        }
    }
}

impl FromStr for Scenario {
    type Err = PlanError;

    fn from_str(text: &str) -> Result<Self, PlanError> {
        let unknown = || PlanError::Scenario { text: text.into() };
        let (name, family) = match text.strip_suffix("-v6") {
            Some(name) => (name, Family::V6),
            None => (text, Family::V4),
        };
        let load = if let Some(rest) = name.strip_prefix("tcp-") {
            let (streams, direction) = match rest.split_once('-') {
                None if rest == "bidir" => ("1", Direction::Both),
                None => (rest, Direction::Forward),
                Some((streams, "reverse")) => (streams, Direction::Reverse),
                Some((streams, "bidir")) => (streams, Direction::Both),
                Some(_) => return Err(unknown()),
            };
            let streams: u16 = streams.parse().map_err(|_| unknown())?;
            // iperf3 refuses more than 128 streams.
            if !(1..=128).contains(&streams) {
                return Err(unknown());
            }
            Load::Tcp { streams, direction }
        } else if let Some(size) = name.strip_prefix("udp-") {
            let frame_bytes = size.parse().map_err(|_| unknown())?;
            if Scenario::udp_payload(frame_bytes, family).is_none() {
                return Err(PlanError::FrameSize { text: text.into() });
            }
            Load::Udp { frame_bytes }
        } else {
            match name {
                "latency-idle" => Load::LatencyIdle,
                "latency-load" => Load::LatencyLoad,
                "connections" => Load::Connections,
                _ => return Err(unknown()),
            }
        };
        Ok(Scenario { load, family })
    }
}

/// A mode or scenario that there is not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// Not a mode.
    #[error(
        "there is no mode `{text}`; the modes are kernel, userspace and userspace:BACKEND (packet, for one)"
    )]
    Mode {
        /// What was asked for.
        text: String,
    },
    /// Not a scenario.
    #[error(
        "there is no scenario `{text}`; there are tcp-N, tcp-N-reverse, tcp-bidir, udp-SIZE, latency-idle, latency-load \
         and connections, each also with the suffix -v6"
    )]
    Scenario {
        /// What was asked for.
        text: String,
    },
    /// A frame that does not exist or holds no numbered datagram.
    #[error(
        "`{text}` cannot be sent: frames are 62 (IPv6: 82) to 1518 bytes long with their FCS, 64 being the usual least"
    )]
    FrameSize {
        /// What was asked for.
        text: String,
    },
    /// Nothing to do.
    #[error("nothing to measure: give at least one {what}")]
    Empty {
        /// Mode, scenario or round.
        what: &'static str,
    },
    /// The same mode or scenario twice would be counted as one with twice the samples.
    #[error("`{text}` is given twice")]
    Twice {
        /// The word that is there twice.
        text: String,
    },
}

/// A whole benchmark, as asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Columns. Ratios are to [`Mode::Kernel`], where it is among them.
    pub modes: Vec<Mode>,
    /// Rows.
    pub scenarios: Vec<Scenario>,
    /// Samples of every cell.
    pub rounds: u32,
    /// Measured time of a cell, without its warm-up.
    pub seconds: u32,
    /// Time of the same load before it counts.
    pub warm_up_seconds: u32,
    /// Decides the order of the cells and the resampling.
    pub seed: u64,
    /// What generates the traffic.
    pub traffic: TrafficChoice,
}

/// One measurement: this scenario in this mode, once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    /// Counted from 0.
    pub round: u32,
    /// What is sent.
    pub scenario: Scenario,
    /// Who forwards.
    pub mode: Mode,
}

impl Plan {
    /// Whether the plan can be run at all.
    ///
    /// # Errors
    /// Says what is missing or double.
    pub fn validate(&self) -> Result<(), PlanError> {
        let empty = [
            (self.modes.is_empty(), "mode"),
            (self.scenarios.is_empty(), "scenario"),
            (self.rounds == 0, "round"),
            (self.seconds == 0, "second"),
        ];
        if let Some(&(_, what)) = empty.iter().find(|(empty, _)| *empty) {
            return Err(PlanError::Empty { what });
        }
        let modes = self.modes.iter().map(ToString::to_string);
        let mut names: Vec<String> = modes.chain(self.scenarios.iter().map(ToString::to_string)).collect();
        names.sort();
        match names.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(PlanError::Twice { text: pair[0].clone() }),
            None => Ok(()),
        }
    }

    /// All cells in the order in which they run: round by round, the scenarios of a round shuffled, and of each scenario
    /// the modes right after each other, shuffled too. What the machine does meanwhile then meets all modes alike.
    pub fn schedule(&self) -> Vec<Cell> {
        let mut rng = StdRng::seed_from_u64(self.seed);
        let mut cells = Vec::new();
        for round in 0..self.rounds {
            let mut scenarios = self.scenarios.clone();
            scenarios.shuffle(&mut rng);
            for scenario in scenarios {
                let mut modes = self.modes.clone();
                modes.shuffle(&mut rng);
                cells.extend(modes.into_iter().map(|mode| Cell { round, scenario, mode }));
            }
        }
        cells
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn plan(rounds: u32, seed: u64) -> Plan {
        Plan {
            modes: ["kernel", "userspace:packet", "userspace:tap"].map(|m| m.parse().unwrap()).into(),
            scenarios: ["tcp-1", "udp-64", "latency-idle"].map(|s| s.parse().unwrap()).into(),
            rounds,
            seconds: 1,
            warm_up_seconds: 1,
            seed,
            traffic: TrafficChoice::Auto,
        }
    }

    #[test]
    fn names_read_as_they_are_written() {
        for name in ["kernel", "userspace:packet", "userspace:xdp"] {
            assert_eq!(name.parse::<Mode>().unwrap().to_string(), name);
        }
        assert_eq!("userspace".parse::<Mode>().unwrap().to_string(), "userspace:packet");
        for name in [
            "tcp-1",
            "tcp-4",
            "tcp-1-reverse",
            "tcp-bidir",
            "tcp-4-bidir",
            "udp-64",
            "udp-1518",
            "latency-idle",
            "tcp-1-v6",
            "tcp-bidir-v6",
            "udp-128-v6",
            "latency-idle-v6",
            "latency-load",
            "connections-v6",
        ] {
            assert_eq!(name.parse::<Scenario>().unwrap().to_string(), name);
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for name in ["", "Kernel", "userspace:", "kernel:packet", "userspace:a b"] {
            assert!(name.parse::<Mode>().is_err(), "{name}");
        }
        for name in ["", "tcp", "tcp-0", "tcp-129", "tcp-1-sideways", "udp-", "udp-61", "udp-1519", "latency"]
        {
            assert!(name.parse::<Scenario>().is_err(), "{name}");
        }
        // An IPv6 and a UDP header alone are longer than what a 64-byte frame holds.
        assert_eq!("udp-64-v6".parse::<Scenario>(), Err(PlanError::FrameSize { text: "udp-64-v6".into() }));
    }

    #[test]
    fn a_64_byte_frame_has_an_ip_length_of_46() {
        assert_eq!(Scenario::udp_payload(64, Family::V4), Some(46 - 20 - 8));
        assert_eq!(Scenario::udp_payload(1518, Family::V4), Some(1472));
        assert_eq!(Scenario::udp_payload(1518, Family::V6), Some(1452));
        assert_eq!(Scenario::udp_payload(10, Family::V4), None);
    }

    #[test]
    fn every_cell_once_a_round_and_modes_side_by_side() {
        let plan = plan(4, 11);
        let cells = plan.schedule();
        assert_eq!(cells.len(), 4 * 3 * 3);
        for group in cells.chunks(3) {
            assert!(group.iter().all(|c| c.round == group[0].round && c.scenario == group[0].scenario));
            for mode in &plan.modes {
                assert_eq!(group.iter().filter(|c| c.mode == *mode).count(), 1);
            }
        }
        assert!(cells.windows(2).all(|pair| pair[0].round <= pair[1].round));
        for cell in &cells {
            assert_eq!(cells.iter().filter(|c| *c == cell).count(), 1);
        }
    }

    #[test]
    fn the_seed_decides_the_order() {
        assert_eq!(plan(5, 1).schedule(), plan(5, 1).schedule());
        assert_ne!(plan(5, 1).schedule(), plan(5, 2).schedule());
        let first: Vec<Mode> = plan(20, 3).schedule().chunks(3).map(|c| c[0].mode.clone()).collect();
        assert!(first.iter().any(|m| *m != first[0]), "the same mode goes first every time");
    }

    #[test]
    fn a_plan_must_say_something_and_nothing_twice() {
        assert_eq!(plan(1, 1).validate(), Ok(()));
        assert_eq!(plan(0, 1).validate(), Err(PlanError::Empty { what: "round" }));
        let mut double = plan(1, 1);
        double.modes.push(Mode::Kernel);
        assert_eq!(double.validate(), Err(PlanError::Twice { text: "kernel".into() }));
    }
}
