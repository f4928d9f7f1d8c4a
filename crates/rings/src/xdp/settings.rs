//! How large xdp ports are made.

/// How xdp ports are set up; [`Settings::default`] is what measured best.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Frames that may wait at a port, at most. Where it holds less than a sender's TCP window, every window
    /// costs some retransmits.
    pub frames: u32,
    /// Frames that may be on their way out by one port, at most.
    pub in_flight: u32,
    /// Memory of one queue of a port, at most, in bytes: this process's and the kernel's.
    pub port_bytes: usize,
    /// Memory of all ports and queues of a router, in bytes, as long as each can do with its share of it.
    pub router_bytes: usize,
    /// Bytes that may be on their way out (`SO_SNDBUF`); without CAP_NET_ADMIN over the machine no more than
    /// `net.core.wmem_max`.
    pub send_buffer_bytes: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            frames: 8192,
            in_flight: 1024,
            port_bytes: 16 << 20,
            router_bytes: 512 << 20,
            send_buffer_bytes: 8 << 20,
        }
    }
}
