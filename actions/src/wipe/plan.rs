//! What will be done to the disk, decided before anything is. Pure.

use super::ErasedBy;
use super::ata::{self, Security};
use super::nvme::{self, Abilities};
use std::fmt;
use std::ops::Range;

/// The variable `METHOD`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    Auto,
    Signatures,
    Discard,
    SecureDiscard,
    Zero,
    NvmeFormat,
    NvmeSanitize,
    AtaSecureErase,
}

pub const METHODS: [(&str, Method); 8] = [
    ("auto", Method::Auto),
    ("signatures", Method::Signatures),
    ("discard", Method::Discard),
    ("secure-discard", Method::SecureDiscard),
    ("zero", Method::Zero),
    ("nvme-format", Method::NvmeFormat),
    ("nvme-sanitize", Method::NvmeSanitize),
    ("ata-secure-erase", Method::AtaSecureErase),
];

/// A disk or partition, and what is recognised on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Region {
    pub name: String,
    pub range: Range<u64>,
    pub found: Vec<&'static str>,
    /// What was looked at, at both ends, is all zeros.
    pub blank: bool,
}

/// What is known before.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// `/dev/sda (953 GiB, sata, ...)`
    pub disk: String,
    pub size: u64,
    pub serial: String,
    /// A part of a disk, which cannot be erased by commands to the whole.
    pub is_partition: bool,
    pub discards: bool,
    /// The disk first, then its partitions.
    pub regions: Vec<Region>,
    pub nvme: Option<Abilities>,
    /// Further namespaces of the controller.
    pub namespaces: Vec<String>,
    pub ata: Option<Security>,
    /// Mounts, and devices that are made of it.
    pub users: Vec<String>,
}

/// How the data between the edges goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Left,
    Discard,
    SecureDiscard,
    Zero,
    Format(ErasedBy, nvme::Command),
    Sanitize(ErasedBy, nvme::Command),
    Ata(ata::Erase),
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("{disk} is in use by {users}. Unmount or stop that first; nothing was erased")]
    InUse { disk: String, users: String },
    #[error("EXPECTED_SERIAL is {expected}, and {disk} has {found}; nothing was erased")]
    Serial { disk: String, expected: String, found: String },
    #[error("METHOD={method} is not possible for {disk}: {problem}. Nothing was erased")]
    Method { method: Method, disk: String, problem: String },
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(METHODS.iter().find(|(_, method)| method == self).map_or("", |(name, _)| name))
    }
}

/// # Errors
/// A disk in use, another disk than the expected one, and a method that it does not have.
pub fn plan(facts: &Facts, method: Method, expected_serial: Option<&str>) -> Result<Way, Refused> {
    let disk = facts.disk.clone();
    if !facts.users.is_empty() {
        return Err(Refused::InUse { disk, users: facts.users.join(", ") });
    }
    if let Some(expected) = expected_serial.filter(|expected| expected.trim() != facts.serial) {
        let found = if facts.serial.is_empty() { "no serial number".to_owned() } else { facts.serial.clone() };
        return Err(Refused::Serial { disk, expected: expected.to_owned(), found });
    }
    way(facts, method).map_err(|problem| Refused::Method { method, disk, problem })
}

fn way(facts: &Facts, method: Method) -> Result<Way, String> {
    let to_the_whole = matches!(method, Method::NvmeFormat | Method::NvmeSanitize | Method::AtaSecureErase);
    if to_the_whole && facts.is_partition {
        return Err("it is a partition, and the command erases the whole disk".to_owned());
    }
    let no_nvme = || "it is not an NVMe disk".to_owned();
    Ok(match method {
        Method::Auto if facts.discards => Way::Discard,
        Method::Auto | Method::Signatures => Way::Left,
        Method::Discard | Method::SecureDiscard if !facts.discards => return Err("it does not support discard".to_owned()),
        Method::Discard => Way::Discard,
        Method::SecureDiscard => Way::SecureDiscard,
        Method::Zero => Way::Zero,
        Method::NvmeFormat => {
            let (erased, command) = facts.nvme.ok_or_else(no_nvme)?.format(&facts.namespaces)?;
            Way::Format(erased, command)
        }
        Method::NvmeSanitize => {
            let (erased, command) = facts.nvme.ok_or_else(no_nvme)?.sanitize(&facts.namespaces)?;
            Way::Sanitize(erased, command)
        }
        Method::AtaSecureErase => Way::Ata(facts.ata.ok_or("it does not answer ATA commands")?.erase().map_err(str::to_owned)?),
    })
}

/// One line for each thing that is found, and for what happens.
pub fn lines(facts: &Facts, way: Way) -> Vec<String> {
    let mut lines = vec![format!("{}, {} bytes", facts.disk, facts.size)];
    for Region { name, range, found, .. } in &facts.regions {
        let found = if found.is_empty() { "nothing that is known".to_owned() } else { found.join(", ") };
        lines.push(format!("{name} from byte {} to {}: {found}", range.start, range.end));
    }
    lines.push("the first and last MiB of the disk and of each partition are overwritten with zeros".to_owned());
    lines.push(match way {
        Way::Left => "the data between them is left where it is".to_owned(),
        Way::Discard => "the rest is discarded; whether it can be read afterwards depends on the disk".to_owned(),
        Way::SecureDiscard => "the rest is discarded with all its copies".to_owned(),
        Way::Zero => "the rest is overwritten with zeros".to_owned(),
        Way::Format(erased, _) => format!("the disk formats its namespace, by {erased}"),
        Way::Sanitize(erased, _) => format!("the disk sanitizes itself, by {erased}; that goes on after a loss of power"),
        Way::Ata(ata::Erase { enhanced, minutes }) => {
            let kind = if enhanced { "enhanced secure erase" } else { "secure erase" };
            format!("the disk erases itself ({kind}), which it says takes {minutes} minutes")
        }
    });
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        Facts { disk: "/dev/sda (1 GiB, sata)".into(), size: 1 << 30, serial: "S1".into(), discards: true, ..Facts::default() }
    }

    #[test]
    fn the_method_decides_and_an_impossible_one_is_refused_with_its_reason() {
        let dull = Facts { discards: false, ..facts() };
        let part = Facts { is_partition: true, ..facts() };
        for (case, facts, method, expected) in [
            ("auto", facts(), Method::Auto, Ok(Way::Discard)),
            ("auto without discard", dull.clone(), Method::Auto, Ok(Way::Left)),
            ("signatures", facts(), Method::Signatures, Ok(Way::Left)),
            ("zero", dull.clone(), Method::Zero, Ok(Way::Zero)),
            ("secure", facts(), Method::SecureDiscard, Ok(Way::SecureDiscard)),
            ("no discard", dull, Method::Discard, Err("METHOD=discard is not possible for /dev/sda (1 GiB, sata): it does not")),
            ("no NVMe", facts(), Method::NvmeFormat, Err("it is not an NVMe disk. Nothing was erased")),
            ("no ATA", facts(), Method::AtaSecureErase, Err("METHOD=ata-secure-erase is not possible")),
            ("a partition", part, Method::NvmeSanitize, Err("the command erases the whole disk")),
        ] {
            match (plan(&facts, method, None), expected) {
                (Ok(way), Ok(wanted)) => assert_eq!(way, wanted, "{case}"),
                (Err(error), Err(words)) => assert!(error.to_string().contains(words), "{case}: {error}"),
                (found, _) => panic!("{case}: {found:?}"),
            }
        }
    }

    #[test]
    fn another_disk_and_a_disk_in_use_are_refused() {
        assert!(plan(&facts(), Method::Auto, Some(" S1 ")).is_ok());
        for (facts, serial, expected) in [
            (facts(), Some("S2"), "EXPECTED_SERIAL is S2, and /dev/sda (1 GiB, sata) has S1; nothing was erased"),
            (Facts { serial: String::new(), ..facts() }, Some("S2"), "has no serial number"),
            (Facts { users: vec!["md127".into(), "/mnt".into()], ..facts() }, None, "is in use by md127, /mnt. Unmount or stop"),
        ] {
            let error = plan(&facts, Method::Auto, serial).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
