//! The latest revision of a store that several servers share. Calls that ask for it at the same time share one read.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Mutex;

use crate::store::StoreError;

/// A read that has ended.
#[derive(Debug, Default, Clone, Copy)]
struct Ended {
    /// Reads are counted from 1, as they begin.
    number: u64,
    /// `None` if it failed.
    revision: Option<u64>,
}

#[derive(Debug, Default)]
pub(crate) struct Latest {
    begun: AtomicU64,
    /// Held during a read.
    ended: Mutex<Ended>,
}

impl Latest {
    /// What a read says that begins after this call: an earlier one may have missed what the caller knows from another server.
    /// `None` if such a read of another call failed.
    ///
    /// # Errors
    /// When the read of this call fails.
    pub async fn get<R: Future<Output = Result<u64, StoreError>>>(
        &self,
        read: impl FnOnce() -> R,
    ) -> Result<Option<u64>, StoreError> {
        let before = self.begun.load(Ordering::SeqCst);
        let mut ended = self.ended.lock().await;
        if ended.number > before {
            return Ok(ended.revision);
        }
        let number = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
        let revision = read().await;
        *ended = Ended { number, revision: revision.as_ref().ok().copied() };
        revision.map(Some)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::future::join_all;
    use tokio::time::sleep;

    use super::*;

    /// Reads count up, and take 100 ms each.
    async fn read(reads: &AtomicU64) -> Result<u64, StoreError> {
        let revision = reads.fetch_add(1, Ordering::SeqCst) + 1;
        sleep(Duration::from_millis(100)).await;
        Ok(revision)
    }

    #[tokio::test(start_paused = true)]
    async fn calls_share_a_read_that_begins_after_them_and_never_an_earlier_one() {
        let (latest, reads) = (Latest::default(), AtomicU64::new(0));
        let call = |after: u64| {
            let (latest, reads) = (&latest, &reads);
            async move {
                sleep(Duration::from_millis(after)).await;
                latest.get(|| read(reads)).await.unwrap()
            }
        };
        let early: Vec<_> = join_all([call(0), call(10), call(20), call(50), call(99)]).await;
        assert_eq!(early, [Some(1), Some(2), Some(2), Some(2), Some(2)]);
        assert_eq!(call(0).await, Some(3), "a read that has ended is not of use to a later call");
        let many = join_all((0..1000).map(|n| call(n / 10))).await;
        assert!(many.iter().all(|revision| *revision > Some(3)) && reads.load(Ordering::SeqCst) <= 6, "{reads:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn calls_do_not_wait_one_after_the_other_for_a_store_that_fails() {
        let latest = Latest::default();
        let fails = || async {
            sleep(Duration::from_secs(4)).await;
            Err(StoreError::Behind { seconds: 4 })
        };
        let began = tokio::time::Instant::now();
        let answers = join_all((0..100).map(|_| latest.get(fails))).await;
        assert!(answers.iter().all(|answer| !matches!(answer, Ok(Some(_)))));
        assert!(began.elapsed() <= Duration::from_secs(8), "{:?}", began.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_gives_up_leaves_the_read_to_the_next_one() {
        let (latest, reads) = (Latest::default(), AtomicU64::new(0));
        let hurried = tokio::time::timeout(Duration::from_millis(50), latest.get(|| read(&reads)));
        let patient = latest.get(|| read(&reads));
        let (gone, answer) = tokio::join!(hurried, patient);
        assert!(gone.is_err());
        assert_eq!(answer.unwrap(), Some(2));
    }
}
