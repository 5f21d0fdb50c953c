"""qatprep bootstrap --boot: what qatprep-apply.service runs, in plain lines for the journal of systemd."""

from __future__ import annotations

from qatprep.cli.session import Session
from qatprep.config import NodeConfig
from qatprep.exits import ExitCode
from qatprep.host.base import Host


def at_boot(session: Session, host: Host, wanted: NodeConfig, *, as_json: bool, no_smoke: bool = False) -> ExitCode:
    """Status 0: everything there is, is ready (a host without QAT is). 3: some devices are not. 4, 5: none is."""
    from qatprep.engine.boot import prepare
    from qatprep.report import boot as report

    found = prepare(host, wanted)
    done = None
    if wanted.smoke and not no_smoke and not host.simulated and found.result.status in ("applied", "unchanged"):
        from qatprep.crypto.prove import prove
        from qatprep.facts import gather

        done = prove(host, gather(host), "boot")
    code = _code(found.result.status, incomplete=bool(found.given_up or found.result.skipped))
    if as_json:
        session.json({**report.document(found, host.label, wanted.source), "exit": int(code)})
    else:
        for line in report.lines(found):
            session.line(line)
        if done:
            session.line(f"proof: {done.report.verdict}{f'; not written: {done.why_not}' if done.why_not else ''}")
    return code


def _code(status: str, *, incomplete: bool) -> ExitCode:
    if status in ("applied", "unchanged"):
        return ExitCode.FINDINGS if incomplete else ExitCode.OK
    codes = {"rolled back": ExitCode.ROLLED_BACK, "partial": ExitCode.PARTIAL, "interrupted": ExitCode.INTERRUPTED}
    return codes.get(status, ExitCode.ERROR)
