//! What waits to be stored, each thing once, in the order in which it came.

use std::collections::{HashSet, VecDeque};
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

#[derive(Debug)]
pub(crate) struct Backlog<T> {
    waiting: Mutex<Waiting<T>>,
    news: Arc<Notify>,
}

#[derive(Debug)]
struct Waiting<T> {
    order: VecDeque<T>,
    all: HashSet<T>,
}

impl<T> Default for Backlog<T> {
    fn default() -> Self {
        Self { waiting: Mutex::new(Waiting { order: VecDeque::new(), all: HashSet::new() }), news: Arc::default() }
    }
}

impl<T: Hash + Eq + Clone> Backlog<T> {
    pub fn add(&self, one: T) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.all.insert(one.clone()) {
            waiting.order.push_back(one);
        }
        self.news.notify_one();
    }

    /// Takes the first ones. If more are left, whoever waits for news goes on.
    pub fn next(&self, most: usize) -> Vec<T> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let count = waiting.order.len().min(most);
        let taken: Vec<T> = waiting.order.drain(..count).collect();
        for one in &taken {
            waiting.all.remove(one);
        }
        if waiting.order.is_empty() {
            *waiting = Waiting { order: VecDeque::new(), all: HashSet::new() }; // without the room of a rush
        } else {
            self.news.notify_one();
        }
        taken
    }

    pub fn news(&self) -> Arc<Notify> {
        Arc::clone(&self.news)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn each_thing_is_taken_once_in_its_order_and_may_come_again() {
        let backlog = Backlog::default();
        for one in [3, 1, 3, 2] {
            backlog.add(one);
        }
        let is_news = || backlog.news().notified().now_or_never().is_some();
        assert!(is_news() && !is_news());
        assert_eq!(backlog.next(2), [3, 1]);
        assert!(is_news(), "one is left");
        backlog.add(3);
        assert_eq!(backlog.next(5), [2, 3]);
        assert!(backlog.next(5).is_empty());
    }
}
