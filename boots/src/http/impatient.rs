//! A writer that fails when nothing of it is taken for a while. A client that does not read would hold an image open for ever.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::AsyncWrite;
use tokio::time::{Instant, Sleep, sleep};

#[derive(Debug)]
pub struct Impatient<W> {
    writer: W,
    limit: Duration,
    late: Option<Pin<Box<Sleep>>>,
    waits: bool,
}

impl<W> Impatient<W> {
    pub const fn new(writer: W, limit: Duration) -> Self {
        Self { writer, limit, late: None, waits: false }
    }

    fn in_time<T>(&mut self, done: Poll<io::Result<T>>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if done.is_ready() {
            self.waits = false;
            return done;
        }
        let limit = self.limit;
        let late = self.late.get_or_insert_with(|| Box::pin(sleep(limit)));
        if !std::mem::replace(&mut self.waits, true) {
            late.as_mut().reset(Instant::now() + limit);
        }
        late.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<W: AsyncWrite + Unpin> AsyncWrite for Impatient<W> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let done = Pin::new(&mut self.writer).poll_write(context, bytes);
        self.in_time(done, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let done = Pin::new(&mut self.writer).poll_write_vectored(context, parts);
        self.in_time(done, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.writer.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let done = Pin::new(&mut self.writer).poll_flush(context);
        self.in_time(done, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let done = Pin::new(&mut self.writer).poll_shutdown(context);
        self.in_time(done, context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn a_slow_reader_is_served_and_one_that_stops_is_not() {
        let limit = Duration::from_millis(300);
        let (near, mut far) = duplex(10);
        let mut writer = Impatient::new(near, limit);
        let reading = async {
            for _ in 0..20 {
                far.read_exact(&mut [0; 10]).await.unwrap();
                // Slower than the limit in all, and never so long without a byte.
                let _ = timeout(limit / 10, std::future::pending::<()>()).await;
            }
        };
        let (written, ()) = tokio::join!(writer.write_all(&[7; 200]), reading);
        written.unwrap();
        writer.write_all(&[7; 10]).await.unwrap();
        let stopped = timeout(Duration::from_secs(20), writer.write_all(&[7; 10])).await.expect("it waits for ever");
        assert_eq!(stopped.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
