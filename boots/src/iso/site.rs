//! The table of all machines for an ISO image that serves a whole site: the same kernel arguments as in the image of one machine.
//! Pure.

use std::collections::{BTreeMap, BTreeSet};

use ::machine::site::{Row, Uuid, first_line, serial};
use api::Attributes;
use cmdline::{Arguments, HwAddr, Word};
use model::{Hardware, Mac};

use super::arguments::with_address;
use crate::{BootInterface, BootState, Config};

/// The annotations of a Hardware with the UUID and the serial number that its firmware reports.
const UUID: &str = "thimble/uuid";
const SERIAL: &str = "thimble/serial";
/// Tinkerbell's annotation with what a machine reported when it was discovered.
const ATTRIBUTES: &str = "tinkerbell.org/agent-attributes";

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Site {
    /// The table.
    pub text: String,
    pub machines: usize,
    /// Machines whose Hardware has no static address, which need DHCP.
    pub without_address: Vec<String>,
    /// What was left out, and why.
    pub notes: Vec<String>,
}

/// Makes the table.
///
/// # Errors
/// All mistakes: two machines with one UUID, serial number or MAC, and machines that nothing identifies.
pub fn table(config: &Config, hardware: &[Hardware]) -> Result<Site, Vec<String>> {
    let (mut site, mut mistakes) = (Site::default(), Vec::new());
    let mut everyone = Arguments { facility: None, ..config.arguments.clone() };
    everyone.consoles.clear(); // the kernel itself reads them, from its own command line
    let everyone = everyone.render();
    let (mut rows, mut owners) = (BTreeMap::new(), BTreeMap::new());
    for machine in hardware {
        let name = shown(machine);
        let row = row(config, machine, &everyone, &mut site);
        for key in keys(&row) {
            if let Some(other) = owners.insert(key.clone(), name.clone()) {
                mistakes.push(format!("{other} and {name} have the same {key}"));
            }
        }
        match row.render() {
            Ok(line) => drop(rows.insert(name, line)),
            Err(error) => mistakes.push(error.to_string()),
        }
    }
    site.machines = rows.len();
    match first_line(&everyone) {
        Ok(first) => site.text = first + &rows.into_values().collect::<String>(),
        Err(error) => mistakes.push(error.to_string()),
    }
    if mistakes.is_empty() { Ok(site) } else { Err(mistakes) }
}

/// The name without Kubernetes' default namespace.
fn shown(hardware: &Hardware) -> String {
    let name = hardware.name().to_string();
    name.strip_prefix("default/").map(str::to_owned).unwrap_or(name)
}

/// What another machine must not have.
fn keys(row: &Row) -> impl Iterator<Item = String> {
    let uuid = row.uuid.map(|uuid| format!("UUID {uuid}"));
    let serial = row.serial.as_ref().map(|serial| format!("serial number {serial}"));
    uuid.into_iter().chain(serial).chain(row.macs.iter().map(|mac| format!("MAC {mac}")))
}

fn row(config: &Config, hardware: &Hardware, everyone: &str, site: &mut Site) -> Row {
    let name = shown(hardware);
    let mut note = |text: String| site.notes.push(format!("{name}: {text}"));
    let annotation = |name: &str| hardware.metadata.annotations.get(name);
    let uuid = annotation(UUID).and_then(|text| {
        let uuid: Result<Uuid, _> = text.parse();
        uuid.map_err(|error| note(format!("the annotation {UUID} is left out: {text:?} is {error}"))).ok()
    });
    let given = annotation(SERIAL);
    let reported = || serde_json::from_str::<Attributes>(annotation(ATTRIBUTES)?).ok()?.product?.serial_number;
    let serial_number = given.cloned().or_else(reported).and_then(|text| serial(&text));
    if let (Some(text), None) = (given, &serial_number) {
        note(format!("the annotation {SERIAL} is left out: {text:?} is what firmware has in place of a serial number"));
    }
    let mut arguments = String::new();
    if let Some(machine) = interface(hardware) {
        let (mut of_machine, notes) = with_address(config, &machine, Some(hardware));
        of_machine.packs.clone_from(&machine.packs); // no boot loader brings them
        notes.into_iter().for_each(note);
        if of_machine.ipam.is_none() && of_machine.ip.is_none() {
            site.without_address.push(name.clone());
        }
        arguments = beyond(&of_machine.render(), everyone);
    }
    let macs = hardware.spec.macs().map(|mac| HwAddr(mac.bytes())).collect::<BTreeSet<_>>();
    Row { name, uuid, serial: serial_number, macs: macs.into_iter().collect(), arguments }
}

/// The interface that network boot would use: the first with leave to, else the first of all.
fn interface(hardware: &Hardware) -> Option<BootInterface> {
    let interfaces = || hardware.spec.interfaces.iter();
    let mac = |interface: &model::Interface| -> Option<Mac> { interface.dhcp.as_ref()?.mac };
    let allowed = interfaces().filter(|interface| interface.may_netboot()).find_map(mac);
    let mac = allowed.or_else(|| interfaces().find_map(mac))?;
    BootInterface::from_hardware(hardware, mac, BootState::Install { workflow: None })
}

/// The words that every machine's line does not have. A word that this machine must not have is set to nothing.
fn beyond(own: &str, everyone: &str) -> String {
    let (own, everyone) = (cmdline::words(own), cmdline::words(everyone));
    let unset = everyone.iter().filter(|word| word.value.is_some() && !own.iter().any(|other| other.name == word.name));
    let unset = unset.map(|word| Word::new(&word.name, ""));
    let more = own.iter().filter(|word| !everyone.contains(word)).cloned();
    unset.chain(more).map(|word| word.render()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use model::Object;

    use super::*;

    const HARDWARE: &str = r#"
apiVersion: tinkerbell.org/v1alpha1
kind: Hardware
metadata:
  name: m1
  annotations: {thimble/uuid: "4C4C4544-0042-3510-8052-B4C04F384832", thimble/serial: "7cd1"}
spec:
  metadata: {facility: {facility_code: rack1}}
  interfaces:
    - dhcp: {mac: "02:00:00:00:00:09"}
    - dhcp:
        mac: "02:00:00:00:00:01"
        hostname: m1
        name_servers: [10.0.0.53]
        vlan_id: "7"
        ip: {address: 10.0.0.7, netmask: 255.255.255.0, gateway: 10.0.0.254}
      netboot: {allowPXE: true, osie: {kernelParams: ["quiet", "panic=60"]}}
---
apiVersion: tinkerbell.org/v1alpha1
kind: Hardware
metadata:
  name: m2
  annotations: {tinkerbell.org/agent-attributes: '{"product":{"serialNumber":"S2"}}', thimble/uuid: Not Settable}
spec: {agentID: second}
"#;

    fn made(text: &str) -> Result<Site, Vec<String>> {
        let objects = model::parse_documents(text, "lab.yaml").unwrap();
        let hardware: Vec<Hardware> = objects
            .into_iter()
            .map(|object| match object {
                Object::Hardware(hardware) => *hardware,
                other => panic!("{other:?}"),
            })
            .collect();
        let mut config = Config::new([10, 0, 0, 1].into(), PathBuf::new(), PathBuf::new());
        let _ = config.arguments.extend("grpc_authority=10.0.0.1:42113 panic=30 console=ttyS1");
        table(&config, &hardware)
    }

    #[test]
    fn a_row_has_what_the_machine_has_beyond_the_others() {
        let site = made(HARDWARE).unwrap();
        assert_eq!(
            site.text,
            "thimble-site 1\tgrpc_authority=10.0.0.1:42113 panic=30\n\
             m1\t4c4c4544-0042-3510-8052-b4c04f384832\t7CD1\t02:00:00:00:00:01,02:00:00:00:00:09\tvlan_id=7 facility=rack1 \
             worker_id=02:00:00:00:00:01 hw_addr=02:00:00:00:00:01 \
             ipam=02-00-00-00-00-01:7:10.0.0.7:255.255.255.0:10.0.0.254:m1:10.0.0.53:: panic=60 console=ttyS1 quiet\n\
             m2\t-\tS2\t-\t-\n"
        );
        assert_eq!((site.machines, site.without_address.len()), (2, 0));
        assert_eq!(
            site.notes,
            [
                "m2: the annotation thimble/uuid is left out: \"Not Settable\" is not a UUID (expected 01234567-89ab-cdef-0123-456789abcdef)"
            ]
        );
    }

    #[test]
    fn every_mistake_is_named() {
        let third = HARDWARE.replace("name: m1", "name: m3").replace("name: m2", "name: m4");
        let nothing = "apiVersion: tinkerbell.org/v1alpha1\nkind: Hardware\nmetadata: {name: m5}\nspec: {}\n";
        assert_eq!(
            made(&format!("{HARDWARE}---{third}---\n{nothing}")).unwrap_err(),
            [
                "m1 and m3 have the same UUID 4c4c4544-0042-3510-8052-b4c04f384832",
                "m1 and m3 have the same serial number 7CD1",
                "m1 and m3 have the same MAC 02:00:00:00:00:01",
                "m1 and m3 have the same MAC 02:00:00:00:00:09",
                "m2 and m4 have the same serial number S2",
                "m5 has neither a UUID nor a serial number nor a MAC address, so no machine would find it",
            ]
        );
    }

    #[test]
    fn a_word_of_the_others_can_be_taken_back() {
        assert_eq!(beyond("a=1 b=3 c", "a=1 b=2 d=4 e"), "d= b=3 c");
    }
}
