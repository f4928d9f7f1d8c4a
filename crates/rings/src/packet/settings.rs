//! How large packet ports are made.

/// How a packet port is set up; [`Settings::default`] is what measured best.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Slots of the receive ring; a multiple of 32, so that they fill whole 64 KiB blocks.
    pub slots: u32,
    /// Bytes that the kernel may queue for frames larger than a slot (`SO_RCVBUF`). Beyond what
    /// `net.core.rmem_max` grants without CAP_NET_ADMIN over the machine, less is taken.
    pub receive_buffer_bytes: u32,
    /// Bytes that may be on their way out (`SO_SNDBUF`), likewise.
    pub send_buffer_bytes: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { slots: 1024, receive_buffer_bytes: 8 << 20, send_buffer_bytes: 8 << 20 }
    }
}
