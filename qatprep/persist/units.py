"""systemd units: what prepares the node at boot, and what writes the metrics."""

from __future__ import annotations

from qatprep.persist.host_files import head, words
from qatprep.runtime.units import KUBELETS, UNITS

USERS = (*UNITS, *KUBELETS, "libvirtd.service", "virtqemud.service", "qat.service")
"""Units that hand out or use VFs. Being after ours is all they get: none of them needs it to succeed."""

BOOT_SECONDS = 180
"""TimeoutStartSec. 32 PFs take seconds; a PF that does not answer costs 30 s (steps.base.BLOCKING), then
it is left out and the others are prepared."""

_SANDBOX = """\
# What the job does not need is out of reach.
ProtectSystem=strict
ProtectHome=read-only
PrivateTmp=yes
ProtectClock=yes
ProtectHostname=yes
ProtectControlGroups=yes
RestrictAddressFamilies=AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
NoNewPrivileges=yes
IPAddressDeny=any
KeyringMode=private
UMask=0077
SystemCallArchitectures=native
SystemCallErrorNumber=EPERM
DevicePolicy=closed
DeviceAllow=/dev/kmsg r
"""


def apply(program: tuple[str, ...]) -> str:
    """qatprep-apply.service for an installed qatprep."""
    return apply_unit((*program, "bootstrap", "--boot", "--yes"))


def apply_unit(command: tuple[str, ...]) -> str:
    """qatprep-apply.service: makes the devices ready before anybody is there to use them.

    It may write to /sys, load modules, give nodes to a group, and sign on a VF, for which libqat maps 16 MiB of locked
    memory a VF; /etc and /usr are read-only to it. A boot goes on whatever becomes of it: nothing requires it, and its
    time is limited.
    """
    return f"""\
{head("makes the QAT devices ready at every boot, before containers and virtual machines start.")}\
[Unit]
Description=Make QAT devices ready (qatprep)
After=systemd-modules-load.service systemd-sysusers.service systemd-udevd.service sys-kernel-debug.mount
Before={" ".join(USERS)}
RequiresMountsFor={_directory(command)}

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart={words(command)}
TimeoutStartSec={BOOT_SECONDS}
TimeoutStopSec=10
# A write that waits in the kernel must be left to end by itself: killing its process cannot end it.
KillMode=process
SendSIGKILL=no
StateDirectory=qatprep

{_SANDBOX}\
# The signature that proves the devices: VFIO's container, groups and devices (char-*: as /proc/devices names them).
LimitMEMLOCK=infinity
DeviceAllow=/dev/vfio/vfio rw
DeviceAllow=/dev/iommu rw
DeviceAllow=char-vfio rw
DeviceAllow=char-vfio-dev rw
# Beyond /sys and /dev: the lock.
ReadWritePaths=/run
# modprobe; nodes; the kernel log; who has a VF open; a program in a directory of another user.
CapabilityBoundingSet=CAP_SYS_MODULE CAP_CHOWN CAP_FOWNER CAP_SYSLOG CAP_SYS_PTRACE CAP_DAC_READ_SEARCH
SystemCallFilter=@system-service @module
SystemCallFilter=~@resources

[Install]
WantedBy=multi-user.target
"""


def metrics_service(program: tuple[str, ...], path: str) -> str:
    """qatprep-metrics.service: one look at the node, written for node_exporter's textfile collector."""
    return f"""\
{head("writes what qatprep sees as metrics for Prometheus.")}\
[Unit]
Description=Write QAT metrics (qatprep)
RequiresMountsFor={_directory(program)}
After=qatprep-apply.service

[Service]
Type=oneshot
ExecStart={words((*program, "metrics", "--write", path))}
TimeoutStartSec=60
KillMode=process
SendSIGKILL=no
Nice=10

{_SANDBOX}\
ProtectKernelModules=yes
ProtectKernelTunables=yes
ReadWritePaths=-{words((path.rsplit("/", 1)[0],))}
# The kernel log; who has a VF open; a directory that belongs to node_exporter's user.
CapabilityBoundingSet=CAP_SYSLOG CAP_SYS_PTRACE CAP_DAC_OVERRIDE
SystemCallFilter=@system-service
SystemCallFilter=~@resources
"""


def metrics_timer() -> str:
    """qatprep-metrics.timer."""
    return f"""\
{head("when qatprep-metrics.service runs.")}\
[Unit]
Description=Write QAT metrics every five minutes (qatprep)

[Timer]
OnBootSec=2min
OnUnitActiveSec=5min
RandomizedDelaySec=30

[Install]
WantedBy=timers.target
"""


def _directory(program: tuple[str, ...]) -> str:
    return words((program[0].rsplit("/", 1)[0] or "/",))
