//! Starting, stopping, signals, detached labs, packaging.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};

use libtest_mimic::Trial;

use crate::common::{Case, describe, is_program, nsrouter, trial};

/// Cases beside the built-in lab.
pub(crate) const CASES: &[Case] = &[];

/// Trials that make labs of their own.
pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("the_package_installs_into_a_folder".to_owned(), &["dpkg-deb", "bash"], package),
        trial("every_subcommand_has_a_manual_page".to_owned(), &[], manual),
        trial("completions_are_sound_scripts".to_owned(), &["bash"], completions),
    ]
}

/// Runs a program to its end, which must be success.
fn succeed(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", describe(&output));
    String::from_utf8(output.stdout).unwrap()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The files that an asset's pattern names, with `target/` where the package's files were made for this test.
fn files(pattern: &str, made: &Path) -> Vec<std::path::PathBuf> {
    if pattern == "target/release/nsrouter" {
        return vec![nsrouter()];
    }
    let path = match pattern.strip_prefix("target/package/") {
        Some(rest) => made.join(rest),
        None => root().join(pattern),
    };
    let Some(ending) = path.file_name().unwrap().to_str().unwrap().strip_prefix('*') else {
        return vec![path];
    };
    let entries = std::fs::read_dir(path.parent().unwrap()).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|entry| entry.to_str().unwrap().ends_with(ending)).collect()
}

/// Builds a package of the assets that Cargo.toml lists, unpacks it, and uses what it brought.
fn package() {
    let folder = tempfile::tempdir().unwrap();
    let made = folder.path().join("made");
    succeed(Command::new(root().join("tools/package")).arg("pages").arg(nsrouter()).arg(&made));

    let manifest: toml::Table = std::fs::read_to_string(root().join("Cargo.toml")).unwrap().parse().unwrap();
    let deb = &manifest["package"]["metadata"]["deb"];
    let tree = folder.path().join("tree");
    for asset in deb["assets"].as_array().unwrap() {
        let [source, target, mode] = [0, 1, 2].map(|index| asset[index].as_str().unwrap());
        let files = files(source, &made);
        assert!(!files.is_empty(), "{source} names no file");
        for file in files {
            let mut place = tree.join(target);
            if target.ends_with('/') {
                place.push(file.file_name().unwrap());
            }
            succeed(Command::new("install").args(["-D", "-m", mode]).arg(&file).arg(&place));
        }
    }
    std::fs::create_dir_all(tree.join("DEBIAN")).unwrap();
    let control = format!(
        "Package: nsrouter\nVersion: {}\nArchitecture: all\nSection: {}\nMaintainer: {}\nRecommends: {}\nDescription: {}\n",
        manifest["workspace"]["package"]["version"].as_str().unwrap(),
        deb["section"].as_str().unwrap(),
        manifest["workspace"]["package"]["authors"][0].as_str().unwrap(),
        deb["recommends"].as_str().unwrap(),
        manifest["package"]["description"].as_str().unwrap(),
    );
    std::fs::write(tree.join("DEBIAN/control"), control).unwrap();
    let archive = folder.path().join("nsrouter.deb");
    // Made for reading at once: there is nothing to gain by compressing it.
    succeed(
        Command::new("dpkg-deb").args(["--root-owner-group", "-Znone", "--build"]).arg(&tree).arg(&archive),
    );
    let installed = folder.path().join("installed");
    succeed(Command::new("dpkg-deb").arg("-x").arg(&archive).arg(&installed));

    let version = succeed(Command::new(installed.join("usr/bin/nsrouter")).arg("--version"));
    assert_eq!(version, succeed(Command::new(nsrouter()).arg("--version")));
    // The commit is missing only where there is no repository.
    let words: Vec<&str> =
        version.trim_end().split([' ', ',', '(', ')']).filter(|word| !word.is_empty()).collect();
    assert_eq!(words.len(), if root().join(".git").exists() { 4 } else { 3 }, "{version}");
    assert!(words.last().unwrap().contains("-linux-"), "{version}");
    for file in [
        "man/man1/nsrouter.1",
        "man/man1/nsrouter-check.1",
        "bash-completion/completions/nsrouter",
        "doc/nsrouter/README.md",
        "doc/nsrouter/LICENSE-APACHE",
    ] {
        assert!(installed.join("usr/share").join(file).is_file(), "{file}");
    }
}

/// The subcommands that `--help` lists.
fn subcommands() -> BTreeSet<String> {
    let help = succeed(Command::new(nsrouter()).arg("--help"));
    let list = help.split("\nCommands:\n").nth(1).expect("a list of commands");
    let names = list.lines().take_while(|line| !line.is_empty());
    names
        .filter_map(|line| line.strip_prefix("  ")?.split(' ').next())
        .map(str::to_owned)
        .filter(|name| !name.is_empty() && name != "help")
        .collect()
}

fn manual() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("a/new/folder");
    succeed(Command::new(nsrouter()).arg("man").arg(&dir));
    let mut expected: BTreeSet<String> =
        subcommands().iter().map(|name| format!("nsrouter-{name}.1")).collect();
    assert!(expected.len() > 8, "{expected:?}");
    expected.insert("nsrouter.1".to_owned());
    let entries = std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap());
    let pages: BTreeSet<String> = entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
    assert_eq!(pages, expected);
    let main = std::fs::read_to_string(dir.join("nsrouter.1")).unwrap();
    assert_eq!(succeed(Command::new(nsrouter()).arg("man")), main, "the main page goes to standard output");
    for part in [".SH NAME", ".SH SYNOPSIS", ".SH OPTIONS", ".SH EXAMPLES", ".SH \"EXIT STATUS\""] {
        assert!(main.contains(part), "{part}: {main}");
    }
    if is_program("man") {
        for page in &pages {
            let mut command = Command::new("man");
            let output = command
                .args(["--warnings", "-l"])
                .arg(dir.join(page))
                .env("MANWIDTH", "80")
                .output()
                .unwrap();
            assert!(output.status.success() && output.stderr.is_empty(), "{page}: {}", describe(&output));
        }
    }
}

fn completions() {
    let folder = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = succeed(Command::new(nsrouter()).args(["completions", shell]));
        for word in subcommands().iter().map(String::as_str).chain(["topology"]) {
            assert!(script.contains(word), "{shell}: {word}");
        }
        let file = folder.path().join(shell);
        std::fs::write(&file, script).unwrap();
        if ["bash", "zsh", "fish"].contains(&shell) && is_program(shell) {
            succeed(Command::new(shell).arg("-n").arg(&file));
        }
    }
    let script = ". \"$0\"; COMP_WORDS=(nsrouter che); COMP_CWORD=1; _nsrouter nsrouter che nsrouter; echo \"${COMPREPLY[@]}\"";
    let words = succeed(Command::new("bash").args(["-c", script]).arg(folder.path().join("bash")));
    assert_eq!(words.trim_end(), "check");
}
