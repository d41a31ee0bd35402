//! The parts of a machine, each as JSON.

use crate::json::{Object, array};
use machine::{Neighbour, files};
use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::path::Path;

/// Of anything: more than a machine has.
pub const MANY: usize = 512;
const PCI_MAX: usize = 2048;
const ATTRIBUTE_MAX: u64 = 4096;
/// `/proc/cpuinfo` has 1.5 kB for each of thousands of threads.
const FILE_MAX: u64 = 8 << 20;
const DMI: [&str; 15] = [
    "bios_date",
    "bios_vendor",
    "bios_version",
    "board_name",
    "board_serial",
    "board_vendor",
    "board_version",
    "chassis_serial",
    "chassis_vendor",
    "product_family",
    "product_name",
    "product_serial",
    "product_sku",
    "product_uuid",
    "sys_vendor",
];

/// Files below a root.
#[derive(Clone, Copy)]
pub struct Tree<'r>(pub &'r Path);

impl Tree<'_> {
    pub fn has(self, path: &str) -> bool {
        self.0.join(path).exists()
    }

    fn file(self, path: &str, max: u64) -> String {
        let mut data = Vec::new();
        let _ = fs::File::open(self.0.join(path)).and_then(|file| file.take(max).read_to_end(&mut data)); // absent is empty
        String::from_utf8_lossy(&data).into_owned()
    }

    /// One line, without what is not printable.
    fn attribute(self, path: &str) -> String {
        let text = self.file(path, ATTRIBUTE_MAX);
        text.chars().filter(|c| !c.is_control()).collect::<String>().trim().to_owned()
    }

    fn number(self, path: &str) -> Option<u64> {
        self.attribute(path).parse().ok()
    }

    fn names(self, path: &str, max: usize) -> Vec<String> {
        let entries = fs::read_dir(self.0.join(path)).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).take(max).collect();
        names.sort();
        names
    }

    /// The last part of where a link leads, such as the name of a driver.
    fn link(self, path: &str) -> String {
        let target = fs::read_link(self.0.join(path)).unwrap_or_default();
        target.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }
}

pub fn cpu(tree: Tree<'_>) -> String {
    let text = tree.file("proc/cpuinfo", FILE_MAX);
    let field = |names: &[&str]| {
        let found = text.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            names.contains(&name.trim()).then(|| value.trim().to_owned())
        });
        found.unwrap_or_default()
    };
    let all = |name: &str| {
        let values = text.lines().filter_map(|line| line.split_once(':')).filter(|(key, _)| key.trim() == name);
        values.map(|(_, value)| value.trim().to_owned()).collect::<Vec<_>>()
    };
    // x86 has a vendor for each thread, arm64 an implementer.
    let threads = all("vendor_id").len().max(all("CPU implementer").len());
    let sockets: usize = all("physical id").into_iter().collect::<BTreeSet<_>>().len().max(1);
    let per_socket: usize = field(&["cpu cores"]).parse().unwrap_or(threads / sockets);
    let flags = field(&["flags", "Features"]);
    Object::default()
        .known("vendor", &field(&["vendor_id", "CPU implementer"]))
        .known("model", &field(&["model name", "CPU part"]))
        .plain("sockets", sockets)
        .plain("cores", per_socket.saturating_mul(sockets))
        .plain("threads", threads)
        .known("microcode", &field(&["microcode"]))
        .plain("virtualization", flags.split(' ').any(|flag| matches!(flag, "vmx" | "svm")))
        .known("flags", &flags)
        .render()
}

pub fn memory(tree: Tree<'_>) -> String {
    let text = tree.file("proc/meminfo", FILE_MAX);
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib: u64 = total.and_then(|line| line.trim().trim_end_matches("kB").trim().parse().ok()).unwrap_or(0);
    let mut modules = Vec::new();
    for controller in tree.names("sys/devices/system/edac/mc", MANY) {
        let place = format!("sys/devices/system/edac/mc/{controller}");
        for module in tree.names(&place, MANY).into_iter().filter(|name| name.starts_with("dimm")) {
            let at = |name: &str| format!("{place}/{module}/{name}");
            let object = Object::default()
                .known("label", &tree.attribute(&at("dimm_label")))
                .known("type", &tree.attribute(&at("dimm_mem_type")))
                .plain("bytes", tree.number(&at("size")).unwrap_or(0) << 20)
                .plain("corrected_errors", tree.number(&at("dimm_ce_count")).unwrap_or(0))
                .plain("uncorrected_errors", tree.number(&at("dimm_ue_count")).unwrap_or(0));
            modules.push(object.render());
        }
    }
    modules.truncate(MANY);
    Object::default().plain("bytes", kib.saturating_mul(1024)).plain("modules", array(modules)).render()
}

/// The cards, and not what is made of them.
pub fn network(tree: Tree<'_>) -> String {
    let names = tree.names("sys/class/net", MANY).into_iter();
    let cards = names.filter(|name| tree.has(&format!("sys/class/net/{name}/device"))).map(|name| {
        let at = |part: &str| format!("sys/class/net/{name}/{part}");
        // A card without a link reports -1, or nothing.
        let speed = tree.number(&at("speed"));
        let object = Object::default()
            .text("name", &name)
            .known("mac", &tree.attribute(&at("address")))
            .known("state", &tree.attribute(&at("operstate")))
            .plain("carrier", tree.attribute(&at("carrier")) == "1")
            .known("driver", &tree.link(&at("device/driver")))
            .known("vendor", &tree.attribute(&at("device/vendor")))
            .known("device", &tree.attribute(&at("device/device")));
        let object = match speed {
            Some(speed) => object.plain("megabits", speed),
            None => object,
        };
        object.render()
    });
    array(cards)
}

pub fn pci(tree: Tree<'_>) -> String {
    let devices = tree.names("sys/bus/pci/devices", PCI_MAX).into_iter().map(|address| {
        let at = |part: &str| format!("sys/bus/pci/devices/{address}/{part}");
        Object::default()
            .text("address", &address)
            .known("class", &tree.attribute(&at("class")))
            .known("vendor", &tree.attribute(&at("vendor")))
            .known("device", &tree.attribute(&at("device")))
            .known("subsystem_vendor", &tree.attribute(&at("subsystem_vendor")))
            .known("subsystem_device", &tree.attribute(&at("subsystem_device")))
            .known("driver", &tree.link(&at("driver")))
            .render()
    });
    array(devices)
}

pub fn dmi(tree: Tree<'_>) -> String {
    let known = DMI
        .iter()
        .fold(Object::default(), |object, name| object.known(name, &tree.attribute(&format!("sys/class/dmi/id/{name}"))));
    known.render()
}

/// What switches say by LLDP, as PID 1 heard it.
pub fn neighbours(tree: Tree<'_>) -> String {
    let text = tree.file(files::LLDP.trim_start_matches('/'), FILE_MAX);
    let neighbours = Neighbour::parse(&text).take(MANY).map(|neighbour| {
        let optional = |field: &Option<String>| field.clone().unwrap_or_default();
        let object = Object::default()
            .text("link", &neighbour.link)
            .known("port", &optional(&neighbour.port))
            .known("chassis", &optional(&neighbour.chassis))
            .known("system", &optional(&neighbour.system));
        let object = match neighbour.vlan {
            Some(vlan) => object.plain("vlan", vlan),
            None => object,
        };
        object.render()
    });
    array(neighbours)
}
