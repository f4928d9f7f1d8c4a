//! Building a lab, step by step. Everything is on record before it exists, so that clean-up finds it whatever
//! happens between two lines here.

mod claim;
mod links;
mod nodes;
mod plan;

use crate::error::Error;
use crate::lab::Lab;
use crate::options::{Forwarder, LabOptions, MakeTap};
use crate::records::{State, check_name};
use crate::topology::Topology;

impl Lab {
    /// Builds it. All of it is up and usable when this returns; on failure nothing is left.
    ///
    /// The leftovers of a dead lab of that name are removed first.
    ///
    /// # Errors
    /// What was in the way or what the kernel refused; see [`Error`].
    pub fn build(topology: &Topology, options: &LabOptions) -> Result<Self, Error> {
        build(topology, options, None)
    }

    /// Builds it as [`Lab::build`] does, but the links between hosts and userspace routers are TAP devices in
    /// the hosts, created by `make`. They are configured like any other interface; the routers' ends of them
    /// are not interfaces, and their [`PortInfo::ifindex`](crate::records::PortInfo::ifindex) is 0.
    ///
    /// # Errors
    /// What was in the way, what the kernel refused, what `make` returned; [`Error::Usage`] in kernel mode.
    pub fn build_with_taps(
        topology: &Topology,
        options: &LabOptions,
        make: &mut MakeTap<'_>,
    ) -> Result<Self, Error> {
        if options.forwarder == Forwarder::Kernel {
            return Err(Error::Usage("TAP links need a userspace router".to_owned()));
        }
        build(topology, options, Some(make))
    }
}

fn build(
    topology: &Topology,
    options: &LabOptions,
    mut make_tap: Option<&mut MakeTap<'_>>,
) -> Result<Lab, Error> {
    check_name(&options.name)?;
    topology.validate()?;
    let mut lab = Lab {
        nodes: Vec::with_capacity(topology.nodes.len()),
        forwarder: options.forwarder,
        replaced: Vec::new(),
        // Nothing is claimed yet: dropping the lab must not touch anything.
        is_down: true,
        state: State { taps: make_tap.is_some(), ..plan::plan(topology, options)? },
    };
    claim::claim(&mut lab, options)?;
    // From here on an early return drops the lab, which takes down what there is.
    lab.is_down = false;
    nodes::create_namespaces(&mut lab, &options.stop)?;
    for link in &topology.links {
        options.stop.check()?;
        match &mut make_tap {
            Some(make) if lab.state.is_tap(link) => links::make_tap_link(&lab, link, *make)?,
            Some(_) | None => links::make_veth_link(&lab, link, options.link_queues)?,
        }
    }
    for index in 0..lab.nodes.len() {
        options.stop.check()?;
        let ports = nodes::configure(&lab, index, options.host_offloads)?;
        lab.nodes[index].ports.clone_from(&ports);
        lab.state.nodes[index].ports = ports;
    }
    for node in &lab.nodes {
        options.stop.check()?;
        nodes::await_links(&lab, node)?;
    }
    lab.state.ready = true;
    lab.state.write()?;
    Ok(lab)
}
