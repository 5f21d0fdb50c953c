#!/bin/sh
# The real libqat and crypto_mb of Debian, unpacked and asked through qatprep's own code.
#   tests/crypto/real_libqat.sh fetch DIR          the packages of trixie and sid, from where apt gets this system's
#   tests/crypto/real_libqat.sh run DIR [PYTHON]   libqat must load and give its verdict; the crypto_mb builds must sign
# These need a newer glibc than Debian 12 has, so the process for libqat runs with the unpacked loader and Python.
# On a machine without QAT the verdict must be "no QAT device", in well under a second.
set -eu
task=${1:-} dir=${2:-}
[ -n "$task" ] && [ -n "$dir" ] || { sed -n '2,7p' "$0" | cut -c3-; exit 2; }
here=$(cd "$(dirname "$0")/../.." && pwd)

# apt with a state of its own, so that this system's sources stay as they are.
apt() {
    suite=$1 tool=$2
    shift 2
    "$tool" -q -o Dir::Etc::sourcelist="$dir/$suite/apt.sources" -o Dir::Etc::sourceparts=- \
        -o Dir::State="$dir/$suite/state" -o Dir::State::status=/dev/null -o Dir::Cache="$dir/$suite/cache" \
        -o APT::Architecture=amd64 -o APT::Sandbox::User=root "$@"
}

fetch() {
    uri=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -m1 'debian/*$')
    for pair in trixie:libcrypto-mb11:3.13 sid:libcrypto-mb12:3.14; do
        suite=${pair%%:*} rest=${pair#*:}
        mb=${rest%%:*} version=${rest##*:}
        mkdir -p "$dir/$suite/state/lists/partial" "$dir/$suite/cache/archives/partial" "$dir/$suite/deb"
        printf 'Types: deb\nURIs: %s\nSuites: %s\nComponents: main\nSigned-By: %s\n' "$uri" "$suite" \
            /usr/share/keyrings/debian-archive-keyring.gpg > "$dir/$suite/apt.sources"
        apt "$suite" apt-get update
        wanted=$(apt "$suite" apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks \
            --no-replaces --no-enhances libqat4 libusdm0 "$mb" openssl "libpython$version-stdlib" \
            "python$version-minimal" | grep '^[a-z]' | grep -v -E '^(debconf|cdebconf|dpkg|adduser|systemd|passwd)' | sort -u)
        (cd "$dir/$suite/deb" && apt "$suite" apt-get download $wanted)
        for package in "$dir/$suite"/deb/*.deb; do
            dpkg-deb -x "$package" "$dir/$suite/root"
        done
    done
}

run() {
    python=${1:-python3}
    export PYTHONPATH="$here"
    failed=0
    for root in "$dir"/*/root; do
        "$python" "$here/tests/crypto/real_libqat.py" "$root" || failed=1
    done
    return "$failed"
}

mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
shift 2
"$task" "$@"
