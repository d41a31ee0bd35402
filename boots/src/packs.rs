//! Driver packs: further initrd segments for the machines whose devices ask for them. The index beside a ramdisk says
//! which devices those are.

mod choice;
mod gather;
pub mod scan;
mod shelf;

pub use choice::{unknown, wanted};
pub use gather::gather;
pub use shelf::Shelf;
