"""What tests judge by and is fetched, not installed: real containerds, systemd's own judges, libqat, a real Envoy,
Prometheus' promtool, ansible-test, Podman, a browser without a window.

    python3 -m tests.tools            fetch what is missing
    python3 -m tests.tools NAME ...   only these

Each is kept below ~/.cache/qatprep/NAME (QATPREP_TOOLS says another place than ~/.cache/qatprep). What cannot be had
here is named; the tests that need it are skipped and say so. Runs before any environment is made.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.vm.errors import RigError
from tests.vm.packages import Apt, unpack

TESTS = Path(__file__).parent
REQUIREMENTS = TESTS / "mesh" / "tools.txt"
CONTAINERD = {"bookworm": "1.6", "trixie": "1.7", "sid": "2."}
"""Debian's suites, and how the version of their containerd begins."""
LIBQAT = ("trixie", "sid")
CHROMIUM = ["chromium-headless-shell", "fonts-liberation", "fonts-dejavu-core"]
SYSTEMD = "trixie"
"""udevadm verify came with systemd 254."""


class Unavailable(Exception):
    """A tool cannot be had here, and why."""


def cache() -> Path:
    given = os.environ.get("QATPREP_TOOLS")
    return Path(given) if given else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "qatprep"


def made(name: str) -> Path | None:
    """The folder of a tool that is there and up to date, or None."""
    folder = cache() / name
    done = folder / "done"
    return folder if done.is_file() and done.read_text() == _recipe(name) else None


def get(name: str) -> Path:
    """The folder of a tool, fetched where it is missing unless QATPREP_OFFLINE is set. Unavailable."""
    found = made(name)
    if found is not None:
        return found
    if os.environ.get("QATPREP_OFFLINE"):
        raise Unavailable(f"{name} is not in {cache()}, and QATPREP_OFFLINE is set")
    folder = cache() / name
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if made(name) is None:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            try:
                TOOLS[name](folder)
            except RigError as e:
                raise Unavailable(f"{name}: {e}") from e
            (folder / "done").write_text(_recipe(name))
    return folder


def _recipe(name: str) -> str:
    return REQUIREMENTS.read_text() if name == "mesh" else ""


def _mesh(folder: Path) -> None:
    """An environment with Envoy, its messages and Kubernetes' schemas."""
    _run([sys.executable, "-m", "venv", str(folder)])
    _run([str(folder / "bin" / "python"), "-m", "pip", "install", "-q", "--only-binary=:all:", "-r", str(REQUIREMENTS)])


def _run(argv: list[str], cwd: Path | None = None, home: Path | None = None) -> None:
    env = {**os.environ, "HOME": str(home)} if home else None
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=1800, check=False, cwd=cwd, env=env)
    except (OSError, subprocess.TimeoutExpired) as e:
        raise Unavailable(f"{argv[0]}: {e}") from e
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()] or [f"status {done.returncode}"]
        raise Unavailable(lines[-1])


def _systemd(folder: Path) -> None:
    _packages(folder, SYSTEMD, ["udev", "systemd"], ["./usr/bin/*", "./usr/lib/*", "./usr/sbin/*"])


def _promtool(folder: Path) -> None:
    """Prometheus' own judge of queries; the package would start a server."""
    _packages(folder, "bookworm", ["prometheus"], ["./usr/bin/promtool"], dependencies=False)


_PIP = "import ensurepip; ensurepip.bootstrap()"
"""For ansible-test, which would fetch get-pip.py from a server of its own: Python has a pip for a new environment."""
SANITY = (
    "sanity",
    "--requirements",
    "--color",
    "no",
    "--skip-test",
    "pslint",
    "--python",
    f"{sys.version_info.major}.{sys.version_info.minor}",
)
"""Arguments of ansible-test. pslint judges PowerShell, which is not in the collection."""


def _ansible_test(folder: Path) -> None:
    """ansible-core, and below folder/home the environments that ansible-test's sanity tests run in."""
    _run([sys.executable, "-m", "venv", str(folder)])
    python = folder / "bin" / "python"
    _run([str(python), "-m", "pip", "install", "-q", "--only-binary=:all:", "ansible-core==2.19.*"])
    found = list(folder.glob("lib/python*/site-packages/ansible_test/_internal/python_requirements.py"))
    version = re.search(r"pip='([\d.]+)'", found[0].read_text()) if found else None
    if version is None:
        raise Unavailable("this ansible-test does not say which pip it wants")
    cache = folder / "home" / ".ansible" / "test" / "cache"
    cache.mkdir(parents=True)
    (cache / f"get_pip_{version[1].replace('.', '_')}.py").write_text(_PIP)
    collection = folder / "ansible_collections" / "qatprep" / "none"
    collection.mkdir(parents=True)
    _run([str(folder / "bin" / "ansible-test"), *SANITY, "--prime-venvs"], cwd=collection, home=folder / "home")


def _podman(folder: Path) -> None:
    """Podman with what it runs, and a shell for a container."""
    libraries = ["libyajl2", "libsubid4", "libgpgme11", "libassuan0", "libdevmapper1.02.1"]
    programs = ["podman", "crun", "conmon", "busybox-static"]
    members = ["./usr/bin/*", "./usr/lib/*", "./lib/*", "./bin/*"]
    _packages(folder, "bookworm", [*programs, *libraries], members, dependencies=False)


def _containerd(suite: str) -> Callable[[Path], None]:
    def fetch(folder: Path) -> None:
        _packages(folder, suite, ["containerd"], ["./usr/bin/*"], dependencies=False)

    return fetch


def _packages(folder: Path, suite: str, names: list[str], members: list[str], *, dependencies: bool = True) -> None:
    """Unpack Debian packages and what they depend on into folder/root."""
    apt = Apt(str(folder / "apt"), [suite], bare=True)
    apt.update()
    wanted: set[str] = set()
    todo = list(names)
    while todo:
        package = todo.pop()
        if package not in wanted:
            wanted.add(package)
            todo += apt.depends(package) if dependencies else []
    for deb in apt.download(sorted(wanted), str(folder / "debs")):
        unpack(deb, str(folder / "root"), members)
    shutil.rmtree(folder / "debs")
    shutil.rmtree(folder / "apt")


def _chromium(folder: Path) -> None:
    """The browser of this machine's own release, so that it runs with the machine's C library; fonts of its own."""
    apt = Apt(str(folder / "apt"), [_codename(), f"{_codename()}-security"])
    apt.update()
    for deb in apt.download_with_dependencies(CHROMIUM, str(folder / "debs")):
        unpack(deb, str(folder / "root"), ["./usr/lib/*", "./usr/share/fonts/*"])
    shutil.rmtree(folder / "debs")
    shutil.rmtree(folder / "apt")
    fonts = f"<dir>{folder / 'root/usr/share/fonts'}</dir><cachedir>{folder / 'fonts'}</cachedir>"
    (folder / "fonts.conf").write_text(f"<fontconfig>{fonts}</fontconfig>\n")


def _codename() -> str:
    lines = Path("/etc/os-release").read_text().splitlines()
    found = [line.partition("=")[2].strip('"') for line in lines if line.startswith("VERSION_CODENAME=")]
    if not found:
        raise RigError("this machine's /etc/os-release has no VERSION_CODENAME: it is not Debian")
    return found[0]


def _libqat(suite: str) -> Callable[[Path], None]:
    def fetch(folder: Path) -> None:
        sys.path.insert(0, str(TESTS.parent / "emulator"))  # before any environment has it
        from qat_emulator import tree
        from qat_emulator.errors import EmulatorError

        try:
            tree.fetch(suite, str(folder))
        except EmulatorError as e:
            raise Unavailable(f"{e}; {e.fix}") from e

    return fetch


TOOLS: dict[str, Callable[[Path], None]] = {
    "systemd": _systemd,
    "promtool": _promtool,
    "podman": _podman,
    **{f"containerd-{suite}": _containerd(suite) for suite in CONTAINERD},
    **{f"libqat-{suite}": _libqat(suite) for suite in LIBQAT},
    "mesh": _mesh,
    "ansible-test": _ansible_test,
    "chromium": _chromium,
}


def systemd(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """One of systemd's programs, by its own loader and libraries, e.g. systemd("udevadm", "verify", path)."""
    root = get("systemd") / "root"
    libraries = root / "usr/lib/x86_64-linux-gnu"
    loader = [str(libraries / "ld-linux-x86-64.so.2"), "--library-path", f"{libraries}:{libraries / 'systemd'}"]
    return subprocess.run(
        [*loader, str(root / "usr/bin" / program), *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "SYSTEMD_COLORS": "0"},
    )


def main(names: list[str]) -> int:
    status = 0
    for name in names or TOOLS:
        if name not in TOOLS:
            print(f"no tool {name}: {', '.join(TOOLS)}", file=sys.stderr)
            return 2
        try:
            print(f"{name}: {get(name)}")
        except Unavailable as e:
            print(f"{name}: cannot be had here: {e}", file=sys.stderr)
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
