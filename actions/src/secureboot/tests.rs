//! Keys of efitools, enrolled into a folder that stands for the firmware's variables.

use super::*;
use std::process::Command;

fn tool(folder: &Path, words: &[&str]) -> bool {
    match Command::new(words[0]).args(&words[1..]).current_dir(folder).output() {
        Ok(output) => {
            assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
            true
        }
        Err(error) => {
            eprintln!("SKIPPED: {}: {error}; apt-get install efitools openssl", words[0]);
            false
        }
    }
}

/// PK.auth, KEK.auth, db.esl, and nothing for dbx.
fn made_keys(folder: &Path) -> bool {
    let subject = "/CN=test key/";
    let request = [
        "openssl", "req", "-new", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", subject, "-keyout", "k.key", "-out", "k.crt",
    ];
    tool(folder, &request)
        && tool(folder, &["cert-to-efi-sig-list", "k.crt", "PK.esl"])
        && tool(folder, &["sign-efi-sig-list", "-k", "k.key", "-c", "k.crt", "PK", "PK.esl", "PK.auth"])
        && tool(folder, &["cert-to-efi-sig-list", "k.crt", "db.esl"])
        && tool(folder, &["sign-efi-sig-list", "-k", "k.key", "-c", "k.crt", "KEK", "PK.esl", "KEK.auth"])
}

fn firmware(mode: u8) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(format!("SetupMode-{GLOBAL}")), [6, 0, 0, 0, mode]).unwrap();
    folder
}

#[test]
fn keys_are_written_with_pk_last_and_with_their_attributes() {
    let keys = tempfile::tempdir().unwrap();
    if !made_keys(keys.path()) {
        return;
    }
    let firmware = firmware(1);
    let variables =
        Variables::of([("KEYS", keys.path().to_str().unwrap()), ("EFIVARFS_PATH", firmware.path().to_str().unwrap())]);
    let settings = Settings::read(&variables).unwrap();
    let names: Vec<_> = super::keys(&settings).unwrap().iter().map(|key| (key.name, key.file.clone())).collect();
    assert_eq!(
        names.iter().map(|(name, file)| (*name, file.as_str())).collect::<Vec<_>>(),
        [("db", "db.esl"), ("KEK", "KEK.auth"), ("PK", "PK.auth")]
    );
    dry_run(&variables).unwrap();
    // PK alone would lock the firmware: nothing could add what is missing.
    for (missing, name, vendor) in [("db.esl", "db", SECURITY), ("KEK.auth", "KEK", GLOBAL)] {
        let (here, away) = (keys.path().join(missing), keys.path().join("away"));
        std::fs::rename(&here, &away).unwrap();
        let error = run(&variables).unwrap_err().to_string();
        assert!(error.contains(&format!("has PK and no {name}, and neither has the firmware")), "{error}");
        assert_eq!(std::fs::read_dir(firmware.path()).unwrap().count(), 1, "nothing was written");
        let in_firmware = firmware.path().join(format!("{name}-{vendor}"));
        std::fs::write(&in_firmware, [0x27, 0, 0, 0, 1]).unwrap();
        dry_run(&variables).unwrap();
        std::fs::remove_file(in_firmware).unwrap();
        std::fs::rename(&away, &here).unwrap();
    }
    assert_eq!(std::fs::read_dir(firmware.path()).unwrap().count(), 1, "a dry run writes nothing");
    // A folder does not leave setup mode.
    assert!(matches!(run(&variables), Err(SecureBootError::StillInSetupMode)));
    let pk = std::fs::read(firmware.path().join(format!("PK-{GLOBAL}"))).unwrap();
    assert_eq!(pk[..4], [0x27, 0, 0, 0]);
    assert_eq!(pk[4..], std::fs::read(keys.path().join("PK.auth")).unwrap());
    let db = std::fs::read(firmware.path().join(format!("db-{SECURITY}"))).unwrap();
    assert!(db.ends_with(&std::fs::read(keys.path().join("db.esl")).unwrap()));
}

#[test]
fn firmware_that_has_keys_is_left_alone() {
    let keys = tempfile::tempdir().unwrap();
    for (mode, file, data, expected) in [
        (Some(0), "db.esl", &b"x"[..], "not in setup mode"),
        (None, "db.esl", b"x", "does not support Secure Boot"),
        (Some(1), "db.esl", b"x", "db.esl cannot be enrolled; nothing was written"),
        (Some(1), "PK.auth", b"x", "PK.auth cannot be enrolled"),
        (Some(1), "other.esl", b"x", "has none of db, dbx, KEK and PK"),
    ] {
        for entry in std::fs::read_dir(keys.path()).unwrap().flatten() {
            std::fs::remove_file(entry.path()).unwrap();
        }
        std::fs::write(keys.path().join(file), data).unwrap();
        let firmware = mode.map_or_else(|| tempfile::tempdir().unwrap(), firmware);
        let place = firmware.path().to_str().unwrap();
        let before = std::fs::read_dir(firmware.path()).unwrap().count();
        let error =
            run(&Variables::of([("KEYS", keys.path().to_str().unwrap()), ("EFIVARFS_PATH", place)])).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert_eq!(std::fs::read_dir(firmware.path()).unwrap().count(), before);
    }
}
