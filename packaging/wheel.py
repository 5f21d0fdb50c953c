"""Makes the wheel: abi3, and a manylinux tag that says which glibc it needs at least.

    python packaging/wheel.py [DIRECTORY]

pip builds it; here the tag gets honest. `auditwheel show` agrees with it, which the tests check.
"""

from __future__ import annotations

import base64
import hashlib
import platform
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

from elf import glibc
from pyz import NATIVE, ROOT, stamp


def main(directory: Path) -> Path:
    with tempfile.TemporaryDirectory() as temporary:
        # A copy: what an earlier build left in the tree would be taken along.
        source = Path(temporary) / "source"
        shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(".*", "build", "dist", "*.so", "__pycache__"))
        command = [sys.executable, "-m", "pip", "wheel", "-q", "--disable-pip-version-check", "--no-deps"]
        subprocess.run([*command, "-w", temporary, str(source)], check=True)
        built = next(Path(temporary).glob("*.whl"))
        with zipfile.ZipFile(built) as wheel:
            members = {info.filename: (wheel.read(info), info.external_attr) for info in wheel.infolist()}
        native = f"qatprep/{NATIVE}"
        if native not in members:
            raise SystemExit("the native module was not built (no C compiler?): no wheel")
        major, minor = glibc(members[native][0])
        old, new = f"linux_{platform.machine()}", f"manylinux_{major}_{minor}_{platform.machine()}"
        about = next(name for name in members if name.endswith(".dist-info/WHEEL"))
        members[about] = (members[about][0].replace(f"-{old}\n".encode(), f"-{new}\n".encode()), members[about][1])
        record = about.replace("WHEEL", "RECORD")
        lines = [f"{name},{digest(data)},{len(data)}" for name, (data, _) in members.items() if name != record]
        members[record] = ("\n".join([*lines, f"{record},,", ""]).encode(), members[record][1])
        directory.mkdir(parents=True, exist_ok=True)
        target = directory / built.name.replace(f"-{old}.whl", f"-{new}.whl")
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as wheel:
            for name, (data, attributes) in members.items():
                info = zipfile.ZipInfo(name, time.gmtime(stamp())[:6])
                info.external_attr = attributes
                wheel.writestr(info, data, zipfile.ZIP_DEFLATED)
    return target


def digest(data: bytes) -> str:
    """As RECORD has it: recording-installed-packages, urlsafe base64 without padding."""
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")


if __name__ == "__main__":
    sys.stdout.write(f"{main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / 'dist')}\n")
