//! `nsrouter ls`: the labs that there are.

use std::process::ExitCode;
use std::time::Duration;

use nsrouter_lab::records::{LabInfo, labs};
use serde::Serialize;

use crate::output::{self, outln};

/// List the labs, private ones and dead ones too: name, what forwards, state, age, process and owner.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Print JSON.
    #[arg(short, long)]
    json: bool,
}

/// A lab as `--json` shows it.
#[derive(Debug, Serialize)]
struct Line {
    name: String,
    mode: Option<String>,
    backend: Option<String>,
    private: bool,
    /// `running` or `dead`.
    state: &'static str,
    age_seconds: Option<u64>,
    pid: i32,
    /// The user's name, or number where it has none.
    owner: String,
}

/// Lists them.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let lines: Vec<Line> = labs()?.into_iter().map(|lab| line(lab, &users)).collect();
    if args.json {
        output::json(&lines)?;
    } else if lines.is_empty() {
        outln!("no labs")?;
    } else {
        outln!("{}", table(&lines))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn line(lab: LabInfo, users: &str) -> Line {
    Line {
        name: lab.name,
        mode: lab.mode,
        backend: lab.backend,
        private: lab.private,
        state: if lab.is_running { "running" } else { "dead" },
        age_seconds: lab.age.map(|age| age.as_secs()),
        pid: lab.pid,
        owner: user_name(users, lab.owner.as_raw()).map_or_else(|| lab.owner.to_string(), str::to_owned),
    }
}

/// The name that passwd(5) has for a user. Not by the C library, which in a static binary may not find its
/// parts.
fn user_name(users: &str, uid: u32) -> Option<&str> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then_some(name)
    })
}

/// A column for each fact, as wide as its longest word.
fn table(lines: &[Line]) -> String {
    let or_dash = |word: &Option<String>| word.clone().unwrap_or_else(|| "-".to_owned());
    let head = ["LAB", "MODE", "BACKEND", "PRIVATE", "STATE", "AGE", "PID", "OWNER"].map(str::to_owned);
    let rows = lines.iter().map(|line| {
        [
            line.name.clone(),
            or_dash(&line.mode),
            or_dash(&line.backend),
            if line.private { "yes" } else { "-" }.to_owned(),
            line.state.to_owned(),
            line.age_seconds.map_or_else(|| "-".to_owned(), age),
            line.pid.to_string(),
            line.owner.clone(),
        ]
    });
    let rows: Vec<[String; 8]> = std::iter::once(head).chain(rows).collect();
    let widths: Vec<usize> = (0..8)
        .map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default())
        .collect();
    let text = |row: &[String; 8]| {
        let cells = row.iter().zip(&widths).map(|(word, &width)| format!("{word:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(text).collect::<Vec<_>>().join("\n")
}

/// The two largest units of a time: more is not looked for in a list.
fn age(seconds: u64) -> String {
    let text = humantime::format_duration(Duration::from_secs(seconds)).to_string();
    text.split(' ').take(2).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_has_two_units() {
        assert_eq!([0, 59, 3600 + 120 + 3, 90_000].map(age), ["0s", "59s", "1h2m", "1day1h"]);
    }

    #[test]
    fn users_are_named_as_passwd_has_them() {
        let users = "root:x:0:0:root:/root:/bin/sh\nbroken\nme:x:1000:1000::/home/me:\n";
        assert_eq!((user_name(users, 0), user_name(users, 1000)), (Some("root"), Some("me")));
        assert_eq!(user_name(users, 1), None);
    }

    #[test]
    fn columns_stand_below_each_other() {
        let line = |name: &str, mode: Option<&str>| Line {
            name: name.to_owned(),
            mode: mode.map(str::to_owned),
            backend: None,
            private: true,
            state: "dead",
            age_seconds: None,
            pid: 7,
            owner: "me".to_owned(),
        };
        let text = table(&[line("default", Some("kernel")), line("a", None)]);
        let columns: Vec<usize> = text.lines().map(|line| line.find("yes").unwrap_or(0)).collect();
        assert_eq!(columns[1..], [26, 26], "{text}");
        assert!(text.lines().all(|line| line.len() <= 80), "{text}");
    }
}
