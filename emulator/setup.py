"""The library that `run` preloads: not a module of Python's, but built and installed like one."""

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension("qat_emulator._preload", ["qat_emulator/preload.c"], extra_compile_args=["-Wall", "-Wextra"]),
    ],
)
