//! An agent's PCI devices as modaliases, by which boots finds the driver packs of a machine. The attributes do not serve
//! for that, because they have names in place of numbers.

use std::collections::BTreeSet;

use devices::modalias::Device;
use proto::{AgentAttributes, Pci};

/// A machine may have thousands of functions, but only a few kinds of them.
const MOST: usize = 1024;

/// Each kind of device once. Devices of agents that send names, such as Tinkerbell's, are left out.
pub fn of(told: &AgentAttributes) -> Vec<String> {
    let all: BTreeSet<String> = told.pci.iter().filter_map(modalias).collect();
    all.into_iter().take(MOST).collect()
}

fn modalias(device: &Pci) -> Option<String> {
    let id = |text: Option<&str>| number(text, 4).and_then(|id| u16::try_from(id).ok());
    let (vendor, product) = (id(device.vendor.as_deref())?, id(device.product.as_deref())?);
    Some(Device::pci(vendor, product, number(device.class.as_deref(), 6)).to_string())
}

fn number(text: Option<&str>, digits: usize) -> Option<u32> {
    let text = text.filter(|text| text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
    u32::from_str_radix(text, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_become_modaliases_and_names_do_not() {
        let device = |vendor: &str, product: &str, class: Option<&str>| Pci {
            vendor: Some(vendor.to_owned()),
            product: Some(product.to_owned()),
            class: class.map(str::to_owned),
            driver: None,
        };
        let told = AgentAttributes {
            pci: vec![
                device("8086", "10d3", Some("020000")),
                device("1b36", "0010", Some("010802")),
                device("8086", "10d3", Some("020000")),
                device("1af4", "1000", None),
                device("Intel Corporation", "I210", Some("Network controller")),
                device("+086", "10d3", None),
                Pci::default(),
            ],
            ..AgentAttributes::default()
        };
        assert_eq!(
            of(&told),
            [
                "pci:v00001AF4d00001000sv*sd*bc*sc*i*",
                "pci:v00001B36d00000010sv*sd*bc01sc08i02",
                "pci:v00008086d000010D3sv*sd*bc02sc00i00",
            ]
        );
    }
}
