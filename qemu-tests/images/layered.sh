#!/bin/sh
# Runs as mmdebstrap's customize hook after customize.sh: $1 is the root of the system that is installed on LUKS, md and LVM.
set -eu
root=$1
# grub-mkconfig makes the menu on the machine, where it sees what is below the root file system.
rm "$root/boot/grub/grub.cfg"
cat > "$root/etc/default/grub" <<'G'
GRUB_TIMEOUT=1
GRUB_DISTRIBUTOR=Debian
GRUB_CMDLINE_LINUX="console=ttyS0"
GRUB_TERMINAL="serial console"
GRUB_SERIAL_COMMAND="serial --unit=0 --speed=115200"
G
# A workflow writes the right one.
rm "$root/etc/fstab"
# Without a source of data cloud-init stays off, as on Debian.
chroot "$root" systemctl -q disable e2scrub_reap.service mdmonitor.service || true
