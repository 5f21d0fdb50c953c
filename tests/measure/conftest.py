"""The stand-in for libqat is the one that the engines' tests use."""

from tests.crypto.conftest import libraries, standin_library

__all__ = ["libraries", "standin_library"]
