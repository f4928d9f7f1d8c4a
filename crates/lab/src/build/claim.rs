//! Claiming a lab's names: whatever is in the way is removed, where it may be, and the plan goes on record.

use std::fs;
use std::os::unix::fs::DirBuilderExt;

use nsrouter_linux::netns::names::{self, NameTarget};
use nsrouter_linux::silence;

use crate::clean::removal::{self, Removed};
use crate::error::Error;
use crate::lab::Lab;
use crate::netlink::Netlink;
use crate::options::{Forwarder, LabOptions};
use crate::records::{self, Lock, RecordPlace, State};

/// Makes sure that nothing is in the way, and puts the plan on record.
pub(super) fn claim(lab: &mut Lab, options: &LabOptions) -> Result<(), Error> {
    let _lock = Lock::take()?;
    let name = &options.name;
    if let Some(former) = former(name, options.replace)? {
        if former.is_running() {
            if !options.replace || former.owner == lab.state.owner {
                return Err(Error::Running { name: name.clone(), pid: former.owner.pid });
            }
            let removed = removal::end(&former);
            lab.replaced.push(complete(removed, name)?);
        } else {
            // The new record replaces the old one, and with it the list of what is still to be removed.
            lab.replaced.push(complete(removal::remove(&former), name)?);
        }
    }
    let mut foreign = Removed::default();
    for namespace in lab.state.nodes.iter().filter_map(|node| node.namespace.as_ref()) {
        clear_namespace(namespace, options.replace, &mut foreign)?;
    }
    let host_ends: Vec<&str> = lab.state.host_ends().map(|end| end.ifname.as_str()).collect();
    if !host_ends.is_empty() {
        let netlink = Netlink::open()?;
        for ifname in host_ends {
            clear_link(&netlink, ifname, options.replace, &mut foreign)?;
        }
        if lab.forwarder == Forwarder::Userspace {
            check_silence()?;
        }
    }
    if foreign != Removed::default() {
        lab.replaced.push(foreign);
    }
    let dir = lab.state.dir();
    fs::DirBuilder::new().recursive(true).mode(0o755).create(&dir).map_err(Error::file("make", &dir))?;
    lab.state.write()
}

/// The record of that name. An invalid record is removed where `replace` allows it.
fn former(name: &str, replace: bool) -> Result<Option<State>, Error> {
    match State::read(name) {
        Err(Error::Record { .. }) if replace => removal::forget(name).map(|()| None),
        result => result,
    }
}

/// The removal of a lab, if nothing of the lab is left.
fn complete(removed: Removed, name: &str) -> Result<Removed, Error> {
    match removed.problems.first() {
        None => Ok(removed),
        Some(problem) => Err(Error::Replace { name: name.to_owned(), problem: problem.clone() }),
    }
}

/// Removes what has the name of a namespace: the leftovers of a dead lab, or with `replace` anybody's.
fn clear_namespace(namespace: &str, replace: bool, foreign: &mut Removed) -> Result<(), Error> {
    let step = || Error::step(format!("examine network namespace {namespace}"));
    let found = names::look_up(namespace).map_err(step())?;
    if found == NameTarget::Nothing {
        return Ok(());
    }
    let here = records::list()?.into_iter().filter_map(|lab| match lab.place {
        RecordPlace::Here(state) => Some(state),
        RecordPlace::Private(_) => None,
    });
    for other in here {
        if other.nodes.iter().any(|node| node.namespace.as_deref() == Some(namespace)) {
            if other.is_running() {
                return Err(Error::NamespaceOfLab { namespace: namespace.to_owned(), lab: other.name });
            }
            // The leftovers of a dead lab are removed together, so that none of them is orphaned.
            complete(removal::remove(&other), &other.name)?;
            if names::look_up(namespace).map_err(step())? == NameTarget::Nothing {
                return Ok(());
            }
        }
    }
    match found {
        NameTarget::Link(target) if !replace => {
            return Err(Error::NamespaceLink { path: names::path_of(namespace), target });
        }
        NameTarget::Empty | NameTarget::Namespace(_) if !replace => {
            return Err(Error::NamespaceClash(namespace.to_owned()));
        }
        NameTarget::Nothing | NameTarget::Link(_) | NameTarget::Empty | NameTarget::Namespace(_) => {}
    }
    names::remove(namespace).map_err(Error::step(format!("remove network namespace {namespace}")))?;
    foreign.namespaces.push(namespace.to_owned());
    Ok(())
}

/// Removes a link of that name, where `replace` allows it.
fn clear_link(netlink: &Netlink, ifname: &str, replace: bool, foreign: &mut Removed) -> Result<(), Error> {
    let Some(link) = netlink.link(ifname)? else { return Ok(()) };
    if !replace {
        return Err(Error::LinkClash(ifname.to_owned()));
    }
    netlink.delete(link.index)?;
    foreign.links.push(ifname.to_owned());
    Ok(())
}

/// Checks that the kernel can be silenced on the ports of a userspace router in this namespace.
fn check_silence() -> Result<(), Error> {
    if silence::is_possible()? {
        return Ok(());
    }
    Err(Error::Cannot {
        what: "a userspace router cannot be in this network namespace: net.ipv4.conf.all.rp_filter is 2, so \
               the kernel would also answer"
            .to_owned(),
        hint: "set that sysctl to 0 or 1, or omit `--router-ns host`".to_owned(),
    })
}
