//! Who makes the containers: libcontainer in a child of ours, or a containerd of the host.

use std::io;

use crate::container::{self, Ended, Order};
#[cfg(feature = "containerd")]
use crate::runtime_containerd::Containerd;
use crate::settings::RuntimeChoice;

pub enum Runtime {
    Libcontainer,
    #[cfg(feature = "containerd")]
    Containerd(Containerd),
}

impl Runtime {
    pub fn new(choice: &RuntimeChoice) -> Self {
        match choice {
            RuntimeChoice::Libcontainer => Self::Libcontainer,
            #[cfg(feature = "containerd")]
            RuntimeChoice::Containerd { socket, namespace } => Self::Containerd(Containerd::new(socket, namespace)),
            #[cfg(not(feature = "containerd"))]
            RuntimeChoice::Containerd { .. } => {
                log::warn!("this build has no containerd runtime: actions run without it, by libcontainer");
                Self::Libcontainer
            }
        }
    }

    pub async fn run(&self, order: &Order<'_>) -> io::Result<Ended> {
        match self {
            Self::Libcontainer => container::run(order).await,
            #[cfg(feature = "containerd")]
            Self::Containerd(containerd) => containerd.run(order).await,
        }
    }

    /// Ends what an agent before us left with a daemon; what has no daemon ended in `leftovers`.
    pub async fn end_leftovers(&self) {
        match self {
            Self::Libcontainer => {}
            #[cfg(feature = "containerd")]
            Self::Containerd(containerd) => containerd.end_leftovers().await,
        }
    }
}
