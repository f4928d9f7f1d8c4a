//! Whether a topology fits a backend, and what it takes fits this machine: asked before anything is built or
//! mapped.

use nsrouter_bench::text::with_causes;
use nsrouter_lab::topology::Topology;
use nsrouter_rings::BACKENDS;
use nsrouter_rings::backend::{Backend, Demand, MemoryDemand};
use nsrouter_rings::limits::{self, Available};

use crate::output::failure::Cannot;

/// The way out from what a backend cannot do: the one that has the fewest limits.
fn use_default() -> String {
    format!("use --backend {}", BACKENDS[0].name)
}

/// Refuses a topology that the backend cannot carry, or for which this machine lacks the memory.
///
/// # Errors
/// [`Cannot`], with the figure and a way out.
pub(crate) fn check(backend: &Backend, topology: &Topology, workers: usize) -> Result<(), Cannot> {
    check_mtus(backend, topology)?;
    match backend.memory {
        Some(demand) => check_memory(backend, demand, topology, workers),
        None => Ok(()),
    }
}

/// Descriptors that every lab takes, whatever its size: sockets, pipes, threads' wake-ups; and a few for the
/// moment.
const OTHER_DESCRIPTORS: usize = 32;

/// Refuses a topology that takes more descriptors than this process may have. `backend` is none in kernel
/// mode.
///
/// # Errors
/// [`Cannot`], with the figure and a way out.
pub(crate) fn check_descriptors(
    backend: Option<&Backend>,
    topology: &Topology,
    workers: usize,
    limit: u64,
) -> Result<(), Cannot> {
    let nodes = topology.nodes.len();
    let ports = topology.routers().map(|router| topology.endpoints(&router.name).count());
    let of_ports: usize =
        ports.map(|ports| backend.map_or(0, |backend| (backend.descriptors)(ports, workers))).sum();
    // A worker has a pipe and an epoll instance.
    let needed = nodes + of_ports + 3 * workers + OTHER_DESCRIPTORS;
    if u64::try_from(needed).is_ok_and(|needed| needed <= limit) {
        return Ok(());
    }
    Err(Cannot {
        what: format!(
            "Too many open files: a lab of {nodes} nodes takes about {needed} here, and the limit is {limit}"
        ),
        hint: format!("raise it: ulimit -n {needed}"),
    })
}

/// Refuses a link of a router whose MTU is more than the backend's ports can have.
fn check_mtus(backend: &Backend, topology: &Topology) -> Result<(), Cannot> {
    let max = backend.max_mtu;
    let mut ends = topology.routers().flat_map(|router| topology.endpoints(&router.name));
    let Some((end, link)) = ends.find(|(_, link)| link.mtu > max) else { return Ok(()) };
    Err(Cannot {
        what: format!(
            "link {}: an MTU of {} is more than the {max} bytes that an interface of the {} backend can have",
            end.ifname, link.mtu, backend.name
        ),
        hint: format!("make it {max} or less in the topology, or {}", use_default()),
    })
}

/// Refuses ports that would take more memory than there is.
fn check_memory(
    backend: &Backend,
    demand_of: MemoryDemand,
    topology: &Topology,
    workers: usize,
) -> Result<(), Cannot> {
    let mut demand = Demand::default();
    let mut ports = 0;
    for router in topology.routers() {
        let mtus: Vec<u32> = topology.endpoints(&router.name).map(|(_, link)| link.mtu).collect();
        ports += mtus.len();
        demand = demand
            + demand_of(&mtus, workers)
                .map_err(|error| Cannot { what: with_causes(&*error), hint: use_default() })?;
    }
    let available = limits::available_memory().map_err(|error| Cannot {
        what: format!("cannot tell how much memory is available: {error}"),
        hint: format!("mount /proc, or {}", use_default()),
    })?;
    refuse_excess(backend.name, ports, workers, demand, available)
}

fn refuse_excess(
    backend: &str,
    ports: usize,
    workers: usize,
    demand: Demand,
    available: Available,
) -> Result<(), Cannot> {
    let limits = [
        (demand.total, Some(available.memory), "available", "use fewer links or workers"),
        (demand.mapped, available.mapped, "left by `ulimit -v`", "raise `ulimit -v`"),
        (demand.locked, available.locked, "left by `ulimit -l`", "raise `ulimit -l`"),
    ];
    let short = limits.into_iter().find_map(|(needed, left, where_, way_out)| {
        left.filter(|left| *left < needed).map(|left| (needed, left, where_, way_out))
    });
    let Some((needed, left, where_, way_out)) = short else { return Ok(()) };
    let plural = |count: usize| if count == 1 { "" } else { "s" };
    Err(Cannot {
        what: format!(
            "{ports} port{} over {backend} with {workers} worker{} take {} MiB of memory, and {} MiB are {where_}",
            plural(ports),
            plural(workers),
            needed.div_ceil(1 << 20),
            left >> 20
        ),
        hint: format!("{way_out}, or {}", use_default()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> &'static Backend {
        BACKENDS.into_iter().find(|backend| backend.name == name).expect("a backend")
    }

    fn topology(mtu: u32) -> Topology {
        let mut topology = Topology::default_lab();
        topology.links[1].mtu = mtu;
        topology
    }

    #[test]
    fn an_mtu_beyond_the_backend_s_is_refused_by_name() {
        for (name, max) in [("tap", 65_521), ("xdp", 3_822)] {
            let backend = named(name);
            assert!(check(backend, &topology(max), 1).is_ok());
            let error = check(backend, &topology(max + 1), 1).expect_err("too large");
            for words in [name, "eth-t2", &(max + 1).to_string(), &max.to_string()] {
                assert!(error.what.contains(words), "{error}");
            }
            assert!(error.hint.contains("--backend packet"), "{}", error.hint);
        }
        assert!(check(named("packet"), &topology(65_535), 1).is_ok());
    }

    #[test]
    fn descriptors_that_are_not_to_be_had_are_refused_with_the_figure() {
        let topology = topology(1500);
        let check = |backend, workers, limit| check_descriptors(backend, &topology, workers, limit);
        assert!(check(Some(named("packet")), 1, 64).is_ok());
        assert!(check(None, 1, 40).is_ok());
        let error = check(Some(named("packet")), 4, 50).expect_err("too many");
        assert_eq!(
            error.what,
            "Too many open files: a lab of 3 nodes takes about 65 here, and the limit is 50"
        );
        assert_eq!(error.hint, "raise it: ulimit -n 65");
    }

    #[test]
    fn memory_that_is_not_there_is_refused_with_the_figure() {
        let mebibytes = |count: u64| count << 20;
        let demand = Demand { locked: mebibytes(40), mapped: mebibytes(50), total: mebibytes(60) };
        let enough =
            Available { memory: mebibytes(60), mapped: Some(mebibytes(50)), locked: Some(mebibytes(40)) };
        assert!(refuse_excess("xdp", 3, 1, demand, enough).is_ok());
        assert!(
            refuse_excess("xdp", 3, 1, demand, Available { mapped: None, locked: None, ..enough }).is_ok()
        );
        let error = refuse_excess("xdp", 3, 1, demand, Available { memory: mebibytes(59), ..enough })
            .expect_err("short");
        assert_eq!(
            error.what,
            "3 ports over xdp with 1 worker take 60 MiB of memory, and 59 MiB are available"
        );
        for (available, words) in [
            (
                Available { mapped: Some(mebibytes(49)), ..enough },
                "50 MiB of memory, and 49 MiB are left by `ulimit -v`",
            ),
            (
                Available { locked: Some(mebibytes(39)), ..enough },
                "40 MiB of memory, and 39 MiB are left by `ulimit -l`",
            ),
        ] {
            let error = refuse_excess("xdp", 1, 2, demand, available).expect_err("short");
            assert!(
                error.what.contains(words) && error.what.starts_with("1 port over xdp with 2 workers"),
                "{error}"
            );
            assert!(
                error.hint.contains("ulimit") && error.hint.contains("--backend packet"),
                "{}",
                error.hint
            );
        }
    }
}
