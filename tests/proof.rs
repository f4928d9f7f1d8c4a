//! The documentation is true: the table of what proves the router names tests that exist, every scene of the
//! oracle has a row there, and every file that is named exists.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use nsrouter_router::DropReason;
use sources::rust_files;

#[path = "common/sources.rs"]
mod sources;

/// Where the table begins.
const HEADING: &str = "| requirement | section | test |";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What stands between `mark` and the next `end`, everywhere in the text.
fn after<'a>(text: &'a str, mark: &str, end: char) -> Vec<&'a str> {
    text.split(mark).skip(1).filter_map(|rest| rest.split(end).next()).collect()
}

/// The cases of a black-box test program: scenes, cases in a table, or cases made by `case`.
fn cases(text: &str) -> BTreeSet<String> {
    // The formatter may put a name on a line of its own.
    let text = text.split("case(").map(str::trim_start).collect::<Vec<_>>().join("case(");
    [after(&text, "name: \"", '"'), after(&text, "case(\"", '"')]
        .concat()
        .into_iter()
        .map(str::to_owned)
        .collect()
}

/// The functions marked as tests.
fn tests(text: &str) -> BTreeSet<String> {
    let functions = after(text, "#[test]", '(');
    functions.into_iter().filter_map(|head| head.split("fn ").nth(1)).map(str::to_owned).collect()
}

/// The tests of a home: `tests/HOME.rs`, `tests/oracle/HOME.rs`, or with `CRATE::MODULE` those in the files
/// of a crate whose path names the module; `MODULE_tests.rs` beside it belongs to it.
fn tests_of(home: &str) -> BTreeSet<String> {
    if let Some((package, module)) = home.split_once("::") {
        let mut files = Vec::new();
        rust_files(&root().join("crates").join(package), &mut files);
        let is_of = |path: &PathBuf| {
            let inside = path.strip_prefix(root()).unwrap().with_extension("");
            inside.iter().any(|part| {
                let part = part.to_string_lossy();
                part.strip_suffix("_tests").unwrap_or(&part) == module
            })
        };
        return files.iter().filter(|path| is_of(path)).flat_map(|path| tests(&read(path))).collect();
    }
    let places =
        [format!("tests/{home}.rs"), format!("tests/oracle/{home}.rs"), format!("tests/{home}/main.rs")];
    places
        .iter()
        .map(|place| root().join(place))
        .filter(|path| path.is_file())
        .flat_map(|path| cases(&read(&path)))
        .collect()
}

/// Whether the name is of the form, in which `*` stands for any letters.
fn is_like(name: &str, form: &str) -> bool {
    match form.split_once('*') {
        None => name == form,
        Some((begin, rest)) => name.strip_prefix(begin).is_some_and(|name| {
            (0..=name.len()).any(|at| name.is_char_boundary(at) && is_like(&name[at..], rest))
        }),
    }
}

/// The tests that a row names: home and form of each.
fn forms(cell: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for reference in cell.split('`').skip(1).step_by(2) {
        let (home, names) = match reference.split_once("::{") {
            Some((home, names)) => (home, names.strip_suffix('}').expect("the closing bracket")),
            None => reference.rsplit_once("::").unwrap_or_else(|| panic!("`{reference}` is not HOME::NAMES")),
        };
        found.extend(names.split(", ").map(|name| (home.to_owned(), name.to_owned())));
    }
    found
}

fn rows() -> Vec<(String, Vec<(String, String)>)> {
    let readme = read(&root().join("tests/README.md"));
    let table = readme.split(HEADING).nth(1).expect("the table");
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    rows.map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        assert_eq!(cells.len(), 3, "{row}");
        (cells[0].to_owned(), forms(cells[2]))
    })
    .collect()
}

#[test]
fn every_row_names_tests_that_exist() {
    let rows = rows();
    assert!(rows.len() > 40, "{} rows", rows.len());
    for (requirement, forms) in rows {
        assert!(!forms.is_empty(), "{requirement}: no test");
        for (home, form) in forms {
            let tests = tests_of(&home);
            assert!(!tests.is_empty(), "{requirement}: no tests in {home}");
            assert!(tests.iter().any(|name| is_like(name, &form)), "{requirement}: no {home}::{form}");
        }
    }
}

#[test]
fn every_scene_has_a_row() {
    let named: Vec<(String, String)> = rows().into_iter().flat_map(|(_, forms)| forms).collect();
    let mut files = Vec::new();
    rust_files(&root().join("tests/oracle"), &mut files);
    let mut missing = Vec::new();
    for file in files {
        let home = file.file_stem().unwrap().to_str().unwrap().to_owned();
        let home = if home == "main" { "oracle".to_owned() } else { home };
        for scene in cases(&read(&file)) {
            let is_named = named.iter().any(|(place, form)| *place == home && is_like(&scene, form));
            if !is_named && !scene.starts_with('$') {
                missing.push(format!("{home}::{scene}"));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

/// Folders at the top; what begins with one is the path of a file.
const FOLDERS: &[&str] = &["crates/", "tests/", "benches/", "tools/", ".ci/"];

/// Every document of the project.
fn documents() -> Vec<PathBuf> {
    let mut folders = vec![root().to_owned()];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("target") && !path.ends_with(".git") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                found.push(path);
            }
        }
    }
    found
}

/// The files that a document names: targets of links, which are relative to it, and paths from the top in
/// backticks.
fn named_files(document: &Path, text: &str) -> Vec<PathBuf> {
    let folder = document.parent().unwrap();
    let links = after(text, "](", ')').into_iter().filter(|link| !link.contains("://"));
    let links = links.filter_map(|link| link.split('#').next()).filter(|link| !link.is_empty());
    // Fences have three of them, so pairs stay pairs.
    let quoted = text.split('`').skip(1).step_by(2).map(str::trim_end);
    let is_path = |text: &&str| {
        FOLDERS.iter().any(|folder| text.starts_with(folder)) && !text.contains([' ', '*', '\n'])
    };
    let place =
        |path: &str| [folder, root()].map(|from| from.join(path)).into_iter().find(|file| file.exists());
    let quoted = quoted.filter(is_path).map(|path| place(path).unwrap_or_else(|| root().join(path)));
    links.map(|link| folder.join(link)).chain(quoted).collect()
}

#[test]
fn every_file_that_is_named_exists() {
    let documents = documents();
    assert!(documents.len() > 5, "{documents:?}");
    let mut missing = Vec::new();
    for document in documents {
        let text = read(&document);
        let files = named_files(&document, &text);
        missing.extend(files.into_iter().filter(|file| !file.exists()).map(|file| (document.clone(), file)));
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

/// The folders of modules directly below a crate's root file, but for those of tests.
fn rooms(package: &Path) -> BTreeSet<String> {
    let source = if package.join("src").is_dir() { package.join("src") } else { package.to_owned() };
    let folders = std::fs::read_dir(source).unwrap().map(|entry| entry.unwrap().path());
    folders
        .filter(|folder| folder.join("mod.rs").is_file())
        .map(|folder| folder.file_name().unwrap().display().to_string())
        .filter(|name| !name.ends_with("tests"))
        .map(|name| format!("{name}/"))
        .collect()
}

/// The README's map names every folder of every crate, and no other.
#[test]
fn the_map_is_the_tree() {
    let readme = read(&root().join("README.md"));
    let rows: Vec<&str> = readme.lines().filter(|line| line.starts_with("| `crates/")).collect();
    let mut mapped = BTreeSet::new();
    for row in rows {
        let quoted: Vec<&str> = row.split('`').skip(1).step_by(2).collect();
        let named = quoted[1..].iter().filter(|name| name.ends_with('/')).map(|name| (*name).to_owned());
        let package = root().join(quoted[0]);
        assert_eq!(named.collect::<BTreeSet<_>>(), rooms(&package), "{}", quoted[0]);
        mapped.insert(package);
    }
    let packages = std::fs::read_dir(root().join("crates")).unwrap().map(|entry| entry.unwrap().path());
    assert_eq!(mapped, packages.filter(|path| path.is_dir()).collect(), "a row for each crate");
}

/// The drop reasons that the README's sessions show have the sentences that `status` prints.
#[test]
fn quoted_drop_reasons_are_as_printed() {
    let readme = read(&root().join("README.md"));
    let mut quoted = 0;
    for reason in DropReason::ALL {
        for line in readme.lines() {
            let mut words = line.split_whitespace();
            let shows = words.next() == Some(reason.name())
                && words.next().is_some_and(|count| count.bytes().all(|digit| digit.is_ascii_digit()));
            if shows {
                assert_eq!(words.collect::<Vec<_>>().join(" "), reason.sentence(), "{}", reason.name());
                quoted += 1;
            }
        }
    }
    assert_ne!(quoted, 0, "the README shows drop reasons");
}

#[test]
fn files_are_found_in_text() {
    let text =
        "See [a](b.md#c), [d](https://e/f), `tests/g.rs`, `crates/h i`.\n```\ncrates/j\n```\n`tools/k`";
    let at = |path: &str| root().join(path);
    let found = named_files(&at("tests/README.md"), text);
    assert_eq!(found, [at("tests/b.md"), at("tests/g.rs"), at("tools/k")]);
    let wire = at("crates/wire/README.md");
    assert_eq!(named_files(&wire, "`tests/views.rs`"), [at("crates/wire/tests/views.rs")]);
}

#[test]
fn forms_are_read_as_they_are_meant() {
    assert!(is_like("from_here_to_there", "from_*_there") && is_like("a", "*") && !is_like("ab", "a"));
    assert!(!is_like("to_there_from_here", "from_*"));
    let pair = |home: &str, name: &str| (home.to_owned(), name.to_owned());
    assert_eq!(
        forms("`ipv4::{a_*, b}`, `router::neigh::c`"),
        [pair("ipv4", "a_*"), pair("ipv4", "b"), pair("router::neigh", "c")]
    );
    assert!(tests_of("router::neigh").contains("permanent_entries_stay"));
    assert!(!tests_of("router::neigh").contains("checks_of_rfc_4861_section_7_1"));
}
