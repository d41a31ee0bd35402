# A machine with Debian's cloud-init: a copy of this host's root that forgets all changes, in namespaces of its own. It has no
# disk, and only the files of the packages are added.
#   machine.sh FOLDER PACKAGES
set -eu
folder=$1 packages=$2
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
mount --make-rprivate /
mount -t tmpfs tmpfs "$folder"
mkdir "$folder/upper" "$folder/work" "$folder/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$folder/upper,workdir=$folder/work" "$folder/root"
root=$folder/root
for package in "$packages"/*.deb; do dpkg-deb --fsys-tarfile "$package" | tar -x --keep-directory-symlink -C "$root"; done
for place in dev run tmp var/lib/cloud; do mkdir -p "$root/$place"; mount -t tmpfs tmpfs "$root/$place"; done
for device in null zero urandom; do : > "$root/dev/$device"; mount --bind "/dev/$device" "$root/dev/$device"; done
mount -t sysfs sysfs "$root/sys"
mount --rbind /proc "$root/proc"
hostname before
ip link set lo up
until ip link show peer0 > /dev/null 2>&1; do sleep 0.1; done
ip address add 10.77.0.9/24 dev peer0
ip link set peer0 up
ip link add spare0 type veth peer name spare1
ip link set spare0 address 02:00:00:00:00:02
cat > "$root/etc/cloud/cloud.cfg" <<'CONFIG'
users: [default]
disable_root: true
preserve_hostname: false
ssh_deletekeys: false
ssh_genkeytypes: []
cloud_init_modules: [write-files, set_hostname, users-groups, ssh]
cloud_config_modules: []
cloud_final_modules: []
system_info:
  distro: debian
  default_user: {name: admin, lock_passwd: true, shell: /bin/bash}
  network: {renderers: [netplan]}
CONFIG
rm -rf "$root/etc/cloud/cloud.cfg.d" "$root/etc/netplan"
mkdir -p "$root/etc/cloud/cloud.cfg.d" "$root/etc/netplan"

# start NAME CONFIGURATION: one first boot.
start() {
    rm -rf "$root/var/lib/cloud/instance" "$root/var/lib/cloud/instances" "$root/run/cloud-init" "$root/written"
    rm -rf "$root/home/admin/.ssh" "$root/etc/netplan/50-cloud-init.yaml"
    rm -f "$root"/var/lib/cloud/data/*
    hostname before
    printf '%s\n' "$2" > "$root/etc/cloud/cloud.cfg.d/90-lab.cfg"
    for stage in "init --local" "init"; do chroot "$root" cloud-init $stage > "$folder/log" 2>&1 || tail -n 5 "$folder/log"; done
    echo "$1: hostname $(hostname)"
    echo "$1: written $(cat "$root/written" 2>&1)"
    echo "$1: keys $(grep -c '^ssh-ed25519 AAAA' "$root/home/admin/.ssh/authorized_keys" 2>&1)"
    echo "$1: $(chroot "$root" cloud-id 2>&1)"
    sed "s/^/$1: netplan: /" "$root/etc/netplan/50-cloud-init.yaml" 2> /dev/null || true
    grep -h 'WARNING\|Traceback' "$root/var/log/cloud-init.log" | sed "s/^/$1: /" || true
    : > "$root/var/log/cloud-init.log"
}

export DEBUG_PROC_CMDLINE=quiet
start ec2 'datasource_list: [Ec2]
datasource: {Ec2: {metadata_urls: ["http://10.77.0.1:50061"], strict_id: false, max_wait: 10, timeout: 5}}'
export DEBUG_PROC_CMDLINE="quiet ds=nocloud-net;s=http://10.77.0.1:7080/"
start nocloud 'datasource_list: [NoCloud]'
export DEBUG_PROC_CMDLINE="quiet ds=nocloud-net;s=http://10.77.0.1:7080$SECRET"
ip address flush dev peer0
ip address add 10.77.0.99/24 dev peer0
start secret 'datasource_list: [NoCloud]'
export DEBUG_PROC_CMDLINE=quiet
seed=$root/var/lib/cloud/seed/nocloud
mkdir -p "$seed"
ip address flush dev peer0
ip address add 10.77.0.9/24 dev peer0
for file in meta-data user-data vendor-data network-config; do
    curl --silent --fail --max-time 5 --output "$seed/$file" "http://10.77.0.1:7080/$file"
done
start seed 'datasource_list: [NoCloud]'
chroot "$root" netplan generate 2>&1 | sed 's/^/seed: /'
ip -oneline link | sed 's/^/seed: link: /'
sed 's/^/seed: networkd: /' "$root"/run/systemd/network/*.network
echo "done"
