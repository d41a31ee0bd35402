//! The floor: the same kernel with busybox and only the network's drivers. Its cost is the kernel's part.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::busybox::{self, VIRTIO_NET};
use crate::setup::Setup;

const SCRIPT: &str = "echo '<5>floor: INIT' > /dev/kmsg
for module in MODULES; do insmod /$module.ko; done
ip link set lo up; ip link set eth0 up
udhcpc -i eth0 -n -q -f -t 10 -T 1 -s /bb/true > /dev/null 2>&1
echo '<5>floor: NET' > /dev/kmsg
poweroff -f
";

/// Makes the floor's ramdisk.
pub fn build(setup: &Setup, folder: &Path) -> Result<PathBuf> {
    busybox::ramdisk(setup, folder, "floor", &[VIRTIO_NET, &["overlay"]].concat(), SCRIPT)
}
