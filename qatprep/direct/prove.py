"""The chain of one proof, step by step."""

from __future__ import annotations

import secrets
from collections.abc import Callable

from qatprep.direct import pke, registers, target
from qatprep.direct.access import Access
from qatprep.direct.dma import Memory
from qatprep.direct.iommufd import CdevAccess
from qatprep.direct.kernel import Kernel
from qatprep.direct.mailbox import Mailbox
from qatprep.direct.registers import BUS_MASTER, COMMAND, MEMORY_SPACE, Region
from qatprep.direct.result import Cause, Entry, Evidence, Limits, Proof, Seen, Step, Stop
from qatprep.direct.ring import RingPair
from qatprep.direct.target import Target
from qatprep.direct.trace import Clock, Trace, Undo
from qatprep.direct.vfio import GroupAccess


def prove(
    bdf: str,
    number: int,
    *,
    kernel: Kernel | None = None,
    limits: Limits | None = None,
    keep: Callable[[Entry], None] | None = None,
    way: str = "",
) -> Proof:
    """Sign `number` (a padded message, below pke.N) once on the VF `bdf`.

    `way` is "group" or "cdev"; by default the group's where the kernel has one, because libqat needs it. Never raises
    for what the host or the device does: the proof says it. What was changed is put back, whatever happened.
    """
    kernel = kernel or Kernel()
    trace = Trace(kernel, keep)
    chain = _Chain(bdf, kernel, limits or Limits(), trace)
    undo = Undo(trace)
    cause: Cause | None = None
    evidence: Evidence = {}
    step = Step.FIND
    with undo:
        try:
            chain.run(number, undo, way)
        except Stop as stop:
            cause, evidence, step = stop.cause, stop.evidence, trace.step
        except OSError as e:  # one that no step expects: named, never swallowed
            cause, step = Cause.SYSTEM_ERROR, trace.step
            evidence = {"errno": e.errno, "error": e.strerror or str(e), **({"path": e.filename} if e.filename else {})}
        if cause:
            trace.note("stop", cause=cause.value, **evidence)
        chain.clock.stop()
        trace.begin(Step.CLOSE)
    return Proof(bdf, step if cause else Step.CLOSE, cause, evidence, chain.seen, tuple(undo.not_undone), trace.seconds)


class _Chain:
    def __init__(self, bdf: str, kernel: Kernel, limits: Limits, trace: Trace) -> None:
        self._bdf, self._kernel, self._limits, self._trace = bdf, kernel, limits, trace
        self.clock = Clock(kernel, limits.total)
        self.seen = Seen()

    def run(self, number: int, undo: Undo, way: str) -> None:
        trace, kernel, seen = self._trace, self._kernel, self.seen
        trace.begin(Step.FIND)
        where = target.look(kernel, self._bdf)
        seen.memlock_limit = kernel.memlock()

        trace.begin(Step.OPEN)
        access = self._access(where, undo, way)
        seen.way, seen.device_node = access.way, access.node

        trace.begin(Step.MEMORY)
        memory = Memory(kernel, access, trace)
        undo.add("memory wiped", memory.wipe)
        undo.add("DMA mapping", memory.unmap)
        seen.dma_bytes = memory.size

        trace.begin(Step.DEVICE)
        try:
            device = access.open_device()
        except OSError as e:
            raise Stop(Cause.DEVICE_REFUSED, errno=e.errno, error=e.strerror) from None
        undo.add("device", access.close_device)  # resets it, while its memory is still mapped
        seen.msi = registers.msi_vectors(kernel, device)
        rings, box = self._regions(device, undo)

        trace.begin(Step.MAILBOX)
        self.clock.start()
        mailbox = Mailbox(box, trace, self.clock, self._limits)
        try:
            mailbox.open()
            offer = mailbox.handshake()
            seen.pf_version, seen.capabilities, seen.services = offer.version, offer.capabilities, offer.services
            if "asym" not in offer.services:
                raise Stop(Cause.NO_ASYM, services=list(offer.services), capabilities=offer.capabilities)
            seen.pair = offer.services.index("asym")

            trace.begin(Step.RINGS)
            undo.add("registration at the PF", mailbox.leave)
            mailbox.register()
            pair = RingPair(rings, seen.pair, memory, trace)
            undo.add("ring pair", pair.tear_down)
            pair.set_up()

            trace.begin(Step.SIGN)
            ticket = secrets.randbits(64)
            signature = pair.sign(number, ticket, mailbox, self.clock, self._limits, seen)
            pke.check_signature(signature, number)
            seen.signature = signature.to_bytes(pke.SIZE, "big").hex()
        finally:
            seen.messages = mailbox.sent

    def _access(self, where: Target, undo: Undo, way: str) -> Access:
        if not way:
            way = "cdev" if where.cdev_node and not self._kernel.exists(where.group_node) else "group"
        return CdevAccess(self._kernel, where, undo) if way == "cdev" else GroupAccess(self._kernel, where, undo)

    def _regions(self, device: int, undo: Undo) -> tuple[Region, Region]:
        """Rings and mailbox, the function allowed to answer and to reach memory."""
        kernel, trace = self._kernel, self._trace
        config = Region(kernel, trace, device, registers.CONFIG_SPACE, "config", 64)
        rings = Region(kernel, trace, device, registers.RINGS_BAR, "bar0", registers.PAIRS * registers.BUNDLE)
        box = Region(kernel, trace, device, registers.MAILBOX_BAR, "bar2", registers.MAILBOX_END)
        command = config.read(COMMAND, 2)
        config.write(COMMAND, command | MEMORY_SPACE | BUS_MASTER, 2)
        undo.add("bus master", lambda: config.write(COMMAND, command & ~(MEMORY_SPACE | BUS_MASTER), 2))
        return rings, box
