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
        # "cannot import name": it is not there. Anything else is the loader's word on one that is.
        why = "" if "cannot import name" in str(e) or "halted" in str(e) else f" ({e})"
        raise QatprepError(f"{MISSING}{why}", HINT) from e


def require_cryptography() -> None:
    """QatprepError where the Python package that makes keys is missing: the single file does not bring it."""
    try:
        import cryptography  # noqa: F401
    except ImportError as e:
        raise QatprepError(
            f"this Python has no package cryptography, which makes the keys ({e})",
            "install python3-cryptography, or qatprep with pip; everything else works without it",
        ) from e
