"""Reports of simulated hosts, and one whose every text is hostile."""

from __future__ import annotations

from dataclasses import replace

from qatprep.cli.look import look
from qatprep.cli.open_host import open_host
from qatprep.cli.select import name_of
from qatprep.config import NodeConfig
from qatprep.findings import Evidence, Finding, Status
from qatprep.outcome import Next
from qatprep.report.page.content import Content, Group, Line, Proved, Verdict, content
from qatprep.report.page.numbers import Bar, Chart
from qatprep.report.page.topology import Device, Mark, Numa, Square

HOSTS = ("spr-2s", "spr-2s-ready", "vf-held", "half-bound", "pf-hung", "vm-vfs", "no-qat", "gen6-6xxx", "gen2-c62x",
         "k8s-as-the-paper-says", "spr-2s-as-user", "spr-8s")  # fmt: skip


def shown(name: str) -> Content:
    host = open_host("/", name)
    again = f" --simulate {name}"
    found, judged, plan, outcome = look(host, NodeConfig(), again)
    return content(judged, plan, outcome, again=again, time=host.wallclock(), name_of=name_of(found))


def hostile(text: str) -> Content:
    """A report in which a host has put `text` wherever it can."""
    failure = Finding("QP-SVC-001", Status.FAIL, text, (text,), (Evidence(text, text),), text, (f"a{text}", f"A{text}"))
    squares = tuple(Square(text, mark, text) for mark in Mark)
    return replace(
        shown("spr-2s"),
        title=text,
        about=text,
        time=text,
        verdicts=(Verdict(text, text, "fail", text, "QP-SVC-001"),),
        next=(Next(text, text),),
        remaining=(text,),
        nodes=(Numa(text, (Device(text, text, squares, failure, text),)),),
        strangers=(text,),
        findings=(failure,),
        bootstrap=text,
        plan=(Group(text, (text,), (Line(text, text, text),), (text,)),),
        notes=(text,),
        proof=(text,),
        proved=(Proved(text, text, True),),
        charts=(Chart(text, text, (Bar(text, 1.0, text, True),), text),),
        others=((text, text),),
        environment=((text, text),),
    )
