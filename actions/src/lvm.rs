//! `lvm`: makes a volume group of disks or partitions, and volumes in it. LVM's own program writes the metadata.

mod room;

use crate::claim::{self, ClaimError};
use crate::device::{self, DeviceError, Named};
use crate::programs::{self, Call, Tool, ToolError};
use crate::variables::{VariableError, Variables, unusable, unusable_because};
use std::ffi::OsString;
use std::path::PathBuf;

const LVM: Tool = Tool::new("lvm", "lvm2");
const VOLUMES: &str = "VOLUMES";
const VOLUMES_MAX: usize = 64;
/// Without udev, LVM makes its device files itself.
const CONFIG: &str = "activation{udev_sync=0 udev_rules=0 verify_udev_operations=0} backup{backup=0 archive=0}";

#[derive(Debug, thiserror::Error)]
pub enum LvmError {
    #[error(transparent)]
    Variable(#[from] VariableError),
    #[error("DEVICES")]
    Claim(#[from] ClaimError),
    #[error("DEVICES")]
    Device(#[from] DeviceError),
    #[error("VG {group} is there already, with {device}: choose another name, or remove it (vgremove); nothing was erased")]
    Exists { group: String, device: PathBuf },
    #[error("VOLUMES: {0}; nothing was erased")]
    Room(String),
    #[error(transparent)]
    Tool(#[from] ToolError),
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Volume {
    pub name: String,
    /// `-L 20G` or `-l 100%FREE`
    pub size: [String; 2],
    pub tags: Vec<String>,
    /// For `lvcreate`.
    pub options: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    pub name: String,
    pub tags: Vec<String>,
    pub volumes: Vec<Volume>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Settings {
    devices: Vec<Named>,
    group: Group,
    force: bool,
}

impl Settings {
    fn read(variables: &Variables) -> Result<Self, VariableError> {
        let devices = claim::named(variables, "DEVICES")?;
        let name = variables.text("VG")?;
        if !is_name(&name) {
            return Err(unusable("VG", &name, NAME));
        }
        let list = variables.text(VOLUMES)?;
        let words: Vec<&str> = list.split_ascii_whitespace().collect();
        let volumes = words.iter().map(|word| volume(word).map_err(|reason| unusable_because(VOLUMES, word, &reason)));
        let volumes: Vec<Volume> = volumes.collect::<Result<_, _>>()?;
        if volumes.is_empty() || volumes.len() > VOLUMES_MAX {
            return Err(unusable(VOLUMES, &list, "between 1 and 64 volumes such as root:20G"));
        }
        let twice =
            volumes.iter().enumerate().find(|(at, volume)| volumes.iter().take(*at).any(|other| other.name == volume.name));
        if let Some((_, Volume { name, .. })) = twice {
            return Err(unusable_because(VOLUMES, &list, &format!("{name} is there twice")));
        }
        let group = Group { name, tags: Vec::new(), volumes };
        Ok(Self { devices, group, force: variables.flag("FORCE")?.unwrap_or(false) })
    }
}

const NAME: &str = "a name of letters, digits, _ . + and -, which does not begin with - or .";

/// lvm(8), VALID NAMES
fn is_name(text: &str) -> bool {
    let is_character = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '+' | '-');
    !text.is_empty() && text.len() <= 120 && text.chars().all(is_character) && !text.starts_with(['-', '.'])
}

/// `root:20G`, `home:100%FREE`
fn volume(word: &str) -> Result<Volume, &'static str> {
    let (name, size) = word.split_once(':').ok_or("wanted a name and a size, such as root:20G")?;
    if !is_name(name) {
        return Err(NAME);
    }
    let digits = size.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = size.split_at(digits);
    let positive = number.parse::<u64>().is_ok_and(|number| number > 0);
    let option = match unit {
        "M" | "G" | "T" if positive => "-L",
        "%FREE" | "%VG" if positive => "-l",
        _ => return Err("wanted a size such as 512M, 20G, 1T, 50%VG or 100%FREE"),
    };
    Ok(Volume { name: name.to_owned(), size: [option.to_owned(), size.to_owned()], ..Volume::default() })
}

/// What makes the group and its volumes. An old signature is erased without a question.
pub fn calls(group: &Group, devices: &[PathBuf]) -> Vec<Call> {
    let Group { name, tags, volumes } = group;
    let call = |verb: &str, words: Vec<String>, devices: &[PathBuf]| {
        let first = [verb, "--config", CONFIG, "--yes"].map(OsString::from);
        let devices = devices.iter().map(|device| device.clone().into_os_string());
        Call::new(LVM, first.into_iter().chain(words.into_iter().map(OsString::from)).chain(devices))
    };
    let tagged = |tags: &[String]| tags.iter().flat_map(|tag| ["--addtag".to_owned(), tag.clone()]).collect::<Vec<_>>();
    let mut calls =
        vec![call("pvcreate", Vec::new(), devices), call("vgcreate", [tagged(tags), vec![name.clone()]].concat(), devices)];
    calls.extend(volumes.iter().map(|volume| {
        let named = ["--wipesignatures", "y", "--name", volume.name.as_str()].map(str::to_owned).to_vec();
        let words = [named, volume.size.to_vec(), tagged(&volume.tags), volume.options.clone(), vec![name.clone()]];
        call("lvcreate", words.concat(), &[])
    }));
    calls
}

/// Looks at everything that can be known before the disks are erased.
fn planned(settings: &Settings) -> Result<(Vec<PathBuf>, Vec<Call>), LvmError> {
    let devices = claim::free(&settings.devices, settings.force)?;
    let sizes: Vec<u64> = devices.iter().map(|path| Ok(device::open(path)?.size)).collect::<Result<_, DeviceError>>()?;
    room::fits(&settings.group.volumes, &sizes).map_err(LvmError::Room)?;
    let calls = calls(&settings.group, &devices);
    Ok((devices, calls))
}

/// A disk of a group of this name, of which something would be left.
///
/// # Errors
/// If LVM cannot list its disks.
pub fn elsewhere(group: &str, devices: &[PathBuf]) -> Result<Option<PathBuf>, ToolError> {
    let members = ["pvs", "--config", CONFIG, "--noheadings", "--options", "pv_name,vg_name"];
    Ok(room::elsewhere(&programs::output(&Call::new(LVM, members))?, group, devices))
}

fn look_for_group(settings: &Settings, devices: &[PathBuf]) -> Result<(), LvmError> {
    match elsewhere(&settings.group.name, devices)? {
        Some(device) => Err(LvmError::Exists { group: settings.group.name.clone(), device }),
        None => Ok(()),
    }
}

pub fn run(variables: &Variables) -> Result<(), LvmError> {
    let settings = Settings::read(variables)?;
    let (devices, calls) = planned(&settings)?;
    programs::need(&calls)?;
    look_for_group(&settings, &devices)?;
    claim::take(&devices)?;
    Ok(programs::run_all(&calls)?)
}

pub fn dry_run(variables: &Variables) -> Result<(), LvmError> {
    let settings = Settings::read(variables)?;
    let (devices, calls) = planned(&settings)?;
    if programs::need(&calls).is_ok() {
        look_for_group(&settings, &devices)?;
    }
    programs::show(&calls);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(devices: &str, group: &str, volumes: &str) -> Result<Vec<String>, String> {
        let variables = Variables::of([("DEVICES", devices), ("VG", group), (VOLUMES, volumes)]);
        let settings = Settings::read(&variables).map_err(|error| error.to_string())?;
        let calls = calls(&settings.group, &["/dev/d0".into()]);
        Ok(calls.iter().map(|call| call.to_string().replace(CONFIG, "C")).collect())
    }

    #[test]
    fn the_variables_become_calls_of_lvm() {
        assert_eq!(
            shown("/dev/sda", "vg0", "root:20G home:100%FREE").unwrap(),
            [
                "lvm pvcreate --config C --yes /dev/d0",
                "lvm vgcreate --config C --yes vg0 /dev/d0",
                "lvm lvcreate --config C --yes --wipesignatures y --name root -L 20G vg0",
                "lvm lvcreate --config C --yes --wipesignatures y --name home -l 100%FREE vg0",
            ]
        );
    }

    #[test]
    fn a_wrong_variable_is_named() {
        for (devices, group, volumes, expected) in [
            ("", "vg0", "a:1G", "DEVICES is not set"),
            ("/dev/sda", "-x", "a:1G", "VG=\"-x\" is not usable: wanted a name"),
            ("/dev/sda", "vg0", "a", "VOLUMES=\"a\" is not usable: wanted a name and a size"),
            ("/dev/sda", "vg0", "a:1X", "VOLUMES=\"a:1X\" is not usable: wanted a size"),
            ("/dev/sda", "vg0", "a:0G", "wanted a size"),
            ("/dev/sda", "vg0", "a:1G b:1G a:2G", "a is there twice"),
            ("/dev/sda", "vg0", "../a:1G", "a name of letters"),
        ] {
            let error = shown(devices, group, volumes).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
