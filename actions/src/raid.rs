//! `raid`: makes one disk of several, by the kernel's md. mdadm writes the superblocks.

use crate::claim::{self, ClaimError};
use crate::device::Named;
use crate::programs::{self, Call, Tool, ToolError};
use crate::variables::{VariableError, Variables, unusable};
use std::path::{Path, PathBuf};

const MDADM: Tool = Tool::new("mdadm", "mdadm");
const DEVICES: &str = "DEVICES";
const LEVELS: [(&str, usize); 6] = [("0", 2), ("1", 2), ("4", 3), ("5", 3), ("6", 4), ("10", 2)];
const METADATA: [&str; 3] = ["1.0", "1.1", "1.2"];
const NAME_MAX: usize = 32;

#[derive(Debug, thiserror::Error)]
pub enum RaidError {
    #[error(transparent)]
    Variable(#[from] VariableError),
    #[error("DEVICES")]
    Claim(#[from] ClaimError),
    #[error("ARRAY {array} is active already: stop it (mdadm --stop {array}), or choose another; nothing was erased")]
    Active { array: PathBuf },
    #[error(transparent)]
    Tool(#[from] ToolError),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Settings {
    devices: Vec<Named>,
    level: &'static str,
    array: PathBuf,
    name: String,
    metadata: &'static str,
    spares: usize,
    force: bool,
}

impl Settings {
    fn read(variables: &Variables) -> Result<Self, VariableError> {
        let text =
            |name, default: &str| variables.optional(name).map_or_else(|| Ok(default.to_owned()), |_| variables.text(name));
        let devices = claim::named(variables, DEVICES)?;
        let word = variables.text("LEVEL")?;
        let level = LEVELS.iter().find(|(level, _)| *level == word.trim_start_matches("raid"));
        let (level, least) = *level.ok_or_else(|| unusable("LEVEL", &word, "0, 1, 4, 5, 6 or 10"))?;
        let spares = text("SPARES", "0")?;
        let spares = spares.parse().ok().filter(|spares| *spares < devices.len());
        let spares = spares.ok_or_else(|| unusable("SPARES", "", "a number below that of DEVICES"))?;
        if devices.len() - spares < least {
            return Err(unusable(DEVICES, &variables.text(DEVICES)?, "as many disks as the level needs, beside the spares"));
        }
        let word = text("METADATA", "1.2")?;
        let metadata = METADATA.iter().find(|version| **version == word);
        let metadata = metadata.ok_or_else(|| unusable("METADATA", &word, "1.0, 1.1 or 1.2"))?;
        let name = text("NAME", "thimble")?;
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        if name.len() > NAME_MAX || !name.chars().all(is_name) {
            return Err(unusable("NAME", &name, "at most 32 letters, digits, - and _"));
        }
        let array = match variables.optional("ARRAY") {
            Some(_) => variables.absolute_path("ARRAY")?,
            None => PathBuf::from("/dev/md0"),
        };
        Ok(Self { devices, level, array, name, metadata, spares, force: variables.flag("FORCE")?.unwrap_or(false) })
    }
}

/// The array is made at once, and the kernel makes its copies alike in the background.
fn calls(settings: &Settings, devices: &[PathBuf]) -> Vec<Call> {
    let Settings { level, array, name, metadata, spares, .. } = settings;
    let mut arguments = vec![
        "--create".to_owned(),
        array.display().to_string(),
        "--run".to_owned(),
        "--homehost=any".to_owned(),
        format!("--name={name}"),
        format!("--metadata={metadata}"),
        format!("--level={level}"),
        format!("--raid-devices={}", devices.len().saturating_sub(*spares)),
    ];
    if *spares > 0 {
        arguments.push(format!("--spare-devices={spares}"));
    }
    // A level without copies has no bitmap of what differs.
    if *level != "0" {
        arguments.push("--bitmap=internal".to_owned());
    }
    arguments.extend(devices.iter().map(|device| device.display().to_string()));
    vec![Call::new(MDADM, arguments)]
}

/// `root` is `/`, except in tests.
fn is_active(root: &Path, array: &Path) -> bool {
    let inside = root.join(array.strip_prefix("/").unwrap_or(array));
    let real = std::fs::canonicalize(inside).unwrap_or_else(|_| array.to_owned());
    let state = real.file_name().map(|name| root.join("sys/block").join(name).join("md/array_state"));
    // Its device file stays after it was stopped, with this state.
    state.and_then(|state| std::fs::read_to_string(state).ok()).is_some_and(|state| state.trim() != "clear")
}

/// Looks at everything that can be known before the disks are erased.
fn planned(settings: &Settings) -> Result<(Vec<PathBuf>, Vec<Call>), RaidError> {
    if is_active(Path::new("/"), &settings.array) {
        return Err(RaidError::Active { array: settings.array.clone() });
    }
    let devices = claim::free(&settings.devices, settings.force)?;
    let calls = calls(settings, &devices);
    Ok((devices, calls))
}

pub fn run(variables: &Variables) -> Result<(), RaidError> {
    let (devices, calls) = planned(&Settings::read(variables)?)?;
    programs::need(&calls)?;
    claim::take(&devices)?;
    Ok(programs::run_all(&calls)?)
}

pub fn dry_run(variables: &Variables) -> Result<(), RaidError> {
    let (_, calls) = planned(&Settings::read(variables)?)?;
    programs::show(&calls);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown<const N: usize>(values: [(&str, &str); N]) -> Result<String, String> {
        let settings = Settings::read(&Variables::of(values)).map_err(|error| error.to_string())?;
        let devices: Vec<PathBuf> = (0..settings.devices.len()).map(|number| format!("/dev/d{number}").into()).collect();
        Ok(calls(&settings, &devices).iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    }

    #[test]
    fn an_active_array_is_known_by_its_name_or_by_a_link_to_it() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        for (name, state) in [("md0", "clean\n"), ("md1", "clear\n"), ("md127", "active\n")] {
            let folder = root.join("sys/block").join(name).join("md");
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join("array_state"), state).unwrap();
            std::fs::create_dir_all(root.join("dev/md")).unwrap();
            std::fs::write(root.join("dev").join(name), "").unwrap();
        }
        std::os::unix::fs::symlink("../md127", root.join("dev/md/data")).unwrap();
        for (array, expected) in
            [("/dev/md0", true), ("/dev/md1", false), ("/dev/md2", false), ("/dev/md/data", true), ("/dev/md/other", false)]
        {
            assert_eq!(is_active(root, Path::new(array)), expected, "{array}");
        }
    }

    #[test]
    fn the_variables_become_one_call_of_mdadm() {
        let two = ("DEVICES", "/dev/sda disk:serial=S1,partition=2");
        assert_eq!(
            shown([two, ("LEVEL", "1")]).unwrap(),
            "mdadm --create /dev/md0 --run --homehost=any --name=thimble --metadata=1.2 --level=1 --raid-devices=2 --bitmap=internal \
             /dev/d0 /dev/d1"
        );
        let text =
            shown([("DEVICES", "/dev/a /dev/b /dev/c"), ("LEVEL", "raid1"), ("SPARES", "1"), ("METADATA", "1.0")]).unwrap();
        assert!(text.contains("--metadata=1.0 --level=1 --raid-devices=2 --spare-devices=1"), "{text}");
        let text = shown([two, ("LEVEL", "0"), ("ARRAY", "/dev/md/data"), ("NAME", "data")]).unwrap();
        assert!(text.contains("--create /dev/md/data") && text.contains("--name=data") && !text.contains("bitmap"), "{text}");
    }

    #[test]
    fn a_wrong_variable_is_named() {
        let two = ("DEVICES", "/dev/sda /dev/sdb");
        for (case, values, expected) in [
            ("no devices", [("LEVEL", "1"), ("X", "")], "DEVICES is not set"),
            ("no level", [two, ("X", "")], "LEVEL is not set"),
            ("another level", [two, ("LEVEL", "7")], "LEVEL=\"7\" is not usable: wanted 0, 1, 4, 5, 6 or 10"),
            ("too few", [two, ("LEVEL", "5")], "DEVICES=\"/dev/sda /dev/sdb\" is not usable: wanted as many disks"),
            ("a relative path", [("DEVICES", "sda sdb"), ("LEVEL", "1")], "DEVICES=\"sda\" is not usable"),
        ] {
            assert!(shown(values).unwrap_err().starts_with(expected), "{case}");
        }
        for extra in [("SPARES", "2"), ("SPARES", "x"), ("METADATA", "0.90"), ("NAME", "a b")] {
            let error = shown([two, ("LEVEL", "1"), extra]).unwrap_err();
            assert!(error.starts_with(extra.0), "{error}");
        }
    }
}
