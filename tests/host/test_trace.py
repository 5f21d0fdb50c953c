"""`qatprep -v` and QATPREP_LOG: what is told of each operation on a host, and that nothing private is."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest

from qatprep.__main__ import main
from qatprep.cli.session import Session
from qatprep.errors import InputError
from qatprep.host.base import Host
from qatprep.host.trace import open_log, trace
from tests.simulator.hosts import simulated

PF = "/sys/bus/pci/devices/0000:6b:00.0"
TIME = re.compile(r" \d+\.\d ms$")


def logged(host: Host, *calls: tuple[str, ...]) -> list[str]:
    """What is told of these calls (name and arguments), without the durations."""
    lines: list[str] = []
    trace(host, open_log("", lines.append))
    for name, *arguments in calls:
        with contextlib.suppress(OSError):
            getattr(host, name)(*arguments)
    assert all(TIME.search(line) for line in lines)
    return [TIME.sub("", line) for line in lines]


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (("read", f"{PF}/qat/cfg_services"), f"read {PF}/qat/cfg_services 9 bytes = 'sym;asym'"),
        (("read", "/etc/group"), r"read /etc/group \d+ bytes"),
        (("read", "/not/there"), "read /not/there ENOENT"),
        (("listdir", "/sys/bus/pci/devices"), r"listdir /sys/bus/pci/devices \d+ names"),
        (("readlink", f"{PF}/driver"), rf"readlink {PF}/driver -> \S+/drivers/4xxx"),
        (("write", f"{PF}/sriov_numvfs", b"99"), f"write {PF}/sriov_numvfs = '99' 2 bytes ERANGE"),
        (("replace", "/etc/secret", b"hunter2"), "replace /etc/secret 7 bytes"),
        (("run", ["modprobe", "nothing"]), "run 'modprobe' 'nothing' status 1"),
        (("chown", "/etc/group", 0, 0), "chown /etc/group 0:0"),
    ],
    ids=str,
)
def test_each_operation_is_one_line(call: tuple[str, ...], line: str) -> None:
    (told,) = logged(simulated("spr-2s-ready"), call)
    assert re.fullmatch(line, told), told


def test_verbose_tells_what_doctor_reads() -> None:
    out, err = StringIO(), StringIO()
    plain, quiet = StringIO(), StringIO()
    code = main(["-v", "doctor", "--simulate", "spr-2s"], Session(out=out, err=err, env={}))
    assert code == main(["doctor", "--simulate", "spr-2s"], Session(out=plain, err=quiet, env={}))
    assert out.getvalue() == plain.getvalue()
    assert f"read {PF}/numa_node 2 bytes = '0'" in err.getvalue()
    assert "read " not in quiet.getvalue()


def test_the_log_is_private_and_added_to(tmp_path: Path) -> None:
    log = tmp_path / "log"
    session = Session(out=StringIO(), err=StringIO(), env={"QATPREP_LOG": str(log)})
    main(["device", "list", "--simulate", "spr-2s"], session)
    first = log.read_text()
    assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d+ \d+ \w+ ", first)
    assert log.stat().st_mode & 0o777 == 0o600
    main(["device", "list", "--simulate", "spr-2s"], session)
    assert log.read_text().startswith(first)
    assert len(log.read_text()) > len(first)


def test_a_log_that_cannot_be_written(tmp_path: Path) -> None:
    err = StringIO()
    env = {"QATPREP_LOG": str(tmp_path / "no" / "log")}
    assert main(["doctor", "--simulate", "spr-2s"], Session(out=StringIO(), err=err, env=env)) == 2
    assert "cannot write the log QATPREP_LOG=" in err.getvalue()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError):
        open_log(str(tmp_path / "link"), None)


def test_logging_is_loaded_only_when_asked_for() -> None:
    code = "import sys; from qatprep.__main__ import main; main(sys.argv[1:]); print(*sys.modules, file=sys.stderr)"
    argv = [sys.executable, "-c", code, "device", "list", "--simulate", "spr-2s"]
    assert "qatprep.host.trace" not in subprocess.run(argv, capture_output=True, text=True, check=True).stderr.split()
