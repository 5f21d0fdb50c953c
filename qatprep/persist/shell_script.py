"""The preparation as one shell script, for hosts on which qatprep cannot run: image-based ones have no Python.

It does what bootstrap --boot does and no more: each write is read back, but there is no journal, no way back and no
diagnosis. POSIX sh, as dash, bash and
busybox have it, with modprobe.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable
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

# put FILE VALUE: one write; the answer of the kernel is printed.
put() {{
    answer=$( {{ printf '%s\\n' "$2" >"$1"; }} 2>&1) && return 0
    say "writing '$2' to $1 failed: ${{answer##*: }}"
    return 1
}}

# set_to FILE VALUE: a write that is read back.
set_to() {{
    put "$1" "$2" || return 1
    now=$(cat "$1")
    [ "$now" = "$2" ] || {{ say "wrote '$2' to $1, it reads back '$now'"; return 1; }}
}}

# What is configured for the device $1 on NUMA node $2 with PCI id $3; services and auto_reset are empty where they
# are to stay.
choose() {{
{_choices(config)}}}

# Services are a set: kernels from 6.15 on write them back in an order of their own.
in_order() {{ printf '%s\\n' "$1" | tr ';' '\\n' | sort | tr '\\n' ' '; }}

set_services() {{
    now=$(cat "$1/qat/cfg_services" 2>/dev/null) || {{ say "${{1##*/}}: this kernel cannot set services"; return 1; }}
    [ "$(in_order "$now")" = "$(in_order "$services")" ] && return 0
    # `down` takes the VFs along: qat_common/adf_sriov.c
    if [ "$(cat "$1/qat/state")" = up ]; then set_to "$1/qat/state" down || return 1; fi
    put "$1/qat/cfg_services" "$services" || {{ put "$1/qat/state" up; return 1; }}
    now=$(cat "$1/qat/cfg_services")
    [ "$(in_order "$now")" = "$(in_order "$services")" ] || {{
        say "wrote '$services' to $1/qat/cfg_services, it reads back '$now'"
        return 1
    }}
    set_to "$1/qat/state" up
}}

has_driver() {{ [ "$(basename "$(readlink "$1/driver")" 2>/dev/null)" = "$2" ]; }}

bind() {{
    has_driver "$1" "$2" || {{
        put "$1/driver_override" "$2" || return 1
        if [ -e "$1/driver" ]; then put "$1/driver/unbind" "${{1##*/}}" || return 1; fi
        put "/sys/bus/pci/drivers/$2/bind" "${{1##*/}}" || return 1
        has_driver "$1" "$2" || {{ say "${{1##*/}} is not bound to $2"; return 1; }}
    }}
    node=/dev/vfio/$(basename "$(readlink "$1/iommu_group")")
    [ -e "$node" ] || {{ say "${{1##*/}} has no node $node"; return 1; }}
    chgrp "$group" "$node" && chmod "$mode" "$node" || return 1
    [ "$(stat -c '%a %G' "$node")" = "${{mode#0}} $group" ] || {{ say "$node is not $group $mode"; return 1; }}
}}

# Everything for one PF; it ends with the status of what went wrong last.
prepare() {{
    pf=$devices/$1
    case $(cat "$pf/device") in
{ids}
    esac
    choose "$1" "$(cat "$pf/numa_node")" "$(cat "$pf/device")"
{_impossible(config)}    if [ ! -e "$pf/driver" ]; then
        modprobe "$module"
        [ -e "$pf/driver" ] || put "/sys/bus/pci/drivers/$driver/bind" "$1" || return 1
    fi
    [ -z "$services" ] || set_services "$pf" || return 1
    # Since 6.9; a kernel without it is not a failure.
    [ -z "$auto_reset" ] || [ ! -e "$pf/qat/auto_reset" ] || set_to "$pf/qat/auto_reset" "$auto_reset" || return 1
    if [ "$vfs" = no ]; then
        # Before 6.12 the driver refuses 0, but `down` takes the VFs along.
        [ "$(cat "$pf/sriov_numvfs")" = 0 ] || {{ put "$pf/qat/state" down && put "$pf/qat/state" up; }}
        return
    fi
    if [ "$(cat "$pf/qat/state" 2>/dev/null || echo up)" != up ]; then set_to "$pf/qat/state" up || return 1; fi
    total=$(cat "$pf/sriov_totalvfs")
    [ "$(cat "$pf/sriov_numvfs")" = "$total" ] || set_to "$pf/sriov_numvfs" "$total" || return 1
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
        choose "${{device##*/}}" "$(cat "$device/numa_node")" "$(cat "$device/device")"
        [ "$vfio" = none ] || bind "$device" "$vfio" || status=1
        ;;
    esac
done
for job in $running; do wait "$job" || status=1; done
exit $status
"""


def _choices(config: NodeConfig) -> str:
    base = config.devices
    whole = {"services": base.services, "vfs": base.vfs, "driver": base.driver, "auto_reset": base.auto_reset}
    lines = ["    " + _assignments(_variables(whole.items()))]
    for override in config.overrides:
        values = _variables(override.values)
        test = f"case $1 in {override.device.lower() or '*'})"
        inner = _assignments(values)
        if override.numa_node is not None:
            inner = f'if [ "$2" = {override.numa_node} ]; then {inner}; fi'
        if override.family:
            ids = next(f"0x{f.pf_id:04x}" for f in _PFS if f.name == override.family)
            inner = f'if [ "$3" = {ids} ]; then {inner}; fi'
        lines.append(f"    {test} {inner} ;; esac")
    return "".join(f"{line}\n" for line in lines)


def _impossible(config: NodeConfig) -> str:
    """Services that a family cannot offer, refused before its VFs are destroyed to try them."""
    asked = [config.devices.services, *(dict(override.values).get("services") for override in config.overrides)]
    rows = [
        f"    0x{family.pf_id:04x}:{shlex.quote(hardware.spell_services(services))})"
        f' say "$1: a {family.name} device {rule}, not $services"; return 1 ;;\n'
        for services in dict.fromkeys(one for one in asked if one)
        for family in _PFS
        if (rule := family.services.problem(services))
    ]
    return f'    case $(cat "$pf/device"):$services in\n{"".join(rows)}    esac\n' if rows else ""


def _variables(values: Iterable[tuple[str, object]]) -> dict[str, str]:
    """The script's variables for keys of a PfConfig."""
    return {"vfio" if key == "driver" else key: _value(key, value) for key, value in values}


def _value(key: str, value: object) -> str:
    if key == "services":
        return hardware.spell_services(value) if isinstance(value, frozenset) else ""
    if key == "auto_reset":
        return "" if value is None else "on" if value else "off"
    return {True: "yes", False: "no"}[bool(value)] if key == "vfs" else str(value)


def _assignments(values: dict[str, str]) -> str:
    return "; ".join(f"{name}={shlex.quote(value)}" for name, value in values.items())
