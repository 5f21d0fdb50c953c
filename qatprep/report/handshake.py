"""How `qatprep inspect handshake` tells what it found."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any

from rich.text import Text

from qatprep.findings import Finding, worst
from qatprep.mesh.inspect.handshake import Series
from qatprep.mesh.inspect.judge.handshake import Proof, Signer
from qatprep.report.console import Console
from qatprep.report.findings import document as finding
from qatprep.report.findings import print_findings
from qatprep.text import listed, plural

_MOST = 20
"""Rows of a table for people; JSON has all."""
_LABEL = 13
"""Columns."""


def document(series: Series, signed: Proof | None, findings: Sequence[Finding]) -> dict[str, Any]:
    """schema/inspect-handshake.json."""
    certificate = series.certificate
    return {
        "schema": "qatprep.inspect-handshake/1",
        "server": str(series.target),
        "server_name": series.target.name,
        "result": str(worst(findings)),
        "certificate": {
            "key": str(certificate.key),
            "names": list(certificate.names),
            "expires": certificate.until.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "verified": series.verified and not series.trouble,
        }
        if certificate
        else None,
        "answer": series.answer or None,
        "handshakes": [
            {"ms": round(h.seconds * 1000, 3), "version": h.version, "cipher": h.cipher, "resumed": h.resumed}
            for h in series.handshakes
        ],
        "signed": {"by": str(signed.signer), "provider": signed.provider or None, "why": signed.why}
        if signed
        else None,
        "findings": [finding(f) for f in findings],
    }


def show(console: Console, series: Series, signed: Proof | None, findings: Sequence[Finding]) -> None:
    def row(label: str, text: str) -> None:
        console.say(Text(text), Text(f"{label:{_LABEL}}", style="dim"))

    certificate = series.certificate
    if certificate:
        names = ", ".join(certificate.names[:4]) + (" ..." if len(certificate.names) > 4 else "")
        trust = "verified" if series.verified else "not verified: give --ca FILE"
        row("certificate", f"{certificate.key} for {names or 'no name'}, until {certificate.until:%Y-%m-%d}")
        row("", trust)
    if series.handshakes:
        kinds = dict.fromkeys(f"{h.version} {h.cipher}" for h in series.handshakes)
        row("agreed on", listed(list(kinds)))
        full = series.full()
        parts = [plural(full, "full handshake")] if full else []
        resumed = len(series.handshakes) - full
        row("handshakes", ", ".join([*parts, *([f"{resumed} resumed"] if resumed else [])]))
        for label, times in (
            ("full", [h.seconds * 1000 for h in series.handshakes if not h.resumed]),
            ("resumed", [h.seconds * 1000 for h in series.handshakes if h.resumed]),
        ):
            if times:
                row(f"{label}, ms", f"{min(times):.2f} least, {median(times):.2f} median, {max(times):.2f} most")
                some = " ".join(f"{t:.2f}" for t in times[:_MOST])
                row("  in turn", some + (" ... (--output json has all)" if len(times) > _MOST else ""))
        row("answer", series.answer or "none by HTTP/1.1")
    if signed:
        words = {
            Signer.PROVIDER: f"by the provider {signed.provider}",
            Signer.WORKER: "on Envoy's worker thread, by no provider",
            Signer.UNKNOWN: "unknown",
        }[signed.signer]
        row("signed", f"{words}: {signed.why}")
    well = "the server answers" + (
        " and its provider signs" if signed else "; --admin URL tells whether a provider signs"
    )
    print_findings(console, findings, well)
    if series.handshakes:
        console.print(Text("One connection at a time: this says nothing about the rate under load.", style="dim"))
