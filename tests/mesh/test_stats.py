"""inspect stats: every form Envoy has, with the right meaning for its version, and what it says in plain words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qatprep.errors import InputError
from qatprep.mesh.inspect.histogram import Form, Histogram, sizes
from qatprep.mesh.inspect.source import Input
from qatprep.mesh.inspect.stats import parse
from tests.conftest import at_most
from tests.mesh.cli import Ran, qatprep_

DATA = Path(__file__).with_name("data") / "stats"
TRUE = {size: size for size in range(1, 9)}
"""What was fed to the Envoys of the samples: one batch of 1, two of 2 ..."""

PAPER = "".join(
    f'envoy_listener_cryptomb_rsa_queue_sizes_bucket{{listener_address="0.0.0.0_8443",le="{le}"}} {count}\n'
    for le, count in zip(
        ["2", "3", "4", "5", "6", "7", "8", "9", "+Inf"],
        [178, 379, 567, 791, 1018, 1256, 1550, 13081, 13081],
        strict=True,
    )
)
"""The paper's sample output (section 3.2.1), an Envoy before 1.38."""


def renamed(name: str, dotted: str = "cryptomb.rsa_queue_sizes") -> str:
    text = (DATA / name).read_text()
    text = text.replace("envoy_cluster_upstream_rq_body_size", "envoy_listener_cryptomb_rsa_queue_sizes")
    text = text.replace('envoy_cluster_name="up"', 'envoy_listener_address="0.0.0.0_8443"')
    return text.replace("cluster.up.upstream_rq_body_size", f"listener.0.0.0.0_8443.{dotted}")


def inspect(tmp_path: Path, text: str | bytes, *more: str) -> Ran:
    path = tmp_path / "stats"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return qatprep_("inspect", "stats", str(path), *more)


def told(tmp_path: Path, text: str | bytes, *more: str) -> dict[str, Any]:
    ran = inspect(tmp_path, text, *more, "--output", "json")
    assert ran.out, ran.err
    document: dict[str, Any] = json.loads(ran.out)
    return document


def counts(queue: dict[str, Any]) -> dict[Any, int]:
    found: dict[Any, int] = {}
    for row in queue["sizes"]:
        found[row["from"] if row["from"] == row["to"] else (row["from"], row["to"])] = row["count"]
    return found


BUCKETED = [path.name for path in sorted(DATA.glob("*-bounds-*")) if "detailed" not in path.name]


@pytest.mark.parametrize("name", BUCKETED)
def test_buckets_of_both_meanings_come_out_the_same(name: str, tmp_path: Path) -> None:
    """1.37 counts below the bound, 1.40 below or equal; with 2..9 the latter cannot tell 1 from 2."""
    version = name.split("-")[1]
    form = "cumulative" if "cumulative" in name else "disjoint"
    document = told(tmp_path, renamed(name), "--envoy-version", version, "--buckets", form)
    queue = document["queues"][0]
    assert queue["listener"] == "0.0.0.0_8443"
    if "1.40-bounds-2-9" in name:
        assert counts(queue) == {(1, 2): 3, 3: 3, 4: 4, 5: 5, 6: 6, 7: 7, 8: 8}
    else:
        assert counts(queue) == TRUE
        assert queue["signatures_per_batch"] == round(204 / 36, 3)
    assert queue["full_share"] == round(8 / 36, 4)


@pytest.mark.parametrize("name", [path.name for path in sorted(DATA.glob("*-detailed.*"))])
@pytest.mark.parametrize("dotted", ["cryptomb.rsa_queue_sizes", "cryptomb_rsa_queue_sizes"])
def test_detailed_needs_no_version_and_no_buckets(name: str, dotted: str, tmp_path: Path) -> None:
    queue = told(tmp_path, renamed(name, dotted))["queues"][0]
    assert counts(queue) == TRUE
    assert (queue["exact"], queue["doubt"], queue["algorithm"]) == (True, None, "rsa")


@pytest.mark.parametrize("extension", ["txt", "json", "prom"])
def test_envoys_own_buckets_hide_sizes_and_it_is_said(extension: str, tmp_path: Path) -> None:
    document = told(tmp_path, renamed(f"envoy-1.40-default-cumulative.{extension}"), "--envoy-version", "1.40")
    queue = document["queues"][0]
    assert counts(queue) == {1: 1, (2, 5): 14, (6, 8): 21}
    assert (queue["exact"], queue["signatures_per_batch"], queue["full_share"]) == (False, None, None)


def test_cumulative_and_disjoint_are_told_apart_where_they_can_be(tmp_path: Path) -> None:
    for form in ("cumulative", "disjoint"):
        text = renamed(f"envoy-1.40-default-{form}.txt")
        assert counts(told(tmp_path, text, "--envoy-version", "1.40")["queues"][0]) == {1: 1, (2, 5): 14, (6, 8): 21}
    ambiguous = told(tmp_path, renamed("envoy-1.37-bounds-2-9-disjoint.txt"), "--envoy-version", "1.37")
    assert "look alike" in ambiguous["queues"][0]["doubt"]
    assert ambiguous["findings"][0]["status"] == "unknown"


@pytest.mark.parametrize("extension", ["txt", "json", "prom"])
def test_summaries_have_no_sizes(extension: str, tmp_path: Path) -> None:
    document = told(tmp_path, renamed(f"envoy-1.40-default-summary.{extension}"))
    assert "histogram_buckets=detailed" in document["queues"][0]["doubt"]


def test_the_papers_own_numbers(tmp_path: Path) -> None:
    """Read as the paper reads them, for the Envoy it had. On 1.38 and later the same lines would say otherwise."""
    document = told(tmp_path, PAPER, "--envoy-version", "1.22")
    wanted = {1: 178, 2: 201, 3: 188, 4: 224, 5: 227, 6: 238, 7: 294, 8: 11531}
    assert counts(document["queues"][0]) == wanted
    # Without a version it is proven: counts between the bounds 8 and 9 cannot be, unless the bound is excluded.
    assert counts(told(tmp_path, PAPER)["queues"][0]) == wanted
    human = inspect(tmp_path, PAPER).out
    assert "88% full" in human and "queues fill before the poll delay is over" in human


def test_the_papers_disjoint_line(tmp_path: Path) -> None:
    name = "listener.0.0.0.0_9000.cryptomb_rsa_queue_sizes"
    line = f"{name}: B2(0,1) B3(0,0) B4(0,0) B5(0,0) B6(0,0) B7(0,0) B8(0,0) B9(0,0)"
    assert counts(told(tmp_path, line, "--envoy-version", "1.22")["queues"][0])[1] == 1
    doubtful = told(tmp_path, line)["queues"][0]
    assert "before Envoy 1.38" in doubtful["doubt"]


def test_half_integer_bounds_need_no_version(tmp_path: Path) -> None:
    running, lines = 0, []
    for size in range(1, 9):
        running += size
        lines.append(
            f'envoy_listener_cryptomb_rsa_queue_sizes_bucket{{envoy_listener_address="a",le="{size}.5"}} {running}'
        )
    queue = told(tmp_path, "\n".join(lines))["queues"][0]
    assert counts(queue) == TRUE and queue["doubt"] is None


def test_ecdsa_has_a_histogram_of_its_own(tmp_path: Path) -> None:
    text = renamed("envoy-1.40-default-detailed.txt") + renamed("envoy-1.40-default-detailed.txt").replace(
        "rsa_", "ecdsa_"
    )
    assert [queue["algorithm"] for queue in told(tmp_path, text)["queues"]] == ["rsa", "ecdsa"]


def test_counters_of_envoy_1_20(tmp_path: Path) -> None:
    text = "".join(f"listener.0.0.0.0_9000.cryptomb.rsa_queue_size_{size}: {size}\n" for size in range(1, 9))
    assert counts(told(tmp_path, text)["queues"][0]) == TRUE


@pytest.mark.parametrize("extension", ["txt", "json", "prom"])
def test_session_reuse_from_the_counters(extension: str, tmp_path: Path) -> None:
    document = told(tmp_path, (DATA / f"envoy-1.40-ssl.{extension}").read_bytes())
    first = document["tls"][0]
    assert (first["listener"], first["handshakes"], first["resumed"]) == ("127.0.0.1_9000", 20, 8)
    assert (first["signed_with"], first["versions"], document["workers"]) == ({"RSA": 20}, {"TLSv1.2": 20}, 2)
    assert document["findings"] == []  # 20 handshakes are too few to say anything


def ssl_text(handshakes: int, reused: int, sigalg: str = "rsa_pss_rsae_sha256", workers: int = 2) -> str:
    return (
        f"listener.0.0.0.0_8443.ssl.handshake: {handshakes}\n"
        f"listener.0.0.0.0_8443.ssl.session_reused: {reused}\n"
        f"listener.0.0.0.0_8443.ssl.sigalgs.{sigalg}: {handshakes - reused}\n"
        f"server.concurrency: {workers}\n"
    )


def test_your_load_test_reuses_sessions(tmp_path: Path) -> None:
    """The counters of wrk and of h2load, measured on Envoy 1.40."""
    ran = inspect(tmp_path, ssl_text(10912, 10896))
    assert "QP-ENVOY-009" in ran.out and "your load test reuses sessions" in " ".join(ran.out.split())
    assert "QP-ENVOY-009" not in inspect(tmp_path, ssl_text(4000, 0)).out


def test_what_came_since_an_earlier_reading(tmp_path: Path) -> None:
    before = tmp_path / "before"
    before.write_text(ssl_text(1000, 900))
    document = told(tmp_path, ssl_text(17000, 900), "--before", str(before), "--seconds", "8")
    assert (document["tls"][0]["handshakes"], document["tls"][0]["resumed"]) == (16000, 0)
    assert document["tls"][0]["full_per_second"] == 2000.0
    assert document["findings"] == []


@pytest.mark.parametrize(
    ("full", "signs", "found"),
    [
        (20000, "0", []),  # 1000 a second and worker: the paper's range
        (1000, "0", ["QP-ENVOY-008"]),  # 50: the bottleneck is elsewhere
        (90000, "0", ["QP-ENVOY-008"]),  # 4500: more than one CPU signs
        (90000, "5000", []),  # on a node whose CPU signs 5000 it is not
    ],
)
def test_rate_against_the_baseline(full: int, signs: str, found: list[str], tmp_path: Path) -> None:
    before = tmp_path / "before"
    before.write_text(ssl_text(0, 0))
    document = told(tmp_path, ssl_text(full, 0), "--before", str(before), "--seconds", "10", "--signs", signs)
    assert [f["id"] for f in document["findings"]] == found


def test_ecdsa_signatures_are_noticed(tmp_path: Path) -> None:
    document = told(tmp_path, ssl_text(500, 0, "ecdsa_secp256r1_sha256"))
    assert [f["id"] for f in document["findings"]] == ["QP-ENVOY-003"]


def test_lone_signatures_are_said_to_save_nothing(tmp_path: Path) -> None:
    text = "listener.a.cryptomb.rsa_queue_sizes:\n  totals=1,0.1:900, 2,0.1:100\n  intervals=1,0.1:900\n"
    ran = inspect(tmp_path, text)
    assert "mostly one at a time, which saves nothing" in ran.out
    assert "QP-ENVOY-014" in ran.out
    bars = [line for line in ran.out.splitlines() if "90%" in line]
    assert bars and "█" * 40 in bars[0]


def test_provider_that_never_signs(tmp_path: Path) -> None:
    text = "listener.a.cryptomb.rsa_queue_sizes: No recorded values\n"
    quiet = told(tmp_path, text)
    assert [(f["id"], f["status"]) for f in quiet["findings"]] == [("QP-ENVOY-007", "warn")]
    busy = told(tmp_path, text + ssl_text(5000, 0))
    assert [(f["id"], f["status"]) for f in busy["findings"]] == [("QP-ENVOY-007", "fail")]


# -- hostile and broken -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "is empty"),
        (b"usage: /stats?histogram_buckets=(cumulative|disjoint)\n", "error message of Envoy's"),
        (b"unsupported prometheus histogram bucket mode", "error message of Envoy's"),
        (b"<html><body>admin</body></html>", "web page"),
        (b"\x00\x01\x02\x03", "no statistics"),
        (b'{"stats": [', "ends in the middle"),
        (b'{"stats": [{"name": "a", "value": 1}]} x', "something follows"),
        (b'{"stats": []}', "no statistics"),
        (b"hello world\n", "no statistics"),
        (b"\xff\xff\xff", "not UTF-8"),
    ],
)
def test_broken_statistics_are_told_so(text: bytes, words: str, tmp_path: Path) -> None:
    ran = inspect(tmp_path, text)
    assert (ran.code, ran.out) == (2, "")
    assert words in ran.err


@pytest.mark.parametrize(
    "argv",
    [
        ["--envoy-version", "new"], ["--envoy-version", "1"], ["--interval", "5"], ["--seconds", "-1"],
        ["--interval", "1", "--before", "x"], ["--before", "/nowhere/at/all"],
    ],
)  # fmt: skip
def test_wrong_options(argv: list[str], tmp_path: Path) -> None:
    ran = inspect(tmp_path, ssl_text(1, 0), *argv)
    assert (ran.code, ran.out) == (2, "")
    assert "fix:" in ran.err or "expected" in ran.err or "cannot read" in ran.err


def test_megabytes_of_other_statistics_take_little_time() -> None:
    line = b"cluster.outbound|8080||service.namespace.svc.cluster.local.upstream_rq_completed: 12345\n"
    data = line * (7_000_000 // len(line)) + ssl_text(7, 1).encode()
    with at_most(cpu_seconds=40):
        assert parse(Input("big", data)).ssl["0.0.0.0_8443"].handshakes == 7


@given(st.binary(max_size=400) | st.text(max_size=400).map(str.encode))
def test_no_input_is_a_traceback(data: bytes) -> None:
    for prefix in (
        b"",
        b'{"stats":[',
        b"listener.a.cryptomb.rsa_queue_sizes: ",
        b"listener.a.cryptomb.rsa_queue_sizes:\n  totals=",
    ):
        try:
            text = (prefix + data).decode("utf-8", "replace").encode()
            stats = parse(Input("x", text))
        except InputError:
            continue
        for histogram in stats.histograms:
            try:
                sizes(histogram, (1, 40))
            except ValueError as e:
                assert "histogram_buckets=detailed" in str(e)


@given(st.lists(st.integers(0, 1000), min_size=8, max_size=8), st.booleans(), st.sampled_from([0.0, 1.0, 0.5]))
def test_any_true_sizes_come_back_from_buckets_that_can_tell(true: list[int], inclusive: bool, shift: float) -> None:
    """Bounds at s+shift; with the meaning the version has, each size comes back or is grouped, and none is lost."""
    version = (1, 40) if inclusive else (1, 37)
    bounds = [size + shift for size in range(1, 9)]
    points = []
    for bound in bounds:
        inside = [n for s, n in enumerate(true, 1) if (s <= bound if inclusive else s < bound)]
        points.append((bound, sum(inside)))
    histogram = Histogram("x", "", "rsa", Form.CUMULATIVE, tuple(points), sum(true))
    read = sizes(histogram, version)
    assert read.total == sum(true)
    for group in read.groups:
        assert group.count == sum(true[group.low - 1 : group.high])


def test_clusters_are_series_of_their_own(tmp_path: Path) -> None:
    """As a client of mutual TLS Envoy signs too: cluster and listener are never added up, nor both "this Envoy"."""
    name = "outbound|443||a.example.com"
    text = (
        f"cluster.{name}.cryptomb.rsa_queue_sizes:\n  totals=1,0.1:4000\n  intervals=1,0.1:10\n"
        "listener.0.0.0.0_8443.cryptomb.rsa_queue_sizes:\n  totals=1,0.1:30, 8,1:200\n  intervals=1,0.1:3\n"
    )
    document = told(tmp_path, text)
    assert [(q["listener"], q["cluster"], q["batches"]) for q in document["queues"]] == [
        (None, name, 4000),
        ("0.0.0.0_8443", None, 230),
    ]
    assert [f["title"] for f in document["findings"]] == [f"cluster {name}: 100% of RSA batches had one signature"]
    assert "this Envoy" not in inspect(tmp_path, text).out


@pytest.mark.parametrize("labels", [('listener_address="0.0.0.0_1"', 'cluster_name="x"'), ("", "")])
def test_clusters_in_prometheus(labels: tuple[str, str], tmp_path: Path) -> None:
    text = ""
    for scope, label, count in (("listener", labels[0], 300), ("cluster", labels[1], 700)):
        prefixed = f"envoy_{label}," if label else ""
        metric = f"envoy_{scope}_cryptomb_rsa_queue_sizes_bucket"
        text += f'{metric}{{{prefixed}le="1.5"}} {count}\n{metric}{{{prefixed}le="+Inf"}} {count}\n'
    document = told(tmp_path, text)
    assert sorted(q["batches"] for q in document["queues"]) == [300, 700]
    assert [bool(q["cluster"]) for q in document["queues"]] == [False, True]


def test_two_readings_of_a_cluster_are_set_off(tmp_path: Path) -> None:
    def reading(counts: tuple[int, int]) -> str:
        return "".join(
            f"{scope}.x.cryptomb.rsa_queue_sizes:\n  totals=1,0.1:{count}\n"
            for scope, count in zip(("cluster", "listener"), counts, strict=True)
        )

    before = tmp_path / "before"
    before.write_text(reading((100, 1000)))
    document = told(tmp_path, reading((150, 1700)), "--before", str(before))
    assert [q["batches"] for q in document["queues"]] == [50, 700]


def test_the_cure_for_thin_queues_is_not_only_fewer_workers(tmp_path: Path) -> None:
    said = told(tmp_path, "listener.x.cryptomb.rsa_queue_sizes:\n  totals=1,0.1:500\n")["findings"][0]
    assert "each TLS context" in said["cause"]
    assert "one certificate for several names" in "".join(said["fix"])
