//! Forwarding modes: the columns of the comparison, as data.

use std::fmt;

use serde::{Serialize, Serializer};

use super::placement::Pin;

/// A backend of userspace mode, as far as a benchmark must know it. The binary under test has the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backend {
    /// The word for `--backend`.
    pub name: &'static str,
    /// Whether the hosts must send complete frames: checksums filled in, no GSO packets.
    pub complete_frames: bool,
}

/// A word that names no mode.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "there is no mode `{text}`; the modes are kernel, userspace:BACKEND ({backends}) and cmd:SCRIPT, with the options \
     :no-offload, and for userspace :spin=TIME, :workers=N and :nice=N"
)]
pub struct ModeError {
    /// The word.
    pub text: String,
    /// The backends that there are, in words.
    pub backends: String,
}

/// An option of a mode, such as `spin` in `userspace:packet:spin=always`.
struct OptionRow {
    name: &'static str,
    /// The binary's argument for it.
    argument: &'static str,
    /// The value where none is written; `None` where the option takes no value.
    default: Option<&'static str>,
    /// Whether only the userspace router has it.
    userspace_only: bool,
}

const NO_OFFLOAD: &str = "no-offload";
const WORKERS: &str = "workers";
const OPTIONS: &[OptionRow] = &[
    OptionRow { name: NO_OFFLOAD, argument: "--no-host-offloads", default: None, userspace_only: false },
    OptionRow { name: "spin", argument: "--spin", default: Some("always"), userspace_only: true },
    OptionRow { name: WORKERS, argument: "--workers", default: Some("1"), userspace_only: true },
    OptionRow { name: "nice", argument: "--nice", default: Some("-10"), userspace_only: true },
];

/// The forwarder between the lab's links.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Forwarder {
    /// The kernel's `ip_forward`.
    Kernel,
    /// nsrouter's userspace router.
    Userspace {
        /// The word for `--backend`. The binary refuses a backend that it lacks.
        backend: String,
        /// Whether that backend needs complete frames from the hosts.
        complete_frames: bool,
    },
    /// Any other forwarder: a program started in the router's namespace, where the kernel does not forward.
    Script {
        /// Its path, as given.
        path: String,
    },
}

/// One column of the comparison.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Mode {
    /// The forwarder.
    pub forwarder: Forwarder,
    /// Its options by name, each with the value that was given, in the order in which they were given.
    options: Vec<(String, Option<String>)>,
}

impl Mode {
    /// The kernel at its best: the reference of every ratio.
    pub fn kernel() -> Mode {
        Mode { forwarder: Forwarder::Kernel, options: Vec::new() }
    }

    /// The kernel with hosts that have no offloads.
    pub fn kernel_without_offloads() -> Mode {
        Mode { forwarder: Forwarder::Kernel, options: vec![(NO_OFFLOAD.into(), None)] }
    }

    /// Reads a mode as a command line has it: `userspace:xdp:spin=50us`. The first of the backends is the
    /// default; one that is not among them is left for the binary to refuse.
    ///
    /// # Errors
    /// [`ModeError`] names the modes that there are.
    pub fn parse(text: &str, backends: &[Backend]) -> Result<Mode, ModeError> {
        let names = || backends.iter().map(|backend| backend.name).collect::<Vec<&str>>().join(", ");
        read(text, backends).ok_or_else(|| ModeError { text: text.into(), backends: names() })
    }

    /// Whether the hosts leave checksums and segmentation to their links.
    pub fn host_offloads(&self) -> bool {
        let complete = matches!(self.forwarder, Forwarder::Userspace { complete_frames: true, .. });
        !complete && self.options.iter().all(|(name, _)| name != NO_OFFLOAD)
    }

    /// Whether nsrouter's userspace router forwards.
    pub fn is_userspace(&self) -> bool {
        matches!(self.forwarder, Forwarder::Userspace { .. })
    }

    /// Whether its workers never sleep.
    pub fn is_spinning(&self) -> bool {
        let always = |value: &Option<String>| value.as_deref().is_none_or(|value| value == "always");
        self.options.iter().any(|(name, value)| name == "spin" && always(value))
    }

    /// The modes that this one is compared with: the kernel at its best, and for hosts without offloads also
    /// the kernel with such hosts.
    pub fn references(&self) -> Vec<Mode> {
        let kernels = [Mode::kernel(), Mode::kernel_without_offloads()];
        let kernels = kernels.into_iter().filter(|kernel| kernel != self);
        kernels.filter(|kernel| kernel.host_offloads() || !self.host_offloads()).collect()
    }

    /// The binary's arguments that start this mode's lab. The single worker of a userspace router is pinned
    /// to `router`; several workers are left to the scheduler.
    pub fn arguments(&self, router: Pin) -> Vec<String> {
        let mut arguments: Vec<String> = match &self.forwarder {
            // A script gets the kernel's lab; the agent switches the kernel's forwarding off in it.
            Forwarder::Kernel | Forwarder::Script { .. } => vec!["--mode".into(), "kernel".into()],
            Forwarder::Userspace { backend, .. } => {
                vec!["--mode".into(), "userspace".into(), "--backend".into(), backend.clone()]
            }
        };
        for (name, value) in &self.options {
            let Some(row) = OPTIONS.iter().find(|row| row.name == name) else { continue };
            // In one word, because a value may begin with a minus.
            arguments.push(match (row.default, value) {
                (None, _) => row.argument.to_owned(),
                (Some(default), None) => format!("{}={default}", row.argument),
                (Some(_), Some(value)) => format!("{}={value}", row.argument),
            });
        }
        let several = self.options.iter().any(|(name, _)| name == WORKERS);
        if let (Pin(Some(cpu)), true, false) = (router, self.is_userspace(), several) {
            arguments.push(format!("--cpus={cpu}"));
        }
        arguments
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.forwarder {
            Forwarder::Kernel => f.write_str("kernel")?,
            Forwarder::Userspace { backend, .. } => write!(f, "userspace:{backend}")?,
            Forwarder::Script { path } => write!(f, "cmd:{path}")?,
        }
        for (name, value) in &self.options {
            write!(f, ":{name}")?;
            if let Some(value) = value {
                write!(f, "={value}")?;
            }
        }
        Ok(())
    }
}

impl Serialize for Mode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

fn read(text: &str, backends: &[Backend]) -> Option<Mode> {
    let mut words = text.split(':').peekable();
    let forwarder = match words.next()? {
        "kernel" => Forwarder::Kernel,
        "userspace" => {
            let named = words.peek().is_some_and(|word| option(word).is_none());
            let backend = if named { words.next()? } else { backends.first()?.name };
            let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
            if backend.is_empty() || !backend.chars().all(is_word) {
                return None;
            }
            let complete_frames = backends.iter().any(|known| known.name == backend && known.complete_frames);
            Forwarder::Userspace { backend: backend.into(), complete_frames }
        }
        "cmd" => Forwarder::Script { path: words.next().filter(|path| !path.is_empty())?.into() },
        _ => return None,
    };
    let mut options: Vec<(String, Option<String>)> = Vec::new();
    for word in words {
        let (row, value) = option(word)?;
        let is_userspace = matches!(forwarder, Forwarder::Userspace { .. });
        if (row.userspace_only && !is_userspace) || options.iter().any(|(name, _)| name == row.name) {
            return None;
        }
        options.push((row.name.into(), value.map(Into::into)));
    }
    Some(Mode { forwarder, options })
}

/// The option that the word names, and its value.
fn option(word: &str) -> Option<(&'static OptionRow, Option<&str>)> {
    let (name, value) = word.split_once('=').map_or((word, None), |(name, value)| (name, Some(value)));
    let row = OPTIONS.iter().find(|row| row.name == name)?;
    let fits = value.is_none_or(|value| row.default.is_some() && !value.is_empty());
    fits.then_some((row, value))
}

/// The backends of the tests, as the binary has them.
#[cfg(test)]
pub(crate) const BACKENDS: [Backend; 3] = [
    Backend { name: "packet", complete_frames: false },
    Backend { name: "tap", complete_frames: false },
    Backend { name: "xdp", complete_frames: true },
];

#[cfg(test)]
impl Mode {
    /// A mode of the tests.
    pub(crate) fn of(text: &str) -> Mode {
        Mode::parse(text, &BACKENDS).unwrap_or_else(|error| panic!("{error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_as_they_are_written() {
        for name in [
            "kernel",
            "kernel:no-offload",
            "userspace:packet",
            "userspace:packet:spin",
            "userspace:packet:spin=50us:no-offload",
            "userspace:xdp:workers=2",
            "cmd:./peer.sh",
            "cmd:/opt/peers/other.sh:no-offload",
        ] {
            assert_eq!(Mode::of(name).to_string(), name);
        }
        assert_eq!(Mode::of("userspace").to_string(), "userspace:packet");
        assert_eq!(Mode::of("userspace:spin").to_string(), "userspace:packet:spin");
    }

    #[test]
    fn nonsense_is_refused() {
        for name in [
            "",
            "Kernel",
            "userspace:",
            "kernel:packet",
            "kernel:spin",
            "userspace:a b",
            "userspace:packet:nonsense",
            "userspace:packet:spin=",
            "userspace:packet:no-offload=1",
            "userspace:packet:spin:spin",
            "cmd:",
            "cmd",
            "cmd:./a:spin",
        ] {
            assert!(Mode::parse(name, &BACKENDS).is_err(), "{name}");
        }
    }

    #[test]
    fn the_error_names_the_backends() {
        let error = Mode::parse("nonsense", &BACKENDS).map_err(|error| error.to_string());
        let error = error.err().unwrap_or_default();
        assert!(error.starts_with("there is no mode `nonsense`"), "{error}");
        assert!(error.contains("userspace:BACKEND (packet, tap, xdp)"), "{error}");
        assert_eq!(Mode::of("userspace:nosuch").to_string(), "userspace:nosuch");
    }

    #[test]
    fn options_become_arguments() {
        let words = |text: &str| Mode::of(text).arguments(Pin(None)).join(" ");
        assert_eq!(words("kernel:no-offload"), "--mode kernel --no-host-offloads");
        assert_eq!(words("userspace:tap:spin"), "--mode userspace --backend tap --spin=always");
        assert_eq!(words("userspace:xdp:spin=never"), "--mode userspace --backend xdp --spin=never");
        assert_eq!(words("userspace:nice"), "--mode userspace --backend packet --nice=-10");
        assert_eq!(words("cmd:./peer.sh"), "--mode kernel");
        let pinned = |text: &str| Mode::of(text).arguments(Pin(Some(1))).join(" ");
        assert_eq!(pinned("kernel"), "--mode kernel");
        assert_eq!(pinned("userspace:tap"), "--mode userspace --backend tap --cpus=1");
        assert_eq!(pinned("userspace:tap:workers=2"), "--mode userspace --backend tap --workers=2");
    }

    #[test]
    fn each_is_compared_with_the_kernel_of_its_own_offloads_too() {
        let references = |text: &str| -> Vec<String> {
            Mode::of(text).references().iter().map(ToString::to_string).collect()
        };
        assert_eq!(references("kernel"), [""; 0]);
        assert_eq!(references("kernel:no-offload"), ["kernel"]);
        assert_eq!(references("userspace:packet"), ["kernel"]);
        assert_eq!(references("userspace:xdp"), ["kernel", "kernel:no-offload"]);
        assert_eq!(references("cmd:./peer.sh:no-offload"), ["kernel", "kernel:no-offload"]);
    }
}
