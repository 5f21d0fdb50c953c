"""What every verb prints where no terminal is: whole lines, no boxes, and ASCII where the locale asks for it; --color
and --quiet."""

from __future__ import annotations

import re
from io import StringIO
from pathlib import Path

import pytest

from qatprep.__main__ import main
from qatprep.cli.open_host import open_host
from qatprep.cli.session import Session, error_text
from tests.cli.test_terminal import CALLS, MEASURING
from tests.conftest import some

BOXES = re.compile("[\u2500-\u257f]")
CHANGING = re.compile(r"\d{8}T\d{6}Z-\d{4}|[0-9.]+ s\b|[0-9,]{3,}|\d+%|\d+ ms")
"""Runs, times and rates, which differ from call to call."""
QUICK = [call for call in CALLS if not call.startswith(MEASURING)]


def piped(call: str, **env: str) -> tuple[int, str, str]:
    out, err = StringIO(), StringIO()
    code = main(call.split(), Session(out=out, err=err, env=env))
    return int(code), out.getvalue(), err.getvalue()


@pytest.mark.parametrize("call", QUICK)
def test_a_pipe_gets_the_same_text_whatever_columns_says(call: str) -> None:
    narrow, wide = (piped(call, COLUMNS=columns) for columns in ("60", "200"))
    assert narrow[0] == wide[0] and CHANGING.sub("N", narrow[1]) == CHANGING.sub("N", wide[1])
    # PFs are prepared side by side: which is told first may differ.
    assert sorted(CHANGING.sub("N", narrow[2]).splitlines()) == sorted(CHANGING.sub("N", wide[2]).splitlines())
    text = narrow[1] + narrow[2]
    assert not BOXES.search(text) and "\x1b" not in text
    assert [line for line in narrow[1].splitlines() if line != line.rstrip()] == []


PLAIN = ({"LC_ALL": "C"}, {"LANG": "POSIX"}, {"LC_ALL": "C", "LANG": "de_DE.UTF-8"})


@pytest.mark.parametrize(
    ("call", "locale"), [pair for n, call in enumerate(CALLS) for pair in some(((call, x) for x in PLAIN), 3, n % 3)]
)
def test_the_c_locale_gets_ascii(call: str, locale: dict[str, str]) -> None:
    if call.startswith(MEASURING) and (locale != {"LC_ALL": "C"} or _without_native()):
        pytest.skip("it measures; once is enough")
    _, out, err = piped(call, **locale)
    assert (out + err).isascii(), [line for line in (out + err).splitlines() if not line.isascii()]


def _without_native() -> bool:
    return not list((Path(__file__).parents[2] / "qatprep").glob("_native*.so"))


def test_other_locales_get_the_marks() -> None:
    for locale in ({"LC_ALL": "C.UTF-8"}, {"LANG": "C", "LC_ALL": "en_US.UTF-8"}, {}):
        assert "✗" in piped("doctor --short --simulate spr-2s", **locale)[1]


def test_json_in_the_c_locale_is_the_same_document() -> None:
    import json

    plain, ascii = (piped("doctor -o json --simulate gen2-c62x", **env)[1] for env in ({}, {"LC_ALL": "C"}))
    assert json.loads(plain) == json.loads(ascii)


@pytest.mark.parametrize(
    ("options", "env", "coloured"),
    [
        ("", {}, False),
        ("--color never", {}, False),
        ("--color always", {}, True),
        ("--color always", {"NO_COLOR": "1"}, True),
        ("--color auto", {"NO_COLOR": "1"}, False),
    ],
)
@pytest.mark.parametrize("verb", ["doctor", "plan", "status", "device list"])
def test_color(verb: str, options: str, env: dict[str, str], coloured: bool) -> None:
    out = piped(f"{verb} {options} --simulate half-bound", **env)[1]
    assert ("\x1b[" in out) == coloured
    first = piped(f"{options} {verb} --simulate half-bound", **env)[1]
    assert ("\x1b[" in first) == coloured


@pytest.mark.parametrize("verb", ["doctor", "plan", "status"])
def test_quiet_prints_the_verdict_alone(verb: str) -> None:
    code, out, err = piped(f"{verb} --quiet --simulate half-bound")
    assert code == 3 and err == ""
    assert out.startswith("QAT  ") and len(out.splitlines()) <= 6


def test_quiet_bootstrap_changes_the_host_all_the_same() -> None:
    host = open_host("/", "half-bound")
    out, err = StringIO(), StringIO()
    assert main(["bootstrap", "-q", "--yes"], Session(out=out, err=err, env={}, given_host=host)) == 0
    assert out.getvalue().startswith("Done: 16 changes") and err.getvalue() == ""


def test_a_run_that_makes_other_changes_than_were_planned_says_why() -> None:
    """How many there are is known once the driver runs."""
    _, out, _ = piped("bootstrap --yes --simulate module-not-loaded")
    planned = re.search(r"^total +(\d+) changes on 8 PFs, a forecast until the driver runs$", out, re.MULTILINE)
    done = re.search(
        r"^Done: (\d+) changes, each read back; (\d+) were forecast before the driver ran", out, re.MULTILINE
    )
    assert planned and done and planned[1] == done[2] and int(done[1]) < int(done[2])


def test_the_form_of_an_error() -> None:
    assert error_text("it is 7", "it must be 8", "write 8\nor 9") == (
        "error: it is 7\n  cause: it must be 8\n  fix:   write 8\n         or 9"
    )


MISTAKES = {
    "doctr": ("unknown command 'doctr'", "did you mean: qatprep doctor?"),
    "device bnd": ("unknown command 'bnd'", "did you mean: qatprep device bind?"),
    "plan --simulat spr-2s": ("unknown option '--simulat' of qatprep plan", "did you mean --simulate?"),
    "plan -o jsn": ("--output 'jsn' is not one of human, json", "did you mean json?"),
    "doctor --profile quat": ("--profile 'quat' is not one of qat, cryptomb, auto", "did you mean qat?"),
    "plan --simulate spr-2x": ("there is no simulated host 'spr-2x'", "did you mean spr-2s"),
    "explain QP-SCV-001": ("QP-SCV-001", "QP-SVC-001"),
    "doctor --simulate spr-2s --only iomu": ("iomu", "iommu"),
    "plan --simulate spr-2s --set devices.servces=dc": ("'servces' in devices", "did you mean services?"),
    "plan --simulate spr-2s --set devices.services=asim": ("asim", "asym"),
    "device list --simulate spr-2s --class netwrk": ("netwrk", "did you mean network?"),
    "render envoy": ("qatprep render envoy needs --provider", "-p, --provider PROVIDER: Who signs"),
    "device services": ("qatprep device services needs SERVICES", "for example: qatprep device services 'asym;sym'"),
    "doctor --only": ("--only of qatprep doctor needs a value", "--only CHECK: Only this id"),
    "plan --quiet=yes": ("--quiet of qatprep plan takes no value", "-q, --quiet: Only the result"),
    "plan --output=": ("--output '' is not one of human, json", "qatprep plan --help"),
    "hosts a b": ("qatprep hosts does not take 'b'", "qatprep hosts --help"),
    "bench rsa --rounds x": ("--rounds 'x' is not a whole number from 1 to 1000", "--rounds N: Turns"),
    "tune --rate -1": ("--rate '-1.0' is not a number of 0 or more", "--rate PER-SECOND: Handshakes"),
    "inspect stats - --seconds x": ("--seconds 'x' is not a number", "--seconds SECONDS: Time"),
    "status --color sometimes": ("--color 'sometimes' is not one of auto, always, never", "qatprep status --help"),
}


@pytest.mark.parametrize("call", MISTAKES)
def test_a_mistyped_word_is_told_with_what_may_be_meant(call: str) -> None:
    code, out, err = piped(call)
    what, fix = MISTAKES[call]
    assert code == 2 and out == ""
    assert err.startswith("error: ") and what in err.splitlines()[0]
    assert re.search(r"^  fix:   ", err, re.MULTILINE) and fix in err and "\t" not in err
