"""Manual page and completions, made out of the command line."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

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
            f"source {share}/bash-completion/completions/qatprep; COMP_WORDS=({words}); "
            "COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); $(complete -p qatprep | sed 's/.*-F \\([^ ]*\\).*/\\1/') qatprep; "
            'printf "%s\\n" "${COMPREPLY[@]}"'
        )
        command = [needs("bash", "bash"), "--norc", "-c", script]
    else:
        script = f'source {share}/fish/vendor_completions.d/qatprep.fish; complete -C "{words}"'
        command = [needs("fish", "fish"), "--no-config", "-c", script]
    done = subprocess.run(command, env=env, cwd=share, capture_output=True, text=True, check=True)
    return [line.split("\t")[0] for line in done.stdout.splitlines()]


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
