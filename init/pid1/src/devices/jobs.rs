//! Work that may block. Each piece runs in a separate thread, and its result wakes the service.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use devices::module::ModuleName;
use devices::plan::Planned;
use devices::policy::Policy;
use rustix::event::{EventfdFlags, eventfd};

use super::identify;
use crate::modules::{ModuleError, Tree};

/// The threads use little of their stack, because large data is on the heap.
const STACK: usize = 128 << 10;

/// The weight is a thirtieth of that of a thread with the normal priority.
const LATER: i32 = 15;

#[derive(Clone)]
pub enum Job {
    Load {
        tree: Arc<Tree>,
        module: Planned,
        policy: Arc<Policy>,
        hurry: bool,
    },
    /// Identify this disk or partition.
    Look {
        name: String,
    },
}

pub enum Done {
    Loaded { name: ModuleName, result: Result<(), ModuleError>, took: Duration },
    Looked { name: String, links: Vec<String> },
}

impl Job {
    fn work(self) -> Done {
        let started = Instant::now();
        match self {
            Self::Load { tree, module, policy, hurry } => {
                if !hurry {
                    give_way();
                }
                let result = tree.load(&module.name, &module.path, &policy);
                Done::Loaded { name: module.name, result, took: started.elapsed() }
            }
            Self::Look { name } => {
                let links = identify::links(&name);
                Done::Looked { name, links }
            }
        }
    }
}

/// With one processor, checking a module's signature would take half of another thread's time, and the network comes first.
/// The kernel applies this priority to the calling thread only.
fn give_way() {
    let _ = rustix::process::setpriority_process(None, LATER); // if this fails, the network is only a little later
}

pub struct Jobs {
    outcome: Outcome,
    receiver: Receiver<Done>,
}

#[derive(Clone)]
struct Outcome {
    sender: Sender<Done>,
    wake: Arc<OwnedFd>,
}

impl Outcome {
    fn report(&self, done: Done) {
        let _ = self.sender.send(done); // the service exists as long as its threads
        let _ = rustix::io::write(&*self.wake, &1u64.to_ne_bytes()); // if it is full, the service is awake already
    }
}

impl Jobs {
    pub fn new() -> io::Result<Self> {
        let wake = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let (sender, receiver) = channel();
        Ok(Self { outcome: Outcome { sender, wake }, receiver })
    }

    /// Without memory for a thread the work is done at once, which is slower.
    pub fn start(&self, job: Job) {
        let (outcome, spare) = (self.outcome.clone(), job.clone());
        let thread = std::thread::Builder::new().stack_size(STACK).spawn(move || outcome.report(job.work()));
        if let Err(error) = thread {
            log::warn!("cannot start a thread for a device: {error}");
            self.outcome.report(spare.work());
        }
    }

    pub fn done(&self) -> Vec<Done> {
        let _ = rustix::io::read(&*self.outcome.wake, &mut [0; 8]); // if it is empty, there is nothing to clear
        self.receiver.try_iter().collect()
    }
}

impl AsFd for Jobs {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.outcome.wake.as_fd()
    }
}
