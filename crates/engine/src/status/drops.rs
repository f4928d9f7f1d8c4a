//! Sentences on the drop reasons of both modes.

use nsrouter_router::DropReason;

/// A drop counter of the kernel's that no reason of the userspace router matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KernelDrop {
    /// Its name in the status.
    pub(crate) name: &'static str,
    /// Its meaning.
    pub(crate) sentence: &'static str,
}

/// A TTL that expired and a malformed header, which the kernel counts as one.
pub(crate) const HEADER_ERRORS: KernelDrop = KernelDrop {
    name: "header_errors",
    sentence: "The TTL or hop limit expired, or an IP header was malformed: the kernel counts both as one.",
};
/// Packets with an invalid address.
pub(crate) const ADDRESS_ERRORS: KernelDrop = KernelDrop {
    name: "address_errors",
    sentence: "An address that may not be there: the kernel does not tell which.",
};
/// Packets that fail the reverse path filter.
pub(crate) const RP_FILTER: KernelDrop = KernelDrop {
    name: "rp_filter",
    sentence: "The way back to the source leads by another port (rp_filter).",
};
/// Packets discarded on arrival.
pub(crate) const IN_DISCARDS: KernelDrop = KernelDrop {
    name: "in_discards",
    sentence: "Discarded on arrival for want of memory, or by a policy, or because IPv6 is off there.",
};
/// Packets discarded on departure.
pub(crate) const OUT_DISCARDS: KernelDrop = KernelDrop {
    name: "out_discards",
    sentence: "Discarded on departure for want of memory, or by a policy.",
};
/// Packets whose fate the kernel counts nowhere.
pub(crate) const UNACCOUNTED: KernelDrop = KernelDrop {
    name: "unaccounted",
    sentence: "The kernel counts nowhere what became of them: firewall rules, blackhole routes, groups that nobody joined.",
};

/// All of them.
pub(crate) const KERNEL_DROPS: [KernelDrop; 6] =
    [HEADER_ERRORS, ADDRESS_ERRORS, RP_FILTER, IN_DISCARDS, OUT_DISCARDS, UNACCOUNTED];

/// The meaning of a drop reason of either mode, as a sentence; `None` where there is no such reason.
#[must_use]
pub fn drop_sentence(name: &str) -> Option<&'static str> {
    let router = DropReason::ALL.iter().find(|reason| reason.name() == name).map(|reason| reason.sentence());
    router.or_else(|| KERNEL_DROPS.iter().find(|drop| drop.name == name).map(|drop| drop.sentence))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_its_own_sentence() {
        for KernelDrop { name, sentence } in KERNEL_DROPS {
            assert!(DropReason::ALL.iter().all(|reason| reason.name() != name), "{name}");
            assert_eq!(drop_sentence(name), Some(sentence));
            assert!(sentence.ends_with('.'), "{sentence}");
        }
    }
}
