"""The preparation as one shell script, for hosts on which qatprep cannot run: image-based ones have no Python.

It does what bootstrap --boot does and no more: no journal, no way back, no diagnosis. POSIX sh, as dash, bash and
busybox have it, with modprobe.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from qatprep import hardware
from qatprep.persist.host_files import VF_IDS, head

if TYPE_CHECKING:
    from qatprep.config import NodeConfig

_PFS = hardware.SUPPORTED


def script(config: NodeConfig) -> str:
    """The whole script, for one configuration. Status 0: every PF is ready; 1: one is not, and stderr says why."""
    ids = "\n".join(f"    0x{f.pf_id:04x}) driver={f.driver} module={f.module} ;;" for f in _PFS)
    return f"""\
#!/bin/sh
{head("makes the QAT devices ready at boot without qatprep itself (qatprep gen-conf --standalone).")}\
set -u
devices=/sys/bus/pci/devices
group={shlex.quote(config.group)}
mode={config.mode:04o}
status=0

say() {{ echo "qatprep: $*" >&2; }}

# put FILE VALUE: one write; what the kernel answers is told.
put() {{
    answer=$( {{ printf '%s\\n' "$2" >"$1"; }} 2>&1) && return 0
    say "writing '$2' to $1 failed: ${{answer##*: }}"
    return 1
}}

# What is configured the PF $1 on NUMA node $2; services is empty where they are to stay.
choose() {{
{_choices(config)}}}

# Services are a set: kernels from 6.15 on write them back in an order of their own.
in_order() {{ printf '%s\\n' "$1" | tr ';' '\\n' | sort | tr '\\n' ' '; }}

set_services() {{
    now=$(cat "$1/qat/cfg_services" 2>/dev/null) || {{ say "${{1##*/}}: this kernel cannot set services"; return 1; }}
    [ "$(in_order "$now")" = "$(in_order "$services")" ] && return 0
    # `down` takes the VFs along: qat_common/adf_sriov.c
    if [ "$(cat "$1/qat/state")" = up ]; then put "$1/qat/state" down || return 1; fi
    put "$1/qat/cfg_services" "$services" || {{ put "$1/qat/state" up; return 1; }}
    put "$1/qat/state" up
}}

bind() {{
    [ "$(basename "$(readlink "$1/driver")" 2>/dev/null)" = "$2" ] || {{
        put "$1/driver_override" "$2" || return 1
        if [ -e "$1/driver" ]; then put "$1/driver/unbind" "${{1##*/}}" || return 1; fi
        put "/sys/bus/pci/drivers/$2/bind" "${{1##*/}}" || return 1
    }}
    node=/dev/vfio/$(basename "$(readlink "$1/iommu_group")")
    [ -e "$node" ] || {{ say "${{1##*/}} has no node $node"; return 1; }}
    chgrp "$group" "$node" && chmod "$mode" "$node"
}}

# Everything for one PF; it ends with the status of what went wrong last.
prepare() {{
    pf=$devices/$1
    case $(cat "$pf/device") in
{ids}
    esac
    choose "$1" "$(cat "$pf/numa_node")"
    if [ ! -e "$pf/driver" ]; then
        modprobe "$module"
        [ -e "$pf/driver" ] || put "/sys/bus/pci/drivers/$driver/bind" "$1" || return 1
    fi
    [ -z "$services" ] || set_services "$pf" || return 1
    if [ "$vfs" = no ]; then
        # Before 6.12 the driver refuses 0, but `down` takes the VFs along.
        [ "$(cat "$pf/sriov_numvfs")" = 0 ] || {{ put "$pf/qat/state" down && put "$pf/qat/state" up; }}
        return
    fi
    if [ "$(cat "$pf/qat/state" 2>/dev/null || echo up)" != up ]; then put "$pf/qat/state" up || return 1; fi
    total=$(cat "$pf/sriov_totalvfs")
    [ "$(cat "$pf/sriov_numvfs")" = "$total" ] || put "$pf/sriov_numvfs" "$total" || return 1
    [ "$vfio" != none ] || return 0
    failed=0
    for link in "$pf"/virtfn*; do
        vf=$(readlink "$link")
        bind "$devices/${{vf##*/}}" "$vfio" || failed=1
    done
    return $failed
}}

modprobe -a vfio-pci vfio_iommu_type1
running=
for device in "$devices"/*; do
    [ "$(cat "$device/vendor")" = 0x8086 ] || continue
    case $(cat "$device/device") in
    {" | ".join(f"0x{f.pf_id:04x}" for f in _PFS)})
        prepare "${{device##*/}}" &
        running="$running $!"
        ;;
    {" | ".join(VF_IDS)}) # in a virtual machine: a VF without its PF
        [ -e "$device/physfn" ] && continue
        choose "${{device##*/}}" "$(cat "$device/numa_node")"
        [ "$vfio" = none ] || bind "$device" "$vfio" || status=1
        ;;
    esac
done
for job in $running; do wait "$job" || status=1; done
exit $status
"""


def _choices(config: NodeConfig) -> str:
    lines = ["    " + _assignments(vars_of(config.devices.services, config.devices.vfs, config.devices.driver))]
    for override in config.overrides:
        names = {"services": "services", "vfs": "vfs", "driver": "vfio"}
        values = {names[key]: _value(key, value) for key, value in override.values}
        test = f"case $1 in {override.device.lower() or '*'})"
        inner = _assignments(values)
        if override.numa_node is not None:
            inner = f'if [ "$2" = {override.numa_node} ]; then {inner}; fi'
        lines.append(f"    {test} {inner} ;; esac")
    return "".join(f"{line}\n" for line in lines)


def vars_of(services: frozenset[str] | None, vfs: bool, driver: str) -> dict[str, str]:
    """The script's variables for a whole PfConfig."""
    return {"services": _value("services", services), "vfs": _value("vfs", vfs), "vfio": _value("driver", driver)}


def _value(key: str, value: object) -> str:
    if key == "services":
        return hardware.spell_services(value) if isinstance(value, frozenset) else ""
    return {True: "yes", False: "no"}[bool(value)] if key == "vfs" else str(value)


def _assignments(values: dict[str, str]) -> str:
    return "; ".join(f"{name}={shlex.quote(value)}" for name, value in values.items())
