#!/bin/sh
# Runs as mmdebstrap's essential hook, before the kernel is installed: a small initramfs boots in 128 MiB.
set -eu
mkdir -p "$1/etc/initramfs-tools/conf.d"
printf 'MODULES=list\nCOMPRESS=zstd\nFSTYPE=ext4\n' > "$1/etc/initramfs-tools/conf.d/small"
printf 'virtio_pci\nvirtio_blk\n' > "$1/etc/initramfs-tools/modules"
