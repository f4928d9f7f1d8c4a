//! The fuzz driver: `cargo run --release -p nsrouter-router --example fuzz -- [FRAMES] [SEED]`.
//!
//! Pushes mutated frames through `Router::forward`, says how deep they got, and writes what broke something into
//! `tests/data/fuzz`, where the ordinary tests replay it. Exit status 1 when something broke.

#[path = "../tests/fuzz/mod.rs"]
mod fuzz;

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.replace('_', "").parse::<u64>());
    let (Ok(frames), Ok(seed)) =
        (arguments.next().unwrap_or(Ok(10_000_000)), arguments.next().unwrap_or(Ok(1)))
    else {
        eprintln!("two numbers are understood: how many frames, and a seed");
        return ExitCode::from(2);
    };
    let began = Instant::now();
    let depth = fuzz::run(seed, frames);
    let seconds = began.elapsed().as_secs_f64();
    println!("{} frames in {seconds:.1} s, seed {seed}", depth.frames);
    println!("{:.1}% reached a route look-up", depth.lookup_share() * 100.0);
    for (name, count) in &depth.drops {
        println!("  dropped {name}: {count}");
    }
    for (name, count) in &depth.said {
        println!("  {name}: {count}");
    }
    for name in depth.missing() {
        println!("  never hit: {name}");
    }
    let reproduced = depth.findings.iter().filter(|(case, _)| fuzz::replay(case).is_err()).count();
    if reproduced < depth.findings.len() {
        println!("{reproduced} of {} need no other frames before them", depth.findings.len());
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/fuzz");
    for (index, (case, broken)) in depth.findings.iter().enumerate() {
        let path = folder.join(format!("found-{seed}-{index}.txt"));
        println!("BROKEN: {broken}: {}", path.display());
        let text = case.to_text();
        if fuzz::case::Case::parse(&text).as_ref() != Some(case) {
            eprintln!("the text says less than the case: {case:?}");
        }
        if let Err(error) = std::fs::write(&path, &text) {
            eprintln!("cannot write {}: {error}\n{text}", path.display());
        }
    }
    if depth.findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
