"""Two driver stacks on one host: the trouble that hides behind the most other troubles."""

from __future__ import annotations

from collections.abc import Iterable

from qatprep.checks.base import Check, Context, Stage
from qatprep.checks.text import log_lines
from qatprep.facts.stack import SHARED
from qatprep.findings import Evidence, Finding, failed, warned


def _two_stacks(ctx: Context) -> Iterable[Finding]:
    stack = ctx.facts.stack
    files = [path for path in stack.files if path not in SHARED]
    inert = [path for path in files if path not in stack.active_files]
    evidence = tuple(
        Evidence(path, "there") for path in (*(f"/sys/module/{m}" for m in stack.modules), *stack.replaced, *files)
    )
    if not evidence:
        return
    release = ctx.facts.kernel.release
    clean_up = [
        "Stop and remove it with what installed it (make uninstall in its source directory, or its package).",
        *(f"systemctl disable --now {path.rsplit('/', 1)[-1]}" for path in files if path.endswith(".service")),
        *([f"rm {' '.join(stack.replaced)}", f"depmod {release}"] if stack.replaced else []),
        *([f"rm {' '.join(inert)}"] if inert else []),
    ]
    log = log_lines(ctx, "out-of-tree", "pf-iommu", "firmware-rejected")
    if stack.active:
        yield failed(
            "QP-STACK-001",
            "Intel's out-of-tree QAT driver is installed alongside the kernel's own",
            evidence=evidence + log,
            cause="The out-of-tree stack (qat_service, usdm_drv, adf_ctl) brings its own modules and firmware and "
            "wants the IOMMU off; qatlib, Envoy and the Kubernetes plugin want the kernel's driver and the IOMMU "
            "on. With both on one host neither works reliably, and nothing below can be trusted.",
            fix=(
                *clean_up,
                "Install the distribution's QAT firmware again: the other stack overwrites it.",
                "Reboot.",
            ),
        )
    else:
        yield warned(
            "QP-STACK-001",
            "files of Intel's out-of-tree QAT driver were left behind",
            evidence=evidence,
            cause="Its modules and service are gone; these files do nothing today, but mislead people and installers.",
            fix=tuple(clean_up[1:]),
        )


CHECKS = (
    Check(
        "QP-STACK-001",
        Stage.STACK,
        _two_stacks,
        saw=lambda ctx: "no files of the out-of-tree driver",
    ),
)
