#!/bin/sh
# What an operator does on a provisioning host: installs the package, makes a ramdisk, starts the service, orders a machine.
# The lab reads the lines that begin with `lab:`. ADDRESS is replaced.
set -eu
export LC_ALL=C
at=begin
trap 'code=$?; [ "$code" = 0 ] || { journalctl -u thimble --no-pager | tail -n 20; echo "lab: FAILED: $at"; }' EXIT
step() {
    at=$*
    echo "lab: $(cut -d ' ' -f 1 /proc/uptime) s, $at"
}
must() {
    "$@" || { echo "lab: not so: $*"; exit 1; }
}
never() {
    if "$@"; then echo "lab: should not be: $*"; exit 1; fi
}
# until_so SECONDS COMMAND...
until_so() {
    tries=$(($1 * 5))
    shift
    until said=$("$@" 2>&1); do
        tries=$((tries - 1))
        [ $tries -gt 0 ] || { echo "lab: waited in vain: $*: $said"; exit 1; }
        sleep 0.2
    done
}

step 'a Debian without a compiler'
never command -v cargo
never command -v rustc
rm -f /etc/dpkg/dpkg.cfg.d/*mmdebstrap* # the image leaves out manuals
until_so 60 sh -c 'ip -4 -o addr show | grep -q ADDRESS/'
interface=$(ip -4 -o addr show | awk '/ADDRESS\// {print $2}')

step 'install the package'
dpkg -i /root/thimble.deb
never systemctl is-active -q thimble
never systemctl is-enabled -q thimble
must test -f /usr/share/man/man1/thimble-up.1.gz

step 'look at the units'
must systemd-analyze verify --man=no /usr/lib/systemd/system/thimble.service /usr/lib/systemd/system/thimble-agent.service
systemd-analyze security --no-pager thimble.service | tail -n 1 | sed 's/^/lab: /'

step 'make a ramdisk'
thimble image build --ca none --kernel /root/linux-image.deb --output /var/lib/thimble/files

step 'make the action images'
thimble image action --into /var/lib/thimble/images
mv /root/debian.raw.zst /var/lib/thimble/files/
chmod 0644 /var/lib/thimble/files/debian.raw.zst

step 'start the service'
cat > /etc/thimble/thimble.yaml <<SETTINGS
address: ADDRESS
interface: $interface
router-advertisements: true
kernel-args: console=ttyS0
SETTINGS
systemctl enable -q --now thimble
until_so 120 thimble get hardware
must systemctl is-active -q thimble
process=$(systemctl show -P MainPID thimble)
must test "$(stat -c %U "/proc/$process")" = thimble
for name in CapEff CapBnd NoNewPrivs Seccomp; do
    awk -v name="$name:" '$1 == name {print "lab: the process has " name, $2}' "/proc/$process/status"
done

step 'order a machine'
thimble apply --yes -f /root/site.yaml
echo 'lab: ready'
until_so 1800 sh -c 'journalctl -u thimble --no-pager | grep -q "the installed system is up"'
must test "$(thimble get workflow install -o json | grep -o '"state": *"SUCCESS"' | wc -l)" -ge 1

step 'restart the service'
systemctl restart thimble
until_so 120 thimble get workflow install
must test "$(systemctl show -P NRestarts thimble)" = 0

step 'remove the package'
dpkg --purge thimble
never systemctl is-active -q thimble
never test -e /usr/bin/thimble
never getent passwd thimble
never sh -c 'ls /etc/systemd/system/multi-user.target.wants | grep -q thimble'
must test -f /var/lib/thimble/files/initramfs.cpio.zst
step 'all is done'
