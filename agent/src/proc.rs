//! Files whose content the kernel generates on each read. Each one is read with a single call, because with a growing
//! buffer the kernel would generate it again for every step.

use std::fs::File;
use std::io::{self, Read};

/// The size that fits most of them.
const ROOM: usize = 16 << 10;

pub fn read(path: &str) -> io::Result<String> {
    let mut text = String::with_capacity(ROOM);
    File::open(path)?.read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {

    #[test]
    fn a_file_of_the_kernel_is_read_completely_at_any_length() {
        for path in ["/proc/self/status", "/proc/kallsyms"] {
            let (ours, theirs) = (super::read(path).unwrap(), std::fs::read_to_string(path).unwrap());
            assert_eq!(ours.lines().count(), theirs.lines().count(), "{path}");
        }
    }
}
