#!/bin/sh
# filesystem.sh TAR FOLDER IMAGE SIZE: an ext4 file system with what the tar holds, owners kept. Runs as root or as a user
# namespace's root.
set -eu
mkdir "$2"
tar -xpf "$1" -C "$2" --numeric-owner --exclude './dev/*'
mke2fs -q -t ext4 -b 4096 -O ^metadata_csum_seed,^orphan_file -L debian-root -m 0 -E root_owner=0:0 -d "$2" "$3" "$4"
rm -rf "$2"
