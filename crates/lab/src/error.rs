//! The errors of labs: one variant a step, each a sentence, with a hint where there is a way out.

use std::io;
use std::path::PathBuf;

use nsrouter_linux::sysctl::SysctlError;

use crate::topology::InvalidTopology;

/// Why a lab could not be built, entered, found or removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The topology is not valid.
    #[error("the topology is not valid: {0}")]
    Topology(#[from] InvalidTopology),
    /// A name that a lab cannot have.
    #[error("`{0}` is not a valid lab name: use 1 to 32 letters, digits, `.`, `_` or `-`")]
    Name(String),
    /// Options that exclude each other.
    #[error("{0}")]
    Usage(String),
    /// A lab of that name is up.
    #[error("lab `{name}` is already running (process {pid})")]
    Running {
        /// The lab.
        name: String,
        /// The PID of the nsrouter process that keeps it.
        pid: i32,
    },
    /// A namespace of that name exists, and no lab created it.
    #[error("a network namespace called `{0}` exists already, and nsrouter did not create it")]
    NamespaceClash(String),
    /// A symbolic link of that name, dangling or not, that no lab created.
    #[error("{} is a symbolic link to {}, and nsrouter did not create it", path.display(), target.display())]
    NamespaceLink {
        /// The link.
        path: PathBuf,
        /// Its target.
        target: PathBuf,
    },
    /// A namespace of that name belongs to another lab.
    #[error("the network namespace `{namespace}` belongs to lab `{lab}`")]
    NamespaceOfLab {
        /// The namespace.
        namespace: String,
        /// The lab that created it.
        lab: String,
    },
    /// A link of that name exists in the namespace of the router.
    #[error("a link called `{0}` exists already in this network namespace, and nsrouter did not create it")]
    LinkClash(String),
    /// No lab of that name.
    #[error("no lab called `{0}` is running")]
    NoLab(String),
    /// No lab runs at all.
    #[error("no lab is running")]
    NoLabs,
    /// That process does not keep a lab.
    #[error("process {0} does not keep a lab that you can see")]
    NoLabOf(i32),
    /// No lab of that name runs, but one that was killed left something behind. Empty: no lab of any name.
    #[error("no lab{} is running; one that was killed left its namespaces behind", called(.0))]
    DeadLab(String),
    /// Several labs are selected.
    #[error("more than one lab matches: {0}")]
    WhichLab(String),
    /// No such node.
    #[error("lab `{lab}` has no node `{node}`; it has {nodes}")]
    NoNode {
        /// The lab.
        lab: String,
        /// The node asked for.
        node: String,
        /// The nodes of the lab.
        nodes: String,
    },
    /// Not supported on this machine, or not permitted to this user.
    #[error("{what}")]
    Cannot {
        /// The sentence.
        what: String,
        /// What is missing, and how to provide it.
        hint: String,
    },
    /// A running lab could not be replaced.
    #[error("lab `{name}` could not be replaced: {problem}")]
    Replace {
        /// The lab.
        name: String,
        /// The first problem.
        problem: String,
    },
    /// A system call failed.
    #[error("cannot {step}: {source}")]
    Step {
        /// The step that failed, as in "create network namespace t1".
        step: String,
        /// The kernel's error.
        source: io::Error,
    },
    /// A file could not be read or written.
    #[error("cannot {step} {}: {source}", path.display())]
    File {
        /// "read", "write", ...
        step: &'static str,
        /// The file.
        path: PathBuf,
        /// The kernel's error.
        source: io::Error,
    },
    /// The record of a lab is not valid: incomplete, or of another version.
    #[error("{} is not a valid record: {why}", path.display())]
    Record {
        /// The lab, by the name of its folder.
        name: String,
        /// The record.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Building was stopped early.
    #[error("stopped before the lab was ready")]
    Stopped,
    /// A command in a node could not be started.
    #[error("{sentence}")]
    Command {
        /// The command, and why it could not be run.
        sentence: String,
        /// The exit code that a shell has for that: 126 where it cannot be run, 127 where it does not exist.
        code: u8,
    },
    /// A condition did not become true in time.
    #[error("{what} did not happen within {milliseconds} ms")]
    Late {
        /// The condition.
        what: String,
        /// How long it was waited for.
        milliseconds: u128,
    },
}

impl From<SysctlError> for Error {
    fn from(error: SysctlError) -> Self {
        match error {
            // /proc/sys is mounted read-only, as in many containers: not supported rather than a failure.
            SysctlError::Write { path, source } if source.kind() == io::ErrorKind::ReadOnlyFilesystem => {
                Self::Cannot {
                    what: format!("cannot write {}: {source}", path.display()),
                    hint:
                        "in a container, start it with a writable /proc/sys; or use --private: a private lab \
                           has a /proc of its own"
                            .to_owned(),
                }
            }
            SysctlError::Read { path, source } => Self::File { step: "read", path, source },
            SysctlError::Write { path, source } => Self::File { step: "write", path, source },
        }
    }
}

fn called(name: &str) -> String {
    if name.is_empty() { String::new() } else { format!(" called `{name}`") }
}

impl Error {
    /// What to do about it, where there is a way out.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Running { name, .. } => Some(format!(
                "choose another name with --name, replace that lab with --replace, or end it with \
                 `nsrouter down {name}`"
            )),
            Self::NamespaceClash(name) => Some(format!(
                "remove it (`ip netns del {name}`), let nsrouter do that with --replace, choose other names \
                 with --name LAB, or use --private"
            )),
            Self::NamespaceLink { path, .. } => Some(format!(
                "remove it (`rm {}`), let nsrouter do that with --replace, choose other names with \
                 --name LAB, or use --private",
                path.display()
            )),
            Self::Record { name, .. } => Some(format!(
                "`nsrouter clean --name {name}` removes it, and so does starting with --replace"
            )),
            Self::Replace { .. } => Some(
                "it stays on record: remove the problem and run `nsrouter clean`, or choose another --name"
                    .to_owned(),
            ),
            Self::NamespaceOfLab { lab, .. } => Some(format!("use another --name, or `nsrouter down {lab}`")),
            Self::LinkClash(name) => Some(format!(
                "remove it (`ip link del {name}`), let nsrouter do that with --replace, or omit \
                 `--router-ns host`"
            )),
            Self::NoLab(_) | Self::NoLabs => {
                Some("start one with `nsrouter up` or `nsrouter --mode kernel`".to_owned())
            }
            Self::NoLabOf(_) => Some("`nsrouter ls` lists the labs and their processes".to_owned()),
            Self::DeadLab(_) => {
                Some("`nsrouter clean` removes what it left; then start a new one".to_owned())
            }
            Self::WhichLab(_) => Some("select one with --name or --pid".to_owned()),
            Self::Cannot { hint, .. } => Some(hint.clone()),
            // A limit on the number of namespaces is reached (namespaces(7)).
            Self::Step { source, .. } if source.raw_os_error() == Some(nix::libc::ENOSPC) => {
                Some("raise the sysctls user.max_*_namespaces, or remove other namespaces".to_owned())
            }
            Self::Step { source, .. } | Self::File { source, .. }
                if source.kind() == io::ErrorKind::PermissionDenied =>
            {
                Some("run it as root, or use --private, which does not need root".to_owned())
            }
            Self::Topology(_)
            | Self::Name(_)
            | Self::Usage(_)
            | Self::NoNode { .. }
            | Self::Stopped
            | Self::Command { .. }
            | Self::Step { .. }
            | Self::File { .. }
            | Self::Late { .. } => None,
        }
    }

    /// Whether it is not supported or not permitted here (exit code 3) rather than a failure (1).
    pub fn is_cannot(&self) -> bool {
        matches!(self, Self::Cannot { .. })
    }

    /// Whether it is a usage error (exit code 2).
    pub fn is_usage(&self) -> bool {
        matches!(self, Self::Topology(_) | Self::Name(_) | Self::Usage(_) | Self::NoNode { .. })
    }

    /// An I/O error together with the step that failed; for `map_err`.
    pub(crate) fn step<E: Into<io::Error>>(step: impl Into<String>) -> impl FnOnce(E) -> Self {
        let step = step.into();
        move |source| Self::Step { step, source: source.into() }
    }

    /// An I/O error together with its file; for `map_err`.
    pub(crate) fn file<E: Into<io::Error>>(
        step: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(E) -> Self {
        let path = path.into();
        move |source| Self::File { step, path, source: source.into() }
    }
}
