"""What every part of the simulated kernel uses: the tree, the clock, the log, and who waits for whom."""

from __future__ import annotations

from collections.abc import Callable

from qatprep.hardware import IOMMU_GROUPS, VFIO_DEV
from qatprep.host.kmsg import INFO, WARNING, spell
from qatprep.host.tree import Tree
from qatprep.host.values import META
from qatprep.simulator.clock import Clock
from qatprep.simulator.device import PciDevice
from qatprep.simulator.kernel import Kernel
from qatprep.simulator.waiting import Held


class Core:
    """The tree and the questions about it that several parts ask. It knows no part."""

    def __init__(self, tree: Tree, kernel: Kernel, clock: Clock) -> None:
        self.tree = tree
        self.kernel = kernel
        self.clock = clock
        self.stuck: dict[str, tuple[PciDevice, Callable[[], None]]] = {}
        """BDF of the function whose lock is taken -> the held VF and how the waiting operation goes on."""
        self._log = self._lines("dmesg")
        self._config: frozenset[str] | None = None

    # -- small questions ----------------------------------------------------------------------------------

    def log(self, text: str, level: int = INFO) -> None:
        """Add a message to the kernel log."""
        line = spell(level, text)
        self._log.append(line)
        node = self.tree.find(f"{META}/dmesg") or self.tree.file(f"{META}/dmesg")
        node.data += line.encode() + b"\n"

    def log_lines(self) -> list[str]:
        """As Host.kernel_log has them."""
        return self._log

    def text(self, path: str) -> str:
        """A file's content without the white space around it; "" when there is none."""
        node = self.tree.find(path)
        if node is None or node.kind != "file" or node.error:
            return ""
        try:
            return node.content().decode("utf-8", "backslashreplace").strip()
        except OSError:
            return ""

    def raw(self, path: str) -> str:
        """A file's content as it is; "" when there is none or it cannot be read."""
        node = self.tree.find(path)
        if node is None or node.kind != "file" or node.error:
            return ""
        return node.content().decode("utf-8", "backslashreplace")

    def account(self, table: str, name: str) -> int | None:
        """The number of a group or user by name (or the number itself); None when there is none."""
        if name.isdigit():
            return int(name)
        for line in self.text(f"/etc/{table}").splitlines():
            fields = line.split(":")
            if len(fields) > 2 and fields[0] == name and fields[2].isdigit():
                return int(fields[2])
        return 0 if name == "root" else None

    def parameter(self, module: str, name: str) -> str:
        return self.text(f"/sys/module/{module}/parameters/{name}")

    def marked(self, marker: str, word: str) -> bool:
        """Whether /.qatprep/<marker> lists a word. Markers tell what no file of a real host does."""
        return word in self._lines(marker, split=True)

    def several_nodes(self) -> bool:
        listing = self.tree.find("/sys/devices/system/node")
        nodes = [name for name in (listing.children if listing else ()) if name[:4] == "node" and name[4:].isdigit()]
        return len(nodes) > 1

    def option(self, name: str) -> bool | None:
        """Whether the kernel was built with an option; None when its configuration is unknown."""
        if self._config is None:
            release = self.kernel.release
            text = self.text(f"/boot/config-{release}") or self.text(f"/usr/lib/modules/{release}/config")
            lines = text.splitlines()
            self._config = frozenset(line.split("=")[0] for line in lines if line.startswith("CONFIG_"))
        return name in self._config if self._config else None

    def unpacks(self, suffix: str) -> bool:
        """Whether the firmware loader takes a compressed form: drivers/base/firmware_loader/Kconfig."""
        if not suffix:
            return True
        return self.option(f"CONFIG_FW_LOADER_COMPRESS_{suffix[1:].upper().replace('ZST', 'ZSTD')}") is not False

    def _lines(self, name: str, *, split: bool = False) -> list[str]:
        node = self.tree.find(f"{META}/{name}")
        text = node.content().decode("utf-8", "backslashreplace") if node else ""
        return text.split() if split else text.splitlines()

    # -- holders and waiting ------------------------------------------------------------------------------

    def holders(self, node: str) -> list[int]:
        """Processes with a descriptor on a device node: /proc/<pid>/fd/<n> -> node."""
        proc = self.tree.find("/proc")
        found = []
        for name, entry in (proc.children if proc else {}).items():
            fds = entry.children.get("fd") if name.isdigit() else None
            if fds is not None and any(fd.kind == "link" and fd.target == node for fd in fds.children.values()):
                found.append(int(name))
        return found

    def must_not_be_held(self, device: PciDevice, node: str) -> None:
        """drivers/vfio/vfio_main.c vfio_unregister_group_dev waits for the last user, for ever if need be."""
        if self.holders(node):
            self.log(f"{device.slot}: No device request channel registered, blocked until released by user", WARNING)
            raise Held(device)

    def must_not_be_stuck(self, device: PciDevice) -> None:
        """Whoever needs the lock of a function that waits for a holder, waits too."""
        waiting = self.stuck.get(device.bdf)
        if waiting is not None:
            raise Held(waiting[0], device)

    def wait(self, held: Held, resume: Callable[[], None]) -> None:
        """Note that an operation waits; `resume` does it again once the holder is gone."""
        self.stuck.setdefault(held.locked.bdf, (held.device, resume))

    def unstick(self) -> None:
        """Let waiting operations go on whose holder is gone."""
        for bdf, (device, resume) in list(self.stuck.items()):
            if device.group is not None and self.holders(self.group_node(device)):
                continue
            del self.stuck[bdf]
            try:
                resume()
            except Held as held:
                self.wait(held, resume)
            except OSError:
                continue  # only its writer sees the error

    # -- device nodes -------------------------------------------------------------------------------------

    def unsafe_group(self, group: str) -> bool:
        """Whether a group was made up by the unsafe mode: drivers/vfio/group.c vfio_noiommu_group_alloc."""
        node = self.tree.find(f"{IOMMU_GROUPS}/{group}/name")
        return node is not None and node.content().strip() == b"vfio-noiommu"

    def group_node(self, device: PciDevice) -> str:
        """The path of the VFIO node of a function's group."""
        assert device.group is not None
        prefix = "noiommu-" if self.unsafe_group(device.group) else ""
        return f"{VFIO_DEV}/{prefix}{device.group}"
