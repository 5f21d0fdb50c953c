#!/bin/sh
# One node of the lab: an sshd that sees a machine of its own. Started in a network namespace, with new mount, UTS and
# PID namespaces (see lab.py); when it ends, everything on the node ends with it.
#   node.sh NAME DIRECTORY KEYS READABLE...
# DIRECTORY becomes a tmpfs with the node's root: an overlay over this machine's, so that nothing written there can reach
# it. READABLE are directories that the node sees although they may lie on other file systems, read-only.
set -eu
name=$1 dir=$2 keys=$3
shift 3
hostname "$name"
mount --make-rprivate /
mkdir -p "$dir"
mount -t tmpfs tmpfs "$dir"
mkdir "$dir/up" "$dir/work" "$dir/root"
root=$dir/root
mount -t overlay overlay -o "lowerdir=/,upperdir=$dir/up,workdir=$dir/work" "$root"
mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
for place in dev run tmp var/lib; do
    mount -t tmpfs -o mode=0755 tmpfs "$root/$place"
done
chmod 1777 "$root/tmp"
for device in null zero full random urandom tty; do
    : >"$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
mkdir "$root/dev/pts" "$root/dev/shm" "$root/run/sshd"
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
for place in "$@"; do
    mkdir -p "$root$place"
    mount --bind "$place" "$root$place"
    mount -o remount,bind,ro "$root$place"
done
cp -r "$keys" "$root/run/keys"
chmod 0600 "$root/run/keys/host"
echo "$name" >"$root/etc/hostname"
exec chroot "$root" /usr/sbin/sshd -D -e -f /run/keys/sshd_config
