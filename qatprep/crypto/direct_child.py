"""The process in which VFs are proved, one after the other. Started by qatprep.crypto.prover."""

from __future__ import annotations

from qatprep.crypto.serve import Answer, part, serve
from qatprep.direct.prove import prove
from qatprep.direct.result import Limits


class Child:
    def do_prove(self, bdf: str, number: str, limits: dict[str, float], way: str) -> Answer:
        """Each line of the trace as it happens, then the proof. `number` is in hexadecimal digits."""
        proof = prove(bdf, int(number, 16), limits=Limits(**limits), keep=lambda entry: part(entry.as_dict()), way=way)
        return proof.as_dict()


if __name__ == "__main__":
    serve(Child())
