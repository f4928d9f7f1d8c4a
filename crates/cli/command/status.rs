//! `nsrouter status`: the running lab as it is now.

use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use nsrouter_engine::control::serve;
use nsrouter_engine::status::{NeighbourStatus, RouteList, RouteStatus, Status};
use nsrouter_lab::Error;
use nsrouter_lab::enter::{self, Entered};
use nsrouter_lab::records::{self, State};
use nsrouter_lab::topology::Role;

use crate::dataplane::socket;
use crate::options::which;
use crate::output::report;
use crate::output::terminal;
use crate::output::{self, OutputError, out};

/// How often `--watch` looks.
const WATCH_PERIOD: Duration = Duration::from_secs(1);

/// Show the running lab: engine, ports, counters, drop reasons, neighbours.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    which: which::Args,
    /// Show only the userspace router's routes, connected and configured.
    #[arg(long, conflicts_with = "neighbours")]
    routes: bool,
    /// Show only the userspace router's neighbours.
    #[arg(long)]
    neighbours: bool,
    /// Refresh every second, until Ctrl-C or until the lab is gone.
    #[arg(long)]
    watch: bool,
    /// Print JSON.
    #[arg(short, long)]
    json: bool,
}

/// Shows the running lab, once or again and again.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let (entered, state) = enter::join(args.which.lab())?;
    if let Entered::Done(code) = entered {
        return Ok(ExitCode::from(code));
    }
    let state = state.ok_or(Error::NoLabs)?;
    let router = state.nodes.iter().find(|node| node.role == Role::Router);
    if let (true, "kernel", Some(router)) = (args.neighbours || args.routes, state.mode.as_str(), router) {
        let (what, object) = if args.routes { ("routes", "route") } else { ("neighbours", "neigh") };
        return Err(Error::Usage(format!(
            "in kernel mode the {what} are the kernel's: `nsrouter exec {} -- ip {object}` shows them",
            router.name
        ))
        .into());
    }
    loop {
        let socket = socket::path(&state.dir());
        if args.routes {
            let list = serve::ask_routes(&socket)?.unwrap_or_default();
            if args.json { output::json(&list)? } else { print(&routes(&list), args.watch)? }
        } else {
            let engine = serve::ask_status(&socket)?;
            match (args.json, args.neighbours) {
                (true, true) => output::json(&engine.neighbours)?,
                (true, false) => output::json(&report::of_lab(&state, &engine))?,
                (false, true) => print(&neighbours(&engine), args.watch)?,
                (false, false) => print(&text(&state, &engine), args.watch)?,
            }
        }
        if !args.watch || output::is_closed() {
            return Ok(ExitCode::SUCCESS);
        }
        thread::sleep(WATCH_PERIOD);
    }
}

/// Prints the text; `watch` has it replace the one before.
fn print(text: &str, watch: bool) -> Result<(), OutputError> {
    if watch { output::redraw(text) } else { out!("{text}") }
}

/// A line a route, in the words of ip-route(8), and what is left out.
fn routes(list: &RouteList) -> String {
    let line = |route: &RouteStatus| {
        let router = route.router.as_ref().map_or(String::new(), |router| format!("{router}: "));
        let kind = if route.kind == "unicast" { String::new() } else { format!("{} ", route.kind) };
        let several = route.hops.len() > 1;
        let hops = route.hops.iter().map(|hop| {
            let next = if several { " nexthop" } else { "" };
            let via = hop.via.as_ref().map_or(String::new(), |via| format!(" via {via}"));
            let port = hop.port.as_ref().map_or(String::new(), |port| format!(" dev {port}"));
            let weight = if several { format!(" weight {}", hop.weight) } else { String::new() };
            format!("{next}{via}{port}{weight}")
        });
        let mtu = route.mtu.map_or(String::new(), |mtu| format!(" mtu {mtu}"));
        let hops: String = hops.collect();
        format!("{router}{kind}{}{hops} metric {}{mtu} {}\n", route.prefix, route.metric, route.origin)
    };
    let mut text: String = list.routes.iter().map(line).collect();
    if list.total > list.routes.len() {
        text.push_str(&format!("and {} more\n", list.total - list.routes.len()));
    }
    text
}

fn text(state: &State, engine: &Status) -> String {
    let process = match records::outside_pid() {
        Some(outside) => format!("private, process {outside} ({} inside)", state.owner.pid),
        None => format!("process {}", state.owner.pid),
    };
    let mut text = format!("lab `{}`: {} mode, {}, {process}\n", state.name, engine.mode, engine.backend);
    for node in &state.nodes {
        let place = node.namespace.as_deref().unwrap_or("where nsrouter was started");
        text.push_str(&format!("  {:<12} namespace {place}\n", node.name));
    }
    if !engine.host_port.available {
        text.push_str(&format!("no host port: {}\n", engine.host_port.reason));
    }
    text.push_str(&format!("\n{}\n{}\n", report::ports(engine, terminal::look()), report::account(engine)));
    if !engine.neighbours.is_empty() {
        text.push_str(&format!("neighbours:\n{}", neighbours(engine)));
    }
    text
}

/// A line a neighbour: port, address, MAC address, state.
fn neighbours(engine: &Status) -> String {
    let line = |neighbour: &NeighbourStatus| {
        let mac = neighbour.mac.as_deref().unwrap_or("-");
        format!("  {:<10} {:<28} {mac:<18} {}\n", neighbour.port, neighbour.address, neighbour.state)
    };
    engine.neighbours.iter().map(line).collect()
}
