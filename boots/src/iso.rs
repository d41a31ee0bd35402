//! ISO images with the kernel arguments of one machine in them: which arguments, and how the bytes change on their way.

mod arguments;
mod site;
mod window;

pub use arguments::{DoesNotFit, text};
pub use site::{Site, table};
pub use window::{Window, has_placeholder};
