//! Services with a thread of their own: what a machine waits for at the start of its boot. The kernel gives each thread its turn. On
//! the executor's threads such a service waits behind thousands of ramdisks on their way.

use std::io;
use std::pin::Pin;
use std::thread;

use tokio::runtime::Builder;
use tokio::sync::oneshot;

/// How many answers at once look for their files. More threads would only take turns.
const READERS: usize = 4;

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
    thread::Builder::new().name(name.to_owned()).spawn(move || {
        let executor = Builder::new_current_thread().enable_all().max_blocking_threads(READERS).build();
        let served = executor.and_then(|executor| executor.block_on(serve(Box::pin(async move { drop(stopping.await) }))));
        let _ = ended.send(served); // an error means that the caller does not wait
    })?;
    tokio::select! {
        served = &mut end => return served.unwrap_or_else(|_| Err(gone())),
        () = shutdown => drop(stop),
    }
    end.await.unwrap_or_else(|_| Err(gone()))
}
