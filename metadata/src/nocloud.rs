//! `meta-data` as cloud-init's `NoCloud` reads it: one YAML document.

use model::Hardware;

use crate::yaml::quoted;
use crate::{ssh_keys, text};

/// cloud-init needs an id: another one makes it configure the machine again. The Hardware's name is one, too.
pub fn meta_data(hardware: &Hardware) -> String {
    let name = hardware.metadata.name.as_str();
    let first = |texts: &[&str]| quoted(texts.iter().find(|text| !text.is_empty()).unwrap_or(&name));
    let of_dhcp = hardware.spec.interfaces.iter().find_map(|interface| interface.dhcp.as_ref()?.hostname.as_deref());
    let mut out = format!("instance-id: {}\n", first(&[text(hardware, "/instance/id")]));
    out += &format!("local-hostname: {}\n", first(&[text(hardware, "/instance/hostname"), of_dhcp.unwrap_or_default()]));
    let keys = ssh_keys(hardware);
    if !keys.is_empty() {
        out += "public-keys:\n";
    }
    for key in keys {
        out += &format!("  - {}\n", quoted(key));
    }
    out
}
