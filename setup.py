"""Builds qatprep._native; everything else is in pyproject.toml.

A C compiler is all it takes. On x86-64 it links crypto_mb from the wheels ipp-crypto-static and ipp-crypto-include,
which are build requirements there; without them the module is built without it, and without a compiler qatprep installs
without the module: it then says that it cannot sign, and the rest works.
"""

import importlib.metadata
import platform
import subprocess
import sys
from pathlib import Path

from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext

SOURCES = (
    "module",
    "pytypes",
    "pyrun",
    "pygate",
    "cpu",
    "key",
    "library",
    "mb",
    "ssl",
    "engine",
    "pyqat",
    "qat",
    "qatload",
)

HARDENED = ("-fstack-protector-strong", "-U_FORTIFY_SOURCE", "-D_FORTIFY_SOURCE=2", "-Wformat", "-Wformat-security")
"""Root loads the module, and it handles keys: overflows end the process. crypto_mb's own objects come as they are."""

MUL52X30_IS_FOR = "2026.2."
"""The release of ipp-crypto-static in which mul52x30.c stands for an internal function; see there."""


def shipped(distribution: str, name: str) -> Path | None:
    """Where a file of an installed distribution is, by the end of its path."""
    try:
        files = importlib.metadata.files(distribution) or []
    except importlib.metadata.PackageNotFoundError:
        return None
    for file in files:
        if str(file).endswith(name):
            path = Path(str(file.locate())).resolve()
            return path if path.is_file() else None
    return None


def log(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def extension() -> Extension:
    # No -m flag anywhere: the module must load on any CPU. Other instructions are only in crypto_mb's own objects.
    native = Extension(
        "qatprep._native",
        [f"qatprep/native/{name}.c" for name in SOURCES],
        depends=[str(path) for path in Path("qatprep/native").glob("*.h")],
        extra_compile_args=["-std=c11", "-O2", "-Wall", "-Wextra", "-fvisibility=hidden", "-pthread", *HARDENED],
        extra_link_args=["-pthread", "-ldl", "-Wl,-z,relro,-z,now,-z,noexecstack"],
        py_limited_api=True,
        optional=True,
    )
    archive = shipped("ipp-crypto-static", "libcrypto_mb.a")
    header = shipped("ipp-crypto-include", "crypto_mb/rsa.h")
    if platform.machine() != "x86_64":
        log("not an x86-64 machine: qatprep._native is built without crypto_mb")
    elif archive is None or header is None:
        log("no libcrypto_mb.a: qatprep._native is built without crypto_mb")
    else:
        native.define_macros.append(("QP_BUNDLED_MB", "1"))
        if importlib.metadata.version("ipp-crypto-static").startswith(MUL52X30_IS_FOR):
            native.define_macros.append(("QP_MUL52X30", "1"))
            native.sources.append("qatprep/native/mul52x30.c")
        native.include_dirs.append(str(header.parent.parent))
        native.extra_objects.append(str(archive))
        native.extra_link_args += ["-Wl,--exclude-libs,ALL", "-Wl,--gc-sections"]
    return native


class BuildNative(build_ext):
    """Without the run path that a Python built from source puts into every module: the folder of its own library, which
    on another machine may be anybody's."""

    def build_extensions(self) -> None:
        self.compiler.linker_so = [
            word for word in self.compiler.linker_so if not word.startswith(("-Wl,-rpath", "-Wl,-R"))
        ]
        super().build_extensions()


def share() -> list[tuple[str, list[str]]]:
    """The manual page and the completions, made out of the command line, for <prefix>/share."""
    target = Path("build/share")
    done = subprocess.run([sys.executable, "packaging/share.py", target], stdout=subprocess.DEVNULL, check=False)
    if done.returncode:
        log("no manual page and no completions: packaging/share.py failed")
        return []
    made = [path for path in target.rglob("*") if path.is_file()]
    return [(str(Path("share") / path.parent.relative_to(target)), [str(path)]) for path in made]


setup(
    packages=[*find_packages(include=["qatprep", "qatprep.*"], exclude=["qatprep.native"]), "qatprep.hosts"],
    package_dir={"qatprep.hosts": "fixtures/sysfs"},
    ext_modules=[extension()],
    cmdclass={"build_ext": BuildNative},
    data_files=share(),
    exclude_package_data={"qatprep": ["native/*"]},
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
