"""A library that signs, in a process of its own: crypto_mb or a libcrypto, with keys handed to it."""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import Any, Literal

from qatprep.crypto.child import Child, Trouble
from qatprep.crypto.keys import KeyKind, Work
from qatprep.crypto.load import NS, Measured
from qatprep.errors import QatprepError
from qatprep.instruction_sets import Gate

BUNDLED = "bundled"
LOAD_TIME = 15.0
ANSWER_TIME = 30.0
"""Seconds beyond what was asked for: the machine may have other things to do."""


class WrongResults(QatprepError):
    """A library signs wrongly, or took its process down: nothing it says counts."""


@dataclass(frozen=True)
class SignerRun:
    measured: Measured
    results: tuple[bytes | None, ...]
    """The last result of each job on the first worker."""


class Signer:
    """A started library. It ends with close(), or when nobody has it any more."""

    def __init__(self, provider: Literal["cryptomb", "openssl"], library: str, gate: Gate = ()) -> None:
        """`library`: a path, a soname, or BUNDLED. OSError saying why it cannot be used here."""
        self.provider = provider
        self.library = library
        self._child = Child("qatprep.crypto.signer_child")
        self.close = weakref.finalize(self, self._child.close)
        self._works: dict[KeyKind, Work] = {}
        self._foreseen: set[KeyKind] = set()
        try:
            answer = self._child.ask("load", LOAD_TIME, provider=provider, library=library, gate=gate)
        except Trouble as e:
            self.close()
            raise OSError(0, f"{library}: {e.detail}") from e
        if "error" in answer:
            self.close()
            raise OSError(0, answer["error"])
        self.version: str = answer["version"]
        self.width: int = answer["width"]
        """How many operations it does at once."""
        self.path: str = answer["path"]
        """The code path of crypto_mb (instruction_sets.py); "" for others."""

    @property
    def title(self) -> str:
        """Name, version and where it came from."""
        where = "linked in" if self.library == BUNDLED else self.library
        path = f", {self.path} path" if self.path not in ("", "AVX-512") else ""
        return f"{self.version} ({where}{path})"

    def sign(self, work: Work) -> list[bytes | None]:
        """Every message of `work` once; None where the library refused. WrongResults when it dies."""
        self._hand_over(work)
        return _bytes(self._ask("sign", ANSWER_TIME, kind=work.kind)["results"])

    def run(
        self,
        work: Work,
        *,
        workers: int = 1,
        seconds: float = 1.0,
        rate: float = 0.0,
        arrive_seconds: float = 0.0,
        seed: int = 0,
        poll_delay: float = 0.0,
        queues: int = 1,
        check: bool = False,
        bare: bool = False,
    ) -> SignerRun:
        """Load for at most `seconds`: without `rate` all that goes, else a Poisson load (see _native.run)."""
        self.foresee(work)
        answer = self._ask(
            "run", seconds + ANSWER_TIME, kind=work.kind, workers=workers, rate=rate, arrive_seconds=arrive_seconds,
            seed=seed, duration_ns=int(seconds * NS), poll_delay_ns=round(poll_delay * NS), queues=queues, check=check,
            bare=bare,
        )  # fmt: skip
        return SignerRun(Measured.of(answer["measured"]), tuple(_bytes(answer["results"])))

    def foresee(self, work: Work) -> None:
        """Tell the engine what its results must be, so that each is compared. Not where that cannot be known.

        RSA: what `cryptography` makes. P-256: crypto_mb takes its nonces from the jobs, and signs each job always the
        same; its first signatures are verified, and expected from then on. WrongResults when those are wrong already.
        """
        self._hand_over(work)
        if work.kind in self._foreseen or not (work.kind.is_rsa or self.provider == "cryptomb"):
            return
        expected: list[bytes | None] = list(work.expected)
        if not expected:
            expected = self.sign(work)
            if wrong := work.wrong(expected):
                raise WrongResults(f"{self.title} gives WRONG {work.kind} signatures: {len(wrong)} of {len(expected)}")
        self._ask("expect", ANSWER_TIME, kind=work.kind, results=[result.hex() for result in expected if result])
        self._foreseen.add(work.kind)

    def _hand_over(self, work: Work) -> None:
        if self._works.get(work.kind) is work:
            return
        from qatprep import _native

        der = work.der()
        try:
            inputs = [data.hex() for data in work.inputs]
            self._ask("key", ANSWER_TIME, kind=work.kind, size=len(der), inputs=inputs, secret=der)
        finally:
            _native.wipe(der)
        self._works[work.kind] = work
        self._foreseen.discard(work.kind)

    def _ask(self, do: str, limit: float, **arguments: Any) -> dict[str, Any]:
        try:
            answer = self._child.ask(do, limit, **arguments)
        except Trouble as e:
            raise WrongResults(f"{self.title}: {e.detail}") from e
        if "error" in answer:
            raise QatprepError(f"{self.title}: {answer['error'].partition(': ')[2]}")
        return answer


def _bytes(results: list[str | None]) -> list[bytes | None]:
    return [None if result is None else bytes.fromhex(result) for result in results]
