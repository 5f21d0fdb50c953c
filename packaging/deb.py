"""Makes the Debian package with dpkg-deb alone.

    python packaging/deb.py [--without-native] [DIRECTORY]

It holds qatprep with what it needs in Python below /usr/lib/qatprep (the same as in qatprep.pyz), the native module
(--without-native leaves it out: a package for every architecture), the manual page and the completions. Debian's own
packages of typer and rich are older than qatprep needs; psutil and cryptography are compiled, so those are Debian's.
"""

from __future__ import annotations

import email.utils
import gzip
import hashlib
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from elf import glibc
from pyz import NATIVE, ROOT, VENDORED, arguments, native, normal, stage, stamp, version
from share import write

LIB = "usr/lib/qatprep"
MAINTAINER = "qatprep maintainers <qatprep@packages.debian.invalid>"
PROGRAM = f"""\
#!/usr/bin/python3 -I
import sys

sys.path.insert(0, "/{LIB}")

from qatprep.__main__ import console

console()
"""
SCRIPTS = {
    "postinst": f"""\
#!/bin/sh
set -e
if [ "$1" = configure ] && command -v py3compile >/dev/null; then
    py3compile -p qatprep /{LIB}
fi
""",
    "prerm": f"""\
#!/bin/sh
set -e
if [ "$1" = remove ] && [ -e /etc/systemd/system/qatprep-apply.service ]; then
    echo "qatprep-apply.service stays and will not find qatprep at the next boot: see qatprep rollback" >&2
fi
if command -v py3clean >/dev/null; then
    py3clean -p qatprep
else
    find /{LIB} -name __pycache__ -exec rm -rf {{}} +
fi
""",
    "postrm": """\
#!/bin/sh
set -e
if [ "$1" = purge ]; then
    rm -rf /var/lib/qatprep
fi
""",
}


def main(directory: Path, *, without_native: bool = False) -> Path:
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        root.chmod(0o755)
        stage(root / LIB, None if without_native else native())
        program = root / "usr" / "bin" / "qatprep"
        program.parent.mkdir(parents=True)
        program.write_text(PROGRAM)
        program.chmod(0o755)
        for path in write(root / "usr" / "share"):
            if path.parts[0] == "man":
                compress(root / "usr" / "share" / path)
        documents(root / "usr" / "share" / "doc" / "qatprep")
        for info in (root / LIB).glob("*.dist-info"):
            shutil.rmtree(info)  # their licences are in the copyright file now
        control(root)
        normal(root)
        directory.mkdir(parents=True, exist_ok=True)
        target = directory / f"qatprep_{version()}_{architecture(root)}.deb"
        command = ["dpkg-deb", "--root-owner-group", "-Zxz", "--build", str(root), str(target)]
        subprocess.run(
            command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "SOURCE_DATE_EPOCH": str(stamp())}
        )
    return target


def architecture(root: Path) -> str:
    """That of the native module, "all" without one."""
    if not (root / LIB / "qatprep" / NATIVE).exists():
        return "all"
    return subprocess.run(["dpkg", "--print-architecture"], capture_output=True, text=True, check=True).stdout.strip()


def control(root: Path) -> None:
    module = root / LIB / "qatprep" / NATIVE
    depends = ["python3 (>= 3.11)"]
    if module.exists():
        strip = shutil.which("strip")
        if strip:
            subprocess.run([strip, "--strip-unneeded", str(module)], check=True)
        module.chmod(0o644)
        major, minor = glibc(module.read_bytes())
        depends.insert(0, f"libc6 (>= {major}.{minor})")
    size = sum(path.stat().st_size for path in root.rglob("*") if path.is_file()) // 1024
    place = root / "DEBIAN"
    place.mkdir()
    (place / "control").write_text(f"""\
Package: qatprep
Version: {version()}
Architecture: {architecture(root)}
Maintainer: {MAINTAINER}
Installed-Size: {size}
Depends: {", ".join(depends)}
Recommends: kmod, python3-cryptography, python3-psutil, udev
Section: admin
Priority: optional
Homepage: https://github.com/qatprep/qatprep
Description: make a node ready for accelerated TLS with QAT or CryptoMB
 qatprep walks the whole chain from VT-d in the BIOS to a device node that an
 unprivileged Envoy may open. It says which link is broken and how to fix it,
 makes the changes that a running host can take, reads each one back, and
 undoes all of them when one fails.
""")
    for name, text in SCRIPTS.items():
        (place / name).write_text(text)
        (place / name).chmod(0o755)
    sums = []
    for path in sorted(root.rglob("*")):
        if path.is_file() and place not in path.parents:
            sums.append(f"{hashlib.md5(path.read_bytes()).hexdigest()}  {path.relative_to(root)}\n")
    (place / "md5sums").write_text("".join(sums))


def documents(place: Path) -> None:
    """copyright and changelog."""
    place.mkdir(parents=True)
    text = (
        "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n"
        "Upstream-Name: qatprep\n\n"
        "Files: *\nCopyright: qatprep maintainers\nLicense: Apache-2.0\n"
        " On Debian systems the whole text is in /usr/share/common-licenses/Apache-2.0.\n"
    )
    for name in VENDORED:
        distribution = importlib.metadata.distribution(name)
        top = sorted(
            {file.parts[0] for file in distribution.files or [] if file.suffix == ".py" and ".." not in file.parts}
        )
        files = " ".join(
            f"{LIB}/{part}" if part.endswith(".py") else f"{LIB}/{part}/*" for part in top if part != "_yaml"
        )
        text += f"\nFiles: {files}\nCopyright: the authors of {name} {distribution.version}\nLicense: {name}\n"
        for file in distribution.files or []:
            if re.search(r"licen[cs]e|copying", file.name, re.IGNORECASE):
                lines = Path(str(file.locate())).read_text(encoding="utf-8").splitlines()
                text += "".join(f" {line}\n" if line.strip() else " .\n" for line in lines)
    (place / "copyright").write_text(text)
    when = email.utils.formatdate(stamp())
    (place / "changelog").write_text(
        f"qatprep ({version()}) unstable; urgency=medium\n\n  * See CHANGELOG.md of the project.\n\n"
        f" -- {MAINTAINER}  {when}\n"
    )
    compress(place / "changelog")


def compress(path: Path) -> None:
    """gzip, the same bytes every time, as Debian's policy wants it."""
    data = gzip.compress(path.read_bytes(), 9, mtime=0)
    path.with_name(f"{path.name}.gz").write_bytes(data)
    path.unlink()


if __name__ == "__main__":
    given = arguments(__doc__, ROOT / "dist")
    sys.stdout.write(f"{main(given.target, without_native=given.without_native)}\n")
