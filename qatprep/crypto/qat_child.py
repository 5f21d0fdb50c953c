"""The process in which libqat runs. Started by qatprep.crypto.qat."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from qatprep.crypto.serve import Answer, serve


class Child:
    def __init__(self) -> None:
        self.qat: Any = None
        self.works: dict[str, Any] = {}

    def do_load(self, libqat: str, libusdm: str) -> Answer:
        from qatprep import _native

        try:
            self.qat = _native.Qat(libqat, libusdm)
        except OSError as e:
            return {"error": e.strerror}
        return {}

    def do_start(self, section: str) -> Answer:
        status, call = self.qat.start(section)
        return {"status": status, "call": call, "instances": self.qat.instances()}

    def do_run(
        self,
        kind: str,
        workers: int = 1,
        count: int = 0,
        rate: float = 0.0,
        seconds: float = 1.0,
        seed: int = 0,
        poll_delay: float = 0.0,
        depth: int = 64,
        patience: float = 2.0,
    ) -> Answer:
        """`count` operations at once, or a Poisson load of `rate`, or (neither given) all that goes."""
        from array import array

        from qatprep.crypto import keys, load

        if kind not in self.works:
            self.works[kind] = keys.make(keys.KeyKind(kind), max(16, count))
        work = self.works[kind]
        arrivals = None
        if count:
            arrivals = [array("Q", [0] * count)]
        elif rate:
            arrivals = load.poisson(rate, seconds, workers, seed)
        report = self.qat.run(
            work.jobs,
            arrivals,
            workers=workers,
            duration_ns=int(seconds * load.NS),
            poll_delay_ns=int(poll_delay * load.NS),
            depth=depth,
            patience_ns=int(patience * load.NS),
        )
        result = load.measured(report["workers"], report["poll_cpu_ns"])
        done = [
            (number, signature)
            for worker in report["workers"]
            for number, signature in enumerate(worker["results"])
            if signature is not None
        ]
        return {
            "measured": asdict(result),
            "checked": len(done),
            "wrong": sum(not work.right(number, signature) for number, signature in done),
            **{key: report[key] for key in ("retries", "spurious", "lost", "last_status", "polls")},
        }

    def do_stop(self) -> Answer:
        self.qat.stop()
        return {}


if __name__ == "__main__":
    serve(Child())
