//! What an operator at the machine can do: press the power button, move cables, plug in and pull out disks.

use std::path::Path;

use anyhow::Result;
use serde_json::json;

use super::Vm;
use super::parts::{Disk, DiskModel, Network, Nic, NicModel};

impl Vm {
    /// Presses the ACPI power button.
    pub fn press_power_button(&mut self) -> Result<()> {
        self.qmp.execute("system_powerdown", json!({})).map(drop)
    }

    /// Presses control, alt and delete at once, on the keyboard that every such machine has.
    pub fn press_ctrl_alt_del(&mut self) -> Result<()> {
        let keys: Vec<_> = ["ctrl", "alt", "delete"].into_iter().map(|key| json!({"type": "qcode", "data": key})).collect();
        self.qmp.execute("send-key", json!({"keys": keys})).map(drop)
    }

    /// Pulls the network cable of a card, or puts it back.
    pub fn set_link(&mut self, nic: usize, up: bool) -> Result<()> {
        self.qmp.execute("set_link", json!({"name": format!("nic{nic}"), "up": up})).map(drop)
    }

    /// Plugs a disk into an empty slot, or into a USB port.
    pub fn plug_disk(&mut self, slot: u8, disk: &Disk) -> Result<()> {
        let node = format!("plugged{slot}");
        let file = |path: &Path| json!({"driver": "file", "filename": path.display().to_string()});
        self.qmp.execute("blockdev-add", json!({"node-name": node, "driver": "raw", "file": file(&disk.file)}))?;
        let (driver, bus) = match disk.model {
            DiskModel::Nvme => ("nvme", format!("slot{slot}")),
            DiskModel::UsbStorage => ("usb-storage", "usb.0".to_owned()),
            DiskModel::VirtioBlk | DiskModel::VirtioScsi | DiskModel::Ahci | DiskModel::Piix => {
                ("virtio-blk-pci", format!("slot{slot}"))
            }
        };
        let device = json!({"driver": driver, "id": format!("hot{slot}"), "bus": bus, "drive": node, "serial": disk.serial});
        self.qmp.execute("device_add", device).map(drop)
    }

    /// Pulls out the device in the slot.
    pub fn unplug(&mut self, slot: u8) -> Result<()> {
        self.qmp.execute("device_del", json!({"id": format!("hot{slot}")})).map(drop)
    }

    /// Adds a network card whose cable is a tap of the segment.
    pub fn plug_nic(&mut self, slot: u8, nic: &Nic) -> Result<()> {
        let net = format!("hotnet{slot}");
        let backend = match &nic.network {
            Network::Tap(name) => json!({"type": "tap", "id": net, "ifname": name, "script": "no", "downscript": "no"}),
            Network::User | Network::Nowhere | Network::Plug(_) | Network::Socket(_) => json!({"type": "user", "id": net}),
        };
        self.qmp.execute("netdev_add", backend)?;
        let bus = if nic.model == NicModel::UsbNet { "usb.0".to_owned() } else { format!("slot{slot}") };
        let device = json!({"driver": nic.model.device(), "id": format!("hot{slot}"), "bus": bus, "netdev": net, "mac": nic.mac});
        self.qmp.execute("device_add", device).map(drop)
    }
}
