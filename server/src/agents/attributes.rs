//! An agent's hardware facts in the form of the API: the message's fields, with names for the numbers of PCI devices. Lists
//! are cut at a limit.

use api::{
    Attributes, Baseboard, Bios, Block, Chassis, Cpu, Link, Memory, Milestone, MissingFirmware, Neighbour, PciDevice, Platform,
    Processor, Product,
};
use proto::AgentAttributes;

use super::pci_names;

const MAX_DISKS: usize = 1024;
const MAX_LINKS: usize = 1024;
const MAX_PCI: usize = 4096;
const MAX_PROCESSORS: usize = 256;
const MAX_WORDS: usize = 512;

/// Copies a message into a record whose fields have the same names.
macro_rules! copied {
    ($to:ident, $from:expr, $($field:ident),* $(; $($other:ident: $value:expr),*)?) => {
        $to { $($field: bounded(&$from.$field),)* $($($other: $value,)*)? }
    };
}

/// A field of a message: a list of words is cut at a limit, and anything else is copied.
trait Bounded: Clone {
    fn bounded(&self) -> Self {
        self.clone()
    }
}

fn bounded<T: Bounded>(field: &T) -> T {
    field.bounded()
}

impl<T: Clone> Bounded for Option<T> {}

impl Bounded for Vec<String> {
    fn bounded(&self) -> Self {
        self.iter().take(MAX_WORDS).cloned().collect()
    }
}

/// The memory that the records take, without their texts.
pub fn memory(attributes: &Attributes) -> usize {
    let words = |words: &Vec<String>| size_of_val(words.as_slice());
    let processors = attributes.cpu.iter().flat_map(|cpu| &cpu.processors);
    size_of_val(attributes.block_devices.as_slice())
        + size_of_val(attributes.network_interfaces.as_slice())
        + size_of_val(attributes.pci_devices.as_slice())
        + size_of_val(attributes.gpu_devices.as_slice())
        + processors.map(|one| size_of::<Processor>() + words(&one.capabilities)).sum::<usize>()
        + attributes.block_devices.iter().map(|disk| words(&disk.stable_ids)).sum::<usize>()
        + attributes.network_interfaces.iter().map(|link| words(&link.enabled_capabilities)).sum::<usize>()
}

pub fn of(from: &AgentAttributes) -> Attributes {
    Attributes {
        cpu: from.cpu.as_ref().map(cpu),
        memory: from.memory.as_ref().map(|memory| copied!(Memory, memory, total, usable)),
        block_devices: from.block.iter().take(MAX_DISKS).map(block).collect(),
        network_interfaces: from.network.iter().take(MAX_LINKS).map(link).collect(),
        pci_devices: from.pci.iter().take(MAX_PCI).map(|one| pci(&one.vendor, &one.product, &one.class, &one.driver)).collect(),
        gpu_devices: from.gpu.iter().take(MAX_PCI).map(|one| pci(&one.vendor, &one.product, &one.class, &one.driver)).collect(),
        chassis: from.chassis.as_ref().map(|chassis| copied!(Chassis, chassis, serial, vendor)),
        bios: from.bios.as_ref().map(|bios| copied!(Bios, bios, vendor, version, release_date)),
        platform: from.platform.as_ref().map(platform),
        baseboard: from.baseboard.as_ref().map(|board| copied!(Baseboard, board, vendor, product, version, serial_number)),
        product: from.product.as_ref().map(|product| copied!(Product, product, name, vendor, serial_number)),
    }
}

fn cpu(from: &proto::Cpu) -> Cpu {
    let processor = |from: &proto::Processor| copied!(Processor, from, id, cores, threads, vendor, model, capabilities);
    let processors = from.processors.iter().take(MAX_PROCESSORS).map(processor).collect();
    copied!(Cpu, from, total_cores, total_threads; processors: processors)
}

fn block(from: &proto::Block) -> Block {
    copied!(
        Block,
        from,
        name,
        controller_type,
        drive_type,
        size,
        physical_block_size,
        vendor,
        model,
        wwn,
        serial_number,
        numa_node,
        stable_ids
    )
}

fn link(from: &proto::Network) -> Link {
    let neighbour = |from: &proto::Neighbour| copied!(Neighbour, from, port, chassis, system, vlan);
    let neighbour = from.neighbour.as_ref().map(neighbour);
    copied!(Link, from, name, mac, speed, numa_node, enabled_capabilities; neighbour: neighbour)
}

fn pci(vendor: &Option<String>, product: &Option<String>, class: &Option<String>, driver: &Option<String>) -> PciDevice {
    let names = pci_names::of(vendor.as_deref(), product.as_deref(), class.as_deref());
    copied!(PciDevice, names, vendor, product, class; driver: driver.clone())
}

/// Tinkerbell's attributes do not have this one.
fn platform(from: &proto::Platform) -> Platform {
    let missing = |from: &proto::MissingFirmware| copied!(MissingFirmware, from, file, driver, device);
    let milestone = |from: &proto::Milestone| copied!(Milestone, from, name, milliseconds);
    let missing_firmware = from.missing_firmware.iter().take(MAX_WORDS).map(missing).collect();
    let boot = from.boot.iter().take(MAX_WORDS).map(milestone).collect();
    copied!(
        Platform, from, firmware, secure_boot, tpm, pcr11, numa_nodes;
        missing_firmware: missing_firmware, boot: boot
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::of;

    #[test]
    fn absent_is_left_out_and_empty_stays() {
        let attributes = proto::AgentAttributes {
            cpu: Some(proto::Cpu { total_cores: Some(4), ..proto::Cpu::default() }),
            chassis: Some(proto::Chassis { serial: Some(String::new()), vendor: None }),
            network: vec![proto::Network { mac: Some("52:54:00:12:34:56".into()), ..proto::Network::default() }],
            ..proto::AgentAttributes::default()
        };
        let expected =
            json!({"cpu": {"totalCores": 4}, "chassis": {"serial": ""}, "networkInterfaces": [{"mac": "52:54:00:12:34:56"}]});
        assert_eq!(serde_json::to_value(of(&attributes)).unwrap(), expected);
    }
}
