"""The process in which VFs are proved, one after the other. Started by qatprep.direct.prover."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from typing import Any

from qatprep.direct.prove import prove
from qatprep.direct.result import Entry, Limits


def main() -> None:
    out = int(sys.argv[1])

    def tell(line: dict[str, Any]) -> None:
        # Nobody may listen any more: what was begun is put back all the same.
        with contextlib.suppress(BrokenPipeError):
            os.write(out, json.dumps(line).encode() + b"\n")

    def keep(entry: Entry) -> None:
        tell({"entry": entry.as_dict()})

    for line in sys.stdin:
        request = json.loads(line)
        limits = Limits(**request["limits"])
        proof = prove(request["bdf"], int(request["number"], 16), limits=limits, keep=keep, way=request["way"])
        tell({"proof": proof.as_dict()})


if __name__ == "__main__":
    main()
