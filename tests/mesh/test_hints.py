"""What is said next to a rendered file, and every hint at one, can be pasted."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.mesh.cli import qatprep_


@pytest.mark.parametrize(
    ("argv", "commands"),
    [
        (
            "kubernetes -p cryptomb --name gw -n edge",
            [
                "qatprep render envoy -p cryptomb --cert /etc/ssl/envoy/tls.crt --key /etc/ssl/envoy/tls.key "
                "> envoy.yaml",
                "kubectl create configmap gw-config -n edge --from-file envoy.yaml",
                "kubectl create secret tls gw-cert -n edge --cert cert.pem --key key.pem",
            ],
        ),
        (
            "envoy -p cryptomb --generate certs --port 9443",
            [
                'docker run --rm -p 9443:9443 -v "$PWD/certs/key.pem:/etc/ssl/key.pem:ro" '
                '-v "$PWD/certs/cert.pem:/etc/ssl/cert.pem:ro" -v "$PWD/envoy.yaml:/envoy.yaml:ro" '
                "envoyproxy/envoy:contrib-v1.38.3 -c /envoy.yaml"
            ],
        ),
        (
            "envoy -p qat --generate certs",
            [
                "docker run --rm -p 9000:9000 --device /dev/vfio/vfio --device /dev/vfio/GROUP "
                '--ulimit memlock=134217728:134217728 --group-add "$(stat -c %g /dev/vfio/GROUP)" -e QAT_POLICY=1 '
                '-v "$PWD/certs/key.pem:/etc/ssl/key.pem:ro" -v "$PWD/certs/cert.pem:/etc/ssl/cert.pem:ro" '
                '-v "$PWD/envoy.yaml:/envoy.yaml:ro" envoyproxy/envoy:contrib-v1.38.3 -c /envoy.yaml'
            ],
        ),
    ],
)
def test_commands_in_notes_can_be_pasted_and_fit_a_terminal(
    argv: str, commands: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what was given in the call, in lines of 80 columns that a shell puts together again."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "certs").mkdir()
    lines = [line for line in qatprep_("render", *argv.split()).err.splitlines() if line.startswith("  ")]
    assert max(map(len, lines)) <= 80
    assert [line.strip() for line in re.sub(r" \\\n +", " ", "\n".join(lines)).splitlines()] == commands


HINTS = re.compile(r"qatprep render (?:envoy|istio)\b[^`\"']*")


def test_every_hint_names_the_provider() -> None:
    """`render envoy` and `render istio` need one: a hint without it is refused."""
    package = Path(__file__).parents[2] / "qatprep"
    lacking = [
        f"{path.name}: {match[0]}"
        for path in sorted(package.rglob("*.py"))
        for match in HINTS.finditer(path.read_text())
        if not re.search(r" (?:-p|--provider) ", match[0])
    ]
    assert lacking == []
