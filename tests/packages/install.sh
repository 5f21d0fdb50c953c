#!/bin/sh
# Installs the package with dpkg in a copy of this machine that goes away: an overlay in a mount namespace of its own.
#   install.sh DIRECTORY PACKAGE
set -eu
dir=$1
mount --make-rprivate /
mount -t tmpfs tmpfs "$dir"
mkdir "$dir/up" "$dir/work" "$dir/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$dir/up,workdir=$dir/work" "$dir/root"
mount -t proc proc "$dir/root/proc"
mount -t tmpfs tmpfs "$dir/root/tmp"
mount --bind /dev/null "$dir/root/dev/null" 2>/dev/null || mount -t tmpfs tmpfs "$dir/root/dev"
cp "$2" "$dir/root/tmp/qatprep.deb"
exec chroot "$dir/root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive sh -eu -c '
dpkg -i /tmp/qatprep.deb >&2
echo "version: $(qatprep --version)"
echo "walk: $(qatprep bootstrap --simulate spr-2s | grep "^Done")"
echo "native: $(python3 -c "import sys; sys.path.insert(0, \"/usr/lib/qatprep\"); import qatprep._native as n; print(n.__file__)" 2>&1)"
echo "compiled: $(find /usr/lib/qatprep -name "*.pyc" | head -n 1 | wc -l)"
echo "verified: $(dpkg --verify qatprep | grep -v /usr/share/doc | wc -l)"
echo "man: $(ls /usr/share/man/man1/qatprep.1.gz)"
echo "completions: $(ls /usr/share/bash-completion/completions/qatprep /usr/share/zsh/site-functions/_qatprep \
    /usr/share/fish/vendor_completions.d/qatprep.fish | wc -l)"
mkdir -p /var/lib/qatprep/runs
dpkg -r qatprep >&2
echo "left: $(ls -d /usr/lib/qatprep /usr/bin/qatprep 2>/dev/null | wc -l)"
echo "journals: $(ls -d /var/lib/qatprep/runs)"
dpkg -P qatprep >&2
echo "purged: $(ls -d /var/lib/qatprep 2>/dev/null | wc -l)"
'
