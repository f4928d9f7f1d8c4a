//! Notes below the tables: the method, the marks and terms, the labs, and the warnings.

use super::Report;
use crate::metric::Metric;
use crate::stats::ROUNDS_FOR_A_VERDICT;

/// The notes to a report, a sentence each.
pub fn notes(report: &Report) -> Vec<String> {
    let environment = &report.environment;
    let rounds = environment.rounds;
    let mut notes = vec![format!(
        "medians of {rounds} round{} of {} s with 95% bootstrap intervals; traffic by {}",
        if rounds == 1 { "" } else { "s" },
        environment.seconds,
        environment.traffic
    )];
    // Both are unknown where nothing was measured.
    if environment.offloads == environment.cpu_placement {
        notes.push(environment.offloads.clone());
    } else {
        notes.push(format!("{}; {}", environment.offloads, environment.cpu_placement));
    }
    if let (Some(name), true) = (environment.congestion_control(), report.has(Metric::Throughput)) {
        notes.push(format!("the hosts' TCP congestion control is {name}"));
    }
    if rounds as usize >= ROUNDS_FOR_A_VERDICT {
        notes.push("~ marks a ratio that does not differ significantly from 1".into());
    }
    if report.has(Metric::Forwarded) {
        notes.push(
            "UDP: offered is what the sender put on its interface, forwarded what reached the receiver's interface, delivered \
             what the receiving program read; router loss is between the first two. Kernel forwarding runs in the sender and \
             slows it down, others do not"
                .into(),
        );
    }
    if report.has(Metric::NoLossRate) {
        notes.push(environment.no_loss_method.clone());
    }
    if report.has(Metric::CpuPerGb) {
        notes.push(
            "cpu: CPU seconds of the whole machine, hosts and generators included, for what reached a host's interface; router \
             cpu: of the router's own threads, of which the kernel has none"
                .into(),
        );
    }
    notes.extend(report.warnings.iter().map(|warning| format!("warning: {warning}")));
    notes
}
