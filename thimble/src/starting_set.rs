//! `thimble init`: writes settings and objects for a first installation, from the files in `examples/`.

use std::fs::OpenOptions;
use std::io::Write;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::Args;
use model::Mac;

/// The settings have a separate folder, so that `validate` and `apply` accept the folder of the objects.
const FILES: [(&str, &str); 4] = [
    ("settings/thimble.yaml", include_str!("../../examples/settings/thimble.yaml")),
    ("hardware.yaml", include_str!("../../examples/hardware/x86.yaml")),
    ("template.yaml", include_str!("../../examples/templates/cloud-image.yaml")),
    ("workflow.yaml", include_str!("../../examples/workflows/debian.yaml")),
];

#[derive(Args, Debug)]
pub struct InitArguments {
    /// Folder for the files; it is created if it does not exist
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Address of this host on the provisioning network
    #[arg(long, value_name = "IP")]
    address: Option<Ipv4Addr>,
    /// MAC address of the machine
    #[arg(long, value_name = "MAC")]
    mac: Option<Mac>,
    /// Address that the machine gets by DHCP
    #[arg(long, value_name = "IP")]
    machine_address: Option<Ipv4Addr>,
    /// Gateway and name server of the machine
    #[arg(long, value_name = "IP")]
    gateway: Option<Ipv4Addr>,
    /// Disk to install to
    #[arg(long, value_name = "PATH")]
    disk: Option<String>,
    /// Registry with the action images, if this host does not serve them itself
    #[arg(long, value_name = "HOST:PORT[/PATH]")]
    registry: Option<String>,
    /// Public key that may log in to the installed system
    #[arg(long, value_name = "KEY")]
    ssh_key: Option<String>,
    /// SHA-256 of the operating system image
    #[arg(long, value_name = "DIGITS")]
    image_sha256: Option<String>,
}

/// A text in the examples that is replaced by a value of the site.
struct Placeholder {
    text: &'static str,
    /// `None` if the example's value is right for most sites.
    flag: Option<&'static str>,
    value: Option<String>,
}

impl InitArguments {
    fn placeholders(&self) -> [Placeholder; 9] {
        let address = |address: Option<Ipv4Addr>| address.map(|address| address.to_string());
        let placeholder = |text, flag, value| Placeholder { text, flag: Some(flag), value };
        let optional = |text, value| Placeholder { text, flag: None, value };
        let host = self.registry.as_deref().and_then(|registry| registry.split('/').next());
        let insecure = host.map(|host| format!("insecure-registries: {host}"));
        [
            // Before the address, which is a part of it.
            optional("192.0.2.1:7080", self.registry.clone()),
            optional("#insecure-registries: registry.example:5000", insecure),
            placeholder("192.0.2.1", "--address", address(self.address)),
            placeholder("02:00:00:00:00:01", "--mac", self.mac.map(|mac| mac.to_string())),
            placeholder("192.0.2.51", "--machine-address", address(self.machine_address)),
            placeholder("192.0.2.254", "--gateway", address(self.gateway)),
            placeholder("/dev/sda", "--disk", self.disk.clone()),
            placeholder("ssh-ed25519 REPLACE-WITH-YOUR-PUBLIC-KEY", "--ssh-key", self.ssh_key.clone()),
            placeholder("REPLACE-WITH-THE-SHA-256-OF-THE-IMAGE", "--image-sha256", self.image_sha256.clone()),
        ]
    }
}

/// Writes the files, and prints the remaining steps.
///
/// # Errors
/// If one of the files exists, or cannot be written.
pub fn run(arguments: &InitArguments, out: &mut dyn Write) -> anyhow::Result<()> {
    let folder = &arguments.folder;
    let existing: Vec<_> = FILES.iter().map(|(name, _)| folder.join(name)).filter(|path| path.exists()).collect();
    if !existing.is_empty() {
        let names: Vec<_> = existing.iter().map(|path| path.display().to_string()).collect();
        bail!("nothing was written, because these files exist: {}; choose another folder", names.join(", "));
    }
    let placeholders = arguments.placeholders();
    let mut open = Vec::new();
    for (name, example) in FILES {
        let path = folder.join(name);
        let mut text = example.to_owned();
        for placeholder in &placeholders {
            match (&placeholder.value, placeholder.flag) {
                (Some(value), _) => text = text.replace(placeholder.text, value),
                (None, Some(flag)) => {
                    open.extend(lines_with(example, placeholder.text).map(|line| (path.clone(), line, placeholder.text, flag)));
                }
                (None, None) => {}
            }
        }
        let parent = path.parent().unwrap_or(folder);
        std::fs::create_dir_all(parent).with_context(|| format!("cannot make the folder {}", parent.display()))?;
        let file = OpenOptions::new().write(true).create_new(true).open(&path);
        let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
        written.with_context(|| format!("cannot write {}", path.display()))?;
        writeln!(out, "wrote {}", path.display())?;
    }
    if !open.is_empty() {
        writeln!(out, "\nThese lines have example values. Replace them, or start again in an empty folder with the flags:")?;
    }
    for (path, line, text, flag) in open {
        writeln!(out, "  {}:{line}: {text} ({flag})", path.display())?;
    }
    let folder = folder.display();
    writeln!(
        out,
        "\nNext, once kernel, ramdisk, actions and operating system image are in place (the README says how):\n  \
         thimble validate -f {folder}\n  thimble up --config {folder}/settings/thimble.yaml\n  \
         thimble apply -f {folder}\n  thimble workflow show debian-machine-1 --watch"
    )?;
    Ok(())
}

/// The numbers of the lines with this word, without comments.
fn lines_with(text: &'static str, word: &'static str) -> impl Iterator<Item = usize> {
    let lines = text.lines().zip(1..).filter(move |(line, _)| !line.trim_start().starts_with('#') && line.contains(word));
    lines.map(|(_, number)| number)
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::process::ExitCode;

    use clap::{CommandFactory, Parser};

    use super::*;
    use crate::client::Files;
    use crate::config::Settings;
    use crate::validate;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        init: InitArguments,
    }

    #[derive(Parser)]
    struct Daemon {
        #[command(flatten)]
        settings: Settings,
    }

    fn init(folder: &Path, flags: &[&str]) -> anyhow::Result<String> {
        let words = ["init", folder.to_str().unwrap()].into_iter().chain(flags.iter().copied());
        let mut out = Vec::new();
        run(&Cli::parse_from(words).init, &mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }

    /// What `thimble validate` prints of these files, which have no mistakes.
    fn validated(files: &[PathBuf]) -> String {
        let mut out = Vec::new();
        let files = Files { files: files.to_vec(), skip_foreign: false };
        let code = validate::run(&files, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(code, ExitCode::SUCCESS, "{text}");
        assert!(text.lines().all(|line| line.ends_with(" ok")), "{text}");
        text
    }

    fn examples() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples")
    }

    #[test]
    fn a_starting_set_is_valid_and_its_settings_are_accepted() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("site");
        let printed = init(&folder, &[]).unwrap();
        assert_eq!(
            validated(std::slice::from_ref(&folder)),
            "Hardware default/machine-1 ok\nTemplate default/cloud-image ok\nWorkflow default/debian-machine-1 ok\n"
        );
        let config = Settings::read(&folder.join("settings/thimble.yaml")).unwrap().check().unwrap();
        assert_eq!(config.address, Ipv4Addr::new(192, 0, 2, 1));
        assert!(!printed.contains("192.0.2.1:7080"), "{printed}");
        for line in ["hardware.yaml", "thimble apply -f ", "REPLACE-WITH-THE-SHA-256-OF-THE-IMAGE (--image-sha256)"] {
            assert!(printed.contains(line), "{line} is missing in: {printed}");
        }
    }

    #[test]
    fn values_of_the_site_are_in_every_file() {
        let folder = tempfile::tempdir().unwrap();
        let flags = "--address 10.0.0.1 --mac 52:54:00:12:34:56 --machine-address 10.0.0.9 --gateway 10.0.0.254 --disk /dev/vda \
                     --registry 10.0.0.1:5000 --ssh-key ssh-ed25519\u{a0}AAAA --image-sha256 00ff";
        let printed = init(folder.path(), &flags.split_ascii_whitespace().collect::<Vec<_>>()).unwrap();
        assert!(!printed.contains("hold examples"), "{printed}");
        validated(&[folder.path().to_owned()]);
        for (name, _) in FILES {
            let text = std::fs::read_to_string(folder.path().join(name)).unwrap();
            for line in text.lines().filter(|line| !line.starts_with('#')) {
                assert!(!line.contains("192.0.2") && !line.contains("example") && !line.contains("REPLACE"), "{name}: {line}");
            }
        }
    }

    #[test]
    fn nothing_is_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("hardware.yaml"), "mine").unwrap();
        let error = init(folder.path(), &[]).unwrap_err().to_string();
        assert!(error.contains("hardware.yaml; choose another folder") && !error.contains("workflow.yaml"), "{error}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing was written");
    }

    #[test]
    fn every_example_is_valid() {
        let folder = tempfile::tempdir().unwrap();
        let mut count = 0;
        for kind in ["hardware", "templates", "workflows"] {
            for entry in std::fs::read_dir(examples().join(kind)).unwrap() {
                let path = entry.unwrap().path();
                let text = std::fs::read_to_string(&path).unwrap().replace("  disabled: true\n", ""); // a disabled workflow is not rendered
                std::fs::write(folder.path().join(format!("{kind}-{}", path.file_name().unwrap().display())), text).unwrap();
                count += 1;
            }
        }
        assert_eq!(validated(&[folder.path().to_owned()]).lines().count(), count, "each file has one object");
    }

    #[test]
    fn the_example_settings_name_every_setting_with_its_default() {
        let text = std::fs::read_to_string(examples().join("settings/thimble.yaml")).unwrap();
        let uncommented: String = text.lines().map(|line| format!("{}\n", line.trim_start_matches('#'))).collect();
        // The lists `dhcp` and `dhcp6` have no flags, and tests of their own.
        let given = uncommented.lines().filter(|line| !line.starts_with(' ') && !["dhcp:", "dhcp6:"].contains(line));
        let given: String = given.map(|line| format!("{line}\n")).collect();
        let keys: Vec<_> = given.lines().filter_map(|line| line.split_once(": ")).map(|(key, _)| key.to_owned()).collect();
        let command = Daemon::command();
        let settings: Vec<_> = command.get_arguments().filter_map(|setting| setting.get_long()).collect();
        assert_eq!(keys, settings, "in the order of `thimble up --help`");

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("all.yaml");
        std::fs::write(&path, given).unwrap();
        let all = Settings::read(&path).unwrap();
        let address_alone = Settings { address: all.address, ..Settings::default() };
        let without_default = Settings {
            address6: None,
            interface: None,
            kernel_args: None,
            https: None,
            https_certificate: None,
            https_key: None,
            insecure_registries: None,
            store: None,
            store_ca: None,
            store_certificate: None,
            store_key: None,
            site_key: None,
            api_allow: None,
            tls_name: None,
            trusted_proxies: None,
            iso_source: None,
            discovery: None,
            apply: Vec::new(),
            ..all.clone()
        };
        assert_eq!(format!("{:?}", without_default.check().unwrap()), format!("{:?}", address_alone.check().unwrap()));
        all.check().unwrap();
    }
}
