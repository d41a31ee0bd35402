//! `luks`: encrypts a disk or partition (LUKS2), and opens it for the actions that follow. cryptsetup does it.
//!
//! The memory of argon2id is at most 32 MiB, so that small machines format and open it. With a TPM, systemd-cryptenroll or clevis
//! adds a key that the machine's firmware releases; the passphrase stays as the way back.

use crate::claim::{self, ClaimError};
use crate::device::{self, Named};
use crate::programs::{self, Call, Tool, ToolError};
use crate::say;
use crate::variables::{VariableError, Variables, unusable, unusable_because};
use std::io::Read;
use std::path::{Path, PathBuf};

const CRYPTSETUP: Tool = Tool::new("cryptsetup", "cryptsetup-bin");
const PASSPHRASE: &str = "PASSPHRASE";
const KEY_FILE: &str = "KEY_FILE";
const KEY_MAX: u64 = 8 << 10;
const PBKDFS: [&str; 2] = ["argon2id", "pbkdf2"];
/// In KiB.
const MEMORY: u32 = 32 << 10;
const TPM: &str = "/dev/tpmrm0";
const BINDERS: [Binder; 2] = [Binder::Systemd, Binder::Clevis];

#[derive(Debug, thiserror::Error)]
pub enum LuksError {
    #[error(transparent)]
    Variable(#[from] VariableError),
    #[error("DEST_DISK")]
    Claim(#[from] ClaimError),
    #[error("TPM2: this machine has no TPM that the kernel knows ({TPM}); nothing was erased")]
    NoTpm,
    #[error("TPM2: this image has neither systemd-cryptenroll nor clevis, which bind a key to the TPM; nothing was erased")]
    NoBinder,
    #[error(
        "TPM2: clevis reads the passphrase up to the end of its first line, and this one has further bytes: use one of one line, or \
         an image with systemd-cryptenroll; nothing was erased"
    )]
    Lines,
    #[error(
        "NAME: /dev/mapper/{0} is there already: choose another name, or close it (cryptsetup close {0}); nothing was erased"
    )]
    Open(String),
    #[error(transparent)]
    Tool(#[from] ToolError),
}

/// What binds a key to the TPM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Binder {
    Systemd,
    Clevis,
}

impl Binder {
    fn tool(self) -> Tool {
        match self {
            Self::Systemd => Tool::new("systemd-cryptenroll", "systemd"),
            Self::Clevis => Tool::new("clevis", "clevis-tpm2"),
        }
    }
}

#[derive(Debug, Clone)]
struct Settings {
    device: Named,
    /// Of the opened device below /dev/mapper.
    name: String,
    key: Vec<u8>,
    pbkdf: &'static str,
    tpm: bool,
    /// The registers of the TPM that must have the same values.
    registers: String,
    force: bool,
}

impl Settings {
    fn read(variables: &Variables) -> Result<Self, VariableError> {
        let text =
            |name, default: &str| variables.optional(name).map_or_else(|| Ok(default.to_owned()), |_| variables.text(name));
        let device = Named::read(variables, "DEST_DISK")?;
        let name = text("NAME", "root")?;
        if name.is_empty() || name.contains(['/', ' ']) || name.starts_with(['-', '.']) || name.len() > 100 {
            return Err(unusable("NAME", &name, "a name below /dev/mapper"));
        }
        let word = text("PBKDF", "argon2id")?;
        let pbkdf = *PBKDFS.iter().find(|pbkdf| **pbkdf == word).ok_or_else(|| unusable("PBKDF", &word, "argon2id or pbkdf2"))?;
        let registers = text("TPM2_PCRS", "7")?;
        let is_list = registers.split(',').all(|number| number.parse::<u32>().is_ok_and(|number| number < 24));
        if !is_list {
            return Err(unusable("TPM2_PCRS", &registers, "numbers below 24 with , between them"));
        }
        let (tpm, force) = (variables.flag("TPM2")?.unwrap_or(false), variables.flag("FORCE")?.unwrap_or(false));
        Ok(Self { device, name, key: key(variables)?, pbkdf, tpm, registers, force })
    }
}

/// In a template, a passphrase comes from a secret of the Hardware. A file comes with a volume.
fn key(variables: &Variables) -> Result<Vec<u8>, VariableError> {
    if variables.optional(KEY_FILE).is_none() {
        return Ok(variables.text(PASSPHRASE)?.into_bytes());
    }
    let path = variables.absolute_path(KEY_FILE)?;
    let shown = path.display().to_string();
    if variables.optional(PASSPHRASE).is_some() {
        return Err(unusable(KEY_FILE, &shown, "one of PASSPHRASE and KEY_FILE"));
    }
    let mut key = Vec::new();
    let read = std::fs::File::open(&path).and_then(|file| file.take(KEY_MAX + 1).read_to_end(&mut key));
    match read {
        Err(error) => Err(unusable_because(KEY_FILE, &shown, &error)),
        Ok(1..=8192) => Ok(key),
        Ok(_) => Err(unusable(KEY_FILE, &shown, "a file of 1 to 8192 bytes")),
    }
}

/// The tool that is there, if the machine has a TPM.
fn binder(has_tpm: bool, has: impl Fn(Tool) -> bool) -> Result<Binder, LuksError> {
    if !has_tpm {
        return Err(LuksError::NoTpm);
    }
    BINDERS.into_iter().find(|binder| has(binder.tool())).ok_or(LuksError::NoBinder)
}

/// As a shell's `read` takes it.
fn is_one_line(key: &[u8]) -> bool {
    !key.iter().any(|byte| matches!(byte, b'\n' | 0))
}

fn calls(settings: &Settings, device: &Path, binder: Option<Binder>) -> Vec<Call> {
    let Settings { name, key, pbkdf, registers, .. } = settings;
    let device = device.display().to_string();
    let mut format = vec!["luksFormat", "--batch-mode", "--type", "luks2", "--pbkdf", pbkdf];
    let memory = MEMORY.to_string();
    if *pbkdf == "argon2id" {
        format.extend(["--pbkdf-memory", memory.as_str(), "--pbkdf-parallel", "1"]);
    }
    format.extend(["--key-file", "-", device.as_str()]);
    let mut calls = vec![Call::new(CRYPTSETUP, format).given(key)];
    calls.extend(binder.map(|binder| match binder {
        Binder::Systemd => {
            let registers = format!("--tpm2-pcrs={}", registers.replace(',', "+"));
            let words = ["--unlock-key-file=/dev/stdin", "--tpm2-device=auto", registers.as_str(), device.as_str()];
            Call::new(binder.tool(), words).given(key)
        }
        Binder::Clevis => {
            // clevis would take SHA-1's registers, which firmware of today may not fill.
            let policy = format!(r#"{{"pcr_bank":"sha256","pcr_ids":"{registers}"}}"#);
            Call::new(binder.tool(), ["luks", "bind", "-y", "-k", "-", "-d", device.as_str(), "tpm2", policy.as_str()]).given(key)
        }
    }));
    calls.push(Call::new(CRYPTSETUP, ["open", "--type", "luks2", "--key-file", "-", device.as_str(), name.as_str()]).given(key));
    calls
}

/// Device mapper has a device of this name. `root` is `/`, except in tests.
fn is_open(root: &Path, name: &str) -> bool {
    let path = Path::new("/dev/mapper").join(name);
    device::mapped(root, &path).is_some() || root.join("dev/mapper").join(name).symlink_metadata().is_ok()
}

fn planned(settings: &Settings) -> Result<(Vec<PathBuf>, Vec<Call>), LuksError> {
    if is_open(Path::new("/"), &settings.name) {
        return Err(LuksError::Open(settings.name.clone()));
    }
    let binder = settings.tpm.then(|| binder(Path::new(TPM).exists(), |tool| tool.find().is_ok())).transpose()?;
    if binder == Some(Binder::Clevis) && !is_one_line(&settings.key) {
        return Err(LuksError::Lines);
    }
    let devices = claim::free(std::slice::from_ref(&settings.device), settings.force)?;
    let calls = devices.first().map(|device| calls(settings, device, binder)).unwrap_or_default();
    Ok((devices, calls))
}

pub fn run(variables: &Variables) -> Result<(), LuksError> {
    let settings = Settings::read(variables)?;
    let (devices, calls) = planned(&settings)?;
    programs::need(&calls)?;
    claim::take(&devices)?;
    programs::run_all(&calls)?;
    say(&format!("the encrypted device is /dev/mapper/{}", settings.name));
    Ok(())
}

pub fn dry_run(variables: &Variables) -> Result<(), LuksError> {
    let (_, calls) = planned(&Settings::read(variables)?)?;
    programs::show(&calls);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<const N: usize>(values: [(&str, &str); N]) -> Result<Settings, String> {
        Settings::read(&Variables::of(values)).map_err(|error| error.to_string())
    }

    fn shown(settings: &Settings, binder: Option<Binder>) -> Vec<String> {
        calls(settings, Path::new("/dev/d0"), binder).iter().map(ToString::to_string).collect()
    }

    const DISK: (&str, &str) = ("DEST_DISK", "/dev/vda2");
    const SECRET: (&str, &str) = (PASSPHRASE, "correct horse");

    #[test]
    fn the_memory_is_bounded_and_the_passphrase_is_not_shown() {
        let settings = read([DISK, SECRET]).unwrap();
        assert_eq!(
            shown(&settings, None),
            [
                "cryptsetup luksFormat --batch-mode --type luks2 --pbkdf argon2id --pbkdf-memory 32768 --pbkdf-parallel 1 --key-file - \
                 /dev/d0",
                "cryptsetup open --type luks2 --key-file - /dev/d0 root",
            ]
        );
        let settings = read([DISK, SECRET, ("PBKDF", "pbkdf2"), ("NAME", "data")]).unwrap();
        let lines = shown(&settings, Some(Binder::Systemd)).join("\n");
        assert!(!lines.contains("pbkdf-memory") && !lines.contains("horse") && lines.ends_with("/dev/d0 data"), "{lines}");
        assert!(lines.contains("systemd-cryptenroll --unlock-key-file=/dev/stdin --tpm2-device=auto --tpm2-pcrs=7 /dev/d0"));
        let settings = read([DISK, SECRET, ("TPM2_PCRS", "0,7")]).unwrap();
        assert!(shown(&settings, Some(Binder::Clevis))[1].ends_with(r#"tpm2 {"pcr_bank":"sha256","pcr_ids":"0,7"}"#));
        assert_eq!(calls(&settings, Path::new("/x"), None)[0].input.as_ref().unwrap().0, b"correct horse");
    }

    #[test]
    fn a_wrong_variable_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().to_str().unwrap();
        for (extra, expected) in [
            (("X", ""), "PASSPHRASE is not set"),
            ((KEY_FILE, "key"), "KEY_FILE=\"key\" is not usable"),
            ((KEY_FILE, path), "wanted a file of 1 to 8192 bytes"),
            ((KEY_FILE, "/no/such/file"), "No such file"),
            (("PBKDF", "scrypt"), "PBKDF=\"scrypt\" is not usable: wanted argon2id or pbkdf2"),
            (("NAME", "../x"), "NAME=\"../x\" is not usable"),
            (("TPM2_PCRS", "7;8"), "TPM2_PCRS"),
        ] {
            let error = read([DISK, extra]).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
        std::fs::write(path, "0123").unwrap();
        assert_eq!(read([DISK, (KEY_FILE, path)]).unwrap().key, b"0123");
        assert!(read([DISK, SECRET, (KEY_FILE, path)]).unwrap_err().contains("one of PASSPHRASE and KEY_FILE"));
    }

    #[test]
    fn a_name_that_device_mapper_has_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let (folder, links) = (root.path().join("sys/block/dm-0/dm"), root.path().join("dev/mapper"));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::create_dir_all(&links).unwrap();
        std::fs::write(folder.join("name"), "root\n").unwrap();
        std::os::unix::fs::symlink("../dm-1", links.join("data")).unwrap();
        for (name, expected) in [("root", true), ("data", true), ("home", false)] {
            assert_eq!(is_open(root.path(), name), expected, "{name}");
        }
        let error = LuksError::Open("root".into()).to_string();
        assert!(error.contains("/dev/mapper/root is there already") && error.contains("nothing was erased"), "{error}");
    }

    #[test]
    fn a_tpm_needs_a_tool_and_a_device() {
        assert!(matches!(binder(false, |_| true), Err(LuksError::NoTpm)));
        assert!(matches!(binder(true, |_| false), Err(LuksError::NoBinder)));
        assert_eq!(binder(true, |tool| tool.program == "clevis").unwrap(), Binder::Clevis);
        assert_eq!(binder(true, |_| true).unwrap(), Binder::Systemd);
        assert!(is_one_line(b"correct horse") && !is_one_line(b"horse\n") && !is_one_line(&[1, 0, 2]));
    }
}
