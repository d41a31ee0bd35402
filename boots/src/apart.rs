//! Services with a thread of their own: what a machine waits for at the start of its boot. The kernel gives each thread its turn. On
//! the executor's threads such a service waits behind thousands of ramdisks on their way.
//!
//! A daemon also lets its executor's threads have a lower priority than these ([`keep_priority`]). Firmware gives up after seconds,
//! and agents wait.

use std::io;
use std::pin::Pin;
use std::sync::{OnceLock, mpsc};
use std::thread;

use tokio::runtime::Builder;
use tokio::sync::oneshot;

/// How many answers at once look for their files. More threads would only take turns.
const READERS: usize = 4;

type Start = Box<dyn FnOnce() + Send>;

static STARTER: OnceLock<mpsc::Sender<Start>> = OnceLock::new();

/// From now on services have the priority of this thread. A thread begins with that of the one that starts it, and only root may
/// raise it again. So this comes before an executor whose threads have a lower one.
///
/// # Errors
/// When no thread can be started.
pub fn keep_priority() -> io::Result<()> {
    let (starter, starts) = mpsc::channel::<Start>();
    thread::Builder::new().name("starter".to_owned()).spawn(move || starts.into_iter().for_each(|start| start()))?;
    let _ = STARTER.set(starter); // the first one is as good
    Ok(())
}

/// Completes when serving shall end.
pub type Stopped = Pin<Box<dyn Future<Output = ()>>>;

/// Serves on a thread of this name until `shutdown`, or until this is dropped.
///
/// # Errors
/// When the thread cannot be started, or serving fails.
pub async fn serve<F: Future<Output = io::Result<()>>>(
    name: &'static str,
    shutdown: impl Future<Output = ()>,
    serve: impl FnOnce(Stopped) -> F + Send + 'static,
) -> io::Result<()> {
    let gone = move || io::Error::other(format!("the thread {name} has ended"));
    let (stop, stopping) = oneshot::channel::<()>();
    let (ended, mut end) = oneshot::channel();
    let run = move || {
        let executor = Builder::new_current_thread().enable_all().max_blocking_threads(READERS).build();
        let served = executor.and_then(|executor| executor.block_on(serve(Box::pin(async move { drop(stopping.await) }))));
        let _ = ended.send(served); // an error means that the caller does not wait
    };
    let start = move || thread::Builder::new().name(name.to_owned()).spawn(run).map(drop);
    match STARTER.get() {
        None => start()?,
        Some(starter) => {
            let start = move || start().unwrap_or_else(|error| log::error!("cannot start the thread {name}: {error}"));
            starter.send(Box::new(start)).map_err(|_| gone())?;
        }
    }
    tokio::select! {
        served = &mut end => return served.unwrap_or_else(|_| Err(gone())),
        () = shutdown => drop(stop),
    }
    end.await.unwrap_or_else(|_| Err(gone()))
}
