//! `burnin`: makes processors, memory and a disk work for some time. What they do wrong, or too slowly, fails the action, so that a
//! workflow goes no further with a bad machine.
//!
//! The tests run one after the other, each for the same time. The last line of the output is the result as JSON.

mod cpu;
mod disk;
mod memory;
mod sensors;

use crate::device::{self, DeviceError, Named};
use crate::json::{Object, array, quoted};
use crate::say;
use crate::variables::{VariableError, Variables, unusable};
use sensors::Sensors;
use std::path::Path;
use std::time::Duration;

const ERASE: &str = "erase";
/// A day for each test.
const SECONDS: std::ops::RangeInclusive<u32> = 1..=86_400;

#[derive(Debug, thiserror::Error)]
pub enum BurninError {
    #[error(transparent)]
    Variable(#[from] VariableError),
    #[error("DEST_DISK")]
    Device(#[from] DeviceError),
    #[error("the machine failed: {}", .0.join("; "))]
    Failed(Vec<String>),
}

struct Settings {
    duration: Duration,
    cpu: bool,
    /// Of the memory that is free.
    memory_percent: u32,
    disk: Option<Named>,
    erase: bool,
    limits: Limits,
}

/// What is too slow, too hot, or too often wrong. `None` is no limit.
#[derive(Debug, Clone, Copy, Default)]
struct Limits {
    memory: Option<u64>,
    read: Option<u64>,
    write: Option<u64>,
    celsius: Option<u64>,
    corrected: Option<u64>,
}

impl Settings {
    fn read(variables: &Variables) -> Result<Self, VariableError> {
        const DISK_WRITE: &str = "DISK_WRITE";
        let disk = variables.optional("DEST_DISK").map(|_| Named::read(variables, "DEST_DISK")).transpose()?;
        let erase = match variables.optional(DISK_WRITE).map(|_| variables.text(DISK_WRITE)).transpose()?.as_deref() {
            None => false,
            Some(ERASE) if disk.is_some() => true,
            Some(ERASE) => return Err(VariableError::Missing("DEST_DISK")),
            Some(value) => return Err(unusable(DISK_WRITE, value, "erase, which loses all data on the disk")),
        };
        let limits = Limits {
            memory: variables.bytes("MIN_MEMORY_MBS")?,
            read: variables.bytes("MIN_DISK_READ_MBS")?,
            write: variables.bytes("MIN_DISK_WRITE_MBS")?,
            celsius: variables.bytes("MAX_CELSIUS")?,
            corrected: variables.bytes("MAX_CORRECTED_ERRORS")?,
        };
        Ok(Self {
            duration: Duration::from_secs(variables.count("DURATION_SECONDS", 60, SECONDS)?.into()),
            cpu: variables.flag("CPU")?.unwrap_or(true),
            memory_percent: variables.count("MEMORY_PERCENT", 50, 0..=90)?,
            disk,
            erase,
            limits,
        })
    }
}

/// What a test found, for the line of JSON, and what of it is a failure.
pub struct Found {
    name: &'static str,
    json: String,
    failures: Vec<String>,
}

pub fn run(variables: &Variables) -> Result<(), BurninError> {
    let settings = Settings::read(variables)?;
    let disk = settings.disk.as_ref().map(|disk| disk.appear(device::APPEARS_WITHIN)).transpose()?;
    let sensors = Sensors::read(Path::new("/"));
    let mut found = Vec::new();
    let begin = |what: &str| say(&format!("testing {what} for {} s", settings.duration.as_secs()));
    if settings.cpu {
        begin("the processors");
        found.push(cpu::test(settings.duration));
    }
    if settings.memory_percent > 0 {
        begin("the memory");
        found.push(memory::test(settings.duration, settings.memory_percent, settings.limits.memory));
    }
    if let Some(disk) = &disk {
        if settings.erase {
            begin("how the disk writes, which erases it");
            found.push(disk::write(disk, settings.duration, settings.limits.write)?);
        }
        begin("how the disk reads");
        found.push(disk::read(disk, settings.duration, settings.limits.read)?);
    }
    found.push(sensors.since(&Sensors::read(Path::new("/")), settings.limits));
    let failures: Vec<String> = found.iter().flat_map(|found| found.failures.clone()).collect();
    say(&result(&found, &failures));
    if failures.is_empty() { Ok(()) } else { Err(BurninError::Failed(failures)) }
}

/// Says what `run` would test.
pub fn dry_run(variables: &Variables) -> Result<(), BurninError> {
    let settings = Settings::read(variables)?;
    let seconds = settings.duration.as_secs();
    if settings.cpu {
        say(&format!("would test the processors for {seconds} s"));
    }
    if settings.memory_percent > 0 {
        say(&format!("would test {} % of the free memory for {seconds} s", settings.memory_percent));
    }
    if let Some(disk) = &settings.disk {
        let disk = disk.appear(device::APPEARS_WITHIN)?;
        let how = if settings.erase { "write it, which erases it, and read it" } else { "read it" };
        say(&format!("would test {}: {how}, for {seconds} s each", disk.display()));
    }
    say("nothing was tested");
    Ok(())
}

fn result(found: &[Found], failures: &[String]) -> String {
    let word = if failures.is_empty() { "passed" } else { "failed" };
    let object = found.iter().fold(Object::default().text("result", word), |object, found| object.plain(found.name, &found.json));
    object.plain("failures", array(failures.iter().map(|failure| quoted(failure)))).render()
}

/// A failure if the speed is less than the limit. Both are in 10^6 bytes a second.
fn too_slow(what: &str, speed: u64, limit: Option<u64>) -> Option<String> {
    limit.filter(|limit| speed < *limit).map(|limit| format!("{what} is {speed} MB/s, and at least {limit} is wanted"))
}

fn megabytes_per_second(bytes: u64, took: Duration) -> u64 {
    let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1);
    bytes / micros // bytes in a microsecond are 10^6 bytes in a second
}

/// A pattern that is another one at every place and for every seed (splitmix64).
fn pattern(seed: u64, place: u64) -> u64 {
    let mut z = seed.wrapping_add(place.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_result_is_one_line_of_json_that_says_why() {
        let found = [
            Found { name: "cpu", json: "{\"errors\":0}".to_owned(), failures: vec![] },
            Found { name: "disk_read", json: "{}".to_owned(), failures: vec!["too \"slow\"".to_owned()] },
        ];
        let failures = vec!["too \"slow\"".to_owned()];
        let json: serde_json::Value = serde_json::from_str(&result(&found, &failures)).unwrap();
        assert_eq!((json["result"].as_str(), json["cpu"]["errors"].as_u64()), (Some("failed"), Some(0)));
        assert_eq!(json["failures"][0], "too \"slow\"");
        assert!(result(&found[..1], &[]).starts_with("{\"result\":\"passed\""));
    }

    #[test]
    fn a_machine_that_is_too_slow_fails_and_a_good_one_passes() {
        let folder = tempfile::tempdir().unwrap();
        let disk = folder.path().join("disk");
        std::fs::write(&disk, vec![7; 4 << 20]).unwrap();
        let run = |more: (&str, &str)| {
            let all = [
                ("DURATION_SECONDS", "1"),
                ("MEMORY_PERCENT", "0"),
                ("CPU", "false"),
                ("DEST_DISK", disk.to_str().unwrap()),
                more,
            ];
            run(&Variables::of(all)).map_err(|error| error.to_string())
        };
        assert_eq!(run(("MIN_DISK_READ_MBS", "1")), Ok(()));
        assert_eq!(std::fs::read(&disk).unwrap(), vec![7; 4 << 20], "a test that reads changes nothing");
        let error = run(("MIN_DISK_READ_MBS", "99999999")).unwrap_err();
        assert!(error.contains("reading") && error.contains("at least 99999999 is wanted"), "{error}");
        assert_eq!(run(("DISK_WRITE", "erase")), Ok(()));
        assert_ne!(std::fs::read(&disk).unwrap(), vec![7; 4 << 20]);
    }

    #[test]
    fn a_wrong_setting_is_named() {
        for (more, expected) in [
            (("DISK_WRITE", "yes"), "DISK_WRITE=\"yes\" is not usable: wanted erase"),
            (("DISK_WRITE", "erase"), "DEST_DISK is not set"),
            (("MEMORY_PERCENT", "95"), "wanted a number from 0 to 90"),
            (("DURATION_SECONDS", "0"), "wanted a number from 1 to 86400"),
            (("MAX_CELSIUS", "hot"), "MAX_CELSIUS=\"hot\" is not usable"),
        ] {
            let error = Settings::read(&Variables::of([more])).err().unwrap().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
