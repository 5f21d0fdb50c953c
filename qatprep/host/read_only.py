"""The half of a host that nothing can be changed through."""

from __future__ import annotations

import errno
from contextlib import AbstractContextManager

from qatprep.host.base import Host, fail


class ReadOnly(Host):
    """Every attempt to change it is EROFS."""

    def write(self, path: str, data: bytes, *, deadline: float | None = None) -> None:
        fail(errno.EROFS, path)

    def replace(self, path: str, data: bytes, *, mode: int = 0o644, uid: int = 0, gid: int = 0) -> None:
        fail(errno.EROFS, path)

    def append(self, path: str, data: bytes) -> None:
        fail(errno.EROFS, path)

    def mkdir(self, path: str, *, mode: int = 0o755) -> None:
        fail(errno.EROFS, path)

    def unlink(self, path: str) -> None:
        fail(errno.EROFS, path)

    def rmdir(self, path: str) -> None:
        fail(errno.EROFS, path)

    def chmod(self, path: str, mode: int) -> None:
        fail(errno.EROFS, path)

    def chown(self, path: str, uid: int, gid: int) -> None:
        fail(errno.EROFS, path)

    def lock(self, path: str) -> AbstractContextManager[None]:
        fail(errno.EROFS, path)
