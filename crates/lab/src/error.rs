//! What can go wrong with a lab: one variant a step, each a sentence, with a hint where there is a way out.

use std::io;
use std::path::PathBuf;

use nsrouter_linux::sysctl::SysctlError;

use crate::topology::Invalid;

/// Why a lab could not be built, entered, found or removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The topology makes no sense.
    #[error("the topology is not valid: {0}")]
    Topology(#[from] Invalid),
    /// A lab's name that could not be a file's.
    #[error("`{0}` is no name for a lab: use 1 to 32 letters, digits, `.`, `_` or `-`")]
    Name(String),
    /// Two things asked for that exclude each other.
    #[error("{0}")]
    Usage(String),
    /// A lab of that name is up.
    #[error("lab `{name}` is already running (process {pid})")]
    Running {
        /// The lab.
        name: String,
        /// The nsrouter process that keeps it.
        pid: i32,
    },
    /// A namespace of that name exists and no lab made it.
    #[error("a network namespace called `{0}` exists already, and nsrouter did not make it")]
    NamespaceClash(String),
    /// A symbolic link of that name, dangling or not, that no lab made.
    #[error("{} is a symbolic link to {}, and nsrouter did not make it", path.display(), target.display())]
    NamespaceLink {
        /// The link.
        path: PathBuf,
        /// Where it leads.
        target: PathBuf,
    },
    /// A namespace of that name belongs to another lab.
    #[error("the network namespace `{namespace}` belongs to lab `{lab}`")]
    NamespaceOfLab {
        /// The namespace.
        namespace: String,
        /// The lab that made it.
        lab: String,
    },
    /// A link of that name exists where the router is to be.
    #[error("a link called `{0}` exists already in this network namespace, and nsrouter did not make it")]
    LinkClash(String),
    /// No lab of that name.
    #[error("no lab called `{0}` is running")]
    NoLab(String),
    /// No lab at all.
    #[error("no lab is running")]
    NoLabs,
    /// No lab that this process keeps.
    #[error("process {0} keeps no lab that you can see")]
    NoLabOf(i32),
    /// No lab runs, but one that was killed left something behind. Empty: any of that sort.
    #[error("no lab{} is running; one that was killed left its namespaces behind", called(.0))]
    DeadLab(String),
    /// Several labs, and it was not said which.
    #[error("more than one lab fits: {0}")]
    WhichLab(String),
    /// No such node.
    #[error("lab `{lab}` has no node `{node}`; it has {nodes}")]
    NoNode {
        /// The lab.
        lab: String,
        /// What was asked for.
        node: String,
        /// What there is.
        nodes: String,
    },
    /// This machine or user cannot.
    #[error("{what}")]
    Cannot {
        /// The sentence.
        what: String,
        /// What is missing, and how to get it.
        hint: String,
    },
    /// A running lab that was to be replaced is still there.
    #[error("lab `{name}` could not be replaced: {problem}")]
    Replace {
        /// The lab.
        name: String,
        /// The first thing that went wrong.
        problem: String,
    },
    /// A system call of ours failed.
    #[error("cannot {step}: {source}")]
    Step {
        /// What was being done, as in "create namespace t1".
        step: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// A file of ours could not be read or written.
    #[error("cannot {step} {}: {source}", path.display())]
    File {
        /// "read", "write", ...
        step: &'static str,
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A lab's record that makes no sense: half written, or another version's.
    #[error("cannot make sense of {}: {why}", path.display())]
    Record {
        /// The lab, as its folder is called.
        name: String,
        /// The record.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Someone asked for the end before it was there.
    #[error("stopped before the lab was ready")]
    Stopped,
    /// A command in a node could not be started.
    #[error("{sentence}")]
    Command {
        /// What could not be run, and why.
        sentence: String,
        /// The exit code of a shell for that: 126 where it cannot be run, 127 where there is none.
        code: u8,
    },
    /// Something did not become so in time.
    #[error("{what} did not happen within {milliseconds} ms")]
    Late {
        /// What was waited for.
        what: String,
        /// For how long.
        milliseconds: u128,
    },
}

impl From<SysctlError> for Error {
    fn from(error: SysctlError) -> Self {
        match error {
            // A /proc/sys that is mounted read-only, as in many containers: nothing that the user did wrong.
            SysctlError::Write { path, source } if source.kind() == io::ErrorKind::ReadOnlyFilesystem => {
                Self::Cannot {
                    what: format!("cannot write {}: {source}", path.display()),
                    hint: "in a container, start that with a writable /proc/sys; or use --private: such a lab has a \
                           /proc of its own"
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
    /// What to do about it, where something can be done.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Running { name, .. } => Some(format!(
                "give this one another name with --name, take over with --replace, or end that one with \
                 `nsrouter down {name}`"
            )),
            Self::NamespaceClash(name) => Some(format!(
                "remove it (`ip netns del {name}`), let nsrouter do that with --replace, choose other names \
                 with --name LAB, or use --private"
            )),
            Self::NamespaceLink { path, .. } => Some(format!(
                "remove it (`rm {}`), let nsrouter do that with --replace, choose other names with --name LAB, or use \
                 --private",
                path.display()
            )),
            Self::Record { name, .. } => Some(format!(
                "`nsrouter clean --name {name}` removes it, and so does starting with --replace"
            )),
            Self::Replace { .. } => Some(
                "it stays on record: once what is in the way is mended, `nsrouter clean` finishes, or choose another --name"
                    .to_owned(),
            ),
            Self::NamespaceOfLab { lab, .. } => Some(format!("use another --name, or `nsrouter down {lab}`")),
            Self::LinkClash(name) => Some(format!(
                "remove it (`ip link del {name}`), let nsrouter do that with --replace, or leave out \
                 `--router-ns host`"
            )),
            Self::NoLab(_) | Self::NoLabs => {
                Some("start one with `nsrouter up` or `nsrouter --mode kernel`".to_owned())
            }
            Self::NoLabOf(_) => Some("`nsrouter ls` lists the labs and their processes".to_owned()),
            Self::DeadLab(_) => {
                Some("`nsrouter clean` removes what it left; then start a new one".to_owned())
            }
            Self::WhichLab(_) => Some("say which with --name or --pid".to_owned()),
            Self::Cannot { hint, .. } => Some(hint.clone()),
            // The kernel's word for a limit on namespaces that is reached (namespaces(7)).
            Self::Step { source, .. } if source.raw_os_error() == Some(nix::libc::ENOSPC) => {
                Some("raise the limits user.max_*_namespaces with sysctl, or end other namespaces".to_owned())
            }
            Self::Step { source, .. } | Self::File { source, .. }
                if source.kind() == io::ErrorKind::PermissionDenied =>
            {
                Some("run it as root, or add --private to do without".to_owned())
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

    /// Whether it is the machine or the user that cannot (exit code 3) rather than a failure (1).
    pub fn is_cannot(&self) -> bool {
        matches!(self, Self::Cannot { .. })
    }

    /// Whether what was asked for was wrong (exit code 2).
    pub fn is_usage(&self) -> bool {
        matches!(self, Self::Topology(_) | Self::Name(_) | Self::Usage(_) | Self::NoNode { .. })
    }

    /// An I/O error with the step at which it came; for `map_err`.
    pub(crate) fn step<E: Into<io::Error>>(step: impl Into<String>) -> impl FnOnce(E) -> Self {
        let step = step.into();
        move |source| Self::Step { step, source: source.into() }
    }

    /// An I/O error on a file; for `map_err`.
    pub(crate) fn file<E: Into<io::Error>>(
        step: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(E) -> Self {
        let path = path.into();
        move |source| Self::File { step, path, source: source.into() }
    }
}
