"""The memlock size, systemd's dialect, and the unit it belongs to."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from qatprep.runtime.memlock import (
    INFINITY,
    MANAGER,
    MIB,
    UNIT,
    Limit,
    assignments,
    drop_in,
    from_base_spec,
    from_proc_limits,
    from_ulimits,
    needed,
    parse_limit,
    spell,
)


@pytest.mark.parametrize(("vfs", "mebibytes"), [(0, 128), (1, 128), (4, 128), (5, 144), (8, 192), (32, 576)])
def test_size_grows_with_the_vfs_a_container_holds(vfs: int, mebibytes: int) -> None:
    assert needed(vfs) == mebibytes * MIB


@pytest.mark.parametrize(
    ("text", "soft", "hard"),
    [
        ("16777216", 16 * MIB, 16 * MIB),
        ("16M", 16 * MIB, 16 * MIB),
        ("128M", 128 * MIB, 128 * MIB),
        ("1.5G", 1536 * MIB, 1536 * MIB),
        ("infinity", INFINITY, INFINITY),
        ("8M:16M", 8 * MIB, 16 * MIB),
        ("8M:infinity", 8 * MIB, INFINITY),
        ("4096B", 4096, 4096),
    ],
)
def test_sizes_systemd_takes(text: str, soft: float, hard: float) -> None:
    assert parse_limit(text) == Limit(soft, hard)


@pytest.mark.parametrize(
    "text", ["16MB", "64k", "16 MiB", "", "unlimited", "-1", "16M:8M", "0x1000000", "lots", "1" * 40]
)
def test_sizes_systemd_ignores(text: str) -> None:
    with pytest.raises(ValueError, match=r"size systemd knows|above the hard"):
        parse_limit(text)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
@pytest.mark.parametrize("text", ["16777216", "16M", "1.5G", "infinity", "8M:16M", "16MB", "64k", "lots"])
def test_systemd_agrees(text: str, tmp_path: Path) -> None:
    """What we call ignored is what systemd itself warns of, offline."""
    unit = tmp_path / "x.service"
    unit.write_text(f"[Service]\nExecStart=/bin/true\nLimitMEMLOCK={text}\n")
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True, check=False)
    ignored = "Failed to parse resource value" in done.stderr
    try:
        parse_limit(text)
        assert not ignored, done.stderr
    except ValueError:
        assert ignored, done.stderr


def test_only_the_service_section_counts() -> None:
    text = "[Unit]\nLimitMEMLOCK=1M\n[Service]\n# LimitMEMLOCK=2M\nLimitMEMLOCK = 3M\n[Install]\nLimitMEMLOCK=4M\n"
    assert assignments(text, UNIT).used == ("3M",)
    assert [value for value, _ in assignments(text, UNIT).ignored] == ["1M", "4M"]
    assert assignments(drop_in(128 * MIB), UNIT).used == ("134217728",)
    assert assignments(drop_in(128 * MIB, INFINITY), UNIT).used == ("134217728:infinity",)
    assert assignments("[Manager]\nDefaultLimitMEMLOCK=1G\n", MANAGER).used == ("1G",)


@pytest.mark.parametrize(
    "text",
    [
        "\ufeff[Service]\nLimitMEMLOCK=3M\n",
        "[Service]\r\nLimitMEMLOCK=3M\r\n",
        "[Service]\nLimitMEMLOCK=\\\n  3M\n",
        "[Service]\nLimitMEMLOCK=\\\n# why\n; and more\n  3M\n",
        "[Service]\n  LimitMEMLOCK = 3M \n",
        "[Service]\n# a comment does not go on \\\nLimitMEMLOCK=3M\n",
        "[Service]\nLimitMEMLOCK=\\\n3M",
    ],
    ids=["BOM", "CRLF", "continued", "comment inside", "spaces", "comment that ends in a backslash", "no last newline"],
)
def test_lines_as_systemd_reads_them(text: str) -> None:
    assert assignments(text, UNIT) == (("3M",), ())


def test_a_line_that_belongs_to_the_one_before_sets_nothing() -> None:
    assert assignments("[Service]\nEnvironment=A=1 \\\nLimitMEMLOCK=3M\n", UNIT) == ((), ())


def test_an_assignment_above_the_first_section() -> None:
    found = assignments("LimitMEMLOCK=infinity\n", UNIT)
    assert found.used == () and found.ignored[0] == (
        "infinity",
        "it is above the first section, and belongs below [Service]",
    )


def test_limits_of_the_runtimes_own_files() -> None:
    assert from_ulimits(("nofile=1:2", "memlock=65536:131072")) == Limit(65536, 131072)
    assert from_ulimits(("memlock=-1:-1",)) == Limit(INFINITY, INFINITY)
    assert from_ulimits(("memlock=65536",)) == Limit(65536, 65536)
    assert from_ulimits(("memlock=much",)) is None
    spec = '{"process": {"rlimits": [{"type": "RLIMIT_NOFILE", "soft": 1, "hard": 2}%s]}}'
    assert from_base_spec(spec % "") is None
    assert from_base_spec(spec % ', {"type": "RLIMIT_MEMLOCK", "soft": 65536, "hard": 18446744073709551615}') == Limit(
        65536, INFINITY
    )
    with pytest.raises(ValueError, match="whole numbers"):
        from_base_spec(spec % ', {"type": "RLIMIT_MEMLOCK", "soft": "much", "hard": 1}')


def test_proc_limits() -> None:
    text = "Limit                     Soft Limit           Hard Limit           Units     \n"
    text += "Max locked memory         8388608              unlimited            bytes     \n"
    assert from_proc_limits(text) == Limit(8 * MIB, INFINITY)
    assert from_proc_limits("Max locked memory  much  more  bytes\n") is None
    assert from_proc_limits("") is None


def test_sizes_in_words() -> None:
    sizes = (128 * MIB, 2048 * MIB, 65536, 65537, 0, INFINITY)
    assert [spell(size) for size in sizes] == ["128M", "2G", "64K", "65537B", "0B", "unlimited"]
