#!/bin/sh
# An arm64 machine runs a workflow: an image onto its disk, a file into that, a reboot. Not part of `cargo lab test`, since
# the programs need Rust's standard library for arm64 (`rustup target add aarch64-unknown-linux-gnu`).
#
#   qemu-tests/arm64.sh linux-image-...-arm64.deb [cloud|metal] [MIB]
#
# Needs what `cargo ramdisk-arm64` and `cargo build -p thimble` have built, root, and the Debian packages qemu-system-arm,
# docker-registry, e2fsprogs, zstd and python3. Nothing leaves the network namespace that it makes.
set -eu
package=$(realpath "$1")
profile=${2:-cloud}
memory=${3:-128}
cd "$(dirname "$0")/.."
thimble=$PWD/target/debug/thimble
programs=$PWD/target/aarch64-unknown-linux-gnu/image
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$thimble" image build --kernel "$package" --profile "$profile" --init "$programs/init" --output "$work/kit" | tail -n 3
case $profile in
cloud) disk=/dev/vda nic=virtio-net-pci device=virtio-blk-pci ;;
*) disk=/dev/nvme0n1 nic=e1000e device=nvme,serial=ARM1 ;;
esac
cd "$work"
mkdir files
truncate -s 16M image
mkfs.ext4 -q -F image
zstd -q image -o files/image.zst
truncate -s 64M disk
cat >registry.yml <<END
version: 0.1
storage: {filesystem: {rootdirectory: $work/registry}}
http: {addr: "0.0.0.0:5000"}
END
action() {
    printf '      - {name: %s, image: "10.0.2.2:5000/%s:v1", timeout: 300, %s}\n' "$1" "$1" "$2"
}
{
    cat <<END
apiVersion: tinkerbell.org/v1alpha1
kind: Hardware
metadata: {name: arm}
spec:
  interfaces:
  - dhcp: {mac: "52:54:00:12:34:56", arch: aarch64, ip: {address: 10.0.2.15, netmask: 255.255.255.0, gateway: 10.0.2.2}}
    netboot: {allowPXE: true, allowWorkflow: true}
---
apiVersion: tinkerbell.org/v1alpha1
kind: Workflow
metadata: {name: arm}
spec: {templateRef: arm, hardwareRef: arm, hardwareMap: {machine: "52:54:00:12:34:56"}}
---
apiVersion: tinkerbell.org/v1alpha1
kind: Template
metadata: {name: arm}
spec:
  data: |
    version: "0.1"
    name: arm
    global_timeout: 900
    tasks:
    - name: arm
      worker: "{{.machine}}"
      actions:
END
    action image2disk "environment: {IMG_URL: \"http://10.0.2.2:8000/image.zst\", DEST_DISK: $disk, COMPRESSED: true}"
    action writefile "environment: {DEST_DISK: $disk, FS_TYPE: ext4, DEST_PATH: /hello, CONTENTS: written on arm64,
        UID: 0, GID: 0, MODE: 0644, DIRMODE: 0755}"
    action reboot 'volumes: ["/worker:/worker"]'
} >objects.yaml
cat >inside.sh <<END
ip link set lo up
docker-registry serve registry.yml >registry.log 2>&1 &
(cd files && exec python3 -m http.server 8000 >/dev/null 2>&1) &
$thimble server --address 127.0.0.1 --data data --files files --http 0.0.0.0:7080 --grpc 0.0.0.0:42113 --apply objects.yaml >server.log 2>&1 &
until $thimble image action --binary $programs/actions --push http://127.0.0.1:5000 >push.log 2>&1; do
    sleep 1
    tries=\$((\${tries:-0} + 1))
    [ \$tries -lt 20 ] || { cat push.log; exit 1; }
done
timeout 300 qemu-system-aarch64 -M virt -cpu cortex-a72 -m $memory -nographic -no-reboot -kernel kit/kernel -initrd \\
    kit/initramfs.cpio.zst -drive if=none,id=disk,file=disk,format=raw -device $device,drive=disk -netdev user,id=net \\
    -device $nic,netdev=net,mac=52:54:00:12:34:56 -append "console=ttyAMA0 panic=3 grpc_authority=10.0.2.2:42113 \\
    worker_id=52:54:00:12:34:56 insecure_registries=10.0.2.2:5000" </dev/null | tr -d '\\r' | tee serial.log | grep thimble
END
unshare --net --pid --fork --kill-child --mount-proc sh inside.sh
test "$(debugfs -R 'cat /hello' disk 2>/dev/null)" = "written on arm64"
grep -q 'success is acknowledged' serial.log
echo "arm64: the workflow ended well in $memory MiB"
