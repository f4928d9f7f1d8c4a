//! A forwarding engine in either mode, behind one interface.

use crate::kernel::{Kernel, KernelError};
use crate::status::{RouteList, Status};
use crate::userspace::Userspace;

/// A forwarding engine in either mode.
#[derive(Debug)]
pub enum Engine {
    /// The kernel forwards.
    Kernel(Kernel),
    /// The userspace router forwards.
    Userspace(Box<Userspace>),
}

impl Engine {
    /// The engine's state and counters.
    ///
    /// # Errors
    /// When the kernel's counters can no longer be read.
    pub fn status(&self) -> Result<Status, KernelError> {
        match self {
            Engine::Kernel(kernel) => kernel.status(),
            Engine::Userspace(userspace) => Ok(userspace.status()),
        }
    }

    /// The routes of the userspace router; none in kernel mode, where they are the kernel's.
    pub fn routes(&self) -> Option<impl Future<Output = RouteList> + use<>> {
        match self {
            Engine::Kernel(_) => None,
            Engine::Userspace(userspace) => Some(userspace.routes()),
        }
    }

    /// Whether forwarding has ended by itself; the warnings of the status say why.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        match self {
            Engine::Kernel(_) => false,
            Engine::Userspace(userspace) => userspace.has_ended(),
        }
    }

    /// Stops forwarding and returns the last status.
    ///
    /// # Errors
    /// When the kernel's counters can no longer be read.
    pub fn stop(self) -> Result<Status, KernelError> {
        match self {
            Engine::Kernel(kernel) => kernel.status(),
            Engine::Userspace(userspace) => Ok(userspace.stop()),
        }
    }
}
