"""Manual page and completions, made out of the command line."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import typer

from qatprep.cli.app import VERBS
from qatprep.exits import ExitCode
from tests.packages.conftest import needs


def rendered(share: Path) -> str:
    page = share / "man" / "man1" / "qatprep.1"
    groff = needs("groff", "groff-base")
    command = [groff, "-man", "-ww", "-Tascii", "-P-cbou", str(page)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == "", "groff has something against the page"
    return done.stdout


def test_the_manual_page_tells_every_verb_and_status(share: Path) -> None:
    text = " ".join(rendered(share).split())
    assert "qatprep - make a Linux node ready for accelerated TLS" in text
    for verb in VERBS:
        assert f" qatprep {verb} " in text, verb
    for code in ExitCode:
        assert f" {code.value} " in text.split("EXIT STATUS")[1]
    assert "qatprep device vfs [OPTIONS] {create|remove} {BDF...} Create or remove the VFs of PFs." in text
    assert "-d, --device BDF Only this PF" in text


def test_the_manual_page_is_clean(share: Path) -> None:
    mandoc = needs("mandoc", "mandoc")
    page = share / "man" / "man1" / "qatprep.1"
    done = subprocess.run(
        [mandoc, "-T", "lint", "-W", "warning", str(page)], capture_output=True, text=True, check=False
    )
    complaints = [line for line in done.stdout.splitlines() if "missing date" not in line]
    assert complaints == []


def candidates(shell: str, share: Path, program: Path, words: str) -> list[str]:
    """What a shell offers after these words and TAB."""
    env = {"PATH": f"{program}:{os.environ['PATH']}", "HOME": str(share), "LC_ALL": "C.UTF-8", "TERM": "dumb"}
    if shell == "bash":
        script = (
            f"source {share}/bash-completion/completions/qatprep; COMP_LINE='{words}'; COMP_POINT=${{#COMP_LINE}}; "
            "$(complete -p qatprep | sed 's/.*-F \\([^ ]*\\).*/\\1/') qatprep; "
            'printf "%s\\n" "${COMPREPLY[@]}"'
        )
        command = [needs("bash", "bash"), "--norc", "-c", script]
    else:
        script = f'source {share}/fish/vendor_completions.d/qatprep.fish; complete -C "{words}"'
        command = [needs("fish", "fish"), "--no-config", "-c", script]
    done = subprocess.run(command, env=env, cwd=share, capture_output=True, text=True, check=True)
    return [line.split("\t")[0] for line in done.stdout.splitlines()]


COMPLETED = {
    "plan --simulate spr-8s": {"spr-8s", "spr-8s-ready"},
    "explain QP-SVC-": {"QP-SVC-001"},
    "doctor --only iom": {"iommu"},
    "plan --set devices.serv": {"devices.services="},
    "plan --simulate spr-2s --device 0000:6b": {"0000:6b:00.0"},
    "device reset --simulate spr-2s 0000:f": {"0000:f2:00.0", "0000:f7:00.0"},
    "device bind --simulate spr-2s-ready 0000:6b:00.": {"0000:6b:00.1", "0000:6b:00.7"},
}
"""A command line up to TAB, and some of what completes it."""


@pytest.mark.parametrize("shell", ["bash", "fish"])
@pytest.mark.parametrize("line", COMPLETED)
def test_hosts_ids_stages_keys_and_devices_are_completed(shell: str, line: str, share: Path, program: Path) -> None:
    word = line.rsplit(" ", 1)[-1]
    cut = max(word.rfind(":"), word.rfind("=")) + 1 if shell == "bash" else 0  # bash replaces what follows the last
    offered = {word[:cut] + found for found in candidates(shell, share, program, f"qatprep {line}")}
    assert COMPLETED[line] <= offered
    assert all(found.startswith(word) for found in offered), offered


def test_runs_are_completed(tmp_path: Path) -> None:
    from qatprep.cli import complete
    from qatprep.engine import journal
    from tests.conftest import qatprep

    env = {"QATPREP_STATE": str(tmp_path / "node")}
    assert qatprep("bootstrap", "--yes", "--simulate", "spr-2s", env=env).code == 0
    from qatprep.cli.open_host import open_host

    known = [run.id for run in journal.runs(open_host("/", "spr-2s", str(tmp_path / "node")))]
    ctx = typer.Context(typer.core.TyperCommand("rollback"))
    ctx.params.update(simulate="spr-2s")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QATPREP_STATE", str(tmp_path / "node"))
        assert [id for id, _ in complete.runs(ctx, "")] == [*known, "all"] and len(known) == 1


@pytest.mark.parametrize("shell", ["bash", "fish"])
def test_completion(shell: str, share: Path, program: Path) -> None:
    assert candidates(shell, share, program, "qatprep doc") == ["doctor"]
    assert "--simulate" in candidates(shell, share, program, "qatprep plan --s")


_ZSH = """\
zmodload zsh/zpty
zpty z zsh -f -i
zpty -w z "PS1=; fpath=($1 \\$fpath); autoload -Uz compinit; compinit -u -D; echo RE''ADY"
while zpty -r z line; do [[ $line == *READY* ]] && break; done
zpty -w -n z $'qatprep doc\\t'
for i in {1..100}; do
    zpty -r -t z chunk && out+=$chunk
    [[ $out == *qatprep\\ doctor* ]] && break
    sleep 0.1
done
print -r -- "$out"
"""


def test_completion_in_zsh(share: Path, program: Path) -> None:
    """The very first TAB completes: the file is an autoloaded function."""
    env = {"PATH": f"{program}:{os.environ['PATH']}", "HOME": str(share), "LC_ALL": "C.UTF-8", "TERM": "dumb"}
    command = [needs("zsh", "zsh"), "-f", "-c", _ZSH, "zsh", str(share / "zsh" / "site-functions")]
    done = subprocess.run(command, env=env, cwd=share, capture_output=True, text=True, check=False, timeout=240)
    assert "qatprep doctor" in done.stdout, done.stdout + done.stderr
