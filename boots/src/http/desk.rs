//! The desk: one thread takes all connections and answers the scripts. A script is short, and a machine does nothing until it
//! has it. On the executor's threads it would wait behind thousands of ramdisks on their way.

use std::io;
use std::pin::Pin;
use std::thread;

use tokio::runtime::Builder;
use tokio::sync::oneshot;

/// Texts that machines wait for at the start of a boot. Behind these paths is nothing else.
pub fn answers(path: &str) -> bool {
    ["/ipxe/script/", "/grub/", "/pxelinux.cfg/"].iter().any(|prefix| path.starts_with(prefix))
}

/// How many scripts at once look for their files. More threads would only take turns.
const READERS: usize = 4;

/// Completes when serving shall end.
pub type Stopped = Pin<Box<dyn Future<Output = ()>>>;

/// Serves on a thread of its own until `shutdown`, or until this is dropped.
///
/// # Errors
/// When the thread cannot be started, or serving fails.
pub async fn open<F: Future<Output = io::Result<()>>>(
    shutdown: impl Future<Output = ()>,
    serve: impl FnOnce(Stopped) -> F + Send + 'static,
) -> io::Result<()> {
    let (stop, stopping) = oneshot::channel::<()>();
    let (ended, mut end) = oneshot::channel();
    thread::Builder::new().name("scripts".to_owned()).spawn(move || {
        let executor = Builder::new_current_thread().enable_all().max_blocking_threads(READERS).build();
        let served = executor.and_then(|executor| executor.block_on(serve(Box::pin(async move { drop(stopping.await) }))));
        let _ = ended.send(served); // an error means that the caller does not wait
    })?;
    tokio::select! {
        served = &mut end => return served.unwrap_or_else(|_| Err(io::Error::other("the thread of the scripts has ended"))),
        () = shutdown => drop(stop),
    }
    end.await.unwrap_or_else(|_| Err(io::Error::other("the thread of the scripts has ended")))
}
