"""How `qatprep inspect` tells what it found: tables and bars for people, documents for programs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from rich.text import Text

from qatprep.findings import Finding, Status, worst
from qatprep.mesh.inspect.config_dump import Certificate, Dump, TlsChain
from qatprep.mesh.inspect.histogram import Queue, Sizes
from qatprep.mesh.inspect.judge.manifest import Judgement
from qatprep.mesh.inspect.judge.stats import Filling, filling
from qatprep.mesh.inspect.logs import Log
from qatprep.mesh.inspect.manifest import Manifest
from qatprep.mesh.inspect.stats import Rate, Ssl, Stats
from qatprep.mesh.provider import Kind
from qatprep.report.console import Console
from qatprep.report.findings import document as finding
from qatprep.report.findings import of_file, print_findings
from qatprep.report.rows import columns
from qatprep.text import plural, printable

_BAR = 40
"""Columns of the longest bar."""
_MOST = 200
"""Rows of a table for people; JSON has all."""
_FILLINGS = {
    Filling.NOTHING: "nothing was signed through CryptoMB",
    Filling.FEW: "too few to say more",
    Filling.FULL: "queues fill before the poll delay is over",
    Filling.SINGLE: "mostly one at a time, which saves nothing",
    Filling.PART: "queues fill in part",
}

# -- config dump ------------------------------------------------------------------------------------------------------


def _rows(dump: Dump) -> Iterable[tuple[TlsChain, str, Certificate | None]]:
    for chain in dump.chains:
        for name, certificate in dump.certificates(chain) or [("", None)]:
            yield chain, name, certificate


def dump_document(name: str, dump: Dump, findings: Sequence[Finding]) -> dict[str, Any]:
    """schema/inspect-config-dump.json."""
    return {
        "schema": "qatprep.inspect-config-dump/1",
        "source": name,
        "result": str(worst(findings)),
        "envoy": {
            "version": f"{dump.version[0]}.{dump.version[1]}" if dump.version else None,
            "build": dump.build or None,
            "key_providers": None if dump.key_providers is None else list(dump.key_providers),
            "admin": dump.admin or None,
        },
        "listeners": [
            {
                "listener": chain.listener,
                "address": chain.address,
                "server_names": list(chain.names),
                "state": chain.state,
                "refusal": chain.refusal or None,
                "secret": secret or None,
                "provider": certificate.provider or None if certificate else None,
                "fallback": certificate.fallback if certificate else None,
                "key": str(certificate.key) if certificate and certificate.key else None,
                "resumption": not chain.no_resumption,
            }
            for chain, secret, certificate in _rows(dump)
        ],
        "clusters": [
            {
                "cluster": cluster.name,
                "secret": secret or None,
                "provider": certificate.provider or None if certificate else None,
                "key": str(certificate.key) if certificate and certificate.key else None,
            }
            for cluster in dump.clusters
            for secret, certificate in dump.certificates(cluster)
        ],
        "findings": [finding(f) for f in findings],
    }


def _signing(dump: Dump) -> str:
    """Who has queues of CryptoMB: each TLS context of its own, on every worker."""
    listeners = sum(c is not None and c.provider == Kind.CRYPTOMB for _, _, c in _rows(dump))
    clusters = sum(
        c is not None and c.provider == Kind.CRYPTOMB
        for cluster in dump.clusters
        for _, c in dump.certificates(cluster)
    )
    if listeners + clusters < 2:
        return ""
    parts = [plural(n, noun) for n, noun in ((listeners, "listener certificate"), (clusters, "cluster")) if n]
    return f"CryptoMB signs for {' and '.join(parts)}: each has a queue of its own on every worker"


def print_dump(console: Console, dump: Dump, findings: Sequence[Finding]) -> None:
    rows = list(_rows(dump))
    cells: list[list[Text | str]] = []
    for chain, secret, certificate in rows[:_MOST]:
        if certificate is None:
            kind, fallback, key = Text("not in the dump", style="unknown"), "", ""
        else:
            kind = Text(certificate.provider, style="ok") if certificate.provider else Text("none", style="warn")
            fallback = ("yes" if certificate.key_outside else "cannot work") if certificate.fallback else "no"
            key = str(certificate.key) if certificate.key else "not shown"
        if chain.state != "active":
            kind = Text.assemble(kind, f" ({chain.state})")
        names = ", ".join(chain.names[:2]) + (" ..." if len(chain.names) > 2 else "")
        where = f"secret {secret}" if secret else (certificate.chain if certificate else "")
        cells.append([chain.listener, chain.address, names or "any", where, kind, fallback if certificate else "", key])
    if rows:
        columns(console, ("listener", "address", "names", "certificate", "provider", "fallback", "key"), cells)
    if len(rows) > _MOST:
        console.print(Text(f"and {len(rows) - _MOST} more: --output json has all", style="dim"))
    if dump.version:
        have = "" if dump.key_providers is None else f"; providers built in: {', '.join(dump.key_providers) or 'none'}"
        console.print(Text(f"Envoy {dump.version[0]}.{dump.version[1]} {dump.build}{have}", style="dim"))
    if signing := _signing(dump):
        console.print(Text(signing, style="dim"))
    well = "every TLS listener signs through a provider, as far as its configuration tells"
    print_findings(console, findings, well)


# -- statistics -------------------------------------------------------------------------------------------------------


def stats_document(
    name: str, stats: Stats, queues: Sequence[Queue], rate: Rate | None, findings: Sequence[Finding]
) -> dict[str, Any]:
    """schema/inspect-stats.json."""
    return {
        "schema": "qatprep.inspect-stats/1",
        "source": name,
        "result": str(worst(findings)),
        "seconds": rate.seconds if rate else None,
        "workers": stats.concurrency,
        "queues": [_queue_document(queue) for queue in queues],
        "tls": [_tls_document(address, ssl, rate) for address, ssl in stats.ssl.items()],
        "findings": [finding(f) for f in findings],
    }


def _queue_document(queue: Queue) -> dict[str, Any]:
    sizes = queue.sizes
    return {
        "listener": queue.histogram.listener or None,
        "cluster": queue.histogram.cluster or None,
        "algorithm": queue.histogram.algorithm,
        "form": str(queue.histogram.form),
        "batches": sizes.total if sizes else None,
        "signatures_per_batch": round(sizes.mean, 3) if sizes and sizes.mean is not None else None,
        "full_share": round(sizes.full, 4) if sizes and sizes.full is not None else None,
        "exact": sizes.exact if sizes else False,
        "reading": sizes.how if sizes else None,
        "doubt": (sizes.doubt or None) if sizes else queue.why,
        "sizes": [{"from": g.low, "to": g.high, "count": g.count} for g in sizes.groups] if sizes else [],
    }


def _tls_document(address: str, ssl: Ssl, rate: Rate | None) -> dict[str, Any]:
    return {
        "listener": address,
        "handshakes": ssl.handshakes,
        "resumed": ssl.reused,
        "errors": ssl.errors,
        "signed_with": ssl.algorithms(),
        "versions": ssl.versions,
        "full_per_second": round((ssl.handshakes - ssl.reused) / rate.seconds, 1) if rate and rate.seconds else None,
    }


def print_stats(
    console: Console, stats: Stats, queues: Sequence[Queue], rate: Rate | None, findings: Sequence[Finding]
) -> None:
    for queue in queues:
        _print_queue(console, queue)
    if stats.ssl:
        _print_tls(console, stats, rate)
    print_findings(console, findings, "nothing stands out")
    if queues:
        note = "Queue sizes depend on the load: they alone do not tell whether CryptoMB pays (qatprep tune does)."
        console.print(Text(note, style="dim"))


def _print_queue(console: Console, queue: Queue) -> None:
    where = queue.histogram.where
    console.print(Text.assemble((f"{where}: {queue.histogram.algorithm.upper()} batches by size", "id")))
    sizes = queue.sizes
    if sizes is None:
        console.print(Text(f"  {queue.why}", style="unknown"))
        return
    longest = max((group.count for group in sizes.groups), default=0)
    block = "#" if console.options.ascii_only else "█"
    width = max((len(group.label) for group in sizes.groups), default=1)
    digits = len(str(longest))
    for group in sizes.groups:
        share = group.count / sizes.total if sizes.total else 0
        bar = block * round(_BAR * group.count / longest) if longest else ""
        if group.count and not bar:
            bar = "." if console.options.ascii_only else "▏"
        console.print(Text(f"  {group.label:>{width}}  {group.count:>{digits}}  {share:>4.0%}  {bar}"))
    console.print(Text(f"  {_summary(sizes)} ({sizes.how})", style="dim"))


def _summary(sizes: Sizes) -> str:
    """Queue sizes in half a line."""
    parts = [plural(sizes.total, "batch", "batches")] if sizes.total else []
    if sizes.mean is not None:
        parts.append(f"{sizes.mean:.1f} signatures each")
    if sizes.full is not None:
        parts.append(f"{sizes.full:.0%} full")
    parts.append(_FILLINGS[filling(sizes)])
    return ", ".join(parts)


def _print_tls(console: Console, stats: Stats, rate: Rate | None) -> None:
    numbers = ("handshakes", "resumed", "full", *(["full/s"] if rate else []), "errors")
    cells = []
    for address, ssl in list(stats.ssl.items())[:_MOST]:
        full = ssl.handshakes - ssl.reused
        share = f"{ssl.reused} ({ssl.reused / ssl.handshakes:.0%})" if ssl.handshakes else "0"
        speed = [f"{full / rate.seconds:.0f}"] if rate and rate.seconds else [] if not rate else ["-"]
        signed = ", ".join(ssl.algorithms()) or "-"
        cells.append([address, str(ssl.handshakes), share, str(full), *speed, str(ssl.errors), signed])
    columns(console, ("listener", *numbers, "signed with"), cells, numbers)


# -- logs and manifests -----------------------------------------------------------------------------------------------


def log_document(log: Log, findings: Sequence[Finding]) -> dict[str, Any]:
    """schema/inspect-log.json."""
    return {
        "schema": "qatprep.inspect-log/1",
        "source": log.name,
        "result": str(worst(findings)) if findings or not log.lines else str(Status.UNKNOWN),
        "lines": log.lines,
        "findings": [finding(f) for f in findings],
        "not_recognised": {
            "lines": log.unknown if findings or log.unknown else log.lines,
            "quoted": [{"line": q.line, "text": q.text} for q in log.quoted],
        },
    }


def print_log(console: Console, log: Log, findings: Sequence[Finding]) -> None:
    if findings:
        print_findings(console, findings, "")
    if not log.quoted:
        if not findings:
            console.print(Text(f"{log.name} is empty"))
        return
    if log.unknown:
        what = f"not recognised: {plural(log.unknown, 'line')} about QAT or of a failure, of {log.lines} in {log.name}"
    else:
        what = f"not recognised: none of the {plural(log.lines, 'line')} of {log.name} is known; the last:"
    console.print(Text(what, style="unknown"))
    digits = len(str(log.quoted[-1].line))
    for line, text in log.quoted:
        console.say(Text(text), Text(f"  {line:>{digits}}  ", style="dim"))
    note = "qatprep does not know these sentences: they may be harmless or not."
    console.print(Text(note, style="dim"))


def manifest_document(manifest: Manifest, judgement: Judgement) -> dict[str, Any]:
    """schema/inspect-manifest.json."""
    findings, recognised = judgement.findings, judgement.recognised
    return {
        "schema": "qatprep.inspect-manifest/1",
        "source": manifest.name,
        "result": str(worst(findings)) if recognised else str(Status.UNKNOWN),
        "documents": manifest.documents,
        "recognised": [
            {
                "object": row.part.title,
                "document": row.part.document,
                "line": row.part.spot.line,
                "template": row.part.template or None,
                "parts": [{"path": str(it.spot), "line": it.spot.line, "text": it.text} for it in row.seen],
            }
            for row in recognised
        ],
        "not_judged": [part.title for part in judgement.passed_over],
        "findings": [finding(f) for f in findings],
    }


_NAMED = 8
"""Objects that are named to people; JSON has all."""
_LOOKED_FOR = (
    "Looked for: limits of qat.intel.com, QAT_POLICY, Istio's privateKeyProvider, Envoy's private_key_provider and "
    "static configurations, QatDevicePlugin, ServicesEnabled."
)


def print_manifest(console: Console, manifest: Manifest, judgement: Judgement) -> None:
    findings, recognised = judgement.findings, judgement.recognised
    name = printable(manifest.name)
    if not recognised:
        console.print(
            Text(f"{name}: nothing about QAT, CryptoMB or Envoy in it, so nothing was judged", style="unknown")
        )
        console.say(Text(_LOOKED_FOR, style="dim"))
    else:
        print_findings(console, findings, f"{name}: no mistake in what was recognised")
    shown = [row for row in recognised if row.seen]
    if shown and findings:
        console.print(Text("recognised:", style="dim"))
    for row in shown[:_NAMED]:
        where = f"line {row.part.spot.line}{of_file(row.part.document, None, row.part.template)}"
        console.say(Text.assemble((row.part.title, "id"), (f"  {where}", "dim")), "  ", hang=4)
        for it in row.seen[:_NAMED]:
            console.say(Text.assemble((f"{it.spot}: " if str(it.spot) else "", "dim"), it.text), "    ", hang=6)
        if len(row.seen) > _NAMED:
            console.say(Text(f"and {len(row.seen) - _NAMED} more", style="dim"), "    ")
    if len(shown) > _NAMED:
        console.say(Text(f"and {len(shown) - _NAMED} more: --output json has all", style="dim"), "  ")
    if judgement.passed_over:
        names = [part.title for part in judgement.passed_over[:_NAMED]]
        more = f" and {len(judgement.passed_over) - _NAMED} more" if len(judgement.passed_over) > _NAMED else ""
        console.say(
            Text(f"not judged, nothing about QAT or CryptoMB in: {', '.join(names)}{more}", style="dim"), hang=2
        )
