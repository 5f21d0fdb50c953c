"""The whole matrix of containerd configurations, each asked of the real binaries before and after."""

from __future__ import annotations

import difflib
from pathlib import Path

import pytest

from qatprep.facts.base import Unknown
from qatprep.facts.containerd import read
from qatprep.host.linux import LinuxHost
from qatprep.runtime.containerd import KEY, ConfigSet, judge
from qatprep.runtime.dry_run import EMPTY, DumpFailed, proven
from qatprep.runtime.dump import device_ownership, parse_dump, unwanted
from qatprep.runtime.refusal import Refused
from tests.conftest import some
from tests.runtime.cases import CASES, Case
from tests.runtime.conftest import Containerd


def lay(case: Case, directory: Path) -> Path:
    """Write the case's files; the path of the main one."""
    main = directory / "config.toml"
    conf_d = directory / "conf.d"
    conf_d.mkdir()
    if case.main is not None:
        main.write_bytes(case.main.replace("DIR", str(directory)).encode())
    for name, text in case.drop_ins.items():
        (conf_d / name).write_text(text)
    return main


def gather(main: Path, containerd: Containerd) -> ConfigSet:
    files = read(LinuxHost(), str(main), str(main.parent / "conf.d"), containerd.version)
    assert not isinstance(files, Unknown), files
    return files


@pytest.mark.parametrize("case", some(CASES, 3), ids=lambda case: case.name)
def test_made_right_or_refused(containerd: Containerd, case: Case, tmp_path: Path) -> None:
    main = lay(case, tmp_path)
    files = gather(main, containerd)
    expected = case.becomes.get(containerd.suite, case.becomes["*"])
    trials = frozenset({str(tmp_path / "trial.main"), str(tmp_path / "trial.piece")})
    before_bytes = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    try:
        edit = proven(files, containerd.version, containerd.trial(tmp_path), names=trials)
    except Refused as e:
        assert expected in e.message, f"{case.name} on {containerd.version}: {e.message} ({e.hint})"
        assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before_bytes
        return
    if edit is None:
        assert expected == "on"
        assert device_ownership(parse_dump(containerd.dump(main))) is True
        return
    where = (
        "main"
        if edit.path == str(main)
        else "drop-in"
        if edit.path.endswith("90-qatprep.toml")
        else Path(edit.path).name
    )
    assert where == expected, edit

    try:
        before = containerd.dump(main) if main.exists() else containerd.trial(tmp_path)(EMPTY, "")
    except DumpFailed:
        before = ""  # a value of the wrong type: containerd did not start before
    Path(edit.path).parent.mkdir(exist_ok=True)
    Path(edit.path).write_bytes(edit.after.encode())
    after = containerd.dump(main)
    assert device_ownership(parse_dump(after)) is True
    if before:
        assert unwanted(before, after, paths=frozenset({str(main), edit.path}) | trials) == ()
    # The layout survives: lines are only added, or the one line with the key is changed.
    old, new = (edit.before or "").splitlines(), edit.after.splitlines()
    gone = [line for line in difflib.ndiff(old, new) if line.startswith("- ")]
    assert all(KEY in line or "plugins = {" in line for line in gone), gone
    assert len(new) - len(old) <= (4 if old else 7)
    # And a second look finds nothing to do.
    assert proven(gather(main, containerd), containerd.version, containerd.trial(tmp_path), names=trials) is None


@pytest.mark.parametrize("case", some(CASES, 3, 1), ids=lambda case: case.name)
def test_verdict_agrees_with_the_binary(containerd: Containerd, case: Case, tmp_path: Path) -> None:
    """What doctor says without starting containerd is what containerd says."""
    main = lay(case, tmp_path)
    verdict = judge(gather(main, containerd), containerd.version)
    if not main.exists():
        assert verdict.on is False
        return
    try:
        said = device_ownership(parse_dump(containerd.dump(main)))
    except DumpFailed as e:
        if "no such file" not in str(e):  # a missing plain import, which only 1.x minds
            assert verdict.on is None, str(e)
        return
    if verdict.on is None:
        # 2.1 and Debian's 1.6 dump some files the daemon refuses or that no document allows; never the other way round.
        assert any(problem.fatal for problem in verdict.problems)
        return
    assert bool(said) is verdict.on, (said, verdict)
