//! `cloud-init`: tells the installed system's cloud-init where its data is, and writes the data onto the disk if wanted.

use crate::fetch::{self, FetchError};
use crate::image2disk::Web;
use crate::inside::{InsideError, Ownership, Root};
use crate::say;
use crate::target::{Target, TargetError};
use crate::variables::{VariableError, Variables, unusable};
use std::path::Path;

const SEED: &str = "/var/lib/cloud/seed/nocloud";
const CONFIG: &str = "/etc/cloud/cloud.cfg.d/90-thimble.cfg";
/// Has the URL of METADATA_URL in it.
const METADATA_URLS: &str = "metadata_urls:";
/// ds-identify runs before cloud-init, and switches it off if it finds no source of data that it knows.
const DS_IDENTIFY: &str = "/etc/cloud/ds-identify.cfg";
const SWITCHED_OFF: &str = "/etc/cloud/cloud-init.disabled";
/// The netplan file that the agent makes of the learned network.
const LEARNED: &str = "/run/thimble/network/netplan.yaml";
const FILE_MAX: u64 = 4 << 20;
const ROOT: Ownership = Ownership { uid: 0, gid: 0 };
const FILES: [(&str, &str); 4] = [
    ("META_DATA", "meta-data"),
    ("USER_DATA", "user-data"),
    ("VENDOR_DATA", "vendor-data"),
    ("NETWORK_CONFIG", "network-config"),
];

#[derive(Debug, thiserror::Error)]
pub enum CloudInitError {
    #[error(transparent)]
    Variable(#[from] VariableError),
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error("the target")]
    Inside(#[from] InsideError),
    #[error("the certificates for METADATA_URL")]
    Trust(#[from] trust::TrustError),
    #[error("METADATA_URL")]
    Fetch(#[from] FetchError),
    #[error("NETWORK_CONFIG=learned")]
    Learned(#[source] FetchError),
    #[error("the target has no /etc/cloud: is cloud-init installed there, and is it the root file system?")]
    NotInstalled,
    #[error("the target has {SWITCHED_OFF}, so its cloud-init does nothing: remove the file")]
    SwitchedOff,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Datasource {
    NoCloud,
    Ec2,
}

struct Settings {
    target: Target,
    datasource: Datasource,
    url: Option<String>,
    given: Vec<(&'static str, String)>,
}

impl Settings {
    fn read(variables: &Variables) -> Result<Self, VariableError> {
        const DATASOURCE: &str = "DATASOURCE";
        const METADATA_URL: &str = "METADATA_URL";
        let target = Target::read(variables, "DEST_DISK")?;
        let optional = |name| variables.optional(name).map(|_| variables.text(name)).transpose();
        let url = optional(METADATA_URL)?.map(|url| url.trim_end_matches('/').to_owned());
        let is_plain = |url: &str| url.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\' | b'\''));
        if let Some(url) =
            url.as_deref().filter(|url| !(url.starts_with("http://") || url.starts_with("https://")) || !is_plain(url))
        {
            return Err(unusable(METADATA_URL, url, "http://HOST:PORT, or the URL that `thimble token metadata` prints"));
        }
        let datasource = match optional(DATASOURCE)?.as_deref() {
            None | Some("nocloud") => Datasource::NoCloud,
            Some("ec2") if url.is_some() => Datasource::Ec2,
            Some("ec2") => return Err(VariableError::Missing(METADATA_URL)),
            Some(value) => return Err(unusable(DATASOURCE, value, "nocloud or ec2")),
        };
        let mut given = Vec::new();
        for (name, file) in FILES {
            if let Some(text) = optional(name)? {
                given.push((file, text));
            }
        }
        Ok(Self { target, datasource, url, given })
    }
}

type File = (String, Vec<u8>);

pub fn run(variables: &Variables) -> Result<(), CloudInitError> {
    let settings = Settings::read(variables)?;
    let files = files(&settings, variables)?;
    let disk = settings.target.appear()?;
    settings.target.inside(&disk, |root| write(&Root::open(root)?, &files))
}

/// Fetches what is to be fetched, and says what `run` would write.
pub fn dry_run(variables: &Variables) -> Result<(), CloudInitError> {
    let settings = Settings::read(variables)?;
    let files = files(&settings, variables)?;
    let disk = settings.target.appear()?;
    for (path, data) in &files {
        say(&format!("would write {} bytes to {path} on {}", data.len(), disk.display()));
    }
    say("nothing was written");
    Ok(())
}

fn write(root: &Root, files: &[File]) -> Result<(), CloudInitError> {
    if !root.has("/etc/cloud") {
        return Err(CloudInitError::NotInstalled);
    }
    if root.has(SWITCHED_OFF) {
        return Err(CloudInitError::SwitchedOff);
    }
    for (path, data) in files {
        // User data has passwords, and the URL of metadata may have the machine's secret.
        let (mode, folder) = match path.as_str() {
            path if path.starts_with(SEED) => (0o600, 0o700),
            CONFIG if data.windows(METADATA_URLS.len()).any(|part| part == METADATA_URLS.as_bytes()) => (0o600, 0o755),
            _ => (0o644, 0o755),
        };
        root.write(Path::new(path), data, ROOT, mode, folder)?;
        say(&format!("wrote {} bytes to {path}", data.len()));
    }
    Ok(())
}

fn files(settings: &Settings, variables: &Variables) -> Result<Vec<File>, CloudInitError> {
    let mut files = configuration(settings.datasource, settings.url.as_deref());
    if settings.datasource == Datasource::Ec2 {
        return Ok(files);
    }
    for (_, name) in FILES {
        let given = settings.given.iter().find(|(file, _)| *file == name).map(|(_, text)| text.as_str());
        let data = match (given, &settings.url) {
            (Some("learned"), _) if name == "network-config" => {
                let web = Web::read::<CloudInitError>(variables)?;
                Some(fetch::bytes(&web, LEARNED, FILE_MAX).map_err(CloudInitError::Learned)?)
            }
            (Some(text), _) => Some(text.as_bytes().to_vec()),
            (None, Some(url)) => {
                let web = Web::read::<CloudInitError>(variables)?;
                match fetch::bytes(&web, &format!("{url}/{name}"), FILE_MAX) {
                    // Not every server has all of them; without meta-data it is not the right one.
                    Err(error) if error.is_absent() && name != "meta-data" => None,
                    fetched => Some(fetched?),
                }
            }
            (None, None) if name == "meta-data" => Some(instance().into_bytes()),
            // NoCloud wants this file, even if it is empty.
            (None, None) if name == "user-data" => Some(b"#cloud-config\n".to_vec()),
            (None, None) => None,
        };
        // An empty network would be a network without interfaces.
        files.extend(
            data.filter(|data| !data.is_empty() || name != "network-config").map(|data| (format!("{SEED}/{name}"), data)),
        );
    }
    Ok(files)
}

fn configuration(datasource: Datasource, url: Option<&str>) -> Vec<File> {
    let (name, text) = match (datasource, url) {
        (Datasource::Ec2, Some(url)) => {
            let text =
                "datasource_list: [ Ec2, None ]\ndatasource:\n  Ec2:\n    metadata_urls: [ \"URL\" ]\n    strict_id: false\n";
            ("Ec2", text.replace("URL", url))
        }
        _ => ("NoCloud", "datasource_list: [ NoCloud, None ]\n".to_owned()),
    };
    let head = "# Written when this system was installed.\n";
    vec![
        (CONFIG.to_owned(), format!("{head}{text}").into_bytes()),
        (DS_IDENTIFY.to_owned(), format!("{head}datasource: {name}\n").into_bytes()),
    ]
}

/// cloud-init needs an id, and configures the system again when it is another one.
fn instance() -> String {
    let text = |path: &str| std::fs::read_to_string(path).map(|text| text.trim().to_ascii_lowercase()).unwrap_or_default();
    let is_plain = |id: &String| !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    let id = Some(text("/sys/class/dmi/id/product_uuid")).filter(is_plain);
    let id = id.unwrap_or_else(|| text("/proc/sys/kernel/random/uuid"));
    format!("instance-id: {id}\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn settings<const N: usize>(more: [(&str, &str); N]) -> Result<(Settings, Variables), String> {
        let mut all = vec![("DEST_DISK", "/dev/vda1"), ("FS_TYPE", "ext4")];
        all.extend(more);
        let variables = Variables::of_all(all);
        Settings::read(&variables).map(|settings| (settings, variables)).map_err(|error| error.to_string())
    }

    fn written(root: &Path, path: &str) -> String {
        std::fs::read_to_string(root.join(path.trim_start_matches('/'))).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    #[test]
    fn given_data_becomes_a_seed_that_only_root_reads() {
        let given = [
            ("USER_DATA", "#cloud-config\nhostname: a\n"),
            ("META_DATA", "instance-id: i-1\n"),
            ("NETWORK_CONFIG", "version: 2\n"),
        ];
        let (settings, variables) = settings(given).unwrap();
        let target = tempfile::tempdir().unwrap();
        let root = Root::open(target.path()).unwrap();
        let files = files(&settings, &variables).unwrap();
        assert!(matches!(write(&root, &files), Err(CloudInitError::NotInstalled)));
        std::fs::create_dir_all(target.path().join("etc/cloud")).unwrap();
        write(&root, &files).unwrap();
        assert_eq!(written(target.path(), "/var/lib/cloud/seed/nocloud/user-data"), "#cloud-config\nhostname: a\n");
        assert_eq!(written(target.path(), "/var/lib/cloud/seed/nocloud/network-config"), "version: 2\n");
        assert!(written(target.path(), CONFIG).contains("datasource_list: [ NoCloud, None ]"));
        assert!(written(target.path(), DS_IDENTIFY).contains("datasource: NoCloud\n"));
        assert!(!target.path().join("var/lib/cloud/seed/nocloud/vendor-data").exists());
        let mode = std::fs::metadata(target.path().join("var/lib/cloud/seed/nocloud/user-data")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        std::fs::write(target.path().join("etc/cloud/cloud-init.disabled"), "").unwrap();
        assert!(matches!(write(&root, &files), Err(CloudInitError::SwitchedOff)));
    }

    #[test]
    fn without_data_the_seed_has_an_id_of_its_own() {
        let (settings, variables) = settings([("X", "")]).unwrap();
        let files = files(&settings, &variables).unwrap();
        let meta = files.iter().find(|(path, _)| path.ends_with("/meta-data")).unwrap();
        let text = String::from_utf8(meta.1.clone()).unwrap();
        assert!(text.starts_with("instance-id: ") && text.len() > 20, "{text}");
    }

    #[test]
    fn ec2_is_asked_at_the_given_url() {
        let (settings, variables) = settings([("DATASOURCE", "ec2"), ("METADATA_URL", "http://192.0.2.1:50061/")]).unwrap();
        let files = files(&settings, &variables).unwrap();
        assert_eq!(files.len(), 2);
        let text = String::from_utf8(files[0].1.clone()).unwrap();
        assert!(text.contains("metadata_urls: [ \"http://192.0.2.1:50061\" ]\n    strict_id: false"), "{text}");
        let target = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(target.path().join("etc/cloud")).unwrap();
        write(&Root::open(target.path()).unwrap(), &files).unwrap();
        for (path, expected) in [(CONFIG, 0o600), (DS_IDENTIFY, 0o644)] {
            let mode = std::fs::metadata(target.path().join(&path[1..])).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, expected, "{path}");
        }
    }

    #[test]
    fn a_wrong_setting_is_named() {
        for (more, expected) in [
            ([("DATASOURCE", "ec2"), ("X", "")], "METADATA_URL is not set"),
            ([("DATASOURCE", "azure"), ("X", "")], "wanted nocloud or ec2"),
            ([("METADATA_URL", "192.0.2.1"), ("X", "")], "METADATA_URL=\"192.0.2.1\" is not usable"),
            ([("METADATA_URL", "http://a/\"]"), ("X", "")], "is not usable"),
        ] {
            assert!(settings(more).err().unwrap().contains(expected), "{expected}");
        }
    }
}
