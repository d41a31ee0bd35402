//! The text in place of the placeholder. Pure.

use std::net::IpAddr;

use cmdline::{Arguments, HwAddr, Ipam, PLACEHOLDER, Word};
use model::{Hardware, Mac};

use crate::{BootInterface, Config, environment};

/// smee's, for images of HookOS, if neither the settings nor the Hardware name a console.
const CONSOLES: [&str; 5] = ["ttyAMA0", "ttyS0", "tty0", "tty1", "ttyS1"];

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the kernel arguments of {name} have {length} bytes, and an image has room for {}; shorten kernel-args or kernelParams", PLACEHOLDER.len())]
pub struct DoesNotFit {
    pub name: String,
    pub length: usize,
}

/// As long as the placeholder, and notes about what it leaves out. It has no time, because ranges of one image are
/// fetched over hours.
pub fn text(config: &Config, machine: &BootInterface, hardware: Option<&Hardware>) -> Result<(String, Vec<String>), DoesNotFit> {
    let (mut arguments, mut notes) = with_address(config, machine, hardware);
    if arguments.consoles.is_empty() && !machine.facility.as_deref().is_some_and(|facility| facility.contains("console=")) {
        arguments.consoles = CONSOLES.map(str::to_owned).to_vec();
    }
    notes.extend(arguments.check().iter().map(|note| format!("{note}")));
    let (words, unsaid): (Vec<Word>, Vec<Word>) = cmdline::words(&arguments.render()).into_iter().partition(is_sayable);
    notes.extend(unsaid.iter().map(|word| format!("a boot loader would read {word} as a command; it is left out")));
    let mut text = words.iter().map(Word::render).collect::<Vec<_>>().join(" ");
    if text.len() > PLACEHOLDER.len() {
        return Err(DoesNotFit { name: machine.name.clone(), length: text.len() });
    }
    text.extend(std::iter::repeat_n(' ', PLACEHOLDER.len() - text.len()));
    Ok((text, notes))
}

/// The arguments of a network boot, and the machine's address.
pub(super) fn with_address(config: &Config, machine: &BootInterface, hardware: Option<&Hardware>) -> (Arguments, Vec<String>) {
    let (mut arguments, notes) = environment::of_machine(config, machine, false, None);
    if arguments.ipam.is_none() && arguments.ip.is_none() {
        arguments.ipam = hardware.and_then(|hardware| ipam(hardware, machine.mac));
    }
    (arguments, notes)
}

/// A word that neither GRUB nor isolinux reads as anything else. A value with a space would need their quotes.
fn is_sayable(word: &Word) -> bool {
    let text = word.render();
    !text.starts_with('#') && text.chars().all(|c| c.is_ascii_graphic() && !r#""'\$;|&<>{}`"#.contains(c))
}

/// The address of the interface, so that the machine needs no DHCP server.
fn ipam(hardware: &Hardware, mac: Mac) -> Option<Ipam> {
    let dhcp = hardware.spec.interface(mac)?.dhcp.as_ref()?;
    let ip = dhcp.ip.as_ref()?;
    let v4 = |address: IpAddr| match address {
        IpAddr::V4(address) if !address.is_unspecified() => Some(address),
        _ => None,
    };
    let plain = |name: &&str| ::machine::network::is_plain_name(name);
    Some(Ipam {
        mac: HwAddr(mac.bytes()),
        vlan: dhcp.vlan_id.as_deref().and_then(|id| id.parse().ok()).filter(|id| (1..=4094).contains(id)),
        address: ip.address.and_then(v4)?,
        prefix: u8::try_from(ip.netmask.and_then(v4)?.to_bits().leading_ones()).ok()?,
        gateway: ip.gateway.and_then(v4),
        hostname: dhcp.hostname.as_deref().filter(plain).map(str::to_owned),
        dns: dhcp.name_servers.iter().copied().filter_map(v4).collect(),
        search: dhcp.domain_name.as_deref().filter(plain).map(str::to_owned).into_iter().collect(),
        ntp: dhcp.time_servers.iter().copied().filter_map(v4).map(|address| address.to_string()).collect(),
    })
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use model::Object;

    use super::*;
    use crate::BootState;

    const HARDWARE: &str = r#"
apiVersion: tinkerbell.org/v1alpha1
kind: Hardware
metadata: {name: m1}
spec:
  metadata: {facility: {facility_code: FACILITY}}
  interfaces:
    - dhcp:
        mac: "02:00:00:00:00:01"
        hostname: m1
        domain_name: example.org
        name_servers: [10.0.0.53]
        time_servers: [10.0.0.123]
        vlan_id: "7"
        ip: {address: 10.0.0.7, netmask: 255.255.255.0, gateway: 10.0.0.254}
      netboot: {allowPXE: true, osie: {kernelParams: [PARAMS]}}
      disableDhcp: true
"#;

    fn made(facility: &str, parameters: &str) -> Result<(String, Vec<String>), DoesNotFit> {
        let text = HARDWARE.replace("FACILITY", facility).replace("PARAMS", parameters);
        let objects = model::parse_documents(&text, "lab.yaml").unwrap();
        let Some(Object::Hardware(hardware)) = objects.into_iter().next() else { panic!("it is Hardware") };
        let mac = Mac::new([2, 0, 0, 0, 0, 1]);
        let machine = BootInterface::from_hardware(&hardware, mac, BootState::Install { workflow: None }).unwrap();
        let mut config = Config::new([10, 0, 0, 1].into(), PathBuf::new(), PathBuf::new());
        config.arguments.grpc_authority = Some("10.0.0.1:42113".to_owned());
        config.arguments.syslog_host = Some("10.0.0.1".to_owned());
        super::text(&config, &machine, Some(&hardware))
    }

    #[test]
    fn a_machine_gets_the_words_of_smee_and_its_address() {
        let (text, notes) = made("lab1", "").unwrap();
        assert_eq!((text.len(), notes), (1024, Vec::new()));
        for word in [
            "worker_id=02:00:00:00:00:01",
            "hw_addr=02:00:00:00:00:01",
            "grpc_authority=10.0.0.1:42113",
            "syslog_host=10.0.0.1",
            "vlan_id=7",
            "facility=lab1",
            "console=ttyS0",
            "ipam=02-00-00-00-00-01:7:10.0.0.7:255.255.255.0:10.0.0.254:m1:10.0.0.53:example.org:10.0.0.123",
        ] {
            assert!(text.split_whitespace().any(|found| found == word), "{word} is not in {}", text.trim_end());
        }
        assert!(!text.contains("thimble.time"));
    }

    #[test]
    fn consoles_of_the_operator_replace_those_of_smee() {
        for (facility, parameters) in [("onprem console=ttyS1", ""), ("lab1", "console=ttyS1")] {
            let (text, _) = made(facility, parameters).unwrap();
            assert!(!text.contains("ttyAMA0"), "{}", text.trim_end());
        }
    }

    #[test]
    fn no_word_is_a_command_of_a_boot_loader() {
        let bad = r#"'a=$b', 'c=;reboot', 'd="x y"', '#e', "f='g'", 'h\i', 'j={k}', 'l|m', 'good=1'"#;
        let (text, notes) = made("lab1", bad).unwrap();
        assert!(text.contains(" good=1 "), "{}", text.trim_end());
        assert!(!text.contains(['$', ';', '"', '\'', '\\', '#', '{', '|', '\n']), "{}", text.trim_end());
        assert!(notes.len() >= 7, "{notes:?}");
    }

    #[test]
    fn arguments_that_do_not_fit_are_refused() {
        let error = made("lab1", &format!("a={}", "x".repeat(1024))).unwrap_err().to_string();
        assert!(error.starts_with("the kernel arguments of m1 have 1") && error.contains("room for 1024"), "{error}");
    }
}
