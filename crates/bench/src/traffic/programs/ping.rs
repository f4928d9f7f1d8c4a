//! The ping of iputils: its round trip ends when the kernel receives the reply, not when the program wakes.

use std::net::IpAddr;
use std::time::Duration;

use super::{Program, ProgramError, Said};

/// From one echo request to the next: the shortest interval that ping allows every user.
const INTERVAL: Duration = Duration::from_millis(200);
const PING: Program = Program { name: "ping", package: "iputils-ping" };

/// A run of ping that failed.
#[derive(Debug, thiserror::Error)]
pub enum PingError {
    /// It is not installed, does not start or does not end.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// No reply came.
    #[error("ping had no answer{}", if .said.is_empty() { String::new() } else { format!(": {}", .said) })]
    Nothing {
        /// The first line of its standard error.
        said: String,
    },
}

/// Its name and version, and the round trips of one run.
#[derive(Debug)]
pub(crate) struct Pinged {
    pub(crate) program: String,
    pub(crate) sent: u32,
    /// Of the requests that were answered, in their order, without those of the warm-up.
    pub(crate) round_trips: Vec<Duration>,
}

/// Pings `target` from the calling thread's namespace.
pub(crate) fn ping(target: IpAddr, seconds: u32, warm_up_seconds: u32) -> Result<Pinged, PingError> {
    let version = PING.version("-V")?;
    let program =
        String::from_utf8_lossy(&version.stdout).trim().replacen(',', "", 1).replacen(" from", "", 1);
    let a_second = u32::try_from(Duration::from_secs(1).as_millis() / INTERVAL.as_millis()).unwrap_or(1);
    // The first one also resolves the neighbours.
    let warm_up = (warm_up_seconds * a_second).max(1);
    let sent = seconds * a_second;
    let interval = INTERVAL.as_secs_f64().to_string();
    let arguments = ["-n", "-i", &interval, "-c", &(warm_up + sent).to_string(), &target.to_string()];
    let patience = Duration::from_secs(u64::from(seconds + warm_up_seconds) + 15);
    let said = PING.run(&arguments.map(str::to_owned), patience)?;
    let round_trips = parse(&said.output, warm_up);
    if round_trips.is_empty() {
        let Said { complaint: said, .. } = said;
        return Err(PingError::Nothing { said });
    }
    Ok(Pinged { program, sent, round_trips })
}

/// Parses lines like `64 bytes from 10.10.252.1: icmp_seq=2 ttl=63 time=0.064 ms` (iputils 20221126), those
/// past the warm-up.
fn parse(text: &str, warm_up: u32) -> Vec<Duration> {
    let value = |line: &str, key: &str| -> Option<f64> {
        line.split_whitespace().find_map(|word| word.strip_prefix(key)?.parse().ok())
    };
    text.lines()
        .filter(|line| value(line, "icmp_seq=").is_some_and(|sequence| sequence > f64::from(warm_up)))
        .filter_map(|line| Duration::try_from_secs_f64(value(line, "time=")? / 1e3).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    // Output of ping of iputils 20221126 in the lab; the fourth reply was lost.
    const TEXT: &str = "\
PING 10.10.252.1 (10.10.252.1) 56(84) bytes of data.
64 bytes from 10.10.252.1: icmp_seq=1 ttl=63 time=0.245 ms
64 bytes from 10.10.252.1: icmp_seq=2 ttl=63 time=0.064 ms
64 bytes from 10.10.252.1: icmp_seq=3 ttl=63 time=0.071 ms
From 10.10.251.2 icmp_seq=4 Destination Host Unreachable
64 bytes from 10.10.252.1: icmp_seq=5 ttl=63 time=1.50 ms

--- 10.10.252.1 ping statistics ---
5 packets transmitted, 4 received, +1 errors, 20% packet loss, time 818ms
rtt min/avg/max/mdev = 0.064/0.470/1.500/0.600 ms
";

    #[test]
    fn round_trips_past_the_warm_up_are_read() {
        let us = |n| Duration::from_micros(n);
        assert_eq!(parse(TEXT, 1), [us(64), us(71), us(1500)]);
        assert_eq!(parse(TEXT, 3), [us(1500)]);
        assert_eq!(parse("ping: connect: Network is unreachable\n", 0), []);
    }
}
