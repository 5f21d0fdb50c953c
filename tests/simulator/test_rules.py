"""Every rule of rules.txt, under each kernel of the model."""

from __future__ import annotations

import errno
import fnmatch
import os
import re
from dataclasses import dataclass, field

import pytest

from qatprep.host import kmsg
from qatprep.simulator.host import SimulatedHost
from tests.simulator.hosts import simulated

KERNELS = ("5.17", "6.1", "6.6", "6.12", "6.17", "7.2")
DEVICES = "/sys/bus/pci/devices"


@dataclass
class Section:
    title: str
    host: str
    since: tuple[int, int] = (0, 0)
    lines: list[tuple[int, str, str]] = field(default_factory=list)


def _version(text: str) -> tuple[int, int]:
    major, minor = text.split(".")[:2]
    return int(major), int(minor)


def _sections() -> list[Section]:
    found: list[Section] = []
    path = os.path.join(os.path.dirname(__file__), "rules.txt")
    with open(path, encoding="utf-8") as f:
        for number, line in enumerate(f, 1):
            line = line.rstrip("\n")
            if match := re.match(r"\[(.*)\] (\S+)$", line):
                found.append(Section(match[1], match[2]))
            elif line.startswith("@"):
                found[-1].since = _version(line[1:])
            elif line and not line.startswith("#"):
                step, _, result = line.rpartition(" : ")
                found[-1].lines.append((number, step, result))
    return found


SECTIONS = _sections()


class Play:
    """One section on one host."""

    def __init__(self, host: SimulatedHost) -> None:
        self.host = host
        pfs = [f"{DEVICES}/{bdf}" for bdf in ("0000:6b:00.0", "0000:70:00.0")]
        self.names = {"$D": DEVICES, "$P": pfs[0], "$Q": pfs[1]}

    def expand(self, text: str) -> str:
        for name, path in self.names.items():
            text = text.replace(name, path)
        return re.sub(r"\{group (\S+)\}", lambda match: self.link(f"{DEVICES}/{match[1]}/iommu_group"), text)

    def link(self, path: str) -> str:
        return self.host.readlink(path).rsplit("/", 1)[-1]

    def step(self, text: str) -> str:
        """What happens, in the words of the file."""
        verb, _, rest = self.expand(text).partition(" ")
        try:
            return getattr(self, f"do_{verb}")(rest)  # type: ignore[no-any-return]
        except OSError as e:
            return errno.errorcode[e.errno or 0]

    def do_write(self, rest: str) -> str:
        path, _, value = rest.partition(" ")
        self.host.write(path, value.replace("\\n", "\n").encode(), deadline=5)
        return "ok"

    def do_read(self, path: str) -> str:
        return " ".join(self.host.read_text(path, deadline=5).raw.split("\n")).strip()

    def do_link(self, path: str) -> str:
        return self.link(path)

    def do_count(self, rest: str) -> str:
        path, glob = rest.split(" ")
        return str(sum(fnmatch.fnmatch(name, glob) for name in self.host.listdir(path)))

    def do_mode(self, path: str) -> str:
        stat = self.host.stat(path)
        return f"{stat.mode:04o} {stat.uid}:{stat.gid}"

    def do_run(self, words: str) -> str:
        return str(self.host.run(words.split()).rc)

    def do_log(self, _: str) -> str:
        return kmsg.parse(self.host.kernel_log().raw.splitlines()[-1]).text

    def do_logged(self, text: str) -> str:
        return "yes" if any(text in line for line in self.host.kernel_log().raw.splitlines()) else "no"


def _expected(text: str, kernel: tuple[int, int]) -> str:
    chosen = ""
    for part in text.split(" | "):
        value, _, since = part.partition(" @")
        if not since or kernel >= _version(since):
            chosen = value
    return chosen


CASES = [
    pytest.param(section, kernel, id=f"{section.title}@{kernel}")
    for section in SECTIONS
    for kernel in KERNELS
    if _version(kernel) >= section.since
]


@pytest.mark.parametrize(("section", "kernel"), CASES)
def test_rule(section: Section, kernel: str) -> None:
    host = simulated(section.host, kernel)
    play = Play(host)
    for number, step, result in section.lines:
        expected = play.expand(_expected(result, _version(kernel)))
        assert play.step(step) == expected, f"rules.txt:{number}: {step}"


@pytest.mark.parametrize(
    ("kernel", "result"),
    [
        ("6.6.112", "ok"), ("6.12.0", "EINVAL"), ("6.12.41", "EINVAL"), ("6.12.42", "ok"), ("6.13", "EINVAL"),
        ("6.14", "EINVAL"), ("6.15.9", "EINVAL"), ("6.15", "ok"), ("6.16.0", "EINVAL"), ("6.16.1", "ok"),
        ("6.17", "ok"),
    ],
)  # fmt: skip
def test_vfs_without_an_iommu_are_refused_between_6_12_and_the_fix(kernel: str, result: str) -> None:
    host = simulated("dmar-absent", kernel)
    assert Play(host).step("write $P/sriov_numvfs 16") == result


@pytest.mark.parametrize(("kernel", "result"), [("6.6.1", "EINVAL"), ("6.6.2", "ok")])
def test_a_stable_release_brings_down_twice_and_dcc(kernel: str, result: str) -> None:
    host = simulated("spr-2s", kernel)
    play = Play(host)
    assert play.step("write $P/qat/state down") == "ok"
    assert play.step("write $P/qat/state down") == result
    assert play.step("write $P/qat/cfg_services dcc") == result
