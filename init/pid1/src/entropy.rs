//! Random numbers. TLS waits until the kernel has gathered enough. On a machine without a generator the kernel only begins
//! when a program asks for some. So a thread asks as soon as the drivers load, and reports if it takes long.

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Instant;

use rustix::fs::OFlags;

const POOL: &str = "/dev/random";
/// Data that differs between machines that boot the same image at the same time, and between two boots of one machine. The
/// arguments contain boots' time. The kernel itself adds the addresses of NICs.
const DIFFERS: [&str; 6] = [
    "proc/cmdline",
    "proc/interrupts",
    "sys/class/rtc/rtc0/since_epoch",
    "sys/class/dmi/id/product_uuid",
    "sys/class/dmi/id/product_serial",
    "sys/class/dmi/id/board_serial",
];

/// Costs one read if the pool is full already. Otherwise a thread waits, because the kernel gathers only while a reader
/// waits.
pub fn tend() {
    match ask(OFlags::NONBLOCK) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
        _ => return, // it is full, or the kernel does not have it
    }
    if let Err(error) = add(&differing(Path::new("/"))) {
        log::warn!("cannot add to {POOL}: {error}");
    }
    let waiting = std::thread::Builder::new().stack_size(64 << 10).spawn(wait);
    if let Err(error) = waiting {
        log::warn!("random numbers: cannot gather them early: {error}; the first TLS connection waits for them");
    }
}

fn wait() {
    let started = Instant::now();
    let _ = rustix::process::nice(19); // for this thread only, because drivers and DHCP come first
    log::info!("random numbers: this machine has no generator yet; TLS waits until the kernel has gathered enough");
    match ask(OFlags::empty()) {
        Ok(()) => log::info!("random numbers: ready after {} ms", started.elapsed().as_millis()),
        Err(error) => log::warn!("random numbers: cannot wait for them: {error}"),
    }
}

fn ask(flags: OFlags) -> io::Result<()> {
    let flags = i32::try_from(flags.bits()).unwrap_or_default();
    OpenOptions::new().read(true).custom_flags(flags).open(POOL)?.read_exact(&mut [0])
}

/// Mixes in the data. The kernel does not count it as randomness, because it is unique but not secret.
fn add(data: &[u8]) -> io::Result<()> {
    OpenOptions::new().write(true).open(POOL)?.write_all(data)
}

fn differing(root: &Path) -> Vec<u8> {
    DIFFERS.iter().flat_map(|name| fs::read(root.join(name)).unwrap_or_default()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_sources_are_left_out() {
        let root = tempfile::tempdir().unwrap();
        assert!(differing(root.path()).is_empty());
        for (name, text) in [("proc/cmdline", "thimble.time=1 "), ("sys/class/dmi/id/product_uuid", "ab-cd\n")] {
            fs::create_dir_all(root.path().join(name).parent().unwrap()).unwrap();
            fs::write(root.path().join(name), text).unwrap();
        }
        assert_eq!(differing(root.path()), b"thimble.time=1 ab-cd\n");
    }
}
