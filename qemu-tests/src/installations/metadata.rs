//! cloud-init in the installed Debian is configured from boots' metadata: by a seed that the action writes, or by asking boots.

use anyhow::Result;
use serde_json::json;

use super::check;
use super::row::{Archive, Fact, Row, Start};
use super::steps::Site;
use crate::machine::Firmware;
use crate::objects::Step;
use crate::segment;

const DISK: &str = "/dev/vda";
const ROOT: (&str, &str) = ("/dev/vda2", "ext4");
const CHECK: &str = "/usr/local/sbin/lab-check";
/// What cloud-init says in the end.
const STATUS: &str = "/run/lab-status";
const MEMORY_MIB: u32 = 1024;
const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIC1PdmVyLXRoZS13aXJlLWxhYi1rZXktb2YtdGhpbWJsZS0x operator@site";
/// Debian's locales are not installed.
const USER_DATA: &str = "#cloud-config
locale: \"false\"
users: [default, {name: ada, shell: /bin/sh}]
write_files: [{path: /etc/from-user-data, content: user data}]
runcmd: [[touch, /run/from-user-data]]
";
/// A list of the user data replaces the same list of the vendor data.
const VENDOR_DATA: &str = "#cloud-config
bootcmd: [echo vendor data > /etc/from-vendor-data]
";

pub fn rows() -> Vec<Row> {
    vec![
        row("cloud-init with a seed from the metadata", "DataSourceNoCloud", ["static", "vendor data"], seed),
        // cloud-init chooses DHCP, because EC2's answers have no network. It does not ask EC2 for vendor data.
        row("cloud-init that asks for the metadata", "DataSourceEc2", ["dhcp", ""], ask),
    ]
}

fn row(name: &'static str, source: &str, differs: [&str; 2], steps: fn(&Site) -> Result<Vec<Step>>) -> Row {
    let partitions = json!([{"label": "BIOS", "number": 1, "size": 2048}, {"label": "ROOT", "number": 2, "size": 0}]);
    Row {
        archive: Archive::Layered,
        memory_mib: MEMORY_MIB,
        instance: json!({
            "id": "i-4711",
            "ssh_keys": [KEY],
            "storage": {
                "disks": [{"device": DISK, "wipe_table": true, "partitions": partitions}],
                "filesystems": [{"mount": {"device": ROOT.0, "format": ROOT.1, "create": {"options": ["-L", "ROOT"]}}}],
            },
        }),
        spec: json!({"userData": USER_DATA, "vendorData": VENDOR_DATA}),
        tools: &["e2fsprogs", "grub2-common", "grub-pc-bin"],
        facts: facts(source, differs),
        ..Row::new(name, Start::Direct(Firmware::SeaBios), steps)
    }
}

fn facts(source: &str, [address, vendor]: [&str; 2]) -> Vec<Fact> {
    vec![
        Fact::new("status", &format!("tail -n 1 {STATUS}"), "status: done"),
        Fact::new("source", "grep -o 'DataSource[A-Za-z0-9]*' /run/cloud-init/result.json | head -n 1", source),
        Fact::new("root", "findmnt -no SOURCE /", ROOT.0),
        Fact::new("instance", "cat /var/lib/cloud/data/instance-id", "i-4711"),
        Fact::new("key", "cut -d ' ' -f 2- /home/debian/.ssh/authorized_keys", KEY.split_once(' ').map_or("", |(_, rest)| rest)),
        Fact::new("user", "id -un ada", "ada"),
        Fact::new("user-data", "cat /etc/from-user-data", "user data"),
        Fact::new("vendor-data", "cat /etc/from-vendor-data", vendor),
        Fact::new("command", "ls /run/from-user-data", "/run/from-user-data"),
        Fact::new("address", "ip -4 -o address show scope global | grep -q forever && echo static || echo dhcp", address),
    ]
}

/// cloud-init's last unit waits for the end of rc.local, and the check waits for cloud-init. It opens the console after that: the
/// prompt of the login hangs up the console for all programs that have it.
fn begin() -> String {
    format!("#!/bin/sh\n(cloud-init status --wait > {STATUS}; exec {CHECK}) < /dev/null > /dev/null 2>&1 &\n")
}

fn steps(site: &Site, configure: Step) -> Result<Vec<Step>> {
    // The archive's own network must not be what gives the machine its address.
    let network = site.inside("no-network", ROOT, "rm /etc/systemd/network/*");
    let configure = configure.environment("DEST_DISK", ROOT.0).environment("FS_TYPE", ROOT.1);
    let mut steps = site.storage();
    steps.extend([
        site.unpack(ROOT.0, ROOT.1)?,
        site.write("fstab", ROOT, "/etc/fstab", "0644", "LABEL=ROOT / ext4 defaults 0 1\n"),
        site.write("check", ROOT, CHECK, "0755", &check::script(&site.row.facts)),
        site.write("begin-check", ROOT, "/etc/rc.local", "0755", &begin()),
        network,
        configure.environment("METADATA_URL", &format!("http://{}:50061", segment::HOST)),
        site.grub(DISK, ROOT),
        site.reboot(),
    ]);
    Ok(steps)
}

/// Once it is installed, the system asks nobody.
fn seed(site: &Site) -> Result<Vec<Step>> {
    steps(site, site.action("seed", "cloud-init"))
}

/// The system knows only where to ask.
fn ask(site: &Site) -> Result<Vec<Step>> {
    steps(site, site.action("where-to-ask", "cloud-init").environment("DATASOURCE", "ec2"))
}
