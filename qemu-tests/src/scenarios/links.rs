//! Cables: several with one useful among them, one that is plugged in late, tagged ones, and two bonded into one.

use anyhow::{Context, Result, ensure};

use crate::dhcp::{self, Manner};
use crate::equipment::Switch;
use crate::kit::Kit;
use crate::machine::{Boot, Network, Nic, NicModel, Parts, Vm};
use crate::objects::{Station, Step, workflow};
use crate::provisioner::{Options, Provisioner};
use crate::scene::{ACTS_WITHIN, BOOTS_WITHIN, MEMORY_MIB, Scene};
use crate::segment;
use crate::serial::Line;

const STATION: Station = Station { number: 1 };
pub const METAL_MIB: u32 = 256;
const CONNECTED: &str = "thimble: agent .* connected to";

pub fn one_useful_of_two(scene: &Scene) -> Result<()> {
    one_useful_of(scene, 2)
}

pub fn one_useful_of_eight(scene: &Scene) -> Result<()> {
    one_useful_of(scene, 8)
}

/// The useful card is the last one. Half of the others have carrier and a silent network, and half have none.
fn one_useful_of(scene: &Scene, count: u8) -> Result<()> {
    let (provisioner, boot) = begin(scene, Options::default())?;
    let mut nics = Vec::new();
    for index in 1..count {
        let tap = STATION.tap(index);
        segment::add_loose_tap(&tap)?;
        nics.push(Nic { model: NicModel::Virtio, mac: STATION.nic_mac(index), network: Network::Tap(tap) });
    }
    nics.push(scene.nic(&STATION, 0, NicModel::Virtio)?);
    // No argument names the right card.
    let boot = without_argument(boot, "hw_addr");
    let mut machine = scene.start(&STATION, &Parts::new(boot, MEMORY_MIB, nics))?;
    for index in (0..usize::from(count) - 1).filter(|index| index % 2 == 1) {
        machine.set_link(index, false)?;
    }
    works(scene, &provisioner, &mut machine)
}

/// eth0 has no carrier when the machine starts, and gets it after the machine has reported that.
pub fn late_carrier(scene: &Scene) -> Result<()> {
    let (provisioner, boot) = begin(scene, Options::default())?;
    let nic = scene.nic(&STATION, 0, NicModel::Virtio)?;
    let mut machine = scene.start(&STATION, &Parts::new(boot, MEMORY_MIB, vec![nic]))?;
    machine.set_link(0, false)?;
    machine.serial.expect(r"thimble: .*carrier", BOOTS_WITHIN)?;
    ensure!(machine.serial.all(CONNECTED)?.is_empty(), "the machine connected without a cable");
    machine.set_link(0, true)?;
    works(scene, &provisioner, &mut machine)
}

/// The machine has an address and a network by then, but not one with its server. Later it is named by the other card.
pub fn left_for_late_cable(scene: &Scene) -> Result<()> {
    let (provisioner, boot) = begin(scene, Options::default())?;
    let nowhere = Nic { model: NicModel::Virtio, mac: STATION.nic_mac(1), network: Network::Nowhere };
    let nics = vec![nowhere, scene.nic(&STATION, 0, NicModel::Virtio)?];
    let boot = without_argument(without_argument(boot, "hw_addr"), "worker_id");
    let mut machine = scene.start(&STATION, &Parts::new(boot, MEMORY_MIB, nics))?;
    machine.set_link(1, false)?;
    machine.serial.expect("thimble: .*no link reaches the server .*; using eth0 ", BOOTS_WITHIN)?;
    machine.set_link(1, true)?;
    machine.serial.expect("thimble: eth1 .* leads to .* and is used from now on", BOOTS_WITHIN)?;
    works(scene, &provisioner, &mut machine)?;
    let renamed = format!("the machine was {} and is now {}", STATION.nic_mac(1), STATION.mac());
    ensure!(!machine.serial.all(&renamed)?.is_empty(), "the agent was not restarted with its new name");
    Ok(())
}

pub fn tagged_port(scene: &Scene) -> Result<()> {
    const VLAN: u16 = 100;
    let (provisioner, boot) = begin(scene, Options::default())?;
    let switch = Switch::tagged(scene, VLAN)?;
    let boot = boot.with_arguments(&format!("vlan_id={VLAN}"));
    let mut machine = scene.start(&STATION, &Parts::new(boot, MEMORY_MIB, plugged(&switch)))?;
    works(scene, &provisioner, &mut machine)?;
    has_shown(&machine, &format!("id: {VLAN}"))
}

/// The partner forwards nothing before both links are bonded.
pub fn lacp_partner(scene: &Scene) -> Result<()> {
    let (provisioner, boot) = begin(scene, Options::default())?;
    let mut switch = Switch::lacp(scene)?;
    let boot = boot.with_arguments("bond=bond0:eth0,eth1:mode=802.3ad,miimon=100,lacp_rate=fast");
    let mut machine = scene.start(&STATION, &Parts::new(of_kit(boot, &scene.setup.metal), METAL_MIB, plugged(&switch)))?;
    switch.machine.serial.expect("equipment: two ports in one aggregator", BOOTS_WITHIN)?;
    works(scene, &provisioner, &mut machine)?;
    has_shown(&machine, "mode: 802.3ad")
}

/// No server answers DHCP on the segment, and the machine does not ask.
pub fn static_address(scene: &Scene) -> Result<()> {
    let options = Options { no_dhcp: true, ..Options::default() };
    let (provisioner, boot) = begin(scene, options)?;
    let mac = STATION.mac().replace(':', "-");
    let ipam = format!("ipam={mac}::{}:255.255.255.0:{}:static-host:{}::", STATION.address(), segment::HOST, segment::HOST);
    let nic = scene.nic(&STATION, 0, NicModel::Virtio)?;
    let mut machine = scene.start(&STATION, &Parts::new(boot.with_arguments(&ipam), MEMORY_MIB, vec![nic]))?;
    machine.serial.expect(&format!("thimble: network .* {}/24", STATION.address()), BOOTS_WITHIN)?;
    works(scene, &provisioner, &mut machine)?;
    has_shown(&machine, &format!("addresses: ..{}/24", STATION.address()))
}

pub fn dhcp_late(scene: &Scene) -> Result<()> {
    with_dhcp(scene, Manner::Late(3))
}

pub fn dhcp_twice(scene: &Scene) -> Result<()> {
    with_dhcp(scene, Manner::Twice)
}

pub fn dhcp_crossed(scene: &Scene) -> Result<()> {
    with_dhcp(scene, Manner::Crossed)
}

pub fn dhcp_outrun(scene: &Scene) -> Result<()> {
    with_dhcp(scene, Manner::Outrun)
}

fn with_dhcp(scene: &Scene, manner: Manner) -> Result<()> {
    let (provisioner, boot) = begin(scene, Options { no_dhcp: true, ..Options::default() })?;
    dhcp::start(manner, STATION.address().parse().context("the station's address")?)?;
    let nic = scene.nic(&STATION, 0, NicModel::Virtio)?;
    let mut machine = scene.start(&STATION, &Parts::new(boot, MEMORY_MIB, vec![nic]))?;
    works(scene, &provisioner, &mut machine)?;
    let addresses = machine.serial.all("thimble: network .* 10.77.0.101/24")?;
    ensure!(addresses.len() == 1, "the address was set {} times", addresses.len());
    Ok(())
}

pub fn begin(scene: &Scene, options: Options) -> Result<(Provisioner, Boot)> {
    let provisioner = scene.provisioner(options)?;
    provisioner.apply(&STATION.hardware())?;
    let boot = scene.direct(&provisioner, &STATION)?;
    Ok((provisioner, boot))
}

fn plugged(switch: &Switch) -> Vec<Nic> {
    let nic = |(network, index)| Nic { model: NicModel::Virtio, mac: STATION.nic_mac(index), network };
    switch.cables().zip(0..).map(nic).collect()
}

/// Checks that the machine connects, pulls, and runs an action.
pub fn works(scene: &Scene, provisioner: &Provisioner, machine: &mut Vm) -> Result<()> {
    machine.serial.expect(CONNECTED, BOOTS_WITHIN)?;
    let registry = scene.registry()?;
    let step = Step::busybox("hello", &registry, "cat /run/thimble/network/netplan.yaml && echo hello");
    provisioner.apply(&workflow("hello", &STATION, &[step]))?;
    let ended = provisioner.wait_ended("hello", ACTS_WITHIN)?;
    ensure!(ended.state() == "SUCCESS", "the workflow ended as {}: {}", ended.state(), ended.status());
    Ok(())
}

/// Checks that the action saw the machine's network settings.
fn has_shown(machine: &Vm, setting: &str) -> Result<()> {
    let shown = machine.serial.all(&format!(r"A\| +{setting}"))?;
    ensure!(!shown.is_empty(), "the action did not see {setting:?}");
    Ok(())
}

/// Virtual machines do not use bonds, so the cloud kit has no driver for them.
pub fn of_kit(boot: Boot, kit: &Kit) -> Boot {
    let Boot::Direct { firmware, arguments, .. } = boot else { return boot };
    Boot::Direct { firmware, kernel: kit.kernel.clone(), initrd: kit.initrd.clone(), arguments }
}

fn without_argument(boot: Boot, name: &str) -> Boot {
    let Boot::Direct { firmware, kernel, initrd, arguments } = boot else { return boot };
    let wanted = |word: &&str| word.split('=').next() != Some(name);
    let arguments = arguments.split_whitespace().filter(wanted).collect::<Vec<_>>().join(" ");
    Boot::Direct { firmware, kernel, initrd, arguments }
}

/// At boot the clock comes from the machine's battery, which is dead here.
pub fn dead_clock(scene: &Scene) -> Result<()> {
    let (provisioner, boot) = begin(scene, Options::default())?;
    let boot = without_argument(boot, "thimble.time");
    let nic = scene.nic(&STATION, 0, NicModel::Virtio)?;
    let parts = Parts { rtc: Some("1970-01-01T00:00:00"), ..Parts::new(boot, MEMORY_MIB, vec![nic]) };
    let mut machine = scene.start(&STATION, &parts)?;
    machine.serial.expect("thimble: .*clock was .* behind", BOOTS_WITHIN)?;
    works(scene, &provisioner, &mut machine)
}

/// A time server that does not exist must not cause a noticeable delay.
pub fn silent_time_server(scene: &Scene) -> Result<()> {
    const ABSENT: &str = "10.77.0.250";
    const LIMIT: f64 = 20.0;
    let provisioner = scene.provisioner(Options::default())?;
    let hardware = STATION.hardware();
    let with_server =
        hardware.replace("        name_servers:", &format!("        time_servers: [{ABSENT}]\n        name_servers:"));
    ensure!(hardware != with_server, "the Hardware has no place for a time server");
    provisioner.apply(&with_server)?;
    let boot = scene.direct(&provisioner, &STATION)?;
    let nic = scene.nic(&STATION, 0, NicModel::Virtio)?;
    let mut machine = scene.start(&STATION, &Parts::new(boot, MEMORY_MIB, vec![nic]))?;
    let network = machine.serial.expect("thimble: network ", BOOTS_WITHIN)?;
    let connected = machine.serial.expect(CONNECTED, BOOTS_WITHIN)?;
    let uptime = |line: &Line| line.uptime().context("a console line without the kernel's time");
    let between = uptime(&connected)? - uptime(&network)?;
    ensure!(between < LIMIT, "the connection came {between:.1} s after the address");
    let _gone = machine.is_off()?;
    Ok(())
}
