//! The kernel's messages about devices: `ACTION@DEVPATH`, then `KEY=VALUE`, each ended by a zero byte.

use std::str;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// `add`. Also `move` and `online`, because the device may look different afterwards.
    Add,
    /// The driver has finished probing.
    Bind,
    Change,
    Unbind,
    Remove,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uevent<'a> {
    pub action: Action,
    /// Below `/sys`, with a leading slash.
    pub devpath: &'a str,
    pub subsystem: &'a str,
    pub modalias: Option<&'a str>,
    /// Below `/dev`.
    pub devname: Option<&'a str>,
}

impl<'a> Uevent<'a> {
    /// `None` if the kernel did not send the message, or if its action changes nothing here.
    pub fn parse(message: &'a [u8]) -> Option<Self> {
        let mut fields = message.split(|byte| *byte == 0).filter_map(|field| str::from_utf8(field).ok());
        let (action, devpath) = fields.next()?.split_once('@')?;
        let action = match action {
            "add" | "move" | "online" => Action::Add,
            "bind" => Action::Bind,
            "change" => Action::Change,
            "unbind" => Action::Unbind,
            "remove" => Action::Remove,
            _ => return None, // offline: the device is still there
        };
        let mut event = Self { action, devpath, subsystem: "", modalias: None, devname: None };
        for (key, value) in fields.filter_map(|field| field.split_once('=')) {
            match key {
                "SUBSYSTEM" => event.subsystem = value,
                "MODALIAS" => event.modalias = Some(value),
                "DEVNAME" => event.devname = Some(value),
                _ => {}
            }
        }
        // The values become paths below /sys and /dev.
        let leaves = |path: &str| path.split('/').any(|part| part == "..");
        let sane = devpath.starts_with('/')
            && !leaves(devpath)
            && !event.devname.is_some_and(|name| name.starts_with('/') || leaves(name));
        sane.then_some(event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_messages_are_read() {
        let nic = b"add@/devices/pci0000:00/0000:00:03.0\0ACTION=add\0DEVPATH=/devices/pci0000:00/0000:00:03.0\0SUBSYSTEM=pci\0\
            MODALIAS=pci:v00001AF4d00001000sv00001AF4sd00000001bc02sc00i00\0SEQNUM=900\0";
        let expected = Uevent {
            action: Action::Add,
            devpath: "/devices/pci0000:00/0000:00:03.0",
            subsystem: "pci",
            modalias: Some("pci:v00001AF4d00001000sv00001AF4sd00000001bc02sc00i00"),
            devname: None,
        };
        assert_eq!(Uevent::parse(nic), Some(expected));
        let bound = Uevent::parse(b"bind@/devices/pci0000:00/0000:00:03.0\0SUBSYSTEM=pci\0DRIVER=e100\0");
        assert_eq!(bound.map(|event| event.action), Some(Action::Bind));
        let disk = Uevent::parse(b"remove@/devices/virtual/block/loop0\0SUBSYSTEM=block\0DEVNAME=loop0\0DEVTYPE=disk\0");
        assert_eq!(disk.map(|event| (event.action, event.devname)), Some((Action::Remove, Some("loop0"))));
    }

    #[test]
    fn what_is_no_message_is_nothing() {
        for (case, message) in [
            ("empty", &b""[..]),
            ("no path", b"add"),
            ("udevd's own", b"libudev\0\xfe\xed\xca\xfe"),
            ("an action we do nothing for", b"offline@/devices/x\0"),
            ("a path that leaves /sys", b"add@/../etc\0"),
            ("a name that leaves /dev", b"add@/devices/x\0DEVNAME=../etc/passwd\0"),
            ("a relative path", b"add@devices\0"),
        ] {
            assert_eq!(Uevent::parse(message), None, "{case}");
        }
    }
}
