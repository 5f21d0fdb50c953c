"""docs/grafana.json and docs/alerts.yaml: their queries run by Prometheus' own promtool on recorded metrics.

promtool is that of Debian's package prometheus (python3 -m tests.tools promtool).
"""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from qatprep.report.prometheus import METRICS
from tests import tools
from tests.conftest import qatprep

ROOT = Path(__file__).parents[2]
STATS = ROOT / "tests" / "mesh" / "data" / "stats"
BATCHES = {size: size for size in range(1, 9)}
"""What envoy-1.40-bounds-1-8-cumulative.prom has recorded: one batch of 1, two of 2, ... eight of 8."""
SUM = 205.78033054311191
"""Its sum, as Envoy counts it."""
SCALE = 100
"""The TLS counters of envoy-1.40-ssl.prom (20 handshakes, 8 resumed) are taken this often: more than was signed."""

Expected = list[tuple[str, float]]
EXPECTED: dict[str, Expected] = {
    "Node ready": [('{for="qat",instance="n"}', 0), ('{for="cryptomb",instance="n"}', 1)],
    "PFs that do not run": [('{instance="n"}', 0)],
    "Full handshakes": [('{instance="n"}', 12 * SCALE / 60)],
    "Resumed handshakes": [('{instance="n"}', 8 * SCALE / 60)],
    "TLS errors": [('{instance="n"}', 0)],
    "RSA batches by size": [
        *((f'{{le="{size}.5"}}', 5 * sum(range(1, size + 1))) for size in BATCHES),
        ('{le="+Inf"}', 5 * 36),
    ],
    "ECDSA P-256 batches by size": [],
    "Signatures per RSA batch": [('{instance="n"}', SUM / 36)],
    "Full RSA batches": [('{instance="n"}', 8 / 36)],
    "Full handshakes that CryptoMB did not sign": [('{instance="n"}', (12 * SCALE - SUM) / 60)],
}
"""By a panel's title. Rates are per second, increases over five minutes."""


@pytest.fixture(scope="module")
def promtool() -> str:
    try:
        return str(tools.get("promtool") / "root/usr/bin/promtool")
    except tools.Unavailable as e:
        pytest.skip(f"no promtool: {e}")


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((ROOT / "docs" / "grafana.json").read_text())["panels"]
    return found


def expression(target: dict[str, Any]) -> str:
    text: str = target["expr"]
    return text.replace("$__rate_interval", "5m").replace("$instance", ".*")


def series(text: str, *, counter: bool, scale: int = 1) -> list[dict[str, str]]:
    """Recorded samples, one a minute: a counter grows by what was recorded in each."""
    found = []
    for line in text.splitlines():
        match = re.fullmatch(r"([a-z_]\w*)(?:\{(.*)\})? (\S+)", line)
        if match is None or line.startswith("#"):
            continue
        labels = f'{match[2]},instance="n"' if match[2] else 'instance="n"'
        value = float(match[3]) * scale
        values = f"0+{value!r}x15" if counter else f"{value!r}+0x15"
        found.append({"series": f"{match[1]}{{{labels}}}", "values": values})
    return found


def recorded() -> list[dict[str, str]]:
    queues = (STATS / "envoy-1.40-bounds-1-8-cumulative.prom").read_text()
    queues = queues.replace("envoy_cluster_upstream_rq_body_size", "envoy_listener_cryptomb_rsa_queue_sizes")
    # With whole sizes a bucket up to 7 and one up to 7.5 count the same; the latter is what `render` asks for.
    queues = re.sub(r'le="(\d)"', r'le="\1.5"', queues)
    queues = "\n".join(line for line in queues.splitlines() if "cryptomb" in line)
    tls = (STATS / "envoy-1.40-ssl.prom").read_text()
    return [
        *series(queues, counter=True),
        *series(tls, counter=True, scale=SCALE),
        *series(qatprep("metrics", "--simulate", "spr-2s").out, counter=False),
    ]


def expected() -> dict[str, Expected]:
    """With what `qatprep metrics` itself counts on this host."""
    lines = qatprep("metrics", "--simulate", "spr-2s").out.splitlines()
    made: dict[str, float] = {}
    failed: Expected = []
    more: dict[str, Expected] = {}
    for line in lines:
        if (vf := re.fullmatch(r'qatprep_vfs\{.*state="(\w+)"\} (\d+)', line)) is not None:
            made[vf[1]] = made.get(vf[1], 0) + int(vf[2])
        elif (bad := re.fullmatch(r"qatprep_finding_status\{(.*)\} 3", line)) is not None:
            failed.append((f'{{{bad[1]},instance="n"}}', 3))
        elif (drift := re.fullmatch(r"qatprep_drift_changes (\d+)", line)) is not None:
            more["Changes from the configuration"] = [('{instance="n"}', int(drift[1]))]
    vfs = [(f'{{state="{state}"}}', value) for state, value in made.items()]
    return {**EXPECTED, **more, "VFs by state": vfs, "Failed checks": failed}


def run(promtool: str, *argv: str) -> None:
    ran = subprocess.run([promtool, *argv], capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_every_query_gives_what_was_recorded(promtool: str, tmp_path: Path) -> None:
    tests = []
    values = expected()
    for panel in panels():
        for target in panel["targets"]:
            samples = [
                {"labels": labels, "value": int(value * 1000 + 0.5) / 1000} for labels, value in values[panel["title"]]
            ]
            rounded = f"round({expression(target)}, 0.001)"
            tests.append({"expr": rounded, "eval_time": "10m", "exp_samples": samples})
    path = tmp_path / "dashboard.yml"
    path.write_text(
        yaml.safe_dump({"tests": [{"interval": "1m", "input_series": recorded(), "promql_expr_test": tests}]})
    )
    run(promtool, "test", "rules", str(path))


def test_promtool_takes_the_alerts(promtool: str) -> None:
    run(promtool, "check", "rules", str(ROOT / "docs" / "alerts.yaml"))


def test_the_dashboard_uses_what_there_is() -> None:
    envoy = (STATS / "envoy-1.40-ssl.prom").read_text()
    for panel in panels():
        for target in panel["targets"]:
            names = set(re.findall(r"\b(?:qatprep|envoy)_\w+", target["expr"]))
            assert names, panel["title"]
            for name in names:
                queue = re.fullmatch(r"envoy_listener_cryptomb_(rsa|ecdsa)_queue_sizes_(bucket|sum|count)", name)
                assert name in METRICS or queue or f"{name}{{" in envoy, name


def test_panels_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24 and not taken & cells, panel["title"]
        taken |= cells
    assert len({panel["id"] for panel in panels()}) == len(panels())
