"""Simulated time: every thread has its own clock, so that lanes which run side by side overlap as on real hardware.

The thread that made the host is the coordinator. A thread seen for the first time starts at the coordinator's time; the
coordinator's time becomes the latest of all once no other thread is left. So a lane is a thread of its own: a thread
that a pool gives a second lane does the two one after the other, here as in life.
"""

from __future__ import annotations

import threading
import time

# Seconds. Measured in a guest with look-alike devices where the comment says so, else taken from the kernel's source.
ATTRIBUTE = 0.0001
FSYNC = 0.002
MODULE = 0.03
PF_PROBE = 0.2  # a comment in qatlib's qat_init.sh
PF_START = 0.1
PF_STOP = 0.1
VFS_ON = 0.15  # measured: 0.12 to 0.20 for 16
VFS_OFF = 1.0  # drivers/pci/iov.c sriov_disable: ssleep(1)
VF_BIND = 0.0015  # measured: 1.2 to 2.2 ms
UDEV = 0.02


class Clock:
    """Seconds since the host was made. `realtime` makes every simulated second take that many real ones."""

    def __init__(self, realtime: float = 0.0) -> None:
        self.realtime = realtime
        self._guard = threading.Lock()
        self._coordinator = threading.current_thread()
        self._base = 0.0
        self._lanes: dict[threading.Thread, float] = {}
        self._latest = 0.0
        self._owed = threading.local()

    def spend(self, seconds: float) -> None:
        """Let time pass for the calling thread."""
        me = threading.current_thread()
        with self._guard:
            if me is self._coordinator:
                self._gather()
                self._base += seconds
                self._latest = max(self._latest, self._base)
            else:
                mine = max(self._lanes.get(me, 0.0), self._base) + seconds
                self._lanes[me] = mine
                self._latest = max(self._latest, mine)
        self._owed.seconds = getattr(self._owed, "seconds", 0.0) + seconds

    def wait_until(self, moment: float) -> None:
        """Let the calling thread wait for something that ends at `moment`; nothing when that is past."""
        missing = moment - self.mine()
        if missing > 0:
            self.spend(missing)

    def mine(self) -> float:
        """The calling thread's own time."""
        me = threading.current_thread()
        with self._guard:
            if me is self._coordinator:
                self._gather()
                return self._base
            return max(self._lanes.get(me, 0.0), self._base)

    def now(self) -> float:
        """What a clock on the wall shows: for a lane its own time, for the coordinator the latest of all."""
        if threading.current_thread() is self._coordinator:
            with self._guard:
                self._gather()
                return self._latest
        return self.mine()

    def pay(self) -> None:
        """Really sleep for what was spent, where that is wanted. Called with no lock held."""
        owed = getattr(self._owed, "seconds", 0.0)
        if owed and self.realtime:
            self._owed.seconds = 0.0
            time.sleep(owed * self.realtime)

    def _gather(self) -> None:
        if not any(thread.is_alive() for thread in self._lanes):
            self._base = max(self._base, self._latest)
            self._lanes.clear()
