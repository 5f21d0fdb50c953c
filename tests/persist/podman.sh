# Run Debian's Podman, as it was unpacked, in mount and process namespaces of its own, with device nodes of its own.
#
#     unshare --mount --pid --fork --mount-proc sh podman.sh TOOLS DIRECTORY SPEC NODES ARGUMENT...
#
# TOOLS: the folder of the tool; DIRECTORY: an empty one; SPEC: the CDI file; NODES: paths below /dev/vfio, spaces
# between. The container lists /dev/vfio. Nothing outside DIRECTORY is written but in these namespaces.
set -eu
tools=$1 here=$2 spec=$3 nodes=$4
shift 4
mount -t cgroup2 none /sys/fs/cgroup
mount -t tmpfs none /run
mount -t tmpfs none /var/lib
mount -t tmpfs none /dev
mkdir -p /run/cdi /dev/vfio /dev/pts /dev/shm /dev/mqueue
mount -t devpts devpts /dev/pts
ln -s /proc/self/fd /dev/fd
while read -r name minor; do mknod -m 666 "/dev/$name" c 1 "$minor"; done <<END
null 3
zero 5
full 7
random 8
urandom 9
END
mknod -m 666 /dev/tty c 5 0
minor=0
for node in $nodes; do
    mknod -m 600 "$node" c 243 "$minor"
    minor=$((minor + 1))
done
cp "$spec" /run/cdi/intel-qat.json
LD_LIBRARY_PATH=$tools/root/usr/lib/x86_64-linux-gnu:$tools/root/lib/x86_64-linux-gnu
CONTAINERS_CONF=$here/containers.conf HOME=$here
export LD_LIBRARY_PATH CONTAINERS_CONF HOME
printf '#!/bin/sh\nLD_LIBRARY_PATH=%s exec %s/root/usr/bin/crun "$@"\n' "$LD_LIBRARY_PATH" "$tools" >"$here/crun"
chmod +x "$here/crun"
cat >"$CONTAINERS_CONF" <<END
[engine]
conmon_path = ["$tools/root/usr/bin/conmon"]
runtime = "crun"
cgroup_manager = "cgroupfs"
events_logger = "file"
[engine.runtimes]
crun = ["$here/crun"]
END
mkdir -p "$here/root/bin"
cp "$tools/root/bin/busybox" "$here/root/bin/sh"
ln -s sh "$here/root/bin/stat"
"$tools/root/usr/bin/podman" --root "$here/storage" --runroot /run/podman --storage-driver vfs run --rm --network=none \
    --cgroups=disabled --security-opt seccomp=unconfined "$@" --rootfs "$here/root" \
    /bin/sh -c 'stat -c "%a %u:%g %n" /dev/vfio/*'
