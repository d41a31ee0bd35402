//! The power button ends the machine in order. So does ACPI's signal from a hypervisor or a BMC.
//!
//! Needs the modules `button` and `evdev`. sysfs shows which input devices have the key. It is read again after each kernel
//! message about an input device, because a press is lost while the device is not open.

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use ::devices::uevent::Uevent;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::fs::OFlags;

use crate::devices::socket::{self, Received, Uevents};
use crate::ready::Ready;
use crate::service::Facts;
use crate::{PathError, StepError};

const CLASS: &str = "/sys/class/input";
const EV_KEY: u16 = 1;
const KEY_POWER: u16 = 116;
/// Two machine words for the time, then type, code and value.
const EVENT: usize = 2 * size_of::<usize>() + 8;

struct Button {
    name: String,
    file: File,
}

pub fn run(_: &Facts, _: Ready) -> Result<(), StepError> {
    let events = Uevents::open().map_err(PathError::new("cannot listen to", "messages about input devices"))?;
    let mut buttons = Vec::new();
    look(&mut buttons);
    loop {
        let mut fds: Vec<PollFd<'_>> = buttons.iter().map(|button| PollFd::new(button.file.as_fd(), PollFlags::POLLIN)).collect();
        fds.push(PollFd::new(events.as_fd(), PollFlags::POLLIN));
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(PathError::new("cannot wait for", "the power button")(error).into()),
        }
        if has_news(&events) {
            look(&mut buttons);
        }
        let mut pressed = false;
        buttons.retain_mut(|button| button.read(&mut pressed));
        if pressed {
            log::info!("the power button was pressed");
            kill(Pid::from_raw(1), Signal::SIGPWR).map_err(PathError::new("cannot send a signal to", "PID 1"))?;
        }
    }
}

/// Reads all waiting messages. Returns whether one of them is about an input device, or may be.
fn has_news(events: &Uevents) -> bool {
    let mut buffer = [0; socket::MESSAGE_MAX];
    let mut news = false;
    loop {
        match events.receive(&mut buffer) {
            Received::Message(length) => {
                news |= buffer.get(..length).and_then(Uevent::parse).is_some_and(|event| event.subsystem == "input");
            }
            Received::Overrun => news = true,
            Received::Nothing => return news,
        }
    }
}

fn look(buttons: &mut Vec<Button>) {
    for entry in fs::read_dir(CLASS).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let known = buttons.iter().any(|button: &Button| button.name == name);
        let keys = fs::read_to_string(entry.path().join("device/capabilities/key")).unwrap_or_default();
        if known || !name.starts_with("event") || !has_key(&keys, KEY_POWER) {
            continue;
        }
        let flags = OFlags::NONBLOCK.bits().cast_signed();
        if let Ok(file) = fs::OpenOptions::new().read(true).custom_flags(flags).open(Path::new("/dev/input").join(&name)) {
            log::info!("power button: {name}");
            buttons.push(Button { name, file });
        }
    }
}

/// The kernel writes the bitmap as hexadecimal words, the highest first.
fn has_key(bitmap: &str, key: u16) -> bool {
    let (word, bit) = (usize::from(key) / usize::BITS as usize, u32::from(key) % usize::BITS);
    let word = bitmap.split_whitespace().rev().nth(word).and_then(|word| usize::from_str_radix(word, 16).ok());
    word.is_some_and(|word| word >> bit & 1 == 1)
}

impl Button {
    /// Whether the device still exists.
    fn read(&mut self, pressed: &mut bool) -> bool {
        let mut event = [0; EVENT];
        loop {
            match self.file.read(&mut event) {
                Ok(EVENT) => *pressed |= is_press(&event),
                Ok(_) => return false,
                Err(error) => return error.kind() == std::io::ErrorKind::WouldBlock,
            }
        }
    }
}

fn is_press(event: &[u8; EVENT]) -> bool {
    let [.., type0, type1, code0, code1, value0, value1, value2, value3] = *event;
    let (kind, code) = (u16::from_ne_bytes([type0, type1]), u16::from_ne_bytes([code0, code1]));
    (kind, code, i32::from_ne_bytes([value0, value1, value2, value3])) == (EV_KEY, KEY_POWER, 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_with_the_key_is_recognised_by_its_bitmap() {
        for (case, bitmap, has) in [
            ("ACPI's button", "10000000000000 0\n", true),
            ("a keyboard with it", "402000000 3803078f800d001 feffffdfffefffff fffffffffffffffe\n", true),
            ("a mouse", "1f0000 0 0 0 0\n", false),
            ("nothing", "0\n", false),
            ("no bitmap", "", false),
        ] {
            assert_eq!(has_key(bitmap, KEY_POWER), has, "{case}");
        }
    }

    #[test]
    fn pressing_counts_and_releasing_does_not() {
        let event = |kind: u16, code: u16, value: i32| {
            let mut bytes = [0; EVENT];
            let tail = [&kind.to_ne_bytes()[..], &code.to_ne_bytes(), &value.to_ne_bytes()].concat();
            bytes.iter_mut().skip(EVENT - 8).zip(tail).for_each(|(to, from)| *to = from);
            bytes
        };
        assert!(is_press(&event(1, 116, 1)));
        assert!(!is_press(&event(1, 116, 0)) && !is_press(&event(1, 30, 1)) && !is_press(&event(0, 0, 0)));
    }
}
