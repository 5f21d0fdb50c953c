"""The command line."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Sequence
from typing import TextIO

from qat_emulator import VERSION
from qat_emulator.errors import EmulatorError
from qat_emulator.faults import GROUPS, BadFault, Faults
from qat_emulator.record import Record
from qat_emulator.services import PAIRS, canonical

FAILED, USAGE = 1, 2


def parser() -> argparse.ArgumentParser:
    """Verbs and their options."""
    main = argparse.ArgumentParser(
        prog="qat-emulator", description="A QAT device of the fourth generation, in software."
    )
    main.add_argument("--version", action="version", version=f"qat-emulator {VERSION}")
    verbs = main.add_subparsers(dest="verb", required=True, metavar="COMMAND")

    run = verbs.add_parser("run", help="run a command on a machine that seems to have QAT VFs")
    run.add_argument("--tree", metavar="DIR", help="take the C library and libqat from an unpacked Debian (see fetch)")
    run.add_argument("--counts", metavar="FILE", help="write what the devices did, as JSON")
    run.add_argument("command", nargs=argparse.REMAINDER, metavar="-- COMMAND", help="the command and its arguments")

    serve = verbs.add_parser("serve", help="sockets for QEMU's vfio-user-pci, and the options to start it with")
    serve.add_argument("folder", metavar="DIR", help="where the sockets are made")
    serve.add_argument("--pf", action="store_true", help="a PF with its VFs, for the kernel's own driver")
    for each in (run, serve):
        each.add_argument(
            "--services", type=services, default="asym", help=f"one of {', '.join(PAIRS)} (default: asym)"
        )
        each.add_argument("--vfs", type=vfs, default=1, metavar="N", help="how many VFs, 0 to 16 (default: 1)")
        each.add_argument("--fault", action="append", default=[], metavar="NAME[=N]", help="see: qat-emulator faults")
        each.add_argument("--record", metavar="FILE", help="write what drivers did to the devices, as JSON lines")
        each.add_argument("--workers", type=int, default=2, metavar="N", help="threads that calculate (default: 2)")

    tell = verbs.add_parser("tell", help="ask or change devices that are being served")
    tell.add_argument("folder", metavar="DIR", help="the folder of serve")
    tell.add_argument("words", nargs="+", metavar="WORD", help="counts, or fault NAME[=N], or fault NAME=off")

    fetch = verbs.add_parser("fetch", help="unpack libqat of a Debian suite into a folder; installs nothing")
    fetch.add_argument("suite", help="trixie, sid ...")
    fetch.add_argument("folder", metavar="DIR")

    verbs.add_parser("faults", help="what a device can be made to do wrong")
    return main


def services(text: str) -> str:
    """--services, in the order the device names them."""
    try:
        return canonical(text)
    except ValueError as problem:
        raise argparse.ArgumentTypeError(str(problem)) from None


def vfs(text: str) -> int:
    """--vfs: 0 to 16, as many as a PF has."""
    if not text.isdigit() or int(text) > 16:
        raise argparse.ArgumentTypeError(f"{text} is not a number from 0 to 16")
    return int(text)


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status: of `run` that of the command, else 0, FAILED, USAGE, or 130 after Ctrl-C."""
    options = parser().parse_args(arguments)
    try:
        if options.verb == "faults":
            list_faults(sys.stdout)
            return 0
        if options.verb == "fetch":
            from qat_emulator.tree import fetch

            print(fetch(options.suite, options.folder))
            return 0
        if options.verb == "tell":
            from qat_emulator.control import ask

            print(json.dumps(ask(options.folder, options.words)))
            return 0
        with contextlib.ExitStack() as stack:

            def opened(path: str | None) -> TextIO | None:
                return stack.enter_context(open(path, "w", encoding="ascii")) if path else None

            record, faults = Record(opened(options.record)), Faults(options.fault)
            if options.verb == "run":
                return run_command(options, faults, record, opened(options.counts))
            from qat_emulator.serve import serve

            return serve(
                options.folder,
                pf=options.pf,
                vfs=options.vfs,
                services=options.services,
                faults=faults,
                record=record,
                workers=options.workers,
            )
    except BadFault as problem:
        print(f"qat-emulator: {problem}", file=sys.stderr)
        return USAGE
    except EmulatorError as problem:
        print(f"qat-emulator: {problem}", file=sys.stderr)
        if problem.fix:
            print(f"  {problem.fix}", file=sys.stderr)
        return FAILED
    except OSError as problem:
        print(f"qat-emulator: {problem.filename or ''}: {problem.strerror}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        return 130


def run_command(options: argparse.Namespace, faults: Faults, record: Record, counts: TextIO | None) -> int:
    """`run`. EmulatorError, OSError."""
    from qat_emulator.run import run

    command = options.command[1:] if options.command[:1] == ["--"] else options.command
    if not command:
        print("qat-emulator: no command to run: write it after --", file=sys.stderr)
        return USAGE
    return run(
        command,
        services=options.services,
        vfs=options.vfs,
        faults=faults,
        tree=options.tree,
        record=record,
        counts=counts,
        workers=options.workers,
    )


def list_faults(out: TextIO) -> None:
    """NAME, what happens, and what N means, by group."""
    units = {
        "": "",
        "requests": "N times ({})",
        "after": "after N requests ({})",
    }
    for group, faults in GROUPS.items():
        out.write(f"{group}\n")
        for fault in faults:
            unit = units.get(fault.unit, f"N {fault.unit} ({{}})").format(fault.default)
            out.write(f"  {fault.name:<16}{fault.text}{unit and f'; {unit}'}\n")
    out.write("restarting, fatal and gone with N = 0 happen at the first message to the PF.\n")


def console() -> None:
    """The program `qat-emulator`."""
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # the threads of the device have nothing to save


if __name__ == "__main__":
    console()
