//! A switch on the segment for a machine's cables. It is a small machine with Debian's kernel, so that VLANs and LACP are
//! Linux's, whatever the host's kernel supports.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::busybox::{self, VIRTIO_NET};
use crate::machine::{Boot, Firmware, Network, Nic, NicModel, Parts, Vm};
use crate::scene::Scene;
use crate::segment;

const MODULES: &[&str] = &["llc", "stp", "bridge", "garp", "mrp", "8021q", "tls", "bonding"];
const MEMORY_MIB: u32 = 112;
const STARTS_WITHIN: Duration = Duration::from_secs(60);

/// eth0 is the cable to the segment, and the others belong to the machine.
const HEAD: &str = "for module in MODULES; do insmod /$module.ko; done
brctl addbr lan; ip link set lan up; ip link set eth0 up; brctl addif lan eth0
";
/// Forwards frames of one VLAN only. Frames without a tag end here.
const TAGGED: &str = "ip link set eth1 up
vconfig add eth1 VLAN; ip link set eth1.VLAN up; brctl addif lan eth1.VLAN
echo '<5>equipment: ready' > /dev/kmsg
while :; do sleep 60; done
";
/// Both ports or none: until the partner has brought up two, no frame passes.
const LACP: &str = "cd /sys/class/net; echo +agg > bonding_masters; cd agg/bonding
echo 802.3ad > mode; echo 100 > miimon; echo fast > lacp_rate; echo 2 > min_links
echo +eth1 > slaves; echo +eth2 > slaves
ip link set agg up; brctl addif lan agg
echo '<5>equipment: ready' > /dev/kmsg
until grep -q 'Number of ports: 2' /proc/net/bonding/agg; do sleep 0.2; done
echo '<5>equipment: two ports in one aggregator' > /dev/kmsg
while :; do sleep 60; done
";

pub struct Switch {
    pub machine: Vm,
    ports: Vec<PathBuf>,
    _sockets: TempDir,
}

impl Switch {
    /// A port that carries one tagged VLAN.
    pub fn tagged(scene: &Scene, vlan: u16) -> Result<Self> {
        Self::start(scene, 1, &TAGGED.replace("VLAN", &vlan.to_string()))
    }

    /// Two ports that are bonded with LACP.
    pub fn lacp(scene: &Scene) -> Result<Self> {
        Self::start(scene, 2, LACP)
    }

    fn start(scene: &Scene, ports: u8, script: &str) -> Result<Self> {
        let folder = scene.place("switch")?;
        let initrd =
            busybox::ramdisk(&scene.setup, &folder, "switch", &[VIRTIO_NET, MODULES].concat(), &format!("{HEAD}{script}"))?;
        let sockets = tempfile::Builder::new().prefix("lab-").tempdir_in("/tmp").context("cannot make a folder in /tmp")?;
        let ports: Vec<PathBuf> = (1..=ports).map(|port| sockets.path().join(format!("port{port}"))).collect();
        segment::add_tap("uplink")?;
        let nic = |number: usize, network| Nic { model: NicModel::Virtio, mac: format!("52:54:00:77:fe:{number:02x}"), network };
        let mut nics = vec![nic(0, Network::Tap("uplink".into()))];
        nics.extend(ports.iter().cloned().zip(1..).map(|(path, number)| nic(number, Network::Socket(path))));
        let boot = Boot::Direct {
            firmware: Firmware::SeaBios,
            kernel: scene.setup.cloud.kernel.clone(),
            initrd,
            arguments: "console=ttyS0 quiet panic=-1".into(),
        };
        let mut machine = Vm::power_on(&Parts::new(boot, MEMORY_MIB, nics), scene.setup.accelerator, &folder)?;
        machine.serial.expect("equipment: ready", STARTS_WITHIN).context("the switch did not come up")?;
        Ok(Self { machine, ports, _sockets: sockets })
    }

    /// Cables into every port, for the cards of one machine.
    pub fn cables(&self) -> impl Iterator<Item = Network> {
        self.ports.iter().cloned().map(Network::Plug)
    }
}
