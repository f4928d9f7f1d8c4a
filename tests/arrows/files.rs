//! No circles between the files of one crate: a file names only what stands below it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::source::{Arrow, Crate};

/// Circles that stand: the files of each, in alphabetical order.
const ALLOWED: &[&[&str]] = &[];

/// Files that lie on a circle with each other, and a line for each arrow between two of them.
type Circles = BTreeMap<Vec<String>, Vec<String>>;

fn circles(arrows: &BTreeSet<Arrow>, folder: &Path) -> Circles {
    let name = |file: &Path| file.strip_prefix(folder).unwrap_or(file).display().to_string();
    let mut named: BTreeMap<String, BTreeMap<String, Vec<&str>>> = BTreeMap::new();
    for (from, to, path) in arrows {
        named.entry(name(from)).or_default().entry(name(to)).or_default().push(path);
    }
    let below: BTreeMap<&String, BTreeSet<&String>> =
        named.keys().map(|file| (file, reached_from(file, &named))).collect();
    let mut found = Circles::new();
    for (file, reached) in &below {
        let is_with = |other: &&&String| below.get(*other).is_some_and(|back| back.contains(file));
        let members: Vec<String> = reached.iter().filter(is_with).map(|other| (*other).clone()).collect();
        if members.is_empty() {
            continue;
        }
        let arrows =
            members.iter().flat_map(|from| named[from].iter().map(move |(to, paths)| (from, to, paths)));
        let inside = arrows.filter(|(_, to, _)| members.contains(to));
        let lines = inside.map(|(from, to, paths)| format!("{from} -> {to}: {}", paths.join(", "))).collect();
        found.insert(members, lines);
    }
    found
}

/// Every file that can be reached from one by arrows.
fn reached_from<'a>(
    file: &'a String,
    named: &'a BTreeMap<String, BTreeMap<String, Vec<&str>>>,
) -> BTreeSet<&'a String> {
    let mut reached = BTreeSet::new();
    let mut open = vec![file];
    while let Some(file) = open.pop() {
        let next = named.get(file).into_iter().flat_map(BTreeMap::keys);
        open.extend(next.filter(|to| reached.insert(*to)));
    }
    reached
}

/// The root file of every library, program, test, bench and example.
fn roots() -> Vec<PathBuf> {
    let metadata = crate::metadata();
    let packages = metadata["packages"].as_array().unwrap().iter();
    let targets = packages.flat_map(|package| package["targets"].as_array().unwrap());
    let roots = targets.map(|target| PathBuf::from(target["src_path"].as_str().unwrap()));
    roots.filter(|root| !root.ends_with("build.rs")).collect()
}

#[test]
fn files_of_a_crate_make_no_circles() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let found: Circles =
        roots().iter().flat_map(|root| circles(&Crate::read(root).arrows(), folder)).collect();
    let is_allowed = |files: &[String]| ALLOWED.iter().any(|allowed| *allowed == files);
    let new: Vec<_> = found.iter().filter(|(files, _)| !is_allowed(files)).collect();
    assert!(new.is_empty(), "a circle of files, and the arrows between them: {new:#?}");
    let gone: Vec<_> =
        ALLOWED.iter().filter(|allowed| !found.keys().any(|files| files == *allowed)).collect();
    assert!(gone.is_empty(), "no circle any more, so ALLOWED need not list it: {gone:#?}");
}

/// A crate of these files, and its arrows as `from -> to`.
fn arrows_of(files: &[(&str, &str)]) -> (tempfile::TempDir, BTreeSet<Arrow>) {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let arrows = Crate::read(&folder.path().join("lib.rs")).arrows();
    (folder, arrows)
}

fn named(files: &[(&str, &str)]) -> Vec<String> {
    let (folder, arrows) = arrows_of(files);
    let name = |file: &Path| file.strip_prefix(folder.path()).unwrap().display().to_string();
    arrows.iter().map(|(from, to, _)| format!("{} -> {}", name(from), name(to))).collect()
}

#[test]
fn a_circle_is_found() {
    let (folder, arrows) = arrows_of(&[
        ("lib.rs", "mod a; mod b; mod c;"),
        ("a.rs", "pub struct A; fn f() { let _ = crate::b::B; }"),
        ("b.rs", "use super::c::C; pub struct B;"),
        ("c.rs", "use crate::{a::{A}, b}; pub struct C(A);"),
    ]);
    let found = circles(&arrows, folder.path());
    let files = ["a.rs", "b.rs", "c.rs"].map(str::to_owned).to_vec();
    let lines = ["a.rs -> b.rs: crate::b::B", "b.rs -> c.rs: super::c::C", "c.rs -> a.rs: crate::a::A"];
    assert_eq!(found, Circles::from([(files, lines.map(str::to_owned).to_vec())]));
}

#[test]
fn a_name_counts_to_the_file_that_defines_it() {
    let files = [
        ("lib.rs", "pub mod rib; mod user;"),
        (
            "rib/mod.rs",
            "mod table; mod route; pub use table::{RouteTable, Other as Renamed}; pub use route::*;",
        ),
        ("rib/table.rs", "pub struct RouteTable; pub enum Other {}"),
        ("rib/route.rs", "pub fn route() {}"),
        (
            "user.rs",
            "use crate::rib; fn f() { matches!(rib::RouteTable, rib::Renamed); rib::route(); std::a::b() }",
        ),
    ];
    let to_the_folder =
        ["rib/mod.rs -> rib/route.rs", "rib/mod.rs -> rib/table.rs", "rib/mod.rs -> rib/table.rs"];
    let to_the_files = ["user.rs -> rib/route.rs", "user.rs -> rib/table.rs", "user.rs -> rib/table.rs"];
    assert_eq!(named(&files), [to_the_folder, to_the_files].concat());
}

#[test]
fn tests_text_and_declarations_do_not_count() {
    let files = [
        ("lib.rs", "mod a; mod b; pub fn f() {}"),
        (
            "a.rs",
            "/// [`crate::b::B`] // crate::b::B\n#[cfg(test)] mod tests { use crate::b::B; } const T: &str = \"crate::f\";",
        ),
        (
            "b.rs",
            "#[cfg(test)] #[path = \"x.rs\"] mod tests; pub enum B { A, #[cfg(test)] C(crate::a::T), D } fn g() { crate::f() }",
        ),
    ];
    assert_eq!(named(&files), ["b.rs -> lib.rs"]);
}
