//! An agent's hardware facts, in the JSON that Tinkerbell's rules match and its annotation holds.
//!
//! An absent scalar is left out. A present but empty one stays, because rules distinguish the two. The last three records
//! are Thimble's additions.

use serde::{Deserialize, Serialize};

/// A record of optional scalars, and in brackets the lists.
macro_rules! record {
    ($(#[$doc:meta])* $name:ident { $($field:ident: $type:ty),* } [ $($list:ident: $item:ty),* ]) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        pub struct $name {
            $(#[serde(skip_serializing_if = "Option::is_none")] pub $field: Option<$type>,)*
            $(#[serde(skip_serializing_if = "Vec::is_empty")] pub $list: Vec<$item>,)*
        }
    };
}

record!(Attributes {
    cpu: Cpu, memory: Memory, chassis: Chassis, bios: Bios, platform: Platform, baseboard: Baseboard, product: Product
} [block_devices: Block, network_interfaces: Link, pci_devices: PciDevice, gpu_devices: PciDevice]);
record!(Cpu { total_cores: u32, total_threads: u32 } [processors: Processor]);
record!(Processor { id: u32, cores: u32, threads: u32, vendor: String, model: String } [capabilities: String]);
record!(Memory { total: String, usable: String } []);
record!(Block {
    name: String, controller_type: String, drive_type: String, size: String, physical_block_size: String, vendor: String,
    model: String, wwn: String, serial_number: String, numa_node: u32
} [stable_ids: String]);
record!(
    /// A network interface.
    Link { name: String, mac: String, speed: String, numa_node: u32, neighbour: Neighbour } [enabled_capabilities: String]
);
record!(
    /// What the switch announces by LLDP.
    Neighbour { port: String, chassis: String, system: String, vlan: u32 } []
);
record!(PciDevice { vendor: String, product: String, class: String, driver: String } []);
record!(Chassis { serial: String, vendor: String } []);
record!(Bios { vendor: String, version: String, release_date: String } []);
record!(Baseboard { vendor: String, product: String, version: String, serial_number: String } []);
record!(Product { name: String, vendor: String, serial_number: String } []);
record!(
    /// How the machine started, and what it lacks.
    Platform { firmware: String, secure_boot: bool, tpm: String, pcr11: String, numa_nodes: u32 }
    [missing_firmware: MissingFirmware, boot: Milestone]
);
record!(
    /// A file that a driver asked for in vain.
    MissingFirmware { file: String, driver: String, device: String } []
);
record!(
    /// A step of the boot, and its time since the start of the kernel.
    Milestone { name: String, milliseconds: u32 } []
);
