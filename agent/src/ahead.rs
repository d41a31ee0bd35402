//! The image of the next action, pulled while an action runs. It takes memory that the action does not need, and gives it
//! back if the action comes to need it.

use std::sync::Arc;
use std::time::Duration;

use machine::Chain;
use oci::Puller;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::memory;

/// The action's own start comes first.
const AFTER: Duration = Duration::from_millis(50);

/// Ends when it is dropped. What was pulled whole stays.
pub struct Ahead {
    image: String,
    task: JoinHandle<()>,
}

impl Ahead {
    pub fn begin(puller: &Arc<Mutex<Puller>>, image: &str) -> Self {
        let task = tokio::spawn(pull(Arc::clone(puller), image.to_owned()));
        Self { image: image.to_owned(), task }
    }

    pub fn is_of(&self, image: &str) -> bool {
        self.image == image
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A failure is not reported: the action that needs the image tries again, and reports its own.
async fn pull(puller: Arc<Mutex<Puller>>, image: String) {
    sleep(AFTER).await;
    let mut held = puller.lock().await;
    let pulled = tokio::select! {
        pulled = held.pull_ahead(&image) => pulled,
        () = memory::is_short() => return log::info!("no longer pulling {image} for the next action: this one needs the memory"),
    };
    drop(held);
    let unpacked = match pulled {
        Ok(Some(digest)) => digest,
        Ok(None) => return,
        Err(error) => return log::info!("{image} is not pulled before the next action: {}", Chain(&error)),
    };
    log::info!("pulled {image} for the next action");
    memory::is_short().await;
    match puller.lock().await.store().remove(&unpacked) {
        Ok(()) => log::info!("removed {image}, which the next action needs: this one needs the memory"),
        Err(error) => log::warn!("{}; its memory stays in use", Chain(&error)),
    }
}
