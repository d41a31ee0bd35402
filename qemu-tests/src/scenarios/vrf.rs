//! A provisioning host whose machines are behind an interface in a VRF. The host is a guest with the kernel's module, and the
//! machine a network namespace of it.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::busybox::{self, Guest};
use crate::command;
use crate::machine::{Boot, Firmware, Network, Nic, NicModel, Parts};
use crate::objects::Station;
use crate::scene::{BOOTS_WITHIN, Scene};

const STATION: Station = Station { number: 1 };
const ROUND_WITHIN: Duration = Duration::from_secs(90);
/// The program is in memory three times: packed, unpacked, and as it runs.
const MEMORY_MIB: u32 = 640;
const HARDWARE: &str = "apiVersion: tinkerbell.org/v1alpha1
kind: Hardware
metadata: {name: m1}
spec:
  interfaces:
    - dhcp: {mac: '02:00:00:00:00:01', ip: {address: 10.9.0.20, netmask: 255.255.255.0}}
      netboot: {allowPXE: true}
";
/// Three rounds. Bound to the interface, UDP works by itself and TCP does not. Inside the VRF everything does, and everywhere with
/// the kernel's settings.
const SCRIPT: &str = r#"
for module in MODULES; do insmod /$module.ko; done
mount -t tmpfs run /run; mount -t tmpfs data /data; mkdir -p /dev/shm /data/files
ip() { /bin/ip "$@"; }
machine() { ip netns exec machine "$@"; }
ip link set lo up
ip link add red type vrf table 10; ip link set red up
ip link add e0 type veth peer name c0 address 02:00:00:00:00:01
ip link set e0 master red; ip address add 10.9.0.1/24 dev e0; ip link set e0 up
ip netns add machine; ip link set c0 netns machine
machine /bin/ip link set lo up; machine /bin/ip link set c0 up
cp /bin/program.efi /data/files/kernel
round() {
  name=$1; within=$2; shift 2
  $within /bin/thimble boots --address 10.9.0.1 "$@" --data /data --nbp /bin --metadata none --hardware /hardware.yaml > /run/log 2>&1 &
  tries=0; until grep -q 'answers machines as' /run/log || [ $tries = 150 ]; do sleep 0.2; tries=$((tries + 1)); done
  machine /bb/busybox ip address flush dev c0
  machine udhcpc -i c0 -n -q -f -t 5 -T 2 -s /bb/true 2>&1 | grep -q 'lease of 10.9.0.20 obtained' && echo "vrf: $name: DHCP"
  machine /bin/ip address add 10.9.0.20/24 dev c0
  machine tftp -g -r program.efi -l /run/got 10.9.0.1 && cmp /run/got /bin/program.efi && echo "vrf: $name: TFTP"
  machine /bin/curl -sS -m 5 -o /run/got http://10.9.0.1:7080/files/kernel && cmp /run/got /bin/program.efi && echo "vrf: $name: HTTP"
  cat /run/log; kill $!; wait; rm -f /run/got
  echo "vrf: $name: done"
}
round bound '' --interface e0
mount -t cgroup2 none /sys/fs/cgroup
round inside '/bin/ip vrf exec red'
echo 1 > /proc/sys/net/ipv4/tcp_l3mdev_accept; echo 1 > /proc/sys/net/ipv4/udp_l3mdev_accept
round open ''
poweroff -f
"#;

pub fn answers(scene: &Scene) -> Result<()> {
    let folder = scene.place("host")?;
    let stripped = folder.join("thimble");
    let mut strip = Command::new("strip");
    command::effect(strip.arg("-o").arg(&stripped).arg(&scene.setup.thimble)).context("cannot strip thimble")?;
    let program = folder.join("program.efi");
    let bytes: Vec<u8> = (0..300_000_u32).map(|at| at.wrapping_mul(0x9e37_79b9).to_le_bytes()[3]).collect();
    std::fs::write(&program, bytes).context("cannot write a program")?;
    let hardware = folder.join("hardware.yaml");
    std::fs::write(&hardware, HARDWARE).context("cannot write the Hardware")?;
    let guest = Guest {
        programs: &[("bin/thimble", stripped.as_path()), ("bin/ip", "/sbin/ip".as_ref()), ("bin/curl", "/usr/bin/curl".as_ref())],
        files: &[("bin/program.efi", program.as_path()), ("hardware.yaml", hardware.as_path())],
        folders: &["run", "data", "etc"],
        modules: &["veth", "vrf"],
        script: SCRIPT,
    };
    let initrd = busybox::guest(&scene.setup, &folder, "vrf", &guest)?;
    let boot = Boot::Direct {
        firmware: Firmware::SeaBios,
        kernel: scene.setup.cloud.kernel.clone(),
        initrd,
        arguments: "console=ttyS0 quiet panic=-1".to_owned(),
    };
    let nic = Nic { model: NicModel::Virtio, mac: STATION.mac(), network: Network::Nowhere };
    let mut machine = scene.start(&STATION, &Parts::new(boot, MEMORY_MIB, vec![nic]))?;
    machine.serial.expect("vrf: bound: done", BOOTS_WITHIN)?;
    machine.serial.expect("vrf: inside: done", ROUND_WITHIN)?;
    machine.serial.expect("vrf: open: done", ROUND_WITHIN)?;
    for (words, is_there) in [
        ("vrf: bound: DHCP", true),
        ("vrf: bound: TFTP", true),
        ("vrf: bound: HTTP", false), // or the kernel has changed, and the line below is wrong
        ("machines of interface e0 in the VRF red do not reach HTTP, the workflow service.*ip vrf exec red", true),
        ("vrf: inside: DHCP", true),
        ("vrf: inside: TFTP", true),
        ("vrf: inside: HTTP", true),
        ("vrf: open: DHCP", true),
        ("vrf: open: TFTP", true),
        ("vrf: open: HTTP", true),
        ("no interface of this host has 10[.]9[.]0[.]1", false),
    ] {
        let found = machine.serial.all(words)?;
        ensure!(found.is_empty() != is_there, "{words}: {found:?}\n{}", machine.serial.last_lines());
    }
    Ok(())
}
