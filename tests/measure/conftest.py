"""The stand-ins for libqat and crypto_mb are those of the engines' tests."""

from tests.crypto.conftest import libraries, mb, only_standin, standin_library, standin_mb

__all__ = ["libraries", "mb", "only_standin", "standin_library", "standin_mb"]
