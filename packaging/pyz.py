"""Makes qatprep.pyz: one file that runs on a bare node with nothing but python3 (3.11 or newer).

    python packaging/pyz.py [dist/qatprep.pyz]

Run it with a Python that has qatprep's dependencies installed: those in pure Python go in as they are there, with their
licences. The native module goes in where it was built (it serves one architecture; elsewhere it is left aside). What is
not in: psutil and cryptography, which are compiled; where the node has them they are used, and qatprep says where it
misses them. The same input gives the same bytes.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import stat
import sys
import tempfile
import zipapp
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENDORED = (
    "typer", "shellingham", "annotated-doc", "rich", "pyyaml", "fastjsonschema", "tomlkit", "sh", "pyudev",
)  # fmt: skip
"""Distributions that go in, as far as they are Python."""
LEFT_OUT = {
    "psutil": "compiled; names the holder of the lock and of VFs",
    "cryptography": "compiled; keys and the check of signatures in smoke, bench, tune and render",
    "markdown-it-py": "rich's own, for Markdown, which qatprep does not print",
    "pygments": "rich's own, for source code, which qatprep does not print",
}
"""Requirements that stay out, and why."""
START = '''\
"""Starts qatprep out of its single file."""

import importlib.abc
import importlib.machinery
import importlib.util
import sys

if sys.version_info < (3, 11):
    sys.exit(f"qatprep needs Python 3.11 or newer; this is {sys.version.split()[0]}, {sys.executable}")

ARCHIVE = __loader__.archive
NATIVE = "qatprep/_native.abi3.so"


class Native(importlib.abc.MetaPathFinder):
    """The compiled module, loaded from memory: the dynamic linker cannot look into an archive."""

    def find_spec(self, name, path=None, target=None):
        if name != "qatprep._native":
            return None
        import os

        try:
            data = __loader__.get_data(f"{ARCHIVE}/{NATIVE}")
            fd = os.memfd_create("qatprep._native", os.MFD_CLOEXEC)
            os.write(fd, data)
        except OSError:
            return None  # not in this file, or no such thing here: the module counts as not built
        return importlib.util.spec_from_file_location(
            name, loader=importlib.machinery.ExtensionFileLoader(name, f"/proc/self/fd/{fd}")
        )


sys.meta_path.append(Native())
sys.argv[0] = ARCHIVE

from qatprep.__main__ import console  # noqa: E402

console()
'''
STAMP = 1_767_225_600
"""Seconds: the time every member carries unless SOURCE_DATE_EPOCH says another."""


def main(target: Path) -> None:
    check()
    with tempfile.TemporaryDirectory() as directory:
        stage = Path(directory)
        copy_tree(ROOT / "qatprep", stage / "qatprep", (".py", ".json"))
        copy_tree(ROOT / "fixtures" / "sysfs", stage / "qatprep" / "hosts", (".py", ".txt", ".yaml"))
        native = ROOT / "qatprep" / "_native.abi3.so"
        if native.exists():
            shutil.copy(native, stage / "qatprep")
        for name in VENDORED:
            vendor(name, stage)
        (stage / "__main__.py").write_text(START)
        stamp = int(os.environ.get("SOURCE_DATE_EPOCH", STAMP))
        for path in [*stage.rglob("*"), stage]:
            path.chmod(0o755 if path.is_dir() else 0o644)
            os.utime(path, (stamp, stamp))
        target.parent.mkdir(parents=True, exist_ok=True)
        os.environ["TZ"] = "UTC"  # the archive's times are local ones
        zipapp.create_archive(stage, target, interpreter="/usr/bin/env python3", compressed=True)
    target.chmod(target.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)


def check() -> None:
    """Every requirement must be known here: one that is new would be missing on the node, and nowhere else."""
    import tomllib

    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    for name in VENDORED:
        wanted += [line for line in importlib.metadata.requires(name) or [] if "extra ==" not in line]
    for line in wanted:
        name = re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0].lower()
        if name not in VENDORED and name not in LEFT_OUT and "platform_system" not in line:
            raise SystemExit(f"{line}: neither in VENDORED nor in LEFT_OUT of {__file__}")


def copy_tree(source: Path, target: Path, suffixes: tuple[str, ...]) -> None:
    for path in source.rglob("*"):
        if path.suffix in suffixes and "__pycache__" not in path.parts and path.is_file():
            place = target / path.relative_to(source)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, place)


def vendor(name: str, stage: Path) -> None:
    """The Python files, data and licences of an installed distribution."""
    distribution = importlib.metadata.distribution(name)
    for file in distribution.files or []:
        compiled = file.suffix in (".so", ".pyc") or "__pycache__" in file.parts
        scripts = ".." in file.parts
        kept = re.search(r"licen|copying|authors|METADATA", str(file), re.IGNORECASE)
        info = file.parts[0].endswith(".dist-info") and not kept
        if compiled or scripts or info or file.parts[0] == "_yaml":
            continue
        place = stage / str(file)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(str(file.locate()), place)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "dist" / "qatprep.pyz")
