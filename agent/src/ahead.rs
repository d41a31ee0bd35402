//! Pulls the image of the next action while an action runs. That uses memory which the action does not need, and frees it
//! if the action comes to need it.

use std::sync::Arc;
use std::time::Duration;

use machine::Chain;
use oci::Puller;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::memory;

/// The running action starts first.
const AFTER: Duration = Duration::from_millis(50);

/// A pull that ends when this is dropped. An image that was pulled completely stays.
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

/// A failure is not reported. The action that needs the image tries again and reports its own failure.
async fn pull(puller: Arc<Mutex<Puller>>, image: String) {
    sleep(AFTER).await;
    let mut held = puller.lock().await;
    let pulled = tokio::select! {
        pulled = held.pull_ahead(&image) => pulled,
        () = memory::is_short() => return log::info!("stopped pulling {image} for the next action, because this one needs the memory"),
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
        Ok(()) => log::info!("removed {image}, which the next action needs, because this one needs the memory"),
        Err(error) => log::warn!("{}; its memory stays in use", Chain(&error)),
    }
}
