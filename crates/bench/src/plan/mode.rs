//! Who forwards: the columns of the comparison, as data.

use std::fmt;
use std::str::FromStr;

use crate::plan::PlanError;
use crate::plan::place::Place;

/// Backend of the userspace mode where none is named.
const DEFAULT_BACKEND: &str = "packet";
/// The userspace backend that needs complete frames from the hosts, whatever the options say.
const COMPLETE_FRAMES_BACKEND: &str = "xdp";

/// An option of a mode: `userspace:packet:spin=always`, for one.
struct OptionRow {
    name: &'static str,
    /// The binary's argument for it.
    argument: &'static str,
    /// What it is set to where no value is written; `None` where it takes no value.
    default: Option<&'static str>,
    /// Whether it means something to the userspace router alone.
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

/// Who moves the frames between the lab's links.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Forwarder {
    /// The kernel's `ip_forward`.
    Kernel,
    /// Our engine over the named backend. Which backends exist is the binary's business: it refuses what it lacks.
    Userspace {
        /// The word for `--backend`.
        backend: String,
    },
    /// Any other forwarder: a program that is started in the router's namespace, where the kernel does not forward.
    Script {
        /// Its path, as it was given.
        path: String,
    },
}

/// One column of the comparison.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Mode {
    /// Who forwards.
    pub forwarder: Forwarder,
    /// Its options by name, with the value where one was given, in the order in which they were given.
    options: Vec<(String, Option<String>)>,
}

impl Mode {
    /// The kernel at its best: what every ratio is to.
    pub fn kernel() -> Mode {
        Mode { forwarder: Forwarder::Kernel, options: Vec::new() }
    }

    /// The kernel under the host offloads of those who cannot have them.
    pub fn kernel_without_offloads() -> Mode {
        Mode { forwarder: Forwarder::Kernel, options: vec![(NO_OFFLOAD.into(), None)] }
    }

    /// Whether the hosts leave checksums and segmentation to their links.
    pub fn host_offloads(&self) -> bool {
        let needs_complete_frames =
            matches!(&self.forwarder, Forwarder::Userspace { backend } if backend == COMPLETE_FRAMES_BACKEND);
        !needs_complete_frames && self.options.iter().all(|(name, _)| name != NO_OFFLOAD)
    }

    /// Whether our own router forwards.
    pub fn is_userspace(&self) -> bool {
        matches!(self.forwarder, Forwarder::Userspace { .. })
    }

    /// Whether its workers never sleep.
    pub fn is_spinning(&self) -> bool {
        let always = |value: &Option<String>| value.as_deref().is_none_or(|value| value == "always");
        self.options.iter().any(|(name, value)| name == "spin" && always(value))
    }

    /// The modes that this one is held against: the kernel at its best, and where the hosts lack their offloads the kernel
    /// that lacks them too.
    pub fn references(&self) -> Vec<Mode> {
        let kernels = [Mode::kernel(), Mode::kernel_without_offloads()];
        let kernels = kernels.into_iter().filter(|kernel| kernel != self);
        kernels.filter(|kernel| kernel.host_offloads() || !self.host_offloads()).collect()
    }

    /// The binary's own arguments that start this mode's lab. A userspace router's worker stays at `router`; several go where the
    /// scheduler puts them.
    pub fn arguments(&self, router: Place) -> Vec<String> {
        let mut arguments: Vec<String> = match &self.forwarder {
            // A script gets the kernel's lab; the agent switches the forwarding off in it.
            Forwarder::Kernel | Forwarder::Script { .. } => vec!["--mode".into(), "kernel".into()],
            Forwarder::Userspace { backend } => {
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
        if let (Place(Some(cpu)), true, false) = (router, self.is_userspace(), several) {
            arguments.push(format!("--cpus={cpu}"));
        }
        arguments
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.forwarder {
            Forwarder::Kernel => f.write_str("kernel")?,
            Forwarder::Userspace { backend } => write!(f, "userspace:{backend}")?,
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

impl FromStr for Mode {
    type Err = PlanError;

    fn from_str(text: &str) -> Result<Self, PlanError> {
        let wrong = || PlanError::Mode { text: text.into() };
        let mut words = text.split(':').peekable();
        let forwarder = match words.next() {
            Some("kernel") => Forwarder::Kernel,
            Some("userspace") => {
                let named = words.peek().is_some_and(|word| option(word).is_none());
                let backend = if named { words.next().unwrap_or_default() } else { DEFAULT_BACKEND };
                let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
                if backend.is_empty() || !backend.chars().all(is_word) {
                    return Err(wrong());
                }
                Forwarder::Userspace { backend: backend.into() }
            }
            Some("cmd") => match words.next() {
                Some(path) if !path.is_empty() => Forwarder::Script { path: path.into() },
                _ => return Err(wrong()),
            },
            _ => return Err(wrong()),
        };
        let mut options: Vec<(String, Option<String>)> = Vec::new();
        for word in words {
            let (row, value) = option(word).ok_or_else(wrong)?;
            let is_ours = matches!(forwarder, Forwarder::Userspace { .. });
            if (row.userspace_only && !is_ours) || options.iter().any(|(name, _)| name == row.name) {
                return Err(wrong());
            }
            options.push((row.name.into(), value.map(Into::into)));
        }
        Ok(Mode { forwarder, options })
    }
}

/// The option that the word names, and its value.
fn option(word: &str) -> Option<(&'static OptionRow, Option<&str>)> {
    let (name, value) = word.split_once('=').map_or((word, None), |(name, value)| (name, Some(value)));
    let row = OPTIONS.iter().find(|row| row.name == name)?;
    let fits = value.is_none_or(|value| row.default.is_some() && !value.is_empty());
    fits.then_some((row, value))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn mode(text: &str) -> Mode {
        text.parse().unwrap()
    }

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
            assert_eq!(mode(name).to_string(), name);
        }
        assert_eq!(mode("userspace").to_string(), "userspace:packet");
        assert_eq!(mode("userspace:spin").to_string(), "userspace:packet:spin");
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
            assert!(name.parse::<Mode>().is_err(), "{name}");
        }
    }

    #[test]
    fn options_become_arguments() {
        let words = |text: &str| mode(text).arguments(Place(None)).join(" ");
        assert_eq!(words("kernel:no-offload"), "--mode kernel --no-host-offloads");
        assert_eq!(words("userspace:tap:spin"), "--mode userspace --backend tap --spin=always");
        assert_eq!(words("userspace:xdp:spin=never"), "--mode userspace --backend xdp --spin=never");
        assert_eq!(words("userspace:nice"), "--mode userspace --backend packet --nice=-10");
        assert_eq!(words("cmd:./peer.sh"), "--mode kernel");
        let pinned = |text: &str| mode(text).arguments(Place(Some(1))).join(" ");
        assert_eq!(pinned("kernel"), "--mode kernel");
        assert_eq!(pinned("userspace:tap"), "--mode userspace --backend tap --cpus=1");
        assert_eq!(pinned("userspace:tap:workers=2"), "--mode userspace --backend tap --workers=2");
    }

    #[test]
    fn each_is_compared_with_the_kernel_of_its_own_offloads_too() {
        let references =
            |text: &str| -> Vec<String> { mode(text).references().iter().map(ToString::to_string).collect() };
        assert_eq!(references("kernel"), [""; 0]);
        assert_eq!(references("kernel:no-offload"), ["kernel"]);
        assert_eq!(references("userspace:packet"), ["kernel"]);
        assert_eq!(references("userspace:xdp"), ["kernel", "kernel:no-offload"]);
        assert_eq!(references("cmd:./peer.sh:no-offload"), ["kernel", "kernel:no-offload"]);
    }
}
