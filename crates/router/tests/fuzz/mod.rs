//! Mutated frames through `Router::forward`: how they are made, what must hold after each, and how deep they got.
//!
//! Shared by the driver (`examples/fuzz.rs`, millions of frames) and the ordinary tests (`tests/fuzz.rs`, a smaller number
//! and every case that was ever found).

pub(crate) mod case;
pub(crate) mod corpus;
pub(crate) mod lab;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use nsrouter_router::DropReason;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use case::Case;
use lab::Lab;

/// Reasons that only the engine gives, which the router never does.
const OF_THE_ENGINE: [DropReason; 11] = [
    DropReason::HoldOverflow,
    DropReason::HoldExpired,
    DropReason::NeighbourLimit,
    DropReason::RxTruncated,
    DropReason::RxTooBig,
    DropReason::RxUnsupported,
    DropReason::TooManySegments,
    DropReason::TxFull,
    DropReason::TxError,
    DropReason::TxTooBig,
    DropReason::WorkerStopped,
];

/// What the router can say of its own accord: the names that [`lab::Said`] gives them.
const REPLIES: [&str; 28] = [
    "arp reply",
    "icmp 0/0",
    "icmp 3/0",
    "icmp 3/1",
    "icmp 3/2",
    "icmp 3/3",
    "icmp 3/4",
    "icmp 3/13",
    "icmp 5/1",
    "icmp 11/0",
    "icmp 12/0",
    "icmpv6 1/0",
    "icmpv6 1/1",
    "icmpv6 1/2",
    "icmpv6 1/3",
    "icmpv6 1/4",
    "icmpv6 2/0",
    "icmpv6 3/0",
    "icmpv6 4/1",
    "icmpv6 129/0",
    "icmpv6 134/0",
    "icmpv6 136/0",
    "icmpv6 137/0",
    "tcp reset",
    "fragment",
    "held",
    "to host",
    "sent",
];

/// How deep a run got.
#[derive(Debug, Default)]
pub(crate) struct Depth {
    /// Frames pushed.
    pub(crate) frames: u64,
    /// Frames that reached a route look-up.
    pub(crate) lookups: u64,
    /// Frames dropped, by reason.
    pub(crate) drops: BTreeMap<&'static str, u64>,
    /// What the router said, by kind.
    pub(crate) said: BTreeMap<String, u64>,
    /// Cases that broke something, with what.
    pub(crate) findings: Vec<(Case, String)>,
}

impl Depth {
    /// The drop reasons and replies that were never hit.
    pub(crate) fn missing(&self) -> Vec<&'static str> {
        let reasons = DropReason::ALL
            .into_iter()
            .filter(|reason| !OF_THE_ENGINE.contains(reason))
            .map(DropReason::name)
            .filter(|name| !self.drops.contains_key(name));
        reasons.chain(REPLIES.into_iter().filter(|name| !self.said.contains_key(*name))).collect()
    }

    /// The share of frames that reached a route look-up.
    pub(crate) fn lookup_share(&self) -> f64 {
        #[allow(clippy::cast_precision_loss)] // a share for people
        let share = self.lookups as f64 / self.frames.max(1) as f64;
        share
    }
}

/// Pushes `frames` mutated frames through routers of several configurations.
pub(crate) fn run(seed: u64, frames: u64) -> Depth {
    let mut random = SmallRng::seed_from_u64(seed);
    let corpus = corpus::frames();
    let mut labs = Lab::all();
    let mut depth = Depth::default();
    for _ in 0..frames {
        let case = corpus::mutate(&corpus, &mut random);
        let index = random.random_range(0..labs.len());
        // Time goes on by a few milliseconds a frame, so that rate limits let something through.
        let step_ns = random.random_range(0..20_000_000);
        let lab = &mut labs[index];
        match catch_unwind(AssertUnwindSafe(|| lab.push(&case, step_ns))) {
            Ok(Ok(())) => {}
            Ok(Err(broken)) => depth.findings.push((case, broken)),
            Err(panic) => {
                let text = panic.downcast_ref::<String>().cloned().unwrap_or_else(|| "a panic".to_owned());
                depth.findings.push((case, text));
                labs = Lab::all();
            }
        }
        if depth.findings.len() >= 10 {
            break;
        }
    }
    for lab in &labs {
        let counters = lab.router.counters();
        depth.frames += counters.received;
        depth.lookups += counters.lookups;
        for reason in DropReason::ALL {
            if counters.drops(reason) > 0 {
                *depth.drops.entry(reason.name()).or_default() += counters.drops(reason);
            }
        }
        for (name, count) in &lab.out.said.0 {
            *depth.said.entry(name.clone()).or_default() += count;
        }
    }
    depth
}

/// Pushes one case through every configuration; what broke, if anything.
pub(crate) fn replay(case: &Case) -> Result<(), String> {
    Lab::all().iter_mut().try_for_each(|lab| lab.push(case, 0))
}
