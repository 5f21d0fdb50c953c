"""Makes qatprep.pyz: one file that runs on a bare node with nothing but python3 (3.11 or newer).

    python packaging/pyz.py [--without-native] [dist/qatprep.pyz]

Run it with a Python that has qatprep installed: its dependencies in pure Python go in as they are there, with their
licences, and so does the native module (it serves one architecture; elsewhere it is left aside). Where there is none,
no file is made unless --without-native says that none is wanted. What is not in: psutil and cryptography, which are
compiled; where the node has them they are used, and qatprep says where it misses them. The same input gives the same
bytes.
"""

from __future__ import annotations

import argparse
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
REPLACED = {
    "typer/rich_utils.py": '''\
"""Not typer's own, which needs Markdown and Pygments: what completion uses of it."""


def rich_render_text(text):
    from rich.text import Text

    return Text.from_markup(text).plain
'''
}
"""Files of the vendored packages that are put in the place of theirs."""
START = '''\
"""Starts qatprep out of its single file."""

import importlib.abc
import importlib.machinery
import importlib.util
import os
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
        try:
            data = __loader__.get_data(f"{ARCHIVE}/{NATIVE}")
            fd = os.memfd_create("qatprep._native", os.MFD_CLOEXEC)
            os.write(fd, data)
        except OSError:
            return None  # not in this file, or no such thing here: the module counts as not built
        return importlib.util.spec_from_file_location(
            name, loader=importlib.machinery.ExtensionFileLoader(name, f"/proc/self/fd/{fd}")
        )


os.environ.setdefault("TYPER_USE_RICH", "0")  # only for help in colours, which needs more of rich than is in here
sys.meta_path.append(Native())
sys.argv[0] = ARCHIVE

from qatprep.__main__ import console  # noqa: E402

console()
'''
NATIVE = "_native.abi3.so"
STAMP = 1_767_225_600
"""Seconds: the time of every file unless SOURCE_DATE_EPOCH says another."""


def arguments(document: str, target: Path) -> argparse.Namespace:
    """The command line of a script that makes a package: `target`, `without_native`."""
    parser = argparse.ArgumentParser(description=document.partition("\n")[0])
    parser.add_argument("target", type=Path, nargs="?", default=target, help="what to make, and where")
    parser.add_argument(
        "--without-native", action="store_true", help="leave the native module out: no CryptoMB, no QAT"
    )
    return parser.parse_args()


def main(target: Path, *, without_native: bool = False) -> None:
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        stage(place, None if without_native else native())
        (place / "__main__.py").write_text(START)
        normal(place)
        target.parent.mkdir(parents=True, exist_ok=True)
        os.environ["TZ"] = "UTC"  # the archive's times are local ones
        zipapp.create_archive(place, target, interpreter="/usr/bin/env python3", compressed=True)
    target.chmod(target.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)


def native() -> Path:
    """The compiled module: beside the sources (an editable installation), else of the qatprep installed here."""
    built = ROOT / "qatprep" / NATIVE
    if built.exists():
        return built
    why = "it is not installed here"
    try:
        installed = importlib.metadata.distribution("qatprep")
    except importlib.metadata.PackageNotFoundError:
        pass
    else:
        found = [file for file in installed.files or [] if file.name == NATIVE]
        if found and installed.version == version():
            return Path(str(found[0].locate()))
        why = "it was installed without a C compiler"
        if found:
            why = f"version {installed.version} is installed here; this is {version()}"
    raise SystemExit(
        f"no {NATIVE} of qatprep to put in: {why}\n"
        f"install gcc, then run: {sys.executable} -m pip install --force-reinstall --no-deps {ROOT}\n"
        "or say --without-native: nothing will be signed through CryptoMB or QAT"
    )


def version() -> str:
    text = (ROOT / "qatprep" / "version.py").read_text()
    found = re.search(r'VERSION = "([^"]+)"', text)
    if found is None:
        raise SystemExit("qatprep/version.py has no VERSION")
    return found[1]


def stage(place: Path, native: Path | None) -> None:
    """Everything that runs without being compiled for one Python: qatprep, its simulated hosts, what it needs."""
    check()
    copy_tree(ROOT / "qatprep", place / "qatprep", (".py", ".json", ".md", ".css"))
    copy_tree(ROOT / "fixtures" / "sysfs", place / "qatprep" / "hosts", (".py", ".txt", ".yaml"))
    if native is not None:
        shutil.copyfile(native, place / "qatprep" / NATIVE)
    for name in VENDORED:
        vendor(name, place)
    for name, text in REPLACED.items():
        if not (place / name).exists():
            raise SystemExit(f"{name} is gone: see REPLACED in {__file__}")
        (place / name).write_text(text)


def stamp() -> int:
    """Seconds: the time that every file of a package carries."""
    return int(os.environ.get("SOURCE_DATE_EPOCH", STAMP))


def normal(place: Path) -> None:
    """Modes and times that depend on nothing but the content."""
    for path in [*place.rglob("*"), place]:
        path.chmod(0o755 if path.is_dir() or path.stat().st_mode & stat.S_IXUSR else 0o644)
        os.utime(path, (stamp(), stamp()))


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
            to = target / path.relative_to(source)
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, to)


def vendor(name: str, place: Path) -> None:
    """The Python files, data and licences of an installed distribution."""
    distribution = importlib.metadata.distribution(name)
    for file in distribution.files or []:
        compiled = file.suffix in (".so", ".pyc") or "__pycache__" in file.parts
        scripts = ".." in file.parts
        kept = re.search(r"licen|copying|authors|METADATA", str(file), re.IGNORECASE)
        info = file.parts[0].endswith(".dist-info") and not kept
        if compiled or scripts or info or file.parts[0] == "_yaml":
            continue
        to = place / str(file)
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(str(file.locate()), to)


if __name__ == "__main__":
    given = arguments(__doc__, ROOT / "dist" / "qatprep.pyz")
    main(given.target, without_native=given.without_native)
