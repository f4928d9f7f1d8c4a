//! The FORWARD policy of the machine's own packet filter, which a router in its namespace would meet.

use std::fs;
use std::process::{Command, Stdio};

use nix::unistd::Uid;

use crate::command::doctor::programs::find;

/// Whether the machine's own filter lets packets through.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Forward {
    Accepts,
    Drops(&'static str),
    Unknown(&'static str),
}

/// Reads the machine's own filter; changes nothing.
pub(super) fn forward_policy() -> Forward {
    if !Uid::effective().is_root() {
        return Forward::Unknown("only root may read the filter");
    }
    let print = |name: &str, arguments: &[&str]| {
        let output = Command::new(find(name)?).args(arguments).stdin(Stdio::null()).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    };
    // iptables-save would load its kernel module where nobody uses it.
    let iptables_in_use =
        fs::read_to_string("/proc/net/ip_tables_names").is_ok_and(|tables| tables.contains("filter"));
    let legacy = iptables_in_use.then(|| print("iptables-save", &["-t", "filter"])).flatten();
    match (legacy, print("nft", &["list", "ruleset"])) {
        (Some(rules), _) if iptables_drops(&rules) => Forward::Drops("iptables"),
        (_, Some(rules)) if nft_drops(&rules) => Forward::Drops("nftables"),
        (_, Some(_)) => Forward::Accepts,
        (Some(_), None) => Forward::Accepts,
        (None, None) => Forward::Unknown("neither nft nor iptables-save is installed"),
    }
}

/// Whether the FORWARD chain of `iptables-save -t filter` drops what no rule takes.
fn iptables_drops(rules: &str) -> bool {
    rules.lines().any(|line| line.starts_with(":FORWARD DROP"))
}

/// Whether a base chain of `nft list ruleset` on the forward hook drops what no rule takes.
fn nft_drops(rules: &str) -> bool {
    rules.lines().any(|line| line.contains("hook forward") && line.contains("policy drop"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_that_drop_are_recognised() {
        assert!(iptables_drops(
            "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD DROP [0:0]\n:OUTPUT ACCEPT [0:0]\nCOMMIT\n"
        ));
        assert!(!iptables_drops("*filter\n:INPUT DROP [0:0]\n:FORWARD ACCEPT [0:0]\nCOMMIT\n"));
        let nft = |policy: &str, hook: &str| {
            format!(
                "table ip filter {{\n\tchain X {{\n\t\ttype filter hook {hook} priority filter; policy {policy};\n\t}}\n}}\n"
            )
        };
        assert!(nft_drops(&nft("drop", "forward")));
        assert!(!nft_drops(&nft("accept", "forward")));
        assert!(!nft_drops(&nft("drop", "input")));
        assert!(!nft_drops(""));
    }
}
