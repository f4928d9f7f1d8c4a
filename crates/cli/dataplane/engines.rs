//! The engines of a lab, one per router, as one.

use nsrouter_engine::Engine;
use nsrouter_engine::status::{RouteList, Status};

/// The engine of each router, by the router's name.
pub(crate) struct Engines(pub(super) Vec<(String, Engine)>);

impl Engines {
    /// The status of all routers as one; with several routers, ports are named `ROUTER/PORT`.
    pub(crate) fn status(&self) -> anyhow::Result<Status> {
        let all = self.0.iter().map(|(name, engine)| Ok((name.clone(), engine.status()?)));
        Ok(merged(all.collect::<anyhow::Result<_>>()?))
    }

    /// The routes of all userspace routers, with ports named as in the status; `None` in kernel mode.
    pub(crate) async fn routes(&self) -> Option<RouteList> {
        let asked: Option<Vec<_>> =
            self.0.iter().map(|(name, engine)| Some((name, engine.routes()?))).collect();
        let mut all = RouteList::default();
        for (name, routes) in asked? {
            let mut list = routes.await;
            if self.0.len() > 1 {
                let ports = list.routes.iter_mut().flat_map(|route| &mut route.hops);
                ports.filter_map(|hop| hop.port.as_mut()).for_each(|port| *port = format!("{name}/{port}"));
                list.routes.iter_mut().for_each(|route| route.router = Some(name.clone()));
            }
            all.routes.extend(list.routes);
            all.total += list.total;
        }
        Some(all)
    }

    /// Whether an engine has ended by itself.
    pub(crate) fn has_ended(&self) -> bool {
        self.0.iter().any(|(_, engine)| engine.has_ended())
    }

    /// Stops all engines. Their last status.
    pub(crate) fn stop(self) -> anyhow::Result<Status> {
        let all = self.0.into_iter().map(|(name, engine)| Ok((name, engine.stop()?)));
        Ok(merged(all.collect::<anyhow::Result<_>>()?))
    }
}

fn merged(all: Vec<(String, Status)>) -> Status {
    let alone = all.len() == 1;
    all.into_iter()
        .map(|(name, mut status)| {
            if !alone {
                let ports = status.ports.iter_mut().chain(&mut status.host_ports);
                ports.for_each(|port| port.name = format!("{name}/{}", port.name));
                status.neighbours.iter_mut().for_each(|entry| entry.port = format!("{name}/{}", entry.port));
                status.warnings.iter_mut().for_each(|warning| *warning = format!("{name}: {warning}"));
            }
            status
        })
        .reduce(Status::merge)
        .unwrap_or_default()
}
