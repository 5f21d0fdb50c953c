"""The DaemonSet's container as the kernel sees it: the host's root below /host, and no capability but those of the
manifest. Each of them is needed: the table in docs/fleet.md is what is tried here."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from tests.fleet.lab import ROOT

from .conftest import Boot, full
from .machine import HERE, Guest
from .node import PF0, vf

pytestmark = [pytest.mark.vm, full]

HOST = "/run/container/host"


def capabilities() -> list[str]:
    manifest = yaml.safe_load((ROOT / "packaging" / "kubernetes" / "daemonset.yaml").read_text())
    context = manifest["spec"]["template"]["spec"]["containers"][0]["securityContext"]
    return [name.lower() for name in context["capabilities"]["add"]]


def contained(guest: Guest, arguments: str, having: list[str]) -> tuple[int, Any]:
    """Exit status and document of qatprep with these capabilities and no more."""
    bounding = ",".join(["-all", *(f"+{name}" for name in having)])
    command = f"setpriv --no-new-privs --inh-caps=-all --bounding-set={bounding} {guest.qatprep_command} {arguments}"
    result = guest.run(f"{command} --root {HOST} --output json", timeout=180.0)
    assert "internal error" not in result.err, result.err
    return result.status, json.loads(result.out) if result.out else {}


def test_each_capability_is_needed_and_they_are_enough(boot: Boot, kernel: str) -> None:
    every = capabilities()
    with boot(kernel) as guest:
        guest.run(f"mkdir -p {HOST} && mount --make-rprivate / && mount --rbind / {HOST}")
        for one in ("sys_chroot", "sys_module", "chown"):
            status, document = contained(guest, "bootstrap --no-smoke", [name for name in every if name != one])
            assert (status, document["status"]) == (4, "rolled back"), one
        status, document = contained(guest, "bootstrap --no-smoke", every)
        assert (status, document["status"]) == (0, "applied"), document
        assert contained(guest, "bootstrap --no-smoke", every)[1]["status"] == "unchanged"

        # Somebody else's process has a VF open: without these two nobody could tell.
        held = vf(PF0, 3)
        script = (
            f"import sys, time; sys.path.insert(0, {HERE!r}); import play; host = play.Local(); "
            f"group = host.readlink('/sys/bus/pci/devices/{held}/iommu_group').rpartition('/')[2]; "
            f"host.hold('/dev/vfio/' + group, '{held}'); print('held', flush=True); time.sleep(1000)"
        )
        guest.run("chmod 0666 /dev/vfio/vfio")
        job = guest.start(f'setpriv --reuid 1234 --regid qat --clear-groups {guest.python} -S -c "{script}"')
        job.wait_for("held")
        for missing in ("", "sys_ptrace", "dac_read_search"):
            having = [name for name in every if name != missing]
            document = contained(guest, "device list", having)[1]
            holders = [v["device"] for pf in document["pfs"] for v in pf["vfs"] if v["holders"]]
            assert (holders == [held]) == (not missing), missing
            assert document["holders_complete"] == (not missing), missing
        status, document = contained(guest, "bootstrap --no-smoke --set devices.services=dc", every)
        assert (status, document["status"]) == (1, "refused")
