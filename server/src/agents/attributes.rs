//! An agent's hardware facts as the JSON that Tinkerbell's rules match and its annotation holds. Absent scalars are left
//! out, present but empty ones stay: rules tell them apart.

use proto::AgentAttributes;
use serde_json::{Map, Value};

use super::pci_names;

/// An object of what is present.
struct Object(Map<String, Value>);

impl Object {
    fn new() -> Self {
        Self(Map::new())
    }

    fn with<T: Clone + Into<Value>>(mut self, key: &str, value: &Option<T>) -> Self {
        self.0.extend(value.clone().map(|value| (key.to_owned(), value.into())));
        self
    }

    fn list<T: Into<Value>>(mut self, key: &str, values: impl IntoIterator<Item = T>) -> Self {
        let values: Vec<Value> = values.into_iter().map(Into::into).collect();
        if !values.is_empty() {
            self.0.insert(key.to_owned(), Value::Array(values));
        }
        self
    }

    fn done(self) -> Value {
        Value::Object(self.0)
    }
}

macro_rules! object {
    ($from:expr, $($key:literal: $field:ident),*) => { Object::new()$(.with($key, &$from.$field))* };
}

#[must_use]
pub fn to_json(from: &AgentAttributes) -> Value {
    let devices = |device: &proto::Pci| {
        let names = pci_names::of(device.vendor.as_deref(), device.product.as_deref(), device.class.as_deref());
        object!(names, "vendor": vendor, "product": product, "class": class).with("driver", &device.driver).done()
    };
    let gpus = |device: &proto::Gpu| {
        let names = pci_names::of(device.vendor.as_deref(), device.product.as_deref(), device.class.as_deref());
        object!(names, "vendor": vendor, "product": product, "class": class).with("driver", &device.driver).done()
    };
    Object::new()
        .with("cpu", &from.cpu.as_ref().map(cpu))
        .with("memory", &from.memory.as_ref().map(|memory| object!(memory, "total": total, "usable": usable).done()))
        .list("blockDevices", from.block.iter().map(block))
        .list("networkInterfaces", from.network.iter().map(network))
        .list("pciDevices", from.pci.iter().map(devices))
        .list("gpuDevices", from.gpu.iter().map(gpus))
        .with("chassis", &from.chassis.as_ref().map(|chassis| object!(chassis, "serial": serial, "vendor": vendor).done()))
        .with(
            "bios",
            &from
                .bios
                .as_ref()
                .map(|bios| object!(bios, "vendor": vendor, "version": version, "releaseDate": release_date).done()),
        )
        .with("platform", &from.platform.as_ref().map(platform))
        .with("baseboard", &from.baseboard.as_ref().map(baseboard))
        .with(
            "product",
            &from
                .product
                .as_ref()
                .map(|product| object!(product, "name": name, "vendor": vendor, "serialNumber": serial_number).done()),
        )
        .done()
}

fn cpu(from: &proto::Cpu) -> Value {
    let processor = |from: &proto::Processor| {
        object!(from, "id": id, "cores": cores, "threads": threads, "vendor": vendor, "model": model)
            .list("capabilities", from.capabilities.clone())
            .done()
    };
    object!(from, "totalCores": total_cores, "totalThreads": total_threads)
        .list("processors", from.processors.iter().map(processor))
        .done()
}

fn block(from: &proto::Block) -> Value {
    object!(from, "name": name, "controllerType": controller_type, "driveType": drive_type, "size": size,
        "physicalBlockSize": physical_block_size, "vendor": vendor, "model": model, "wwn": wwn, "serialNumber": serial_number,
        "numaNode": numa_node)
    .list("stableIds", from.stable_ids.clone())
    .done()
}

fn network(from: &proto::Network) -> Value {
    let neighbour =
        |from: &proto::Neighbour| object!(from, "port": port, "chassis": chassis, "system": system, "vlan": vlan).done();
    object!(from, "name": name, "mac": mac, "speed": speed, "numaNode": numa_node)
        .list("enabledCapabilities", from.enabled_capabilities.clone())
        .with("neighbour", &from.neighbour.as_ref().map(neighbour))
        .done()
}

/// Not in Tinkerbell's.
fn platform(from: &proto::Platform) -> Value {
    let missing = |one: &proto::MissingFirmware| object!(one, "file": file, "driver": driver, "device": device).done();
    let milestone = |one: &proto::Milestone| object!(one, "name": name, "milliseconds": milliseconds).done();
    object!(from, "firmware": firmware, "secureBoot": secure_boot, "tpm": tpm, "pcr11": pcr11, "numaNodes": numa_nodes)
        .list("missingFirmware", from.missing_firmware.iter().map(missing))
        .list("boot", from.boot.iter().map(milestone))
        .done()
}

fn baseboard(from: &proto::Baseboard) -> Value {
    object!(from, "vendor": vendor, "product": product, "version": version, "serialNumber": serial_number).done()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::to_json;

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
        assert_eq!(to_json(&attributes), expected);
    }
}
