//! Tells the binary the commit that it is built from, where that can be known, and what it is built for.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=crates/cli/build.rs");
    let target = std::env::var("TARGET").unwrap_or_default();
    println!("cargo::rustc-env=NSROUTER_TARGET={target}");
    // Of an unpacked archive inside somebody else's repository the commit would be theirs.
    let commit = if Path::new(".git").exists() { commit() } else { None };
    println!("cargo::rustc-env=NSROUTER_COMMIT={}", commit.as_deref().unwrap_or_default());
    let build = commit.into_iter().chain([target]).collect::<Vec<_>>().join(", ");
    println!("cargo::rustc-env=NSROUTER_BUILD={build}");
}

/// The commit that is checked out; built again when another one is.
fn commit() -> Option<String> {
    let branch = git(&["symbolic-ref", "--quiet", "HEAD"]);
    // The log of HEAD grows with every commit and checkout, wherever the branch itself is kept.
    for name in ["HEAD", "logs/HEAD"].into_iter().chain(branch.as_deref()) {
        let path = git(&["rev-parse", "--git-path", name])?;
        // Of a path that is missing cargo would think that it has changed every time.
        if Path::new(&path).exists() {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    git(&["rev-parse", "--short=9", "HEAD"])
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let line = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| line.trim_end().to_owned())
}
