//! Driver packs: further initrd segments for the machines whose devices ask for them. The index `packs.json` beside a
//! ramdisk, as `thimble image build --packs` writes it, says which devices those are.

mod device;
mod index;
pub mod scan;
mod shelf;

pub use device::Device;
pub use index::{BadIndex, Index, Pack};
pub use shelf::Shelf;
