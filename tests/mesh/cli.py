"""Running the verbs in this process, as a person would."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import fastjsonschema

from qatprep.__main__ import main
from qatprep.cli.session import Session
from qatprep.host.base import Host
from tests.conftest import Screen


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str


def qatprep_(*argv: str, host: Host | None = None, columns: int = 120) -> Ran:
    out, err = Screen(), io.StringIO()
    session = Session(out=out, err=err, env={"COLUMNS": str(columns), "NO_COLOR": "1"}, given_host=host)
    code = main(list(argv), session)
    text = out.getvalue()
    if argv[0] == "inspect" and "json" in argv and text:
        _fits_its_schema(text)
    return Ran(code, text, err.getvalue())


@cache
def _schema(kind: str) -> Callable[[Any], Any]:
    text = files("qatprep.schema").joinpath(f"{kind}.json").read_text(encoding="utf-8")
    compiled: Callable[[Any], Any] = fastjsonschema.compile(json.loads(text))
    return compiled


def _fits_its_schema(text: str) -> None:
    """Every JSON document that a test sees is held against the schema that is shipped."""
    document = json.loads(text)
    _schema(document["schema"].removeprefix("qatprep.").removesuffix("/1"))(document)
