"""How each parser is called with an input, and with what it makes of it. See targets.py."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial

from qatprep.host.capture import Capture
from qatprep.host.tree import Tree
from qatprep.host.values import META
from tests.fuzz.node import NEXT, fresh, judged, judges, node, shown

RUN = "20260302T080000Z-0001"
JOURNAL = f"/var/lib/qatprep/runs/{RUN}.jsonl"


def text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


@cache
def scratch() -> str:
    """A file in memory that inputs are put into where a parser wants a path."""
    folder = "/dev/shm" if os.path.isdir("/dev/shm") else None
    return tempfile.mkstemp(prefix="qatprep-fuzz-", dir=folder)[1]


def stored(data: bytes) -> str:
    with open(scratch(), "wb") as file:
        file.write(data)
    return scratch()


# -- host files -------------------------------------------------------------------------------------------------------


def host_file(data: bytes) -> None:
    """A host file as --root takes it; what it describes is written as text and read again."""
    from qatprep.host import manifest

    tree = manifest.load(stored(data))
    assert manifest.dump(manifest.parse(manifest.dump(tree), "again")) == manifest.dump(tree)


def host_values(data: bytes) -> None:
    """Lines of a host file below /.qatprep: what no file of a host tells."""
    from qatprep.cli.open_host import open_host
    from qatprep.facts import cpu, log
    from qatprep.host.launcher import launcher
    from qatprep.host.manifest import HEADER

    judge = judges(data)
    host = open_host(stored((node() if judge else f"{HEADER}\n").encode() + data))
    host.boot_id()
    host.machine()
    host.wallclock()
    for path in ("/etc/group", "/proc/cmdline"):
        host.modified(path)
    host.run(["kubectl", "version"])
    host.run(["containerd", "--version"])
    cpu.gather(host)
    log.gather(host)
    launcher(host)
    if judge:
        judged(host)


def state_file(data: bytes) -> None:
    """QATPREP_STATE: the host is opened as --simulate does, and looked at."""
    from qatprep.simulator.state_file import KeptHost

    host = KeptHost(stored(data), "spr-2s", fresh, "6.12", "6.12")
    os.close(host._lock_fd)
    judged(host)


# -- qatprep's own files ----------------------------------------------------------------------------------------------


def journal(data: bytes) -> None:
    from qatprep.engine import journal
    from qatprep.report import rollback

    host = _node()
    host.tree.file(JOURNAL, data, 0o600)
    journal.last_run(host)
    runs = journal.runs(host)
    shown(
        [rollback.runs_document(runs, host), rollback.rollback_document("x", "planned", runs, [])],
        lambda console: rollback.print_runs(console, runs, host),
        lambda console: rollback.print_chain(console, runs, host),
    )


@cache
def _node() -> Capture:
    return Capture(fresh(), "node")


def config(data: bytes) -> None:
    """A configuration, and what becomes of it: a plan, and the files that keep it."""
    from qatprep.cli.look import look
    from qatprep.config import parse
    from qatprep.config.writing import pf_rows, rows
    from qatprep.report import config as report
    from qatprep.report.plan import plan_document

    config = parse(text(data), "x")
    if judges(data):
        host = _node()
        seen = look(host, config)
        shown(plan_document(seen.plan, host.label, config.source, diff=True))
        shown(report.show_document("x", "x", rows(config), pf_rows(config, seen.facts.pci.pfs)))


def settings(data: bytes) -> None:
    from qatprep.config import parse

    parse("", "x", text(data).split("\n")[:6])


# -- what inspect reads -----------------------------------------------------------------------------------------------


def config_dump(data: bytes) -> None:
    from qatprep.mesh.inspect import config_dump, source
    from qatprep.mesh.inspect.judge.config_dump import judge
    from qatprep.report import inspect

    dump = config_dump.parse(source.read(stored(data)))
    found = judge(dump, None)
    shown(inspect.dump_document("x", dump, found), lambda console: inspect.print_dump(console, dump, found))


def stats(data: bytes) -> None:
    from qatprep.mesh.inspect import source, stats
    from qatprep.mesh.inspect.histogram import queues
    from qatprep.mesh.inspect.judge.stats import judge
    from qatprep.report import inspect

    found = stats.parse(source.read(stored(data)))
    for each, rate in ((found, None), (found.minus(found), stats.Rate(10.0, found.concurrency or 0, 1000.0))):
        sizes = queues(each.histograms, None, None)
        said = judge(each, sizes, rate)
        shown(
            inspect.stats_document("x", each, sizes, rate, said),
            partial(inspect.print_stats, stats=each, queues=sizes, rate=rate, findings=said),
        )


def log(data: bytes) -> None:
    from qatprep.mesh.inspect import logs, source
    from qatprep.mesh.inspect.judge.logs import judge
    from qatprep.report import inspect

    found = logs.read("x", source.lines(stored(data)))
    said = judge(found)
    shown(inspect.log_document(found, said), lambda console: inspect.print_log(console, found, said))


def manifest(data: bytes) -> None:
    from qatprep.mesh.inspect import manifest, source
    from qatprep.mesh.inspect.judge.manifest import judge
    from qatprep.report import inspect

    found = manifest.parse(source.read(stored(data)))
    judgement = judge(found)
    shown(
        inspect.manifest_document(found, judgement),
        lambda console: inspect.print_manifest(console, found, judgement),
    )


def tune(data: bytes) -> None:
    from qatprep.mesh.provider import Kind, choose

    choose(Kind.CRYPTOMB, tune=stored(data))


def documented(parser: Callable[[], object]) -> None:
    """One that says in its docstring that a ValueError is its answer."""
    with contextlib.suppress(ValueError):
        parser()


def measurement(data: bytes) -> None:
    """A document of `bench` or `tune` that `report` draws."""
    from xml.etree.ElementTree import tostring

    from qatprep.report.page import html, markdown, numbers

    for chart in numbers.charts([stored(data)]):
        tostring(html._chart(chart))
        list(markdown._chart(chart))


def words(data: bytes) -> None:
    """Arguments of the command line that have a grammar of their own: the first byte says which."""
    from qatprep import hardware
    from qatprep.cli import inspect, select
    from qatprep.mesh import durations
    from qatprep.mesh.inspect import handshake
    from qatprep.runtime import memlock

    value = text(data[1:])
    known = ["0000:6b:00.0", "0000:6b:00.1"]
    grammars: tuple[Callable[[], object], ...] = (
        lambda: durations.for_istio(durations.parse(value)),
        lambda: durations.for_envoy(durations.parse(value)),
        lambda: select.full(value),
        lambda: select.matching([value], known, "device"),
        lambda: inspect._version(value),
        lambda: handshake.target(value),
        lambda: hardware.suggest_services(value),
        lambda: documented(lambda: hardware.spell_services(hardware.parse_services(value))),
        lambda: documented(lambda: memlock.spell(memlock.parse_limit(value).soft)),
    )
    grammars[(data or b"\0")[0] % len(grammars)]()


# -- what programs and the kernel say ----------------------------------------------------------------------------------


def dumps(data: bytes) -> None:
    """What `containerd config dump` and `containerd --version` print."""
    from qatprep.runtime.containerd import parse_version
    from qatprep.runtime.dump import unwanted

    before, _, after = text(data).partition(text(NEXT))
    parse_version(before)
    documented(lambda: unwanted(before, after, paths=frozenset({"/x"})))


def node_answer(data: bytes) -> None:
    """What `kubectl get node` answers."""
    from qatprep.facts import kubernetes

    host = _node()
    path = kubernetes.KUBECONFIGS[0]
    argv = ["kubectl", "--kubeconfig", path, "--request-timeout=3s", "get", "--raw", "/api/v1/nodes/n1"]
    answer = {"argv": argv, "rc": 0, "stdout": text(data), "stderr": ""}
    host.tree.file(path, b"")
    host.tree.file(f"{META}/programs", json.dumps(answer).encode())
    kubernetes.gather(host, "kubelet --hostname-override=n1")


def kernel_log(data: bytes) -> None:
    from qatprep import facts

    host = _node()
    host.tree.file(f"{META}/dmesg", data)
    facts.log.gather(host)
    if judges(data):
        judged(host)


def captured(data: bytes) -> None:
    """What a capture takes out: the files of a host, redacted, are a host file again."""
    from qatprep.host import manifest, redact

    tree = Tree()
    parts = data.split(NEXT)
    for path, content in zip(CAPTURED, parts, strict=False):
        if path == f"{META}/programs":  # written by the recorder, with what the program said
            answer = {"argv": ["kubectl"], "rc": 0, "stdout": text(content), "stderr": ""}
            content = json.dumps(answer).encode()
        tree.file(path, content)
    manifest.parse(redact.redact(tree, set(CAPTURED), ("node1", ".example.org"), {"qat"})[0], "again")


CAPTURED = (
    JOURNAL, "/var/lib/kubelet/device-plugins/kubelet_internal_checkpoint", f"{META}/programs", f"{META}/dmesg",
    "/etc/group", "/proc/cmdline", "/etc/default/grub", "/proc/1201/cmdline", "/proc/1201/status",
    "/etc/containerd/config.toml",
)  # fmt: skip


# -- in C, and beside the package -------------------------------------------------------------------------------------


def native(data: bytes) -> None:
    """Keys, messages and paths as qatprep._native takes them: it refuses, it never ends the process."""
    from qatprep import _native

    kind, body = (data or b"\0")[0] % 3, data[1:]
    if kind == 0:
        _native.Key(bytearray(body))
    elif kind == 1:
        at = body[0] if body else 0
        _native.Jobs(_native.Key(bytearray(rsa_key())), [body[1 : 1 + at], body[1 + at :]])
    else:
        _native.ssl_open(text(body))


@cache
def rsa_key() -> bytes:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(65537, 2048)
    form = serialization.PrivateFormat.TraditionalOpenSSL
    return key.private_bytes(serialization.Encoding.DER, form, serialization.NoEncryption())


def key_file(data: bytes) -> None:
    from qatprep.mesh import keys
    from qatprep.mesh.provider import Kind

    keys.certificate_kind(data)
    keys.check_key_file(stored(data), Kind.QAT)


def emulator(data: bytes) -> None:
    """Faults by name, and a whole conversation in vfio-user with an emulated VF."""
    from qat_emulator.faults import BadFault, Faults
    from qat_emulator.mailbox import StandInPf
    from qat_emulator.record import Record
    from qat_emulator.vf import Vf
    from qat_emulator.vfio_user import Connection

    head, _, body = data.partition(NEXT)
    try:
        faults = Faults(text(head).split())
    except BadFault:
        faults = Faults()
    function = Vf("vf0", StandInPf("sym;asym"), _engines(), faults, Record())
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(body[: 1 << 15])
        ours.shutdown(socket.SHUT_WR)
        Connection(function, theirs).serve()


@cache
def _engines() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1)
