//! The desk: one thread takes all connections and answers the scripts. A script is short, and a machine does nothing until it
//! has it. On the executor's threads it would wait behind thousands of ramdisks on their way.

use std::io;

use crate::apart::{self, Stopped};

/// Texts that machines wait for at the start of a boot. Behind these paths is nothing else.
pub fn answers(path: &str) -> bool {
    ["/ipxe/script/", "/grub/", "/pxelinux.cfg/"].iter().any(|prefix| path.starts_with(prefix))
}

/// Serves on a thread of its own until `shutdown`, or until this is dropped.
///
/// # Errors
/// When the thread cannot be started, or serving fails.
pub async fn open<F: Future<Output = io::Result<()>>>(
    shutdown: impl Future<Output = ()>,
    serve: impl FnOnce(Stopped) -> F + Send + 'static,
) -> io::Result<()> {
    apart::serve("scripts", shutdown, serve).await
}
