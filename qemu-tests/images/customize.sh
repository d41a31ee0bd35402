#!/bin/sh
# Runs as mmdebstrap's customize hook: $1 is the root of the system that the lab's workflow installs.
set -eu
root=$1
echo 'LABEL=debian-root / ext4 defaults 0 1' > "$root/etc/fstab"
rm -f "$root/etc/hostname" "$root/etc/resolv.conf" # copies of the build host's
echo debian > "$root/etc/hostname"
echo 'nameserver 10.77.0.1' > "$root/etc/resolv.conf"
cat > "$root/etc/systemd/network/20-wired.network" <<'N'
[Match]
Type=ether

[Network]
DHCP=ipv4
LinkLocalAddressing=no
IPv6AcceptRA=no
N
chroot "$root" systemctl -q enable systemd-networkd serial-getty@ttyS0
chroot "$root" systemctl -q disable apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer \
    e2scrub_reap.service fstrim.timer getty@tty1
chroot "$root" passwd -q -l root
: > "$root/etc/machine-id"
mkdir -p "$root/boot/grub"
kernel=$(basename "$root"/boot/vmlinuz-*)
initrd=$(basename "$root"/boot/initrd.img-*)
cat > "$root/boot/grub/grub.cfg" <<G
serial --unit=0 --speed=115200
terminal_input serial console
terminal_output serial console
echo "GRUB: booting Debian"
linux /boot/$kernel root=LABEL=debian-root ro console=ttyS0 quiet
initrd /boot/$initrd
boot
G
rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/*.bin "$root"/var/cache/debconf/*-old "$root"/var/log/*.log "$root"/var/log/apt
# Newer than /usr: the first boot need not rebuild caches that are complete.
touch "$root/etc/.updated" "$root/var/.updated"
