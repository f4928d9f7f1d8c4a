//! One frame with its port and offload, as a text file that a person can read and a test can replay.

use std::fmt::Write;

use nsrouter_wire::frame::PortId;
use nsrouter_wire::offload::{Gso, Offload, PendingChecksum};

/// A frame as it comes in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Case {
    /// The port.
    pub(crate) ingress: PortId,
    /// What is pending.
    pub(crate) offload: Offload,
    /// The bytes.
    pub(crate) frame: Vec<u8>,
}

impl Case {
    /// The text: a line of words, then the bytes in hexadecimal.
    pub(crate) fn to_text(&self) -> String {
        let mut text = format!("port {}", self.ingress.0);
        if let Some(PendingChecksum { start, offset }) = self.offload.checksum {
            let _ = write!(text, " checksum {start} {offset}");
        }
        let gso = match self.offload.gso {
            Gso::None => None,
            Gso::Tcp4 { .. } => Some("tcp4"),
            Gso::Tcp6 { .. } => Some("tcp6"),
            Gso::Udp => Some("udp"),
        };
        if let Some(gso) = gso {
            let _ = write!(text, " gso {gso} {}", self.offload.gso_size);
        }
        for (index, octet) in self.frame.iter().enumerate() {
            text.push(if index % 16 == 0 { '\n' } else { ' ' });
            let _ = write!(text, "{octet:02x}");
        }
        text.push('\n');
        text
    }

    /// Reads what [`Case::to_text`] wrote.
    pub(crate) fn parse(text: &str) -> Option<Case> {
        let (head, bytes) = text.split_once('\n')?;
        let mut case = Case { ingress: PortId(0), offload: Offload::default(), frame: Vec::new() };
        let mut words = head.split_whitespace();
        while let Some(word) = words.next() {
            match word {
                "port" => case.ingress = PortId(words.next()?.parse().ok()?),
                "checksum" => {
                    let start = words.next()?.parse().ok()?;
                    let offset = words.next()?.parse().ok()?;
                    case.offload.checksum = Some(PendingChecksum { start, offset });
                }
                "gso" => {
                    case.offload.gso = match words.next()? {
                        "tcp4" => Gso::Tcp4 { ecn: false },
                        "tcp6" => Gso::Tcp6 { ecn: false },
                        "udp" => Gso::Udp,
                        _ => return None,
                    };
                    case.offload.gso_size = words.next()?.parse().ok()?;
                }
                _ => return None,
            }
        }
        for octet in bytes.split_whitespace() {
            case.frame.push(u8::from_str_radix(octet, 16).ok()?);
        }
        Some(case)
    }
}
