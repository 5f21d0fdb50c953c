"""Running the verbs in this process, as a person would."""

from __future__ import annotations

import io
from dataclasses import dataclass

import qatprep.cli.app
from qatprep.__main__ import main
from qatprep.cli.session import Session
from qatprep.host.base import Host

for verb in ("render", "inspect"):
    qatprep.cli.app.VERBS.setdefault(verb, verb)


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str


def qatprep_(*argv: str, host: Host | None = None, columns: int = 120) -> Ran:
    out, err = io.StringIO(), io.StringIO()
    session = Session(out=out, err=err, env={"COLUMNS": str(columns)}, given_host=host)
    code = main(list(argv), session)
    return Ran(code, out.getvalue(), err.getvalue())
