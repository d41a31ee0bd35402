//! Hands out actions and remembers what happened.

pub mod progress;
pub mod store;
pub mod template;
