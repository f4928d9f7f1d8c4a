//! The agent: runs inside a lab, makes one scenario's traffic between two of its hosts, and reports samples.

mod error;
mod latency;
mod load;
mod protocol;

use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::plan::{Forwarder, Scenario};
use crate::testbed::meter::{Meter, Owner};
use crate::testbed::script::{self, Script};
use crate::testbed::setting::Setting;
use crate::testbed::{Testbed, routes};
use crate::traffic::{EchoOptions, echo};

pub use error::AgentError;
pub use protocol::{AgentOptions, AgentReport};

/// The longest that the path takes to work, where neither a script nor a million routes must be waited for.
const READY_WITHIN: Duration = Duration::from_secs(5);

/// Measures one scenario between two hosts of the running lab: starts another forwarder where the mode is
/// one, loads the routes, waits until the path works, measures.
///
/// # Errors
/// See [`AgentError`].
pub fn measure(testbed: &Testbed, options: &AgentOptions) -> Result<AgentReport, AgentError> {
    let scenario = options.scenario;
    let mut script = match &options.mode.forwarder {
        Forwarder::Script { path } => {
            Some(Script::start(testbed, Path::new(path), options.mode.host_offloads())?)
        }
        Forwarder::Kernel | Forwarder::Userspace { .. } => None,
    };
    if let Some(name) = &options.congestion {
        routes::use_congestion_control(testbed, name)?;
    }
    let server = testbed.server.address(scenario.family)?;
    let targets = if scenario.routes > 0 {
        routes::load(testbed, scenario.family, scenario.routes)?;
        routes::destinations(scenario.family, scenario.routes)
    } else {
        vec![server]
    };
    let first = targets.first().copied().unwrap_or(server);
    await_paths(testbed, scenario, first, script.as_mut())?;
    let owner = match (&options.mode.forwarder, &script) {
        (Forwarder::Userspace { .. }, _) => Owner::Process(testbed.keeper),
        (_, Some(script)) => Owner::Tree(script.pid()),
        (Forwarder::Kernel | Forwarder::Script { .. }, None) => Owner::Kernel,
    };
    let meter = Meter::new(testbed, owner)?;
    let setting = Setting::of(testbed)?;
    let report = load::Measuring { testbed, options, meter, targets: &targets, target: first }.run();
    if let Some(script) = &mut script {
        // A forwarder that ended explains whatever went wrong, and invalidates what was measured until then.
        script.check()?;
    }
    Ok(AgentReport { setting: Some(setting), ..report? })
}

/// Waits until the path to `target` works, and with many routes the path to the last of them, which was
/// loaded last.
fn await_paths(
    testbed: &Testbed,
    scenario: Scenario,
    target: IpAddr,
    mut script: Option<&mut Script>,
) -> Result<(), AgentError> {
    if scenario.routes == 0 {
        let patience = if script.is_some() { script::READY_WITHIN } else { READY_WITHIN };
        return await_path(testbed, target, patience, script);
    }
    let last = routes::destination(scenario.family, scenario.routes - 1);
    await_path(testbed, last, routes::IN_EFFECT_WITHIN, script.as_deref_mut())?;
    await_path(testbed, target, routes::IN_EFFECT_WITHIN, script)
}

/// Waits until `target` answers an echo, which also resolves the neighbours on the path.
fn await_path(
    testbed: &Testbed,
    target: IpAddr,
    patience: Duration,
    mut script: Option<&mut Script>,
) -> Result<(), AgentError> {
    let deadline = Instant::now() + patience;
    while Instant::now() < deadline {
        if let Some(script) = &mut script {
            script.check()?;
        }
        let options = EchoOptions {
            count: 1,
            payload_bytes: 56,
            interval: Duration::ZERO,
            patience: Duration::from_millis(200),
            linger: Duration::ZERO,
            deadline,
        };
        if testbed.client.run(|| echo(target, &options).map_err(AgentError::Echo))?.answered == 1 {
            return Ok(());
        }
    }
    Err(AgentError::NoPath { target })
}
