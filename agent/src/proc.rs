//! Files that the kernel makes while they are read. Each is read in one piece: with a growing buffer the kernel makes it
//! again for every step.

use std::fs::File;
use std::io::{self, Read};

/// What most of them fit in.
const ROOM: usize = 16 << 10;

pub fn read(path: &str) -> io::Result<String> {
    let mut text = String::with_capacity(ROOM);
    File::open(path)?.read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {

    #[test]
    fn a_file_of_the_kernel_is_whole_however_long_it_is() {
        for path in ["/proc/self/status", "/proc/kallsyms"] {
            let (ours, theirs) = (super::read(path).unwrap(), std::fs::read_to_string(path).unwrap());
            assert_eq!(ours.lines().count(), theirs.lines().count(), "{path}");
        }
    }
}
