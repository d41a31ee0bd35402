//! The simulated site: the addresses of its machines, and the objects that the server needs.

use std::fmt::Write;
use std::net::Ipv4Addr;

/// The provisioning host on the segment of the machines.
pub const HOST: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
/// The namespace of the machines. The host reaches every machine by this address, so its neighbour table has one entry.
pub const GATE: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
/// The second DHCP server, which does not know any machine.
pub const ROGUE: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 3);
/// One segment holds the host and all machines.
pub const PREFIX: u8 = 15;
const NETMASK: &str = "255.254.0.0";
/// The addresses of the machines.
pub const MACHINES: &str = "10.76.0.0/16";
/// As many as `MACHINES` has room for.
pub const MOST: u32 = 60_000;
const EACH_NETWORK: u32 = 250;

/// The actions of the workflow. The last one ends it.
pub const ACTIONS: [&str; 3] = ["stream", "configure", "finish"];

#[must_use]
pub fn mac(number: u32) -> [u8; 6] {
    let [_, a, b, c] = number.to_be_bytes();
    [0x52, 0x54, 0x00, a, b, c]
}

#[must_use]
pub fn mac_text(number: u32) -> String {
    mac(number).map(|byte| format!("{byte:02x}")).join(":")
}

/// The number of the machine with this MAC.
#[must_use]
pub fn number(mac: [u8; 6]) -> Option<u32> {
    match mac {
        [0x52, 0x54, 0x00, a, b, c] => Some(u32::from_be_bytes([0, a, b, c])),
        _ => None,
    }
}

#[must_use]
pub fn address(number: u32) -> Ipv4Addr {
    let (network, host) = (number / EACH_NETWORK, number % EACH_NETWORK + 1);
    Ipv4Addr::from_bits(Ipv4Addr::new(10, 76, 0, 0).to_bits() | network << 8 | host)
}

/// The Template of all machines. `image` is what each action runs.
#[must_use]
pub fn template(image: &str) -> String {
    let mut text = "apiVersion: tinkerbell.org/v1alpha1\nkind: Template\nmetadata: {name: storm}\nspec:\n  data: |\n    \
                    name: storm\n    version: \"0.1\"\n    global_timeout: 3600\n    tasks:\n    - name: install\n      \
                    worker: \"{{ .worker }}\"\n      actions:\n"
        .to_owned();
    for action in ACTIONS {
        let _ = writeln!(text, "      - {{name: {action}, image: \"{image}\", timeout: 600}}"); // a String takes everything
    }
    text
}

/// The Hardware of a machine and its Workflow.
#[must_use]
pub fn objects(number: u32) -> String {
    let (mac, address) = (mac_text(number), address(number));
    format!(
        "---\napiVersion: tinkerbell.org/v1alpha1\nkind: Hardware\nmetadata: {{name: machine-{number}}}\nspec:\n  disks: [{{device: \
         /dev/vda}}]\n  interfaces: [{{dhcp: {{mac: '{mac}', hostname: machine-{number}, lease_time: 86400, arch: x86_64, ip: \
         {{address: {address}, netmask: {NETMASK}}}}}, netboot: {{allowPXE: true, allowWorkflow: true}}}}]\n\
         ---\napiVersion: tinkerbell.org/v1alpha1\nkind: Workflow\nmetadata: {{name: install-{number}}}\nspec: {{templateRef: storm, \
         hardwareRef: machine-{number}, hardwareMap: {{worker: '{mac}'}}}}\n"
    )
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn each_machine_has_its_own_address_and_mac_within_the_segment() {
        let addresses: HashSet<Ipv4Addr> = (0..MOST).map(address).collect();
        assert_eq!(addresses.len(), MOST as usize);
        assert!(addresses.iter().all(|address| address.octets()[..2] == [10, 76] && !matches!(address.octets()[3], 0 | 255)));
        for number in [0, 1, 255, 256, MOST] {
            assert_eq!(super::number(mac(number)), Some(number));
        }
        assert_eq!(mac_text(256), "52:54:00:00:01:00");
    }

    #[test]
    fn the_workflow_has_an_action_for_each_report_that_counts() {
        let text = template("10.77.0.1:7080/storm:1");
        assert_eq!(text.matches("timeout: 600").count(), ACTIONS.len());
        assert!(objects(3).contains("worker: '52:54:00:00:00:03'"));
    }
}
