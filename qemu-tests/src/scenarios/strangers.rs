//! Unexpected input: unknown machines, malformed packets, foreign paths, YAML with mistakes, and a ramdisk that was not
//! made for its machine.

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use api::Applied;
use model::Mistake;

use crate::command::{effect, wait_for};
use crate::machine::{Boot, Firmware};
use crate::objects::Station;
use crate::provisioner::{HTTP, Options, Provisioner};
use crate::scene::{BOOTS_WITHIN, MEMORY_MIB, Scene};
use crate::{http, segment};

const SOON: Duration = Duration::from_secs(10);

pub fn unknown_machine(scene: &Scene) -> Result<()> {
    let (known, stranger) = (Station { number: 1 }, Station { number: 9 });
    let provisioner = scene.provisioner(Options::default())?;
    provisioner.apply(&known.hardware())?;
    let mut machine = scene.power_on(&stranger, Boot::Bios, MEMORY_MIB, None)?;
    machine.serial.expect("No bootable device|No configuration methods succeeded|No more network devices", BOOTS_WITHIN)?;
    ensure!(machine.serial.all("net0: 10.77|Filename:")?.is_empty(), "the unknown machine was answered");
    let lines = provisioner.log_lines(&[&stranger.mac()]);
    let visible: Vec<&String> = lines.iter().filter(|line| !line.contains("DEBUG")).collect();
    ensure!(visible.len() == 1, "the log has {} lines about the unknown machine, not one: {visible:#?}", visible.len());
    Ok(())
}

/// The driver's file gets another name inside the ramdisk, while the list that names it stays.
pub fn missing_module(scene: &Scene) -> Result<()> {
    let broken = without_module(&scene.setup.cloud.initrd, &scene.folder, "virtio_net.ko")?;
    let station = Station { number: 1 };
    let provisioner = scene.provisioner(Options { kernel_args: "panic=5".into(), ..Options::default() })?;
    provisioner.apply(&station.hardware())?;
    let arguments = provisioner.kernel_arguments(&station.mac())?;
    let boot = Boot::Direct { firmware: Firmware::SeaBios, kernel: scene.setup.cloud.kernel.clone(), initrd: broken, arguments };
    let mut machine = scene.power_on(&station, boot, MEMORY_MIB, None)?;
    machine.serial.expect("thimble: .*virtio_net", BOOTS_WITHIN).map(drop)
}

fn without_module(initrd: &Path, folder: &Path, module: &str) -> Result<PathBuf> {
    let (plain, packed) = (folder.join("broken.cpio"), folder.join("broken.cpio.zst"));
    effect(Command::new("zstd").args(["-q", "-d", "-f"]).arg(initrd).arg("-o").arg(&plain))?;
    let mut archive = fs::read(&plain).context("cannot read the unpacked ramdisk")?;
    let name = [module.as_bytes(), b"\0"].concat();
    let at = archive.windows(name.len()).position(|window| window == name);
    let at = at.with_context(|| format!("the ramdisk has no {module}"))?;
    if let Some(byte) = archive.get_mut(at) {
        *byte = b'X';
    }
    fs::write(&plain, archive).context("cannot write the changed ramdisk")?;
    effect(Command::new("zstd").args(["-q", "-f", "--zstd=wlog=18"]).arg(&plain).arg("-o").arg(&packed))?;
    Ok(packed)
}

pub fn malformed_input(scene: &Scene) -> Result<()> {
    let station = Station { number: 1 };
    let provisioner = scene.provisioner(Options::default())?;
    provisioner.apply(&station.hardware())?;
    let before = provisioner.script(&station.mac())?;
    send_malformed_dhcp()?;
    tftp(&provisioner)?;
    foreign_paths(scene)?;
    wrong_yaml(&provisioner, &station)?;
    // Nothing is lost: the same machine gets the same script except for its timestamp, and DHCP still answers.
    let after = provisioner.script(&station.mac())?;
    let clock = "thimble.time=";
    let lasting =
        |script: &str| script.split_whitespace().filter(|word| !word.starts_with(clock)).map(str::to_owned).collect::<Vec<_>>();
    ensure!(lasting(&before) == lasting(&after), "the boot script changed:\n{before}\n{after}");
    let boot = scene.direct(&provisioner, &station)?;
    let mut machine = scene.power_on(&station, boot, MEMORY_MIB, None)?;
    machine.serial.expect("thimble: network .* 10.77.0.101", BOOTS_WITHIN).map(drop)
}

/// A socket on a separate cable, so that packets arrive through the bridge like a machine's.
fn send_malformed_dhcp() -> Result<()> {
    let ip = |line: &str| effect(Command::new("ip").args(line.split(' ')));
    ip("link add cable type veth peer name station")?;
    ip(&format!("link set cable master {} up", segment::BRIDGE))?;
    ip("link set station up")?;
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 68)).context("cannot open a DHCP client's socket")?;
    nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::BindToDevice, &"station".into())
        .context("cannot use the cable")?;
    socket.set_broadcast(true).context("cannot broadcast")?;
    let mut cookie_only = vec![0_u8; 240];
    cookie_only.splice(0..4, [1, 1, 6, 0]);
    cookie_only.splice(236..240, [0x63, 0x82, 0x53, 0x63]);
    let endless = [cookie_only.clone(), vec![53, 200, 1]].concat();
    let no_type = [cookie_only.clone(), vec![12, 1, 65, 255]].concat();
    let wide_address = [vec![1, 1, 255, 0], cookie_only[4..].to_vec(), vec![53, 1, 1, 255]].concat();
    let overload = [cookie_only.clone(), vec![52, 1, 3, 53, 1, 1, 255]].concat();
    for packet in [vec![], vec![1], vec![0xff; 1500], cookie_only, endless, no_type, wide_address, overload] {
        socket.send_to(&packet, SocketAddrV4::new(Ipv4Addr::BROADCAST, 67)).context("cannot send a malformed packet")?;
    }
    Ok(())
}

/// Malformed TFTP packets get an error or silence, and the next valid request is served.
fn tftp(_provisioner: &Provisioner) -> Result<()> {
    let socket = UdpSocket::bind((segment::HOST, 0)).context("cannot open a TFTP client's socket")?;
    socket.set_read_timeout(Some(SOON)).context("cannot set a time limit")?;
    let server = SocketAddrV4::new(segment::HOST, 69);
    for packet in [&b""[..], b"\0", b"\0\x01", b"\0\x01undionly.kpxe", b"\0\x01undionly.kpxe\0octet", b"\0\x63junk", &[0xff; 600]]
    {
        socket.send_to(packet, server).context("cannot send a malformed packet")?;
    }
    let escape = ask_tftp(&socket, server, "../../../../etc/passwd")?;
    ensure!(escape.starts_with(&[0, 5]), "TFTP answered a path outside its folder with {escape:?}");
    let right = ask_tftp(&socket, server, "undionly.kpxe")?;
    ensure!(right.starts_with(&[0, 3, 0, 1]), "TFTP no longer serves the file: {:?}", right.get(..16));
    Ok(())
}

/// The answer to a read request. Answers to earlier packets on the same socket are errors, which are skipped.
fn ask_tftp(socket: &UdpSocket, server: SocketAddrV4, file: &str) -> Result<Vec<u8>> {
    let fresh = UdpSocket::bind((socket.local_addr()?.ip(), 0)).context("cannot open a TFTP client's socket")?;
    fresh.set_read_timeout(Some(SOON)).context("cannot set a time limit")?;
    let request = [b"\0\x01", file.as_bytes(), b"\0octet\0"].concat();
    fresh.send_to(&request, server).context("cannot send a TFTP request")?;
    let mut answer = vec![0; 2048];
    let (length, _) = fresh.recv_from(&mut answer).with_context(|| format!("no TFTP answer for {file}"))?;
    answer.truncate(length);
    Ok(answer)
}

fn foreign_paths(scene: &Scene) -> Result<()> {
    fs::write(scene.folder.join("thimble/secret"), "secret").context("cannot write a file beside the served folder")?;
    for path in ["/files/../secret", "/files/%2e%2e/secret", "/files/..%2fsecret", "/files//etc/passwd", "/files/%2fetc%2fpasswd"]
    {
        let answer = http::get(HTTP, path)?;
        ensure!((400..500).contains(&answer.status), "GET {path} answered {}", answer.status);
    }
    let inside = http::request(HTTP, "HEAD", "/files/vmlinuz", &[], &[])?;
    ensure!(inside.status == 200, "a file inside the folder is no longer served: {}", inside.status);
    Ok(())
}

fn wrong_yaml(provisioner: &Provisioner, station: &Station) -> Result<()> {
    let wrong = station.hardware().replace("lease_time:", "lease_tyme:").replace("allowPXE:", "allow_pxe:");
    let line_of = |word: &str| wrong.lines().position(|line| line.contains(word)).map(|index| index + 1);
    let (status, text) = provisioner.try_apply(&wrong)?;
    ensure!(status == 422, "YAML with unknown keys was answered {status}: {text}");
    let answer: Applied = serde_json::from_str(&text).with_context(|| format!("the refusal is not JSON: {text}"))?;
    for key in ["lease_tyme", "allow_pxe"] {
        let line = line_of(key).with_context(|| format!("{key} is not in the YAML"))?;
        let named = |mistake: &Mistake| mistake.line == line && mistake.message.contains(key);
        ensure!(answer.mistakes.iter().any(named), "no mistake names {key} in line {line}: {text}");
    }
    let interfaces = provisioner.hardware(&station.name())?.spec.interfaces;
    let lease = interfaces.first().and_then(|interface| interface.dhcp.as_ref()?.lease_time);
    ensure!(lease == Some(86400), "refused YAML changed the Hardware: its lease time is {lease:?}");
    wait_for("the server to stay healthy", SOON, || Ok(http::get(HTTP, "/healthz").ok().filter(|answer| answer.status == 200)))
        .map(drop)
}
