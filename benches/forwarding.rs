//! `cargo bench --bench forwarding`: kernel against userspace, end to end, as `nsrouter bench` measures it.
//!
//! A short run: throughput, small packets and latency. `nsrouter bench` has the choices.

use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    // Cargo says --bench when it means to measure; `cargo test --benches` does not, and only wants to see it
    // start.
    if !std::env::args().any(|argument| argument == "--bench") {
        println!("forwarding: measured by `cargo bench --bench forwarding`");
        return ExitCode::SUCCESS;
    }
    // Ctrl-C reaches both: the child takes its lab down.
    match Command::new(env!("CARGO_BIN_EXE_nsrouter")).args(["bench", "--quick"]).status() {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(status) => {
            eprintln!("forwarding: nsrouter bench ended with {status}");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("forwarding: nsrouter could not be started: {error}");
            ExitCode::FAILURE
        }
    }
}
