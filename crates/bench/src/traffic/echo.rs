//! ICMP echo: whether each request is answered exactly once and unharmed, and how long that takes.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::IpAddr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use nsrouter_wire::icmp::HEADER_BYTES;

use super::icmp::{IcmpSocket, Kind};

/// The requests to send.
#[derive(Debug, Clone, Copy)]
pub struct EchoOptions {
    /// Requests, each sent after the reply to the one before. At most 65,536: each has its own sequence
    /// number.
    pub count: u32,
    /// Bytes after the ICMP header. A request longer than the path's MTU is sent in fragments.
    pub payload_bytes: usize,
    /// The least time from one request to the next.
    pub interval: Duration,
    /// How long to wait for one reply.
    pub patience: Duration,
    /// How long to listen for duplicates after the last reply.
    pub linger: Duration,
    /// The end of every wait.
    pub deadline: Instant,
}

/// The answers to the requests.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EchoReport {
    /// Requests sent.
    pub sent: u32,
    /// Requests that were answered.
    pub answered: u32,
    /// Replies to a request that had been answered before, or from an address that was not asked.
    pub surplus: u32,
    /// Replies with a wrong checksum or payload.
    pub corrupt: u32,
    /// Requests answered by an ICMP error, or refused by the sending kernel.
    pub refused: u32,
    /// The round trip of every answered request, in the order of the requests.
    pub round_trips: Vec<Duration>,
}

impl EchoReport {
    /// Whether every request was answered exactly once, unharmed.
    pub fn clean(&self) -> bool {
        self.sent > 0 && self.answered == self.sent && self.surplus + self.corrupt + self.refused == 0
    }
}

/// An identifier that other programs in the namespace are unlikely to use, and other threads of this one
/// never use at the same time, so that replies are not confused.
fn fresh_ident() -> u16 {
    static FIRST: OnceLock<u16> = OnceLock::new();
    static COUNT: AtomicU16 = AtomicU16::new(0);
    let first = *FIRST.get_or_init(|| {
        let [low, high, ..] = RandomState::new().hash_one(std::process::id()).to_ne_bytes();
        u16::from_ne_bytes([low, high])
    });
    first.wrapping_add(COUNT.fetch_add(1, Ordering::Relaxed))
}

/// Sends echo requests to `target` from the calling thread's namespace.
///
/// # Errors
/// The raw socket cannot be opened or read. Loss and refusal by the network are results, not errors.
pub fn echo(target: IpAddr, options: &EchoOptions) -> io::Result<EchoReport> {
    let ident = fresh_ident();
    let mut exchange = Exchange {
        socket: IcmpSocket::open(target)?,
        target,
        ident,
        payload: (0u8..=255).cycle().take(options.payload_bytes).collect(),
        requests: Vec::new(),
        report: EchoReport::default(),
    };
    for sequence in (0..=u16::MAX).take(usize::try_from(options.count).unwrap_or(usize::MAX)) {
        let start = Instant::now();
        if start >= options.deadline {
            break;
        }
        exchange.request(sequence, start);
        exchange.listen((start + options.patience).min(options.deadline), Some(sequence))?;
        exchange.listen((start + options.interval).min(options.deadline), None)?;
    }
    exchange.listen((Instant::now() + options.linger).min(options.deadline), None)?;
    Ok(exchange.into_report())
}

/// The state of a request.
enum Request {
    Waiting { since: Instant },
    Answered { round_trip: Duration },
    Refused,
}

struct Exchange {
    socket: IcmpSocket,
    target: IpAddr,
    ident: u16,
    payload: Vec<u8>,
    /// By sequence number.
    requests: Vec<Request>,
    report: EchoReport,
}

impl Exchange {
    /// Sends one request. One that the kernel does not send counts as refused, like one that a router
    /// refuses.
    fn request(&mut self, sequence: u16, now: Instant) {
        // No two requests have the same payload, so that a stale buffer on the path is noticed.
        for (byte, fresh) in self.payload.iter_mut().zip(sequence.to_be_bytes()) {
            *byte = fresh;
        }
        self.report.sent += 1;
        let sent = self.socket.send_echo(self.target, self.ident, sequence, &self.payload);
        self.requests.push(if sent.is_ok() { Request::Waiting { since: now } } else { Request::Refused });
    }

    /// Receives until then, or until the request `awaited` is answered or refused.
    fn listen(&mut self, until: Instant, awaited: Option<u16>) -> io::Result<()> {
        loop {
            let done = |awaited: u16| {
                !matches!(self.requests.get(usize::from(awaited)), Some(Request::Waiting { .. }))
            };
            if awaited.is_some_and(done) {
                return Ok(());
            }
            let Some(message) = self.socket.receive(until)? else {
                return Ok(());
            };
            let now = Instant::now();
            match message.kind {
                Kind::EchoReply => {
                    let (ident, sequence) = message.echo_ids();
                    let Some(request) =
                        self.requests.get_mut(usize::from(sequence)).filter(|_| ident == self.ident)
                    else {
                        continue;
                    };
                    let payload = &message.bytes[HEADER_BYTES..];
                    let fresh = self.payload.len().min(2);
                    let whole = message.checksum_good
                        && payload.len() == self.payload.len()
                        && payload[..fresh] == sequence.to_be_bytes()[..fresh]
                        && payload[fresh..] == self.payload[fresh..];
                    match request {
                        _ if message.from != self.target => self.report.surplus += 1,
                        _ if !whole => self.report.corrupt += 1,
                        Request::Waiting { since } => {
                            *request = Request::Answered { round_trip: now.duration_since(*since) };
                        }
                        Request::Answered { .. } | Request::Refused => self.report.surplus += 1,
                    }
                }
                Kind::Unreachable | Kind::PortUnreachable | Kind::TimeExceeded => {
                    let quoted = message.quoted().filter(|(to, _, quote)| {
                        *to == self.target && quote[4..6] == self.ident.to_be_bytes()
                    });
                    let Some((_, _, quote)) = quoted else { continue };
                    let sequence = usize::from(u16::from_be_bytes([quote[6], quote[7]]));
                    if let Some(request @ Request::Waiting { .. }) = self.requests.get_mut(sequence) {
                        *request = Request::Refused;
                    }
                }
                Kind::EchoRequest | Kind::Other => {}
            }
        }
    }

    fn into_report(mut self) -> EchoReport {
        for request in self.requests {
            match request {
                Request::Waiting { .. } => {}
                Request::Answered { round_trip } => {
                    self.report.answered += 1;
                    self.report.round_trips.push(round_trip);
                }
                Request::Refused => self.report.refused += 1,
            }
        }
        self.report
    }
}
