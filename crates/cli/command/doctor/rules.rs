//! The rules by which the outcome of tries becomes findings.

use nsrouter_rings::BACKENDS;

use crate::command::doctor::filter::Forward;
use crate::command::doctor::finding::{Finding, State};
use crate::command::doctor::tries::{Seen, Tries, Try};

/// A GSO packet in bytes, of which buffers must hold several.
const GSO_PACKET_BYTES: u64 = 65_536;
/// GSO packets that a port's buffers should hold: a burst of the sender's.
const WANTED_GSO_PACKETS: u64 = 32;
/// The kernel's default of net.core.netdev_max_backlog, in frames.
const DEFAULT_BACKLOG: u64 = 1000;

/// The findings, in the order in which they are printed.
pub(super) fn findings(seen: &Seen) -> Vec<Finding> {
    let mut rows = vec![Finding::yes("kernel", seen.kernel.clone())];
    rows.push(match &seen.direct {
        Ok(_) => Finding::yes("network namespaces", "named, visible to `ip netns`"),
        Err(error) => Finding::of(
            "network namespaces",
            if seen.rootless.is_ok() { State::Limited } else { State::No },
            format!("{error} as user {}", seen.user),
            "only private labs, in a user namespace: not visible to `ip netns`, and without BPF",
            if seen.user.is_root() {
                "give this root CAP_SYS_ADMIN, as with `docker run --privileged`"
            } else {
                "run as root"
            },
        )
        .essential(),
    });
    // In a private lab /proc is its own, so nothing is lost there.
    if let Ok(tries) = &seen.direct {
        rows.push(Finding::tried(
            "settings",
            &tries.settings,
            "only private labs: sysctls below /proc/sys cannot be written here",
            "use --private; or a writable /proc/sys, which containers with full rights have",
        ));
    }
    rows.push(match &seen.rootless {
        Ok(tries) if tries.veth == Try::Works => Finding::yes("user namespaces", ""),
        Ok(tries) => {
            let detail = match &tries.veth {
                Try::Works => String::new(),
                Try::Fails(error) => format!("they grant no privileges: {error}"),
            };
            Finding::of("user namespaces", State::Limited, detail, NO_USER_NAMESPACES, ALLOW_USER_NAMESPACES)
        }
        Err(error) => Finding::of(
            "user namespaces",
            State::No,
            error.clone(),
            NO_USER_NAMESPACES,
            ALLOW_USER_NAMESPACES,
        ),
    });
    let (tries, privileged) = match (&seen.direct, &seen.rootless) {
        (Ok(tries), _) => (Some(tries), true),
        (Err(_), Ok(tries)) => (Some(tries), false),
        (Err(_), Err(_)) => (None, false),
    };
    if let Some(tries) = tries {
        rows.extend(of_tries(tries, privileged));
    }
    rows.extend(of_limits(seen, tries));
    for (program, found) in &seen.programs {
        rows.push(if *found {
            Finding::yes(program.name, "")
        } else {
            Finding::of(program.name, State::No, "not installed", program.cost, program.remedy)
        });
    }
    rows.push(match seen.forward {
        Forward::Accepts => Finding::yes("FORWARD policy", "the machine's own filter accepts forwarded packets"),
        Forward::Drops(whose) => Finding::of(
            "FORWARD policy",
            State::Limited,
            format!("DROP in the machine's own namespace ({whose}; Docker sets it)"),
            "only a lab with `--router-ns host` in kernel mode is dropped by it; routers in namespaces of their own are not",
            "leave the router in its namespace, or accept the lab's links in that filter",
        ),
        Forward::Unknown(why) => Finding::of(
            "FORWARD policy",
            State::Unknown,
            why,
            "a DROP policy there would stop a lab with `--router-ns host` in kernel mode, and no other",
            "leave the router in its namespace",
        ),
    });
    rows
}

const NO_USER_NAMESPACES: &str = "an ordinary user cannot run a lab; root can";
const ALLOW_USER_NAMESPACES: &str = "sysctl -w user.max_user_namespaces=10000, kernel.unprivileged_userns_clone=1 and \
     kernel.apparmor_restrict_unprivileged_userns=0 where they exist; or run as root";
const AS_ROOT: &str = "run as root, outside containers that drop the capability";
const MODERN_KERNEL: &str = "a kernel with CONFIG_BPF_SYSCALL";

fn of_tries(tries: &Tries, privileged: bool) -> Vec<Finding> {
    let needs_root = if privileged { MODERN_KERNEL } else { AS_ROOT };
    let veth =
        Finding::tried("veth links", &tries.veth, "no lab", "modprobe veth, or a kernel with CONFIG_VETH");
    let backends = BACKENDS.iter().filter_map(|backend| {
        let outcome = tries.backends.get(backend.name)?;
        let cost = format!("no userspace mode over the {} backend", backend.name);
        Some(Finding::tried(backend.facility, outcome, cost, backend.requirements))
    });
    let others = [
        Finding::tried(
            "TUN device",
            &tries.tun,
            "no host port in userspace mode: local programs on the router have no network access, and `check` skips those rows",
            "modprobe tun; read and write access to /dev/net/tun (in a container: --device /dev/net/tun)",
        ),
        Finding::tried(
            "bpf(2)",
            &tries.bpf,
            "no TCX guard and no xdp backend; sysctls alone keep the kernel silent on router ports",
            needs_root,
        ),
        Finding::tried(
            "TCX",
            &tries.tcx,
            "no guard ahead of the kernel's input path, which then takes time for every packet",
            if privileged { "Linux 6.6 or later" } else { AS_ROOT },
        ),
        Finding::tried("IPv6", &tries.ipv6, "labs carry IPv4 only", "boot without ipv6.disable=1"),
    ];
    std::iter::once(veth.essential()).chain(backends).chain(others).collect()
}

/// Limits of the machine on what sockets and devices may hold.
fn of_limits(seen: &Seen, tries: Option<&Tries>) -> Vec<Finding> {
    let forced = tries.is_some_and(|tries| tries.receive_buffer_force == Try::Works);
    let frames = |bytes: u64| format!("{bytes} bytes: {} frames of 64 KiB", bytes / GSO_PACKET_BYTES);
    let unknown = |what| Finding { state: State::Unknown, ..Finding::yes(what, "cannot be read") };
    let receive = "receive buffers";
    let send = "send buffers";
    let backlog = "device backlog";
    vec![
        match seen.rmem_max {
            None => unknown(receive),
            Some(bytes) if forced => {
                Finding::yes(receive, format!("{}; this user may exceed it", frames(bytes)))
            }
            Some(bytes) if bytes >= WANTED_GSO_PACKETS * GSO_PACKET_BYTES => {
                Finding::yes(receive, frames(bytes))
            }
            Some(bytes) => Finding::of(
                receive,
                State::Limited,
                frames(bytes),
                "bursts of GSO packets overflow the packet backend's socket (counted as rx_truncated), and TCP slows down",
                "sysctl -w net.core.rmem_max=8388608",
            ),
        },
        match seen.wmem_max {
            None => unknown(send),
            Some(bytes) if bytes >= WANTED_GSO_PACKETS * GSO_PACKET_BYTES => {
                Finding::yes(send, frames(bytes))
            }
            Some(bytes) => Finding::of(
                send,
                State::Limited,
                frames(bytes),
                "part of a burst of GSO packets may be dropped (counted as tx_full)",
                "sysctl -w net.core.wmem_max=8388608",
            ),
        },
        match seen.backlog {
            None => unknown(backlog),
            Some(frames) if frames >= DEFAULT_BACKLOG => {
                Finding::yes(backlog, format!("{frames} frames; beyond that the kernel drops"))
            }
            Some(frames) => Finding::of(
                backlog,
                State::Limited,
                format!("{frames} frames"),
                "the kernel drops bursts on veth links, in every mode",
                "sysctl -w net.core.netdev_max_backlog=1000",
            ),
        },
    ]
}

#[cfg(test)]
mod tests {
    use nix::unistd::Uid;

    use super::*;
    use crate::command::doctor::programs::PROGRAMS;

    fn works() -> Tries {
        let yes = || Try::Works;
        Tries {
            settings: yes(),
            veth: yes(),
            backends: BACKENDS.iter().map(|backend| (backend.name.to_owned(), yes())).collect(),
            tun: yes(),
            bpf: yes(),
            tcx: yes(),
            receive_buffer_force: yes(),
            ipv6: yes(),
        }
    }

    fn seen(direct: Result<Tries, String>, rootless: Result<Tries, String>) -> Seen {
        Seen {
            kernel: "6.18".into(),
            user: Uid::from_raw(1000),
            direct,
            rootless,
            rmem_max: Some(212_992),
            wmem_max: Some(212_992),
            backlog: Some(1000),
            programs: PROGRAMS.iter().map(|program| (program, true)).collect(),
            forward: Forward::Accepts,
        }
    }

    fn state_of(findings: &[Finding], what: &str) -> Option<State> {
        findings.iter().find(|finding| finding.what == what).map(|finding| finding.state)
    }

    #[test]
    fn root_on_a_stock_machine() {
        let findings = findings(&seen(Ok(works()), Ok(works())));
        for what in ["network namespaces", "bpf(2)", "receive buffers"] {
            assert_eq!(state_of(&findings, what), Some(State::Yes), "{what}");
        }
        // Nothing forces the send buffer.
        assert_eq!(state_of(&findings, "send buffers"), Some(State::Limited));
    }

    #[test]
    fn an_ordinary_user_can_run_labs_with_limits() {
        let denied = || Try::Fails("Operation not permitted".into());
        let mut rootless = Tries { bpf: denied(), tcx: denied(), receive_buffer_force: denied(), ..works() };
        rootless.backends.insert("xdp".to_owned(), denied());
        let findings = findings(&seen(Err("EPERM".into()), Ok(rootless)));
        assert_eq!(state_of(&findings, "network namespaces"), Some(State::Limited));
        for what in ["bpf(2)", "AF_XDP"] {
            assert_eq!(state_of(&findings, what), Some(State::No), "{what}");
        }
        assert_eq!(state_of(&findings, "AF_PACKET ring"), Some(State::Yes));
        assert_eq!(state_of(&findings, "receive buffers"), Some(State::Limited));
        assert!(findings.iter().all(|finding| !finding.essential || finding.state != State::No));
        for finding in &findings {
            assert_eq!(finding.state == State::Yes, finding.remedy.is_none(), "{finding:?}");
        }
    }

    #[test]
    fn without_any_namespace_there_is_no_lab() {
        let findings = findings(&seen(Err("EPERM".into()), Err("EPERM".into())));
        assert!(findings.iter().any(|finding| finding.essential && finding.state == State::No));
        assert_eq!(state_of(&findings, "veth links"), None);
    }

    #[test]
    fn root_without_rights_is_not_told_to_become_root() {
        let remedy = |user: u32| {
            let seen = Seen { user: Uid::from_raw(user), ..seen(Err("EPERM".into()), Ok(works())) };
            let found = findings(&seen).into_iter().find(|finding| finding.what == "network namespaces");
            found.and_then(|finding| finding.remedy).unwrap_or_default()
        };
        assert_eq!(remedy(1000), "run as root");
        assert!(remedy(0).contains("CAP_SYS_ADMIN"), "{}", remedy(0));
    }
}
