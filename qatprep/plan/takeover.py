"""Taking over devices whose driver somebody else has stored."""

from __future__ import annotations

from collections.abc import Sequence

from qatprep.errors import InputError
from qatprep.facts import pci, setters
from qatprep.host.base import Host
from qatprep.plan.model import Plan
from qatprep.steps.files import content, encode
from qatprep.steps.overrides import ForgetOverride


def take_over(host: Host, bdfs: Sequence[str]) -> Plan:
    """Forget driverctl's overrides of these QAT functions. Empty where it has stored none.

    InputError for what is no QAT function of this host: other devices are none of qatprep's business.
    """
    found = pci.gather(host)
    known = {pf.bdf for pf in found.pfs} | {vf.bdf for vf in found.all_vfs}
    known |= {pf.vf_bdf(index) for pf in found.pfs for index in range(pf.family.total_vfs)}
    if strange := [bdf for bdf in bdfs if bdf not in known]:
        raise InputError(f"{strange[0]} is no QAT function of this host", "qatprep device list shows them")
    changes = []
    for bdf in bdfs:
        path = f"{setters.DRIVERCTL}/pci-{bdf}"
        old = content(host, path)
        if old is not None:
            stat = host.stat(path)
            changes.append(ForgetOverride(path, encode(old), (stat.uid, stat.gid, stat.mode)))
    return Plan(finish=tuple(changes))
