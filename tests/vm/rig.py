#!/usr/bin/env python3
"""Boot a real Debian kernel with SR-IOV, an IOMMU and the kernel's own QAT driver, and run something in it.

    python3 tests/vm/rig.py setup                   install QEMU and the few tools the rig needs (apt-get, root)
    python3 tests/vm/rig.py build [--kernel 6.12]   fetch and build what a guest is made of
    python3 tests/vm/rig.py run -- 'shell text'     boot, run, pass the exit status on; 125 when the guest gave none
    python3 tests/vm/rig.py test [--full]           build and run the tests marked vm
    python3 tests/vm/rig.py clean                   remove the cache

README.md beside this file says more.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys

if not __package__:
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from typing import Any

from tests.vm import extras, kernels, userland
from tests.vm.emulated import EmulatedGuest
from tests.vm.errors import RigError
from tests.vm.machine import Guest, GuestDied, Hardware

NO_STATUS = 125
"""As `timeout` and `docker run` have it: the failure is ours, not the command's."""

# What a guest is started with, and what its kernel modules are built with.
TOOLS = ["qemu-system-x86", "busybox-static", "kmod", "pciutils", "e2fsprogs", "xz-utils", "zstd"]
TOOLS += ["gcc-12", "make", "libc6-dev", "libelf1"]


def cache() -> str:
    """Where kits are kept: QATPREP_VM_CACHE, or ~/.cache/qatprep-vm."""
    return os.path.abspath(os.environ.get("QATPREP_VM_CACHE") or os.path.expanduser("~/.cache/qatprep-vm"))


def setup() -> int:
    """Install the tools with apt-get."""
    sudo = [] if os.geteuid() == 0 else ["sudo"]
    for arguments in (["update"], ["install", "-y", "--no-install-recommends", *TOOLS]):
        command = [*sudo, "apt-get", "-qq", *arguments]
        print("+", " ".join(command), file=sys.stderr, flush=True)
        status = subprocess.run(command, check=False).returncode
        if status:
            return status
    return 0


def guest(series: str, hardware: Hardware, **more: Any) -> Guest:
    """A guest, not started yet, with what it is made of built. RigError when that is not possible here."""
    kit = kernels.build(cache(), series)
    if hardware.kind == "emulated":
        return EmulatedGuest(kit, hardware, cache=cache(), **more)
    if more.get("boot", "bare") != "bare":
        more["extra"] = extras.build(cache(), "systemd", extras.SYSTEMD)
    if hardware.kind == "igb":
        more["qemu"] = extras.newer_qemu(cache())
    return Guest(kit, hardware, **more)


def run(options: argparse.Namespace) -> int:
    """Boot a guest and run the shell text in it."""
    hardware = Hardware(
        pfs=options.pfs,
        kind=options.kind,
        iommu=options.iommu,
        domain=options.domain,
        sockets=options.sockets,
        memory=1024 if options.kind == "emulated" else 640,
    )

    def stream(kind: str, text: str) -> None:
        out = sys.stdout if kind == "out" else sys.stderr
        out.write(text.encode("utf-8", "surrogateescape").decode("utf-8", "replace"))
        out.flush()

    more = {"suite": options.suite} if options.kind == "emulated" else {}
    here = guest(options.kernel, hardware, boot=options.boot, disk=options.disk, arguments=options.arguments, **more)
    with here:
        if options.verbose:
            print(f"Linux {here.kit.release} was up after {here.booted:.1f} s", file=sys.stderr)
            if options.kind == "emulated":
                print(here.kit.driver(), file=sys.stderr)
        return here.start(" ".join(options.text), stream=stream).wait(options.seconds).status


def test(options: argparse.Namespace) -> int:
    """Run the tests, having built what they need."""
    series = options.kernels or (list(kernels.KERNELS) if options.full else [kernels.DEFAULT])
    for each in series:
        kernels.build(cache(), each)
    env = {**os.environ, "QATPREP_VM_KERNELS": ",".join(series)}
    if options.full:
        env["QATPREP_VM_FULL"] = "1"
    here = os.path.dirname(os.path.abspath(__file__))
    command = [sys.executable, "-m", "pytest", "-m", "vm", "-rs", here, *options.pytest]
    return subprocess.run(command, env=env, cwd=os.path.dirname(os.path.dirname(here)), check=False).returncode


def record(options: argparse.Namespace) -> int:
    """Write down how kernels answer the script that the simulated kernel is tested with."""
    from tests.vm import model, script

    os.makedirs(model.RECORDINGS, exist_ok=True)
    for series in options.kernels or list(kernels.KERNELS):
        with Guest(kernels.build(cache(), series)) as guest:
            played = model.play_in(guest, script.acts())
        path = os.path.join(model.RECORDINGS, f"{series}.json")
        model.save(path, played)
        print(path)
    return 0


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    verbs.add_parser("setup", help="install QEMU and tools with apt-get")
    verb = verbs.add_parser("build", help="fetch and build kernel kits")
    verb.add_argument("--kernel", action="append", dest="kernels", choices=list(kernels.KERNELS), metavar="SERIES")
    verb = verbs.add_parser("run", help="boot a guest and run a shell text in it")
    verb.add_argument("--kernel", choices=list(kernels.KERNELS), default=kernels.DEFAULT, metavar="SERIES")
    verb.add_argument(
        "--pfs", type=int, default=2, help="SR-IOV devices (default: 2); 0 with --kind emulated: VFs alone"
    )
    verb.add_argument("--kind", choices=("qat", "soft", "nvme", "igb", "emulated"), default="qat")
    verb.add_argument(
        "--suite", choices=list(userland.USERLANDS), default=userland.DEFAULT, help="Debian of emulated guests"
    )
    verb.add_argument("--iommu", choices=("on", "off", "absent"), default="on")
    verb.add_argument("--domain", type=int, default=0, help="PCI domain of soft PFs")
    verb.add_argument("--sockets", type=int, choices=(1, 2), default=1, help="NUMA nodes (default: 1)")
    verb.add_argument("--boot", choices=("bare", "udev", "systemd"), default="bare")
    verb.add_argument("--disk", default="", metavar="IMAGE", help="an ext4 image that keeps what the guest writes")
    verb.add_argument("--arguments", default="", help="more kernel arguments")
    verb.add_argument("--seconds", type=float, default=600.0, help="for the text (default: 600)")
    verb.add_argument("--verbose", "-v", action="store_true")
    verb.add_argument("text", nargs="+")
    verb = verbs.add_parser("test", help="run the tests marked vm")
    verb.add_argument("--full", action="store_true", help="every kernel, and the long loops")
    verb.add_argument("--kernel", action="append", dest="kernels", choices=list(kernels.KERNELS), metavar="SERIES")
    verb.add_argument("pytest", nargs="*", help="more arguments for pytest")
    verb = verbs.add_parser("record", help="record how kernels answer the model's script (needs qatprep importable)")
    verb.add_argument("--kernel", action="append", dest="kernels", choices=list(kernels.KERNELS), metavar="SERIES")
    verbs.add_parser("clean", help="remove the cache")
    options = parser.parse_args(argv)
    try:
        match options.verb:
            case "setup":
                return setup()
            case "build":
                for series in options.kernels or [kernels.DEFAULT]:
                    kit = kernels.build(cache(), series)
                    print(f"{kit.directory}: Linux {kit.release}")
                return 0
            case "run":
                return run(options)
            case "test":
                return test(options)
            case "record":
                return record(options)
            case _:
                shutil.rmtree(cache(), ignore_errors=True)
                return 0
    except (RigError, TimeoutError) as e:
        print(f"rig: {e}", file=sys.stderr)
        if getattr(e, "hint", ""):
            print(f"rig: try: {e.hint}", file=sys.stderr)  # type: ignore[union-attr]
        return NO_STATUS if isinstance(e, (GuestDied, TimeoutError)) or options.verb == "run" else 1


if __name__ == "__main__":
    sys.exit(main())
