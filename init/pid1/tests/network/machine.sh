#!/bin/sh
# The same scenarios below another kernel, for a host whose kernel has no VLANs or bonds.
#
#   init/pid1/tests/network/machine.sh linux-image-....deb [NAME]
#
# A Debian kernel boots in QEMU with this host's files, read-only; needs qemu-system-x86_64, busybox (static), cpio and zstd.
set -eu
package=$(realpath "$1")
wanted=${2:-}
program=$(cargo test -p pid1 --test network --no-run --message-format=json | sed -n 's/.*"executable":"\([^"]*network-[^"]*\)".*/\1/p')
test -x "$program"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
modules='virtio_ring virtio virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci netfs fscache 9pnet 9pnet_virtio 9p
    llc stp mrp garp 8021q bridge veth tls bonding'
mkdir -p root/dev root/proc root/mnt root/bin
dpkg-deb --fsys-tarfile "$package" | tar -x --wildcards './boot/vmlinuz*' './lib/modules/*.ko'
for module in $modules; do
    find lib -name "$module.ko" -exec cp {} root/ \;
done
cp "$(command -v busybox)" root/bin/busybox
cat >root/init <<INIT
#!/bin/busybox sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
b=/bin/busybox
\$b mount -t proc none /proc
for m in $(echo $modules); do test -e /\$m.ko && \$b insmod /\$m.ko \$(test \$m = bonding && echo max_bonds=0); done
\$b mount -t 9p -o ro,trans=virtio,version=9p2000.L,msize=262144,cache=loose host /mnt || \$b poweroff -f
for kind in proc sysfs; do \$b mount -t \$kind none /mnt/\${kind%fs}; done
\$b mount -t devtmpfs none /mnt/dev
\$b mount -t tmpfs none /mnt/tmp
\$b chroot /mnt "$program" $(printf '"%s"' "$wanted")
echo "RESULT=\$?"
\$b poweroff -f
INIT
chmod +x root/init
(cd root && find . | cpio --quiet -o -H newc | zstd -q >../initrd)
qemu-system-x86_64 -accel tcg,thread=single -cpu max -m 1024 -nographic -no-reboot -kernel boot/vmlinuz* -initrd initrd \
    -append 'console=ttyS0 panic=-1 quiet loglevel=3' -nic none \
    -virtfs local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap | tee serial
grep -q 'RESULT=0' serial && ! grep '^skip' serial
