"""The native module may be absent: it is not built without a C compiler. Ask here before importing it."""

from __future__ import annotations

from qatprep.errors import QatprepError

MISSING = "this installation of qatprep has no native module: it was installed without a C compiler"
HINT = "install gcc, then run: pip install --force-reinstall --no-deps qatprep"


def require() -> None:
    """QatprepError where qatprep._native was not built or cannot be loaded."""
    try:
        from qatprep import _native  # noqa: F401
    except ImportError as e:
        raise QatprepError(f"{MISSING} ({e})", HINT) from e
