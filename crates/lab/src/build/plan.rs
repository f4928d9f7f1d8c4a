//! The plan of a lab: everything that will be created, as a record.

use nsrouter_linux::sysctl;

use crate::error::Error;
use crate::options::{LabOptions, RouterNs};
use crate::process::ProcessId;
use crate::records::{self, DEFAULT_LAB, NodeState, State, VERSION};
use crate::topology::{Role, Topology, is_name};

/// The longest name of a namespace, in bytes: that of a file (NAME_MAX).
const LONGEST_NAMESPACE_NAME: usize = 255;

/// The record of the lab that is going to be built.
pub(super) fn plan(topology: &Topology, options: &LabOptions) -> Result<State, Error> {
    if options.router_ns != RouterNs::Node && topology.routers().count() > 1 {
        return Err(Error::Usage("--router-ns is for a topology with one router".to_owned()));
    }
    let nodes: Vec<NodeState> = topology
        .nodes
        .iter()
        .map(|node| NodeState {
            name: node.name.clone(),
            role: node.role,
            namespace: namespace_of(&node.name, node.role, options),
            inode: None,
            ports: Vec::new(),
        })
        .collect();
    check_namespaces(&nodes)?;
    Ok(State {
        version: VERSION,
        // Read anew, it is another each time.
        id: sysctl::read("kernel/random/uuid")?,
        name: options.name.clone(),
        mode: options.mode.clone(),
        backend: options.backend.clone(),
        private: records::is_inside(),
        taps: false,
        ready: false,
        owner: ProcessId::current().map_err(Error::step("identify this process"))?,
        topology: topology.clone(),
        nodes,
        sysctls: Vec::new(),
        routes: Vec::new(),
    })
}

/// The name of a node's namespace; `None` for the namespace where nsrouter was started.
fn namespace_of(node: &str, role: Role, options: &LabOptions) -> Option<String> {
    match (&options.router_ns, role) {
        (RouterNs::Host, Role::Router) => None,
        (RouterNs::Named(name), Role::Router) => Some(name.clone()),
        (RouterNs::Node, Role::Router) | (_, Role::Host) if options.name == DEFAULT_LAB => {
            Some(node.to_owned())
        }
        (RouterNs::Node, Role::Router) | (_, Role::Host) => Some(format!("{}-{node}", options.name)),
    }
}

fn check_namespaces(nodes: &[NodeState]) -> Result<(), Error> {
    for (index, node) in nodes.iter().enumerate() {
        if let Some(name) = &node.namespace {
            if !is_name(name, LONGEST_NAMESPACE_NAME) {
                return Err(Error::Usage(format!("`{name}` is not a valid name for a network namespace")));
            }
            if nodes[..index].iter().any(|other| other.namespace.as_ref() == Some(name)) {
                return Err(Error::Usage(format!("two nodes would share the network namespace `{name}`")));
            }
        }
    }
    Ok(())
}
