"""The report as one HTML page: no script, nothing loaded from anywhere, light and dark, for a phone and for paper.

The page is a tree of elements, and the serializer of the standard library writes it: text and attributes are escaped
there, whatever they hold. Only style.css, which is ours, is not text.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files
from xml.etree.ElementTree import Element, tostring

from qatprep.findings import Finding, Status
from qatprep.outcome import Next
from qatprep.report.findings import fix_label, is_command, some, stage_of
from qatprep.report.page.content import EVIDENCE, SUBJECTS, WORDS, Content, Group, Proved, Verdict
from qatprep.report.page.numbers import Chart
from qatprep.report.page.svg import bar, square, squares
from qatprep.report.page.topology import LEGEND, Device, Mark, Numa, Square
from qatprep.report.text import valid
from qatprep.text import plural
from qatprep.version import VERSION

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def page(shown: Content) -> str:
    """The whole document."""
    style = files("qatprep.report.page").joinpath("style.css").read_text(encoding="utf-8")
    head = _tag(
        "head",
        _tag("meta", charset="utf-8"),
        _tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        _tag("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        _tag("title", f"{shown.title}: {shown.verdict} (qatprep report)"),
        _tag("style", style),
    )
    root = _tag("html", head, _tag("body", _tag("main", *_body(shown))), lang="en")
    return f"<!doctype html>\n{tostring(root, encoding='unicode', method='html')}\n"


def _tag(name: str, /, *children: Element | str | None, **attributes: str) -> Element:
    """An element. `cls` and `http_equiv` are the attributes whose names Python does not take."""
    keys = {"cls": "class", "http_equiv": "http-equiv", "aria_label": "aria-label"}
    element = Element(name, {keys.get(key, key): valid(value) for key, value in attributes.items()})
    last: Element | None = None
    for child in children:
        if isinstance(child, Element):
            element.append(child)
            last = child
        elif child:
            if last is None:
                element.text = (element.text or "") + valid(child)
            else:
                last.tail = (last.tail or "") + valid(child)
    return element


def _body(shown: Content) -> Iterator[Element]:
    yield _tag(
        "header",
        _tag("p", "qatprep report", cls="kicker"),
        _tag("h1", shown.title),
        _tag("p", f"{shown.about}. {shown.time}", cls="soft"),
    )
    verdicts = [_verdict(verdict) for verdict in shown.verdicts]
    yield _tag("section", *verdicts, cls="verdicts", aria_label="Verdict")
    if shown.next or shown.remaining:
        rows = [*(Next(action) for action in shown.remaining), *shown.next]
        yield _tag("section", _tag("h2", "Next"), _tag("ol", *map(_next, rows)), cls="card next")
    if shown.nodes or shown.strangers:
        yield from _section("Node", "One square is one VF.", *_picture(shown))
    if shown.findings:
        yield from _section("Findings", "Failures first, in the order of the chain.", *_findings(shown))
    yield _tag("section", _tag("h2", "Plan"), _tag("p", *_plan_text(shown), cls="about"), *_plan(shown))
    yield from _section("Proof", "; ".join(shown.proof), *_proof(shown))
    if shown.charts:
        yield from _section("Measured", "", *map(_chart, shown.charts))
    if shown.others:
        yield from _section("Other stages", "", _table(shown.others))
    yield from _section("Environment", "", _table(shown.environment))
    yield _tag(
        "footer",
        f"Made by qatprep {VERSION}. It shows names of processes and pods and lines of the kernel log where they "
        "matter; no keys and no environment variables.",
    )


def _section(title: str, about: str, *children: Element) -> Iterator[Element]:
    yield _tag("section", _tag("h2", title), _tag("p", about, cls="about") if about else None, *children)


def _verdict(verdict: Verdict) -> Element:
    text = [_reference(verdict.first), ": ", verdict.text] if verdict.first else [verdict.text]
    return _tag(
        "div",
        _tag("p", verdict.name, cls="kicker"),
        _tag("p", verdict.state, cls=f"state {verdict.mood}"),
        _tag("p", *text),
        cls=f"card {verdict.mood}",
    )


def _reference(id: str) -> Element:
    """The id of a finding, which leads to it on this page."""
    return _tag("a", id, href=f"#{id}", cls="id")


def _next(item: Next) -> Element:
    return _tag("li", _tag("code", item.command), _tag("span", item.why, cls="soft") if item.why else None)


# -- the picture ------------------------------------------------------------------------------------------------------


def _picture(shown: Content) -> Iterator[Element]:
    if shown.nodes:
        yield _tag("div", *map(_numa, shown.nodes), cls="nodes")
        marks = {square.mark for node in shown.nodes for device in node.devices for square in device.squares}
        yield _tag("ul", *(_legend(mark) for mark in Mark if mark in marks), cls="legend")
    for text in shown.strangers:
        yield _tag("p", text, cls="soft")


def _numa(node: Numa) -> Element:
    return _tag(
        "section",
        _tag("h3", node.name),
        _tag("div", *map(_device, node.devices), cls="devices"),
        cls="card",
        aria_label=node.name,
    )


def _device(device: Device) -> Element:
    failure = device.first
    return _tag(
        "div",
        _tag("p", _tag("span", device.name, cls="bdf"), _tag("span", device.services, cls="soft"), cls="row"),
        squares(device),
        _tag("p", device.usable_text, _tag("span", " ", _reference(failure.id)) if failure else None),
        _tag("p", f"IOMMU groups {device.groups}", cls="soft") if device.groups else None,
        cls="device fail" if failure else "device",
    )


def _legend(mark: Mark) -> Element:
    picture = _tag("svg", square(Square("", mark, LEGEND[mark])), viewBox="-1 -1 18 18", width="18", height="18")
    return _tag("li", picture, LEGEND[mark])


# -- findings, plan, proof --------------------------------------------------------------------------------------------


def _findings(shown: Content) -> Iterator[Element]:
    known: set[str] = set()
    for f in shown.findings:
        yield _finding(f, shown.bootstrap, target=f.id not in known)
        known.add(f.id)


def _finding(f: Finding, bootstrap: str, *, target: bool) -> Element:
    """`target`: whether references to the id lead here."""
    rows: list[Element] = []
    if f.subjects:
        rows += _pair("where", _tag("span", some(f.subjects, SUBJECTS), cls="bdf"))
    if f.evidence:
        seen = [_tag("code", f"{e.path}: {e.value}", cls="line") for e in f.evidence[:EVIDENCE]]
        more = len(f.evidence) - len(seen)
        rows += _pair("seen", *seen, _tag("p", f"and {more} more", cls="soft") if more else None)
    if f.cause:
        rows += _pair("cause", f.cause)
    if f.step or f.instead:
        rows += _pair("fix", _tag("pre", f"qatprep {f.step}{bootstrap}") if f.step else _tag("p", f.instead))
    if f.fix:
        rows += _pair(fix_label(f), *(_tag("pre" if is_command(step) else "p", step) for step in f.fix))
    return _tag(
        "article",
        _tag("h3", _tag("span", WORDS[f.status], cls=f"mark {_MOODS[f.status]}"), f.title),
        _tag("p", _tag("span", f.id, cls="id"), f", {stage_of(f)}", cls="soft"),
        _tag("dl", *rows) if rows else None,
        cls="card finding",
        **({"id": f.id} if target else {}),
    )


_MOODS = {Status.FAIL: "fail", Status.UNKNOWN: "warn", Status.WARN: "warn"}


def _pair(label: str, *children: Element | str | None) -> list[Element]:
    return [_tag("dt", label), _tag("dd", *children)]


def _plan_text(shown: Content) -> Iterator[Element | str]:
    yield _tag("code", f"qatprep bootstrap{shown.bootstrap}")
    yield f" would make {plural(shown.changes, 'change')}." if shown.changes else " has nothing to change."


def _plan(shown: Content) -> Iterator[Element]:
    yield from map(_group, shown.plan)
    if shown.notes:
        yield _tag("ul", *(_tag("li", note) for note in shown.notes), cls="card notes")


def _group(group: Group) -> Element:
    changes = [
        _tag("li", _tag("span", line.what), _tag("span", f"{line.before} → {line.after}", cls="change"))
        for line in group.lines
    ]
    return _tag(
        "div",
        _tag("h3", group.title),
        _tag("p", " ".join(group.devices), cls="bdf soft") if group.devices else None,
        _tag("ul", *changes, cls="changes"),
        *(_tag("p", f"Cost: {cost}", cls="cost") for cost in group.costs),
        cls="card",
    )


def _proof(shown: Content) -> Iterator[Element]:
    if shown.proved:
        yield _tag("ul", *map(_proved, shown.proved), cls="card proved")


def _proved(item: Proved) -> Element:
    mark = _tag("span", "holds" if item.holds else "no proof", cls="mark ok" if item.holds else "mark warn")
    return _tag("li", _tag("span", item.device, cls="bdf"), mark, _tag("span", item.text))


def _chart(chart: Chart) -> Element:
    most = max((one.value for one in chart.bars), default=0.0)
    rows = [
        _tag("li", _tag("span", one.label), bar(one, most), _tag("span", one.text, cls="value")) for one in chart.bars
    ]
    return _tag(
        "div",
        _tag("h3", chart.title),
        _tag("p", chart.about, cls="soft"),
        _tag("ul", *rows, cls="bars"),
        _tag("p", chart.advice) if chart.advice else None,
        cls="card",
    )


def _table(rows: tuple[tuple[str, str], ...]) -> Element:
    return _tag("dl", *(element for label, text in rows for element in _pair(label, text)), cls="card facts")
