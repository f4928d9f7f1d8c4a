//! The state of a port's link, as Linux has it.

use crate::control::monitor::LinkState;

/// The state of a port's link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum PortState {
    #[default]
    Up,
    /// Up, but the other end is down: its routes stay, and its neighbours do not answer (Linux with
    /// `ignore_routes_with_linkdown` 0, the default).
    NoCarrier,
    /// Administratively down: its routes go.
    Down,
    /// Deleted.
    Gone,
}

impl PortState {
    /// The state that the kernel reports.
    pub(super) fn of(link: &LinkState) -> PortState {
        match (link.exists, link.up, link.carrier) {
            (false, ..) => PortState::Gone,
            (true, false, _) => PortState::Down,
            (true, true, false) => PortState::NoCarrier,
            (true, true, true) => PortState::Up,
        }
    }

    /// The end of a sentence on a port that has come into this state.
    pub(super) const fn sentence(self) -> &'static str {
        match self {
            PortState::Up => "is up again",
            PortState::NoCarrier => "lost its carrier: the other end of its link is down",
            PortState::Down => "went down",
            PortState::Gone => "was deleted; start the lab again to have it back",
        }
    }
}
