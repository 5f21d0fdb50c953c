"""What tests ask a guest, in terms of a node that qatprep looks after."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Any

from .machine import HERE, Guest, Job, Result

PF0, PF1 = "0000:6b:00.0", "0000:70:00.0"


def vf(pf: str, number: int) -> str:
    """The address of a VF, counted from 0."""
    return f"{pf[:-4]}{(number + 1) >> 3:02x}.{(number + 1) & 7}"


LATE = "Failed to send response to VF"
"""The PF's driver says it when a VF does not acknowledge within its time (adf_gen4_pfvf.c), which a guest that shares
two CPUs with other work may miss. Seen twice; the VFs signed all the same."""


def trouble(document: dict[str, Any]) -> dict[str, Any]:
    """What a doctor that is content with the node has to say of it all the same: id -> what it saw."""
    found = {f["id"]: f for f in document["findings"] if f["status"] not in ("ok", "skipped")}
    if all(LATE in seen["value"] for seen in found.get("QP-LOG-001", {"evidence": ()})["evidence"]):
        found.pop("QP-LOG-001", None)
    return found


class Node:
    """A guest with qatprep on it."""

    def __init__(self, guest: Guest) -> None:
        self.guest = guest

    def qatprep(self, arguments: str, *, status: int | None = 0, timeout: float = 120.0) -> Result:
        """Run qatprep; `status` is what it must end with, None for whatever."""
        result = self.guest.qatprep(arguments, timeout=timeout)
        said = f"qatprep {arguments} ended with {result.status}:\n{result.out}{result.err}"
        assert status is None or result.status == status, said
        assert "internal error" not in result.err, said
        return result

    def json(self, arguments: str, *, status: int | None = 0) -> Any:
        """What qatprep says with --output json."""
        return json.loads(self.qatprep(f"{arguments} --output json", status=status).out)

    def findings(self, *, status: int | None = None) -> dict[str, str]:
        """What the doctor found: id -> ok, warn, fail, unknown, blocked. Skipped ones are left out."""
        document = self.json("doctor --profile qat", status=status)
        return {f["id"]: f["status"] for f in document["findings"] if f["status"] != "skipped"}

    def failed(self) -> set[str]:
        """The ids of what failed, if only on one of the devices."""
        document = self.json("doctor --profile qat", status=None)
        return {f["id"] for f in document["findings"] if f["status"] == "fail"}

    def pfs(self) -> dict[str, dict[str, Any]]:
        """`device list`, by address."""
        return {pf["device"]: pf for pf in self.json("device list")["pfs"]}

    def sysfs(self, device: str, name: str) -> str:
        """An attribute of a PCI device."""
        return self.guest.read(f"/sys/bus/pci/devices/{device}/{name}").strip()

    def driver(self, device: str) -> str:
        """The driver a device is bound to; "" for none."""
        return "".join(self.drivers([device]))

    def drivers(self, devices: Sequence[str]) -> list[str]:
        """The drivers of those of the devices that are bound to one. One process: they are slow."""
        links = " ".join(f"/sys/bus/pci/devices/{device}/driver" for device in devices)
        return [link.rsplit("/", 1)[-1] for link in self.guest.run(f"readlink {links}").out.split()]

    def nodes(self) -> list[str]:
        """Mode, owner and group of every VFIO group node, sorted."""
        return self.guest.run("cd /dev/vfio 2>/dev/null && stat -c '%a %U:%G' [0-9]* | sort").out.split("\n")[:-1]

    def picture(self) -> dict[str, Any]:
        """The machine as far as qatprep changes it, to be compared with another picture of it.

        Without the order and sizes of modules, numbers that the kernel gives out again (groups, minors), and the log.
        """
        player = os.path.join(HERE, "play.py")
        text = self.guest.check(f"{self.guest.interpreter} -I -S {player}")
        shown: dict[str, Any] = json.loads(text)
        del shown["/.qatprep/dmesg"]
        modules = shown["/proc/modules"]
        modules["data"] = sorted(line.split()[0] for line in modules["data"].splitlines())
        return shown

    def put_back(self) -> None:
        """Undo every run, the newest first."""
        self.qatprep("rollback all --yes", timeout=300)

    def complaints(self) -> str:
        """What the kernel itself holds to be wrong."""
        return self.guest.run("dmesg | grep -A15 -E 'WARNING:|BUG:|Oops|hung_task|blocked for more'").out


def in_order(*words: str, text: str) -> bool:
    """Whether the words stand in the text one after the other."""
    at = 0
    for word in words:
        at = text.find(word, at)
        if at < 0:
            return False
    return True


def keep_busy(guest: Guest) -> Job:
    """A process that has the kernel encrypt on QAT, as dm-crypt or IPsec would: a PF that offers sym stays in use."""
    job = guest.start(
        f'{guest.python} -c "import socket, time; s = socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET, 0); '
        "s.bind(('skcipher', 'cbc(aes)')); s.setsockopt(socket.SOL_ALG, socket.ALG_SET_KEY, b'k' * 16); "
        "print('in use', flush=True); time.sleep(1000)\""
    )
    job.wait_for("in use")
    return job
