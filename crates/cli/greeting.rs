//! What stands on the screen while a lab is up: its links, and what to try with it.

use std::fmt::Write as _;

use nsrouter_engine::status::Status;
use nsrouter_lab::state::State;

use crate::report;

/// The text. `why` says why this backend was chosen, where that was not the user.
pub(crate) fn greeting(state: &State, status: &Status, why: Option<&str>) -> String {
    let mut text = format!("lab `{}`: {} mode, {}\n", state.name, status.mode, status.backend);
    // Writing to a String cannot fail.
    if let Some(why) = why {
        let _ = writeln!(text, "  {} because {why}", status.backend);
    }
    let _ = writeln!(text, "\n{}", report::picture(&state.topology, state.taps));
    if !status.host_port.available {
        let _ = writeln!(text, "no host port: {}\n", status.host_port.reason);
    }
    let name = if state.name == "default" { String::new() } else { format!(" --name {}", state.name) };
    let _ = write!(
        text,
        "Try, in another terminal:
  nsrouter check{name}
  nsrouter exec{name} t1 -- ping 10.10.252.1
  nsrouter exec{name} t2 -- iperf3 -s -1   and   nsrouter exec{name} t1 -- iperf3 -c 10.10.252.1
  nsrouter status{name}

Ctrl-C takes it down.
"
    );
    text
}
