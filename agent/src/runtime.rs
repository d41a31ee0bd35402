//! The runtime that makes the containers: libcontainer in a child of the agent, or the host's containerd.

use std::io;
use std::path::PathBuf;

use crate::container::launcher::Launcher;
use crate::container::{self, Ended, Order};
#[cfg(feature = "containerd")]
use crate::runtime_containerd::Containerd;
use crate::settings::RuntimeChoice;

pub enum Runtime {
    Libcontainer(Box<Launcher>),
    #[cfg(feature = "containerd")]
    Containerd(Containerd),
}

impl Runtime {
    pub fn new(choice: &RuntimeChoice) -> Self {
        let libcontainer = || Self::Libcontainer(Box::new(Launcher::new(PathBuf::from("/proc/self/exe"))));
        match choice {
            RuntimeChoice::Libcontainer => libcontainer(),
            #[cfg(feature = "containerd")]
            RuntimeChoice::Containerd { socket, namespace } => Self::Containerd(Containerd::new(socket, namespace)),
            #[cfg(not(feature = "containerd"))]
            RuntimeChoice::Containerd { .. } => {
                log::warn!("this build has no containerd runtime: actions run with libcontainer instead");
                libcontainer()
            }
        }
    }

    pub async fn run(&self, order: &Order<'_>) -> io::Result<Ended> {
        match self {
            Self::Libcontainer(launcher) => container::run(launcher, order).await,
            #[cfg(feature = "containerd")]
            Self::Containerd(containerd) => containerd.run(order).await,
        }
    }

    /// Ends what an earlier agent left with a daemon. `leftovers` ends the rest.
    pub async fn end_leftovers(&self) {
        match self {
            Self::Libcontainer(_) => {}
            #[cfg(feature = "containerd")]
            Self::Containerd(containerd) => containerd.end_leftovers().await,
        }
    }
}
