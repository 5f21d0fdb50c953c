"""Statistics judged: CryptoMB's queues, resumed sessions, and the rate between two readings."""

from __future__ import annotations

from enum import Enum

from qatprep.findings import Evidence, Finding, Status, warned
from qatprep.mesh.inspect.histogram import Histogram, Queue, Sizes
from qatprep.mesh.inspect.stats import Rate, Stats

REUSE = 0.05
"""Share of resumed handshakes from which on a test reuses sessions: a few happen in every real load."""
FEW = 100
"""Handshakes or batches below which nothing is concluded."""
MOSTLY = 0.5
"""Share of batches from which on queues are called full, or single."""
RATE = (500.0, 1500.0)
"""Full RSA-2048 handshakes a second and CPU without acceleration, "very roughly": Intel's guide."""


class Filling(Enum):
    """What the queue sizes of one listener amount to."""

    NOTHING = "nothing"
    FEW = "few"
    """Too few batches to say more."""
    FULL = "full"
    SINGLE = "single"
    """Mostly one signature a batch."""
    PART = "part"


def filling(sizes: Sizes) -> Filling:
    if not sizes.total:
        return Filling.NOTHING
    if sizes.total < FEW:
        return Filling.FEW
    if sizes.full is not None and sizes.full >= MOSTLY:
        return Filling.FULL
    if sizes.single is not None and sizes.single > MOSTLY:
        return Filling.SINGLE
    return Filling.PART


def judge(stats: Stats, queues: list[Queue], rate: Rate | None) -> list[Finding]:
    found: list[Finding] = []
    batches = 0
    for queue in queues:
        if queue.sizes is not None:
            batches += queue.sizes.total
            found += _queue(queue.histogram, queue.sizes)
        else:
            found.append(
                Finding(
                    "QP-ENVOY-014",
                    Status.UNKNOWN,
                    f"{queue.histogram.name}: queue sizes cannot be read",
                    cause=queue.why,
                )
            )
    if queues and not batches and all(queue.sizes is not None for queue in queues):
        full = sum(ssl.handshakes - ssl.reused for ssl in stats.ssl.values())
        found.append(
            Finding(
                "QP-ENVOY-007",
                Status.FAIL if full >= FEW else Status.WARN,
                "CryptoMB has signed nothing",
                evidence=(Evidence("queue sizes", "no batch was counted"), Evidence("full handshakes", str(full))),
                cause="Full handshakes were made: fallback signs in software, or the key is not one it takes."
                if full >= FEW
                else "There was no load yet, or Envoy has not written its statistics (it does so every 5 seconds).",
                fix=("Check the configuration and the log: qatprep inspect config-dump, qatprep inspect log.",),
            )
        )
    found += _sessions(stats)
    if rate is not None:
        found += _rate(stats, rate, bool(batches))
    if rate is None and not queues and not stats.ssl:
        found.append(
            Finding(
                "QP-ENVOY-014",
                Status.UNKNOWN,
                "no queue sizes and no TLS counters in these statistics",
                cause="A filter left them out, nothing has used TLS yet, or this Envoy has no CryptoMB.",
                fix=("curl 'http://127.0.0.1:15000/stats?histogram_buckets=detailed'",),
            )
        )
    return found


def _queue(histogram: Histogram, sizes: Sizes) -> list[Finding]:
    found = []
    where = histogram.where
    if sizes.doubt and sizes.total:
        found.append(
            warned(
                "QP-ENVOY-014",
                f"{where}: queue sizes may be misread",
                cause=f"{sizes.doubt[0].upper()}{sizes.doubt[1:]}.",
            )
        )
    if not sizes.doubt and filling(sizes) is Filling.SINGLE:
        found.append(
            warned(
                "QP-ENVOY-014",
                f"{where}: {sizes.single:.0%} of {histogram.algorithm.upper()} batches had one signature",
                evidence=(Evidence("queue sizes", f"{sizes.total} batches, {sizes.how}"),),
                cause="Each worker has a queue of its own for each TLS context (certificate, SDS secret, cluster); "
                "with this load and so many queues they do not fill before the poll delay is over. A lone signature "
                "takes about as long as eight.",
                fix=(
                    "Fewer queues: fewer workers (concurrency), one certificate for several names, no provider where "
                    "few handshakes are (clusters, rare certificates).",
                    "Or a longer poll delay: qatprep tune --certificates N.",
                    "If the load is always so low: leave CryptoMB out.",
                ),
            )
        )
    return found


def _sessions(stats: Stats) -> list[Finding]:
    found = []
    for listener, ssl in stats.ssl.items():
        if ssl.handshakes >= FEW and ssl.reused / ssl.handshakes > REUSE:
            found.append(
                warned(
                    "QP-ENVOY-009",
                    f"listener {listener}: {ssl.reused / ssl.handshakes:.0%} of the handshakes resumed a session",
                    evidence=(
                        Evidence(f"listener.{listener}.ssl.session_reused", str(ssl.reused)),
                        Evidence(f"listener.{listener}.ssl.handshake", str(ssl.handshakes)),
                    ),
                    cause="A resumed handshake needs no signature: there is nothing to accelerate. If this is a load "
                    "test, your load test reuses sessions.",
                    fix=(
                        "Use a client that makes new sessions: h2load, hey -disable-keepalive, openssl s_time -new",
                        "Or a server that offers none: the option --no-resumption of qatprep render.",
                    ),
                )
            )
        signed = ssl.algorithms()
        if signed.get("ECDSA", 0) > 9 * signed.get("RSA", 0) and ssl.handshakes >= FEW:
            found.append(
                warned(
                    "QP-ENVOY-003",
                    f"listener {listener}: handshakes are signed with ECDSA, which QAT's provider does not take",
                    evidence=(Evidence("signature algorithms", ", ".join(ssl.sigalgs or ssl.ciphers)),),
                    cause="CryptoMB takes ECDSA on P-256; QAT takes RSA alone.",
                    fix=("For QAT use an RSA certificate.",),
                )
            )
    return found


def _rate(stats: Stats, rate: Rate, accelerated: bool) -> list[Finding]:
    full = sum(ssl.handshakes - ssl.reused for ssl in stats.ssl.values())
    if not full or rate.seconds <= 0 or not rate.workers:
        return []
    each = full / rate.seconds / rate.workers
    low, high = (0.5 * rate.signs, rate.signs) if rate.signs else RATE
    against = f"this node signs {rate.signs:.0f} a second and CPU" if rate.signs else "Intel's rough 500 to 1500"
    evidence = (
        Evidence("full handshakes a second and worker", f"{each:.0f}"),
        Evidence("workers", str(rate.workers)),
        Evidence("compared with", against),
    )
    if each < 0.3 * low:
        return [
            warned(
                "QP-ENVOY-008",
                f"{each:.0f} full handshakes a second and worker: less than this node can do",
                evidence=evidence,
                cause="If this was a test at full load, its bottleneck is elsewhere, mostly in the client.",
                fix=("More clients, on other CPUs; then compare again.",),
            )
        ]
    if each > 1.5 * high and not accelerated:
        return [
            warned(
                "QP-ENVOY-008",
                f"{each:.0f} full handshakes a second and worker: more than one CPU signs without acceleration",
                evidence=evidence,
                cause="A provider may be at work, keys may be small, or sessions are reused in a way no counter shows.",
                fix=("Check key and provider: qatprep inspect config-dump.",),
            )
        ]
    return []
