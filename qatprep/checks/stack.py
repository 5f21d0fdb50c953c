"""Two driver stacks on one host: the trouble that hides behind the most other troubles."""

from __future__ import annotations

from collections.abc import Iterable

from qatprep.checks.base import Check, Context, Evidence, Finding, Stage
from qatprep.checks.text import failed, log_lines, warned
from qatprep.facts.stack import SHARED

_HARMLESS = ("_dev", "adf_ctl")


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
            "Intel's out-of-tree QAT driver is installed beside the kernel's own",
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
        "no trace of the out-of-tree QAT driver",
        _two_stacks,
        explain="""\
Intel ships QAT drivers twice: in the Linux kernel (qat_4xxx and friends, used through VFIO by qatlib), and as an
out-of-tree package (qat_service, usdm_drv, qat_api, /etc/4xxx_dev0.conf). They want opposite things of a host, and
traces of the second survive its removal.

Why it matters: with both on one host the wrong module is loaded, firmware is overwritten (probe errors, "Invalid
header", "authentication error"), VFs get a kernel driver, and advice found on the web is for the other stack. This
finding therefore outranks all others: what hangs on the driver is not judged before it is mended.

How it is found out: modules usdm_drv and qat_api in /sys/module; QAT modules below updates/ or extra/ in
modules.dep; qat_service as init script or unit; adf_ctl; /dev/qat_dev_processes and /dev/usdm_drv;
/etc/<device>_dev<N>.conf. /dev/qat_adf_ctl alone says nothing, kernels before 6.12 make it as well. Files that do
nothing by themselves are a warning only.

How to mend it: uninstall the package the way it was installed, remove what is left, install the distribution's
firmware again, reboot. qatprep never removes foreign files.""",
    ),
)
