"""Whose CPU it is that lacks instructions: by DMI, CPUID's hypervisor leaf, the model name; what its user can do."""

from __future__ import annotations

from typing import Any

import pytest

from qatprep import instruction_sets as sets
from qatprep.checks import cpu_owner
from qatprep.checks.base import Profile
from qatprep.checks.registry import evaluate
from qatprep.cli.open_host import open_host
from qatprep.config import NodeConfig
from qatprep.facts import Facts, gather
from qatprep.facts.cpu import CpuFacts
from qatprep.findings import Finding, Status


def facts(host: str) -> Facts:
    return gather(open_host("/", host))


def cpu(**values: Any) -> CpuFacts:
    return facts("cpu-amd-zen4").cpu._replace(**values)


def failing(host: str, **config: object) -> Finding:
    report = evaluate(facts(host), NodeConfig(**config), Profile.CRYPTOMB)  # type: ignore[arg-type]
    return report.of(Status.FAIL, Status.WARN)[0]


STORIES = [
    # simulated host, words of the cause, words of what can be done
    ("cpu-gds-force", "Gather Data Sampling", "microcode"),
    ("cpu-gds-force", "gather_data_sampling=force", "remove gather_data_sampling=force"),
    ("cpu-gds-built-in", "CONFIG_MITIGATION_GDS_FORCE", "gather_data_sampling=off"),
    ("cpu-clearcpuid-number", "clearcpuid=304", "remove clearcpuid=304"),
    ("cpu-no-xcr0", "noxsave", "remove noxsave"),
    ("cpu-vm-xen-without-state", "The hypervisor offers", "the administrator of the VM's host"),
    ("cpu-vm-without-avx512-state", "The hypervisor offers", "-cpu host"),
    ("cpu-vm-icelake-server", "QEMU's CPU models", "<feature policy='require' name='avx512ifma'/>"),
    ("cpu-vm-icelake-server", "QEMU's CPU models", "-cpu MODEL,+avx512ifma"),
    ("cpu-vm-without-vl-and-vbmi", "SIGILL", "+avx512vl,+avx512vbmi"),
    ("cpu-vm-kata-snp", "Kata", "runtime class"),
    ("cpu-vm-tdx", "XFAM", "XFAM bits 5 to 7"),
    ("cpu-vm-firecracker", "Firecracker", "without a CPU template"),
    ("cpu-vm-vmware-evc", "EVC", "EVC mode"),
    ("cpu-vm-ec2", "EC2 instance type m5.2xlarge", "m6i"),
    ("cpu-vm-gcp", "Google Cloud", '--min-cpu-platform="Intel Ice Lake"'),
    ("cpu-vm-azure", "Azure VM size", "Dsv5"),
    ("cpu-vm-hyperv", "processor compatibility", "-CompatibilityForMigrationEnabled $false"),
    ("cpu-masked-in-vm", "QEMU's CPU models", "start it again"),
    ("cpu-alder-lake", "client CPU", "Ice Lake"),
    ("cpu-no-ifma", "The CPU itself", "Ice Lake"),
]


@pytest.mark.parametrize(("host", "cause", "fix"), STORIES)
def test_the_cause_and_a_step_the_reader_can_take(host: str, cause: str, fix: str) -> None:
    found = failing(host)
    assert cause in found.cause
    assert fix in "\n".join(found.fix)


@pytest.mark.parametrize("host", ["cpu-vm-xen-without-state", "cpu-vm-without-avx512-state"])
def test_arguments_that_clear_nothing_are_not_blamed(host: str) -> None:
    found = failing(host)
    assert "umip" not in found.cause and "umip" not in "".join(found.fix)
    assert not [e for e in found.evidence if e.path == "/proc/cmdline"]


VENDORS = [
    ("OpenStack Foundation", "OpenStack Nova", "", "Nova"),
    ("KubeVirt", "None", "", "KubeVirt"),
    ("Nutanix", "AHV", "", "cluster"),
    ("oVirt", "RHEL", "", "cluster"),
    ("innotek GmbH", "VirtualBox", "", "VirtualBox"),
    ("Oracle Corporation", "VirtualBox", "", "VirtualBox"),
    ("Some Cloud", "vm.large", "VMwareVMware", "EVC"),
    ("Some Cloud", "vm.large", "XenVMMXenVMM", "Xen"),
    ("Some Cloud", "vm.large", "Microsoft Hv", "Hyper-V"),
    ("Some Cloud", "vm.large", "KVMKVMKVM", "This is a VM"),
    ("Amazon EC2", "c5.metal", "", "EC2"),
]


@pytest.mark.parametrize(("vendor", "product", "signature", "words"), VENDORS)
def test_who_is_named(vendor: str, product: str, signature: str, words: str) -> None:
    machine = cpu(vendor=vendor, product=product, hypervisor=not product.endswith(".metal"), hypervisor_name=signature)
    cause, fix = cpu_owner.why(machine, [sets.AVX512IFMA])
    assert words in cause
    assert fix and "{" not in cause + "".join(fix)


@pytest.mark.parametrize("row", cpu_owner.OWNERS, ids=lambda row: row.cause[:30])
def test_every_row_can_be_written_out(row: cpu_owner.Owner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu_owner, "OWNERS", (row._replace(fits=lambda _: True),))
    cause, fix = cpu_owner.why(cpu(), [sets.AVX512VBMI2, sets.AVX_IFMA])
    assert "{" not in cause + "".join(fix)
    assert "avx512_vbmi2" not in "".join(step for step in fix if "/proc/cpuinfo" not in step)  # QEMU says avx512vbmi2


ENVOYS = [
    # what the node's Envoy is, and what doctor says of Sierra Forest
    ((1, 33), "QP-CPU-001", "does not use AVX-IFMA", "Envoy 1.35 or later"),
    ((1, 34), "QP-CPU-004", "no P-256 on this path", "Use RSA keys"),
    (None, "QP-CPU-004", "Multi-buffer CPU instructions not available", "--set envoy="),
]


@pytest.mark.parametrize(("envoy", "id", "cause", "fix"), ENVOYS)
def test_the_node_s_envoy_decides(envoy: tuple[int, int] | None, id: str, cause: str, fix: str) -> None:
    for host in ("cpu-sierra-forest", "cpu-arrow-lake"):
        found = failing(host, envoy=envoy)
        assert found.id == id
        assert cause in found.cause
        assert fix in found.fix[0]


def test_a_newer_envoy_signs_on_sierra_forest() -> None:
    report = evaluate(facts("cpu-sierra-forest"), NodeConfig(envoy=(1, 36)), Profile.CRYPTOMB)
    assert not report.of(Status.FAIL, Status.WARN)


@pytest.mark.parametrize("envoy", [(1, 30), (1, 34), (1, 40), None])
def test_avx512_is_enough_for_every_envoy(envoy: tuple[int, int] | None) -> None:
    for host in ("cpu-amd-zen5", "spr-2s"):
        report = evaluate(facts(host), NodeConfig(envoy=envoy), Profile.CRYPTOMB)
        assert not [f for f in report.of(Status.FAIL, Status.WARN) if f.id.startswith("QP-CPU-")]
