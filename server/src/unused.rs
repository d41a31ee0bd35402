//! Keys of a Hardware that are accepted for Tinkerbell's sake and do nothing here. Templates still see them. Pure.

use model::{HardwareSpec, Interface};

/// One text for a Hardware with such keys.
#[must_use]
pub fn unused(spec: &HardwareSpec) -> Option<String> {
    let mut found: Vec<String> = Vec::new();
    let mut say = |is_there: bool, key: &str, why: &str| {
        if is_there {
            found.push(format!("{key} ({why})"));
        }
    };
    say(spec.bmc_ref.is_some(), "spec.bmcRef", "Thimble drives no BMC");
    say(spec.tink_version.is_some(), "spec.tinkVersion", "there is one version");
    for (index, interface) in spec.interfaces.iter().enumerate() {
        of_interface(interface, &format!("spec.interfaces[{index}]"), &mut say);
    }
    (!found.is_empty()).then(|| format!("has keys that nothing here uses: {}", found.join(", ")))
}

fn of_interface(interface: &Interface, at: &str, say: &mut impl FnMut(bool, &str, &str)) {
    let has = |text: &Option<String>| text.as_deref().is_some_and(|text| !text.is_empty());
    if let Some(dhcp) = &interface.dhcp {
        say(dhcp.uefi.is_some(), &format!("{at}.dhcp.uefi"), "the firmware's request says it");
        say(has(&dhcp.iface_name), &format!("{at}.dhcp.iface_name"), "links are known by their MAC");
        let (server, file) = (has(&dhcp.tftp_server_name), has(&dhcp.boot_file_name));
        say(server && !file, &format!("{at}.dhcp.tftp_server_name"), "it needs boot_file_name");
        say(file && !server, &format!("{at}.dhcp.boot_file_name"), "it needs tftp_server_name");
    }
    let Some(netboot) = &interface.netboot else { return };
    let Some(ipxe) = &netboot.ipxe else { return };
    let (url, contents) = (has(&ipxe.url), has(&ipxe.contents));
    say(url && contents, &format!("{at}.netboot.ipxe.contents"), "netboot.ipxe.url wins");
    let osie = netboot.osie.as_ref();
    let has_files = osie.is_some_and(|osie| has(&osie.base_url) || has(&osie.kernel) || has(&osie.initrd));
    say(
        (url || contents) && has_files,
        &format!("{at}.netboot.osie"),
        "the script of netboot.ipxe replaces it, except in a rescue",
    );
}

#[cfg(test)]
mod tests {
    use model::Object;

    use super::*;

    #[test]
    fn a_key_without_effect_is_named_with_its_place() {
        let spec = |text: &str| {
            let yaml = format!("apiVersion: tinkerbell.org/v1alpha1\nkind: Hardware\nmetadata: {{name: m}}\nspec: {text}\n");
            let mut objects = model::parse_documents(&yaml, "m.yaml").unwrap();
            let Some(Object::Hardware(hardware)) = objects.pop() else { panic!("{text}") };
            unused(&hardware.spec)
        };
        let nic = |dhcp: &str, more: &str| format!("{{interfaces: [{{dhcp: {{mac: \"02:00:00:00:00:01\"{dhcp}}}{more}}}]}}");
        for (text, named) in [
            (nic("", ", netboot: {allowPXE: true, pxelinux: {config: x}, rpi: {serialNum: abc}}"), None),
            (nic(", arch: aarch64, boot_file_name: f, tftp_server_name: s", ""), None),
            (nic(", uefi: true", ""), Some("spec.interfaces[0].dhcp.uefi (")),
            (nic(", iface_name: eth0", ""), Some("spec.interfaces[0].dhcp.iface_name (")),
            (nic(", boot_file_name: f", ""), Some("dhcp.boot_file_name (it needs tftp_server_name)")),
            (nic(", tftp_server_name: s", ""), Some("dhcp.tftp_server_name (it needs boot_file_name)")),
            (nic("", ", isoboot: {sourceISO: \"http://a/x.iso\"}"), None),
            (nic("", ", netboot: {ipxe: {url: \"http://a\", contents: x}}"), Some("netboot.ipxe.contents (")),
            (nic("", ", netboot: {ipxe: {contents: x}, osie: {kernel: k}}"), Some("netboot.osie (")),
            ("{bmcRef: {kind: Machine, name: m}}".to_owned(), Some("spec.bmcRef (")),
            ("{tinkVersion: 1}".to_owned(), Some("spec.tinkVersion (")),
        ] {
            let said = spec(&text);
            assert_eq!(said.is_some(), named.is_some(), "{text}: {said:?}");
            assert!(named.is_none_or(|named| said.as_deref().unwrap_or_default().contains(named)), "{text}: {said:?}");
        }
    }
}
