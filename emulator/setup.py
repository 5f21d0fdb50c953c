"""The library that `run` preloads: not a module of Python's, but built and installed like one.

It is for x86-64, as QAT is; elsewhere `serve` works without it.
"""

import platform

from setuptools import Extension, setup

PRELOAD = Extension("qat_emulator._preload", ["qat_emulator/preload.c"], extra_compile_args=["-Wall", "-Wextra"])

setup(ext_modules=[PRELOAD] if platform.machine() == "x86_64" else [])
