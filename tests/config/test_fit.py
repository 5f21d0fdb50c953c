"""What the devices cannot be is refused before anything is touched; what only the kernel's version speaks against is
asked.
"""

from __future__ import annotations

import errno
import itertools

import pytest

from qatprep.assess import assess
from qatprep.cli.open_host import open_host
from qatprep.config import impossible, parse
from qatprep.exits import ExitCode
from qatprep.facts import gather
from qatprep.hardware import (
    SERVICES,
    SUPPORTED,
    Family,
    parse_services,
    services_since,
    spell_services,
    suggest_services,
)
from qatprep.plan.node import make_plan
from qatprep.simulator import services as model
from qatprep.simulator.faults import Fault, Faults
from qatprep.simulator.host import SimulatedHost
from qatprep.simulator.kernel import Kernel
from tests.cli.test_ask import PROGRAM
from tests.conftest import qatprep
from tests.terminal import on_terminal

ONE = "0000:6b:00.0"
IMPOSSIBLE = [
    # host, services, the rule, a combination that is offered
    ("spr-2s-ready", "asym;sym;dc", "a 4xxx device offers at most 2 services at the same time", "sym;asym or asym;dc"),
    ("spr-2s-ready", "decomp", "a 4xxx device does not offer decomp, only asym, sym, dc, dcc", "sym;asym"),
    ("spr-2s-ready", "asym;dcc", "a 4xxx device offers dcc only by itself", "asym"),
    ("gen6-6xxx", "asym;sym;dc;decomp", "a 6xxx device offers at most 3 services at the same time", "sym;asym"),
    ("gnr-d-420xx", "asym;decomp", "a 420xx device does not offer decomp", "asym"),
]


def simulated(name: str) -> SimulatedHost:
    host = open_host("/", name)
    assert isinstance(host, SimulatedHost)
    return host


@pytest.mark.parametrize(("name", "services", "rule", "example"), IMPOSSIBLE)
def test_impossible_services_are_refused_by_the_rule(name: str, services: str, rule: str, example: str) -> None:
    pf = gather(open_host("/", name)).pci.pfs[0].bdf
    setting = f"devices.services={services}"
    for arguments in (
        ["plan", "--set", setting],
        ["bootstrap", "--yes", "--set", setting],
        ["bootstrap", "--check", "--set", setting],
        ["bootstrap", "--yes", "--device", pf, "--set", setting],
        ["config", "check", "--set", setting],
        ["device", "services", services, pf, "--yes"],
        ["device", "services", services, pf, "--check"],
    ):
        host = simulated(name)
        called = qatprep(*arguments, host=host)
        assert (called.code, called.out) == (ExitCode.USAGE, ""), arguments
        assert rule in called.err
        assert f"fix:   for example {example}" in called.err
        assert arguments[0] == "device" or f"--set {setting!r}: " in called.err
        assert host.operations == [], arguments


def test_only_the_devices_that_are_chosen_have_to_fit() -> None:
    settings = ["--set", "devices@numa1.services=asym;sym;dc", "--yes", "--no-smoke"]
    assert qatprep("bootstrap", "--device", ONE, *settings, host=simulated("spr-2s")).code == ExitCode.OK
    assert qatprep("bootstrap", *settings, host=simulated("spr-2s")).code == ExitCode.USAGE


def test_each_key_and_family_is_told_once() -> None:
    pfs = gather(open_host("/", "mixed-generations")).pci.pfs
    text = "devices: {services: asym;sym;dc}\noverrides:\n- {match: {device: '0000:6b:*'}, services: decomp;dc;sym}\n"
    found = impossible(parse(text, "a.yaml"), pfs)
    assert len({(one.key, mine[0].family.name) for one, mine in found}) == len(found)
    assert {str(one.place) for one, _ in found} <= {"a.yaml:1:11", "a.yaml:3:34"}
    judged = [pf.bdf for _, mine in found for pf in mine]
    assert len(set(judged)) == len(judged)


def test_doctor_does_not_recommend_what_is_impossible() -> None:
    """Nor does any other verb; and at boot the PFs stay as they are."""
    called = qatprep("doctor", "--simulate", "services-impossible", "-o", "json")
    assert called.code == ExitCode.FINDINGS
    status = {finding["id"]: finding["status"] for finding in called.json["findings"]}
    assert (status["QP-SVC-003"], status["QP-SVC-001"]) == ("fail", "blocked")
    (mine,) = [finding for finding in called.json["findings"] if finding["id"] == "QP-SVC-003"]
    assert "bootstrap" not in "".join(mine["fix"])
    host = simulated("services-impossible")
    assert qatprep("bootstrap", "--boot", host=host).code == ExitCode.FINDINGS
    judged = assess(gather(host), parse("devices: {services: decomp}", "x"))
    assert {item.finding for item in make_plan(judged).skipped} == {"QP-SVC-003"}
    assert host.read_text(f"/sys/bus/pci/devices/{ONE}/sriov_numvfs") == "16\n"


def test_at_boot_the_others_are_prepared() -> None:
    host = simulated("spr-2s")
    called = qatprep("bootstrap", "--boot", "--set", "devices@numa1.services=decomp", host=host)
    assert called.code == ExitCode.FINDINGS
    assert [len(pf.vfs) for pf in gather(host).pci.pfs] == [16] * 4 + [0] * 4


# -- doubtful by version ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "services", "doubtful"),
    [
        ("spr-2s-ready@6.1", "asym", True),
        ("spr-2s-ready@6.1", "dc", False),
        ("spr-2s-ready@6.12", "asym", False),
        ("spr-2s-ready@6.5", "dcc", True),
        ("spr-2s@6.1", "asym", False),  # no VFs, so there is nothing to lose
    ],
)
def test_a_version_only_raises_a_question(name: str, services: str, doubtful: bool) -> None:
    plan = qatprep("plan", "--simulate", name, "--set", f"devices.services={services}", "-o", "json")
    single = qatprep("device", "services", services, ONE, "--check", "--simulate", name, "-o", "json")
    assert plan.code == ExitCode.FINDINGS and single.code == ExitCode.FINDINGS
    assert bool(plan.json["doubts"]) == bool(single.json["plan"]["doubts"]) == doubtful
    if doubtful:
        (text,) = plan.json["doubts"]
        assert f"may refuse {services}: mainline takes it from" in text
        assert "128 VFs are destroyed" in text and "0000:6b:00.1 to 0000:6b:02.0" in text
        (text,) = single.json["plan"]["doubts"]
        assert "16 VFs are destroyed" in text


def test_where_nobody_can_be_asked_it_is_refused() -> None:
    host = simulated("spr-2s-ready@6.1")
    host.simulated = False
    called = qatprep("device", "services", "asym", ONE, host=host)
    assert called.code == ExitCode.USAGE
    assert "may refuse asym" in called.err and "--yes" in called.err
    assert host.operations == []


@pytest.mark.parametrize(
    ("arguments", "question", "vfs"),
    [
        (["device", "services", "asym", ONE], "Go on? [y/N]: ", "16 VFs are destroyed"),
        (["bootstrap", "--no-smoke", "--set", "devices.services=asym"], "changes? [y/N]: ", "128 VFs are destroyed"),
    ],
    ids=["device services", "bootstrap"],
)
@pytest.mark.parametrize(
    ("answer", "code", "said"),
    [
        ("n\n", {"device": 0, "bootstrap": 0}, "othing was changed"),
        ("y\n", {"device": 4, "bootstrap": 4}, "mainline takes it from Linux 6.5 on"),
    ],
    ids=["no", "yes"],
)
def test_the_question_names_the_vfs(
    arguments: list[str], question: str, vfs: str, answer: str, code: dict[str, int], said: str
) -> None:
    program = PROGRAM.replace('"spr-2s-ready"', '"spr-2s-ready@6.1"')
    with on_terminal(*arguments, columns=160, program=("-c", program)) as terminal:
        terminal.until(question)
        asked = " ".join(terminal.text.split())
        assert "may refuse asym" in asked and vfs in asked and "0000:6b:00.1 to 0000:6b:02.0" in asked
        terminal.type(answer)
        assert terminal.end() == code[arguments[0]], terminal.text
        assert said in " ".join(terminal.text.split())
        assert terminal.text.rstrip().endswith("services: sym;asym")


@pytest.mark.parametrize("family", SUPPORTED, ids=lambda family: family.name)
def test_the_table_of_versions_is_that_of_the_simulated_kernels(family: Family) -> None:
    """No kernel that takes a combination is called doubtful too late; each takes it from there on."""
    series = ("6.1", "6.4", "6.5", "6.6", "6.8", "6.12", "6.15", "6.17", "7.2")
    for size, release in itertools.product((1, 2, 3), series):
        for tokens in itertools.combinations(SERVICES, size):
            wanted = frozenset(tokens)
            if family.services.problem(wanted):
                continue
            spelled = spell_services(wanted)
            kernel = Kernel(release)
            takes = model.accept(kernel, family, spelled) is not None
            old = kernel.series < services_since(wanted)
            assert takes != old or (spelled == "dcc" and release == "6.6"), (spelled, release)


# -- EINVAL -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "services", "words", "not_words"),
    [
        ("spr-2s-ready@6.1", "asym", ("mainline takes it from Linux 6.5 on, and this is 6.1", "newer kernel"), ()),
        ("spr-2s-ready@6.12", "asym", ("this device does not offer that combination",), ("newer kernel",)),
    ],
)
def test_the_hint_for_einval_names_the_reason(
    name: str, services: str, words: tuple[str, ...], not_words: tuple[str, ...]
) -> None:
    host = simulated(name)
    path = f"/sys/bus/pci/devices/{ONE}/qat/cfg_services"
    host.faults = Faults(Fault("errno", 1, errno.EINVAL, "write", path, times=1))
    called = qatprep("device", "services", services, ONE, "--yes", host=host)
    assert called.code == ExitCode.ROLLED_BACK
    said = called.out + called.err
    for text in words:
        assert text in said
    for text in not_words:
        assert text not in said


@pytest.mark.parametrize(
    ("text", "meant"),
    [("assym", "asym"), ("dc,asym", "dc;asym"), ("SYM ASYM", "sym;asym"), ("cy|dc", "cy;dc"), ("rsa", ""), ("", "")],
)
def test_what_a_services_text_was_meant_to_be(text: str, meant: str) -> None:
    assert suggest_services(text) == meant
    if meant:
        parse_services(meant)
