//! The output of an action: two named pipes that containerd's shim writes to.

use std::io;
use std::path::{Path, PathBuf};

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use tokio::net::unix::pipe;
use tokio::task::JoinHandle;

use crate::container::{self, Order, Shared};

pub struct Pipes {
    pub stdout: PathBuf,
    pub stderr: PathBuf,
    output: Shared,
    readers: Vec<JoinHandle<()>>,
}

impl Pipes {
    /// Makes the pipes and starts reading, because the shim waits for a reader.
    pub fn open(order: &Order<'_>) -> io::Result<Self> {
        let output = container::shared_output(order);
        let [stdout, stderr] = ["stdout", "stderr"].map(|name| order.bundle.join(name));
        let mut readers = Vec::new();
        for (stream, path) in [("stdout", &stdout), ("stderr", &stderr)] {
            let pipe = make(path)?;
            readers.push(tokio::spawn(container::read(stream, pipe, output.clone())));
        }
        Ok(Self { stdout, stderr, output, readers })
    }

    /// The last lines. This does not wait for a process that keeps a pipe open, or for a shim that never opened it.
    pub async fn finish(self) -> Vec<String> {
        container::finish(self.readers.into_iter()).await;
        self.output.lock().map(|mut output| output.finish()).unwrap_or_default()
    }
}

fn make(path: &Path) -> io::Result<pipe::Receiver> {
    mkfifo(path, Mode::S_IRUSR | Mode::S_IWUSR)?;
    pipe::OpenOptions::new().open_receiver(path)
}
