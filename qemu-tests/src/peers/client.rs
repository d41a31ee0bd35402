//! DHCP clients of operating systems, relays, and programs that fetch files.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::boots::{Boots, POOL, PROGRAM, PROGRAM_BYTES, RESERVED, RESERVED6, STRANGER, content, mac_of};
use super::hosts::{CARD, Host};
use super::rows::{Client, Client6, Fetcher, Mode, Relay, Row};
use crate::command::{effect, wait_for};
use crate::namespace::ip;
use crate::segment::HOST;

const SOON: Duration = Duration::from_secs(30);

/// A program that prints what udhcpc and dhclient learnt, and takes the address for udhcpc.
fn script(folder: &Path) -> Result<String> {
    let path = folder.join("script");
    std::fs::write(&path, "#!/bin/sh\nenv\n").context("cannot write a script")?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).context("cannot make a script")?;
    Ok(path.display().to_string())
}

fn udhcpc(host: &Host, folder: &Path) -> Result<String> {
    let words = format!("udhcpc -i {CARD} -n -q -f -t 6 -T 2 -s {}", script(folder)?);
    host.run("busybox", &words)
}

/// The client has an address of boots, or of the other server where that is meant to give it.
pub fn gets_its_address(row: &Row, client: Client, boots: &Boots, folder: &Path) -> Result<()> {
    let mac = mac_of(row);
    let mut host = Host::start(folder, "client", "")?;
    host.run("ip", &format!("link set {CARD} address {mac}"))?;
    let said = asked(client, &mut host, folder)?;
    let (first, last) = POOL;
    let of_boots = match row.mode {
        Mode::Reservation => Some(RESERVED..=RESERVED),
        Mode::Pool => Some(first..=last),
        Mode::Proxy | Mode::AutoProxy | Mode::Off => None,
    };
    let has = |range: std::ops::RangeInclusive<u8>| range.into_iter().any(|last| says(&said, &format!("10.77.0.{last}")));
    let of_other = row.beside.is_some_and(|server| has(server.range()));
    ensure!(of_boots.is_some_and(has) || of_other, "no address that was meant for it:\n{said}");
    if !row.mode.gives_addresses() {
        let steps = boots.steps(mac);
        ensure!(!steps.iter().any(|(kind, _)| kind == "offered" || kind == "acknowledged"), "boots answered: {steps:?}");
    }
    Ok(())
}

/// A word of its own, so that 10.77.0.5 is not found in 10.77.0.50.
fn says(text: &str, address: &str) -> bool {
    text.split(|letter: char| !(letter.is_ascii_digit() || letter == '.')).any(|word| word.trim_end_matches('.') == address)
}

fn asked(client: Client, host: &mut Host, folder: &Path) -> Result<String> {
    let place = folder.display();
    match client {
        Client::Udhcpc => udhcpc(host, folder),
        Client::Dhclient => {
            let files = format!("-cf /dev/null -sf {} -lf {place}/dhclient.leases -pf {place}/dhclient.pid", script(folder)?);
            host.run("dhclient", &format!("-4 -1 -v {files} {CARD}"))
        }
        Client::Dhcpcd => {
            alone_with_dhcpcd()?;
            host.run("dhcpcd", &format!("-4 -1 -B -d --noarp -t 20 -f /dev/null -c {} {CARD}", script(folder)?))
        }
        Client::Networkd => networkd(host, "DHCP=ipv4\nLinkLocalAddressing=no", "-4 address show", "inet "),
    }
}

/// It would only confirm a lease of an earlier run, and would send its words to a dhcpcd of another row that has the socket
/// below /run. Both folders are this segment's own.
fn alone_with_dhcpcd() -> Result<()> {
    for folder in ["/var/lib/dhcpcd", "/run"] {
        effect(Command::new("mount").args(["-t", "tmpfs", "none", folder]))
            .with_context(|| format!("mount {folder} for dhcpcd"))?;
    }
    Ok(())
}

/// The same by IPv6: the address of the Hardware, or the one that boots makes from the MAC.
pub fn gets_its_address6(row: &Row, client: Client6, folder: &Path) -> Result<()> {
    let mut host = Host::start(folder, "client", "")?;
    host.run("ip", &format!("link set {CARD} down"))?;
    host.run("ip", &format!("link set {CARD} address {} up", mac_of(row)))?;
    wait_for("a link-local address", SOON, || {
        let shown = host.run("ip", &format!("-6 address show dev {CARD} scope link -tentative"))?;
        Ok(shown.contains("fe80").then_some(()))
    })?;
    let place = folder.display();
    let dhclient = |settings: &str| -> Result<String> {
        let files = format!("-cf {settings} -sf {} -lf {place}/dhclient.leases -pf {place}/dhclient.pid", script(folder)?);
        host.run("dhclient", &format!("-6 -1 -v {files} {CARD}"))
    };
    let said = match client {
        Client6::Dhclient => dhclient("/dev/null")?,
        Client6::DhclientRapid => {
            let settings = folder.join("dhclient.conf");
            std::fs::write(&settings, "send dhcp6.rapid-commit;\n").context("cannot write dhclient's settings")?;
            let said = dhclient(&settings.display().to_string())?;
            ensure!(!said.contains("XMT: Request"), "it was answered by an ADVERTISE:\n{said}");
            said
        }
        Client6::Dhcpcd => {
            alone_with_dhcpcd()?;
            // It asks because the advertisement says so.
            host.run("dhcpcd", &format!("-6 -1 -B -d -t 20 -f /dev/null -c {} {CARD}", script(folder)?))?
        }
        Client6::Networkd => {
            let settings = "DHCP=ipv6\nLinkLocalAddressing=ipv6\nIPv6AcceptRA=yes";
            networkd(&mut host, settings, "-6 address show scope global", "inet6 ")?
        }
    };
    let expected = if row.mode == Mode::Reservation { RESERVED6 } else { "fd00:77::77:ff:fe00:99" };
    let is_word = |word: &str| word == expected;
    let has_it = said.split(|letter: char| !(letter.is_ascii_hexdigit() || letter == ':')).any(is_word);
    ensure!(has_it, "no {expected}:\n{said}");
    Ok(())
}

/// It waits for udev unless /sys is read-only, and keeps its files below /run. Both are this segment's own.
fn networkd(host: &mut Host, settings: &str, shown: &str, wanted: &str) -> Result<String> {
    for words in ["-t sysfs -o ro none /sys", "-t tmpfs none /run", "-t tmpfs none /etc/systemd/network"] {
        effect(Command::new("mount").args(words.split(' '))).with_context(|| format!("mount {words}"))?;
    }
    std::fs::create_dir_all("/run/systemd/network").context("cannot make networkd's folder")?;
    let network = format!("[Match]\nName={CARD}\n[Network]\n{settings}\n");
    std::fs::write("/run/systemd/network/lan.network", network).context("cannot write networkd's settings")?;
    host.start_program("/lib/systemd/systemd-networkd", "")?;
    wait_for("an address of systemd-networkd", SOON, || {
        let shown = host.run("ip", &format!("{shown} dev {CARD}"))?;
        Ok(shown.contains(wanted).then_some(shown))
    })
}

/// The clients of another network: 10.78.0.0/24, whose router at 10.78.0.1 relays.
pub fn is_relayed(relay: Relay, folder: &Path) -> Result<()> {
    let mut router = Host::start(folder, "router", "10.77.0.2")?;
    ip("route add 10.78.0.0/24 via 10.77.0.2")?;
    router.run("sysctl", "-q net.ipv4.ip_forward=1")?;
    if relay == Relay::Perfdhcp {
        // It takes its own address for that of the relay.
        router.run("ip", &format!("address add 10.78.0.1/32 dev {CARD}"))?;
        let said = router.run("perfdhcp", &format!("-4 -l 10.78.0.1 -r 10 -n 20 -R 10 -W 1000000 {HOST}"))?;
        let received = |line: &&str| line.starts_with("received packets: ") && !line.ends_with(": 0");
        ensure!(said.lines().filter(received).count() == 2, "no exchange through a relay:\n{said}");
        return Ok(());
    }
    ip("link add far type bridge forward_delay 0")?;
    ip("link set far up")?;
    router.plug("inner", "far")?;
    router.run("ip", "address add 10.78.0.1/24 dev inner")?;
    let words = format!("-4 -d -a -pf {}/relay.pid -id inner -iu {CARD} {HOST}", folder.display());
    router.start_program("dhcrelay", &words)?;
    let client = Host::start(folder, "client", "")?;
    ip("link set client-lan master far")?;
    client.run("ip", &format!("link set {CARD} address {STRANGER}"))?;
    let said = wait_for("a lease through the relay", SOON, || {
        let said = udhcpc(&client, folder)?;
        Ok(said.contains("ip=10.78.0.").then_some(said))
    })?;
    ensure!(said.lines().any(|line| line == format!("serverid={HOST}")), "{said}");
    Ok(())
}

/// The file arrives whole, and a missing one is refused.
pub fn fetches(fetcher: Fetcher, folder: &Path) -> Result<()> {
    let host = Host::start(folder, "client", &format!("10.77.0.{RESERVED}"))?;
    let got = folder.join("got");
    let to = got.display();
    let by = |name: &str| match fetcher {
        Fetcher::TftpHpa => ("tftp", format!("{HOST} -m binary -c get {name} {to}")),
        Fetcher::Atftp => ("atftp", format!("--get --local-file {to} --remote-file {name} {HOST}")),
        Fetcher::BusyboxTftp => ("busybox", format!("tftp -g -r {name} -l {to} {HOST}")),
        Fetcher::CurlTftp => ("curl", format!("--silent --show-error --output {to} tftp://{HOST}/{name}")),
        Fetcher::CurlHttp => ("curl", format!("--silent --show-error --fail --output {to} http://{HOST}:7080/files/{name}")),
        Fetcher::BusyboxWget => ("busybox", format!("wget -q -O {to} http://{HOST}:7080/files/{name}")),
    };
    let (program, words) = by(PROGRAM);
    let said = host.run(program, &words)?;
    let is_whole = std::fs::read(&got).is_ok_and(|bytes| bytes == content(PROGRAM_BYTES));
    ensure!(is_whole, "{program} did not get the file:\n{said}");
    std::fs::remove_file(&got).context("cannot remove a file")?;
    let (program, words) = by("nothing.efi");
    let said = host.run(program, &words)?;
    if std::fs::read(&got).is_ok_and(|bytes| !bytes.is_empty()) {
        bail!("{program} got a file that does not exist:\n{said}");
    }
    // curl 7.88 prints another error with the number that stands for TFTP's "file not found".
    let is_told =
        ["does not exist", "404", "not found", "Not Found", "No such file", "(68)"].iter().any(|words| said.contains(words));
    ensure!(is_told, "{program} was not told why:\n{said}");
    Ok(())
}
