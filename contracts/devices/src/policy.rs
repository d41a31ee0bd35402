//! What the kernel arguments say about modules: the denied ones, and the parameters of others.

use std::collections::BTreeSet;

use cmdline::{Arguments, BLACKLISTS, MODULES, Word};

use crate::module::ModuleName;

/// `ipmi_si` probes for over 100 s on machines whose firmware announces a controller that does not exist.
const ONLY_ON_REQUEST: &[&str] = &["ipmi_si"];

#[derive(Debug, Clone, Default)]
pub struct Policy {
    denied: BTreeSet<ModuleName>,
    words: Vec<Word>,
}

impl Policy {
    /// A module that is asked for by name also stops being reserved.
    pub fn new(arguments: &Arguments) -> Self {
        let requested = requested(arguments);
        let is_requested = |reserved: &&&str| requested.iter().any(|name| ModuleName::new(name).as_str() == **reserved);
        let reserved = ONLY_ON_REQUEST.iter().filter(|name| !is_requested(name)).map(|name| (*name).to_owned());
        let denied = listed(arguments, &BLACKLISTS).into_iter().chain(reserved);
        let denied = denied.map(|name| ModuleName::new(&name)).collect();
        let words = arguments.other.iter().filter(|word| word.name.contains('.')).cloned().collect();
        Self { denied, words }
    }

    /// Whether the module is not loaded for a device. The kernel and other modules still get it by its name.
    pub fn denies(&self, module: &str) -> bool {
        self.denied.contains(module)
    }

    /// `module.parameter=value` on the kernel command line is passed on when the module is loaded.
    pub fn parameters(&self, module: &ModuleName) -> String {
        let of_this = self.words.iter().filter_map(|word| {
            let (owner, parameter) = word.name.split_once('.')?;
            (owner.replace('-', "_") == module.as_str())
                .then(|| Word { name: parameter.to_owned(), value: word.value.clone() }.render())
        });
        of_this.collect::<Vec<_>>().join(" ")
    }
}

/// The modules that are asked for by name.
pub fn requested(arguments: &Arguments) -> Vec<String> {
    listed(arguments, &MODULES)
}

/// smee asks every machine for these, whatever its ramdisk is made of.
const ASKED_FOR_BY_SMEE: [&str; 4] = ["loop", "squashfs", "sd-mod", "usb-storage"];

/// Whether an operator misses the module if the ramdisk does not have it.
pub fn is_missed(name: &str) -> bool {
    !ASKED_FOR_BY_SMEE.contains(&name)
}

fn listed(arguments: &Arguments, names: &[&str]) -> Vec<String> {
    let words = arguments.other.iter().filter(|word| names.contains(&word.name.as_str()));
    let values = words.filter_map(|word| word.value.as_deref());
    values.flat_map(|value| value.split(',')).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(line: &str) -> Policy {
        Policy::new(&Arguments::parse(line).arguments)
    }

    #[test]
    fn parameters_on_the_command_line_reach_their_module() {
        let policy = policy("virtio-net.napi_tx=0 quiet e1000e.a=1 virtio_net.flag virtio_net.name=\"a b\"");
        for (path, expected) in [
            ("kernel/drivers/net/virtio_net.ko", "napi_tx=0 flag name=\"a b\""),
            ("kernel/drivers/net/virtio-net.ko.xz", "napi_tx=0 flag name=\"a b\""),
            ("e1000e.ko.zst", "a=1"),
            ("overlay", ""),
        ] {
            assert_eq!(policy.parameters(&ModuleName::of_path(path)), expected);
        }
    }

    #[test]
    fn modules_are_denied_by_either_spelling_and_ipmi_unless_asked_for() {
        for (line, module, denied) in [
            ("modprobe.blacklist=nouveau,i2c-piix4", "i2c_piix4", true),
            ("module_blacklist=nouveau", "nouveau", true),
            ("blacklist=nouveau", "nouveau", true),
            ("modprobe.blacklist=", "nouveau", false),
            ("", "ipmi_si", true),
            ("modules=loop,ipmi-si", "ipmi_si", false),
            ("modules=ipmi_si modprobe.blacklist=ipmi_si", "ipmi_si", true),
        ] {
            assert_eq!(policy(line).denies(module), denied, "{line}");
        }
    }

    #[test]
    fn modules_asked_for_are_listed() {
        let arguments = Arguments::parse("modules=loop,squashfs,sd-mod modules_load=evdev").arguments;
        assert_eq!(requested(&arguments), ["loop", "squashfs", "sd-mod", "evdev"]);
    }

    #[test]
    fn what_smee_always_asks_for_is_not_missed_and_what_an_operator_asks_for_is() {
        let missed = |line: &str| -> Vec<String> {
            requested(&Arguments::parse(line).arguments).into_iter().filter(|name| is_missed(name)).collect()
        };
        assert_eq!(missed("modules=loop,squashfs,sd-mod,usb-storage intel_iommu=on"), Vec::<String>::new());
        assert_eq!(missed("modules=loop,ixgbe modules_load=evdev"), ["ixgbe", "evdev"]);
    }
}
