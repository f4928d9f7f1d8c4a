//! The programs that users of a lab may want, and where they are.

use std::path::PathBuf;

/// A program that someone who uses a lab may want.
pub(super) struct Program {
    pub(super) name: &'static str,
    pub(super) cost: &'static str,
    pub(super) remedy: &'static str,
}

/// All of them.
pub(super) const PROGRAMS: [Program; 7] = [
    Program {
        name: "iperf3",
        cost: "`nsrouter bench --traffic iperf3` does not work; the built-in generator does",
        remedy: "apt-get install iperf3",
    },
    Program {
        name: "iperf",
        cost: "`nsrouter bench --traffic iperf` does not work",
        remedy: "apt-get install iperf",
    },
    Program {
        name: "ping",
        cost: "`nsrouter check` has its own; `nsrouter exec t1 -- ping` does not work",
        remedy: "apt-get install iputils-ping",
    },
    Program {
        name: "traceroute",
        cost: "`nsrouter check` has its own; `nsrouter exec t1 -- traceroute` does not work",
        remedy: "apt-get install traceroute",
    },
    Program {
        name: "tracepath",
        cost: "`nsrouter exec t1 -- tracepath` does not work",
        remedy: "apt-get install iputils-tracepath",
    },
    Program {
        name: "tcpdump",
        cost: "no packet capture on a lab's links",
        remedy: "apt-get install tcpdump",
    },
    Program {
        name: "ip",
        cost: "`ip netns` is missing; nsrouter itself does not need it",
        remedy: "apt-get install iproute2",
    },
];

/// The program's path. The folders of the administrator's programs are not in every user's `PATH`.
pub(super) fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    folders.map(|folder| folder.join(name)).find(|file| file.is_file())
}
