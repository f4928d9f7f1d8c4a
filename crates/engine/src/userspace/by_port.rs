//! A worker's state by port: the host port's first, then the link ports' by slot.

use nsrouter_wire::frame::PortId;

/// One `T` for each port; slots that were never used have the default.
#[derive(Debug)]
pub(super) struct ByPort<T>(Vec<T>);

/// The host port's number is the largest there is, so that the next one is the first.
fn index(port: PortId) -> usize {
    usize::from(port.0.wrapping_add(1))
}

fn port(index: usize) -> PortId {
    u16::try_from(index).map_or(PortId::HOST, |index| PortId(index.wrapping_sub(1)))
}

impl<T: Default> ByPort<T> {
    /// Room for the host port alone.
    pub(super) fn new() -> ByPort<T> {
        ByPort(vec![T::default()])
    }

    /// The state of a port, with room made for it.
    pub(super) fn entry(&mut self, port: PortId) -> &mut T {
        let index = index(port);
        if self.0.len() <= index {
            self.0.resize_with(index + 1, T::default);
        }
        &mut self.0[index]
    }

    /// The state of a port; `None` past the last slot that was used.
    #[inline]
    pub(super) fn get_mut(&mut self, port: PortId) -> Option<&mut T> {
        self.0.get_mut(index(port))
    }

    /// The ports' states in turn, from that port on and then from the beginning.
    #[inline]
    pub(super) fn in_turn(&mut self, first: PortId) -> impl Iterator<Item = &mut T> {
        let middle = index(first).min(self.0.len());
        let (last, first) = self.0.split_at_mut(middle);
        first.iter_mut().chain(last)
    }

    /// The port after this one, in turn.
    pub(super) fn next(&self, before: PortId) -> PortId {
        let next = index(before) + 1;
        port(if next < self.0.len() { next } else { 0 })
    }

    /// Every port with its state.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (PortId, &mut T)> {
        self.0.iter_mut().enumerate().map(|(index, state)| (port(index), state))
    }

    /// The states, the host port's first.
    pub(super) fn into_states(self) -> impl Iterator<Item = T> {
        self.0.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_port_is_first_and_slots_follow() {
        let mut names: ByPort<String> = ByPort::new();
        assert_eq!(names.next(PortId::HOST), PortId::HOST);
        assert_eq!(names.get_mut(PortId(0)), None);
        *names.entry(PortId(1)) = "one".to_owned();
        *names.entry(PortId::HOST) = "host".to_owned();
        assert_eq!(names.get_mut(PortId(0)).map(|name| name.clone()), Some(String::new()));
        let all: Vec<(PortId, String)> = names.iter_mut().map(|(port, name)| (port, name.clone())).collect();
        let expected = [(PortId::HOST, "host"), (PortId(0), ""), (PortId(1), "one")];
        assert_eq!(all, expected.map(|(port, name)| (port, name.to_owned())));
        assert_eq!(
            [PortId::HOST, PortId(0), PortId(1)].map(|port| names.next(port)),
            [PortId(0), PortId(1), PortId::HOST]
        );
        let turn: Vec<String> = names.in_turn(PortId(1)).map(|name| name.clone()).collect();
        assert_eq!(turn, ["one", "host", ""]);
        assert_eq!(names.in_turn(PortId(7)).count(), 3, "of a slot that was never used");
    }
}
