"""qatprep bootstrap --boot: what qatprep-apply.service runs, in plain lines for the journal of systemd."""

from __future__ import annotations

from qatprep.cli.session import Session
from qatprep.config import NodeConfig
from qatprep.exits import OF_STATUS, ExitCode
from qatprep.host.base import Host


def at_boot(session: Session, host: Host, wanted: NodeConfig, *, as_json: bool, no_smoke: bool = False) -> ExitCode:
    """The exit status is the node's, as `bootstrap` gives it; 3 as well where a device was given up, or a signature
    failed. 4, 5, 1: nothing could be prepared."""
    from qatprep.cli.look import look, signed
    from qatprep.engine.boot import prepare
    from qatprep.outcome import document as last_word
    from qatprep.report import boot as report

    found = prepare(host, wanted)
    done = None
    if wanted.smoke and not no_smoke and not host.simulated and found.result.status in ("applied", "unchanged"):
        from qatprep.crypto.prove import prove
        from qatprep.facts import gather

        done = prove(host, found.result.facts or gather(host), "boot")
    last = None if done else found.result.facts
    seen = look(host, wanted, facts=last, only=lambda facts: lambda bdf: bdf not in found.given_up)
    outcome = (signed(host, seen, done.findings, "") if done else seen).outcome
    code = OF_STATUS[found.result.status]
    if code is ExitCode.OK:
        code = outcome.exit_status(asked=True)
        if found.given_up or (done and not done.report.ok):
            code = ExitCode.FINDINGS
    if as_json:
        document = report.document(found, host.label, wanted.source)
        session.json({**document, "outcome": last_word(outcome, code), "exit": int(code)})
    else:
        for line in report.lines(found, outcome):
            session.line(line)
        if done:
            session.line(f"proof: {done.report.verdict}{f'; not written: {done.why_not}' if done.why_not else ''}")
    return code
