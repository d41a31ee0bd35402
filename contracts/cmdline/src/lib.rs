//! The kernel arguments of a Thimble machine as one type: boots renders them, `/init` parses them back.
//!
//! The names are Tinkerbell's (HookOS, CaptainOS), so a machine booted by smee is understood as well. Words that are not in
//! the table are kept in `other`, in order. Nothing here does I/O, and nothing panics. A value that makes no sense becomes a
//! [`Note`] for the log, and the machine boots without it.
#![forbid(unsafe_code)]

mod arguments;
mod bond;
mod foreign;
mod ip;
mod ipam;
mod note;
mod page;
mod parse;
mod placeholder;
mod read;
mod render;
mod ssh_key;
mod table;
mod value;
mod word;

pub use arguments::{Arguments, Parsed};
pub use bond::{Bond, BondError, OPTIONS as BOND_OPTIONS};
pub use ip::{Ip, IpError, Vlan};
pub use ipam::{Ipam, IpamError};
pub use note::{Note, Problem};
pub use page::page;
pub use placeholder::PLACEHOLDER;
pub use ssh_key::{NotAnSshKey, SshKey};
pub use table::{ARGUMENTS, Argument, BLACKLISTS, MODULES, Setting};
pub use value::{EmbeddedImages, HwAddr, NotAnHwAddr, OnFailure, Proxy, Secret};
pub use word::{Word, words};

/// What x86 and arm64 kernels keep of a command line, without the closing NUL. They cut off the rest silently.
pub const MAX_LEN: usize = 2047;
