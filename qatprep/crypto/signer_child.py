"""The process in which a crypto_mb or a libcrypto signs. Started by qatprep.crypto.signer."""

from __future__ import annotations

from array import array
from dataclasses import asdict
from typing import Any

from qatprep.crypto.serve import Answer, secret, serve


class Child:
    """One library, and one key of each kind."""

    def __init__(self) -> None:
        self.signer: Any = None
        self.jobs: dict[str, Any] = {}

    def do_load(self, provider: str, library: str, gate: list[Any]) -> Answer:
        """`gate`: what the CPU must have for crypto_mb (instruction_sets.gate)."""
        from qatprep import _native

        try:
            if provider == "openssl":
                self.signer = _native.ssl_open(library)
            elif library == "bundled":
                self.signer = _native.mb_bundled(gate)
            else:
                self.signer = _native.mb_open(library, gate)
        except OSError as e:
            return {"error": e.strerror}
        return {name: getattr(self.signer, name) for name in ("version", "width", "path")}

    def do_key(self, kind: str, size: int, inputs: list[str]) -> Answer:
        """A key of `size` bytes of DER, which follow, and what to sign with it."""
        from qatprep import _native

        self.jobs[kind] = _native.Jobs(_native.Key(secret(size)), [bytes.fromhex(data) for data in inputs])
        return {}

    def do_expect(self, kind: str, results: list[str]) -> Answer:
        self.jobs[kind].expect([bytes.fromhex(result) for result in results])
        return {}

    def do_sign(self, kind: str) -> Answer:
        from qatprep import _native

        return {"results": _plain(_native.sign(self.signer, self.jobs[kind]))}

    def do_run(
        self, kind: str, workers: int, rate: float, arrive_seconds: float, seed: int, duration_ns: int, **load: Any
    ) -> Answer:
        """A Poisson load of `rate` a second for `arrive_seconds`; without a rate all that goes."""
        from qatprep import _native
        from qatprep.crypto.load import measured, poisson

        arrivals: list[array[int]] | None = None
        if rate:
            arrivals = poisson(rate, arrive_seconds, workers, seed)
        reports = _native.run(self.signer, self.jobs[kind], arrivals, workers, duration_ns, **load)
        return {"measured": asdict(measured(reports)), "results": _plain(reports[0]["results"])}


def _plain(results: list[bytes | None]) -> list[str | None]:
    return [None if result is None else result.hex() for result in results]


if __name__ == "__main__":
    serve(Child())
