"""Verbs that are still to be named in qatprep.cli.app.VERBS."""

from __future__ import annotations

from qatprep.cli.app import VERBS

for _verb in ("gen-conf", "capture", "metrics"):
    VERBS.setdefault(_verb, "")
