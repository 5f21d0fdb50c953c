"""Which CPU instructions crypto_mb needs, by code path and version of the library.

crypto_mb holds its functions twice and chooses at run time (_mbx_own_get_index in src/common/cpu_features.c): the
AVX-512 path where six bits and the register states are there, else the AVX-IFMA path where that was compiled in. What a
path executes is more than what the library looks for: every official build compiles the AVX-512 path with VL and VBMI
as well (src/cmake/linux/*.cmake: -march=icelake-server, -mavx512vl, -mavx512vbmi), and RSA converts its numbers with
VPERMB, a VBMI instruction (src/common/ifma_cvt52.c). Where only the six are there the library starts and then dies of
an illegal instruction. The same options allow GFNI; Intel's compiler uses it for P-256 in the wheel.

Sources: intel/cryptography-primitives v1.0.0 and v1.1.0, intel/ipp-crypto 2021.5 to 2021.12.1; for what the objects
execute, the archive libcrypto_mb.a of ipp-crypto-static 2026.2 taken apart.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

REGISTERS = ("eax", "ebx", "ecx", "edx", "xcr0")


class Bit(NamedTuple):
    """One bit that must be set. Intel SDM vol. 2A, CPUID; vol. 1, 13.3, XCR0."""

    name: str
    leaf: int
    subleaf: int
    register: str
    """One of REGISTERS. XCR0 has no leaf."""
    bit: int
    flag: str = ""
    """Its word in /proc/cpuinfo (arch/x86/include/asm/cpufeatures.h); "" for XCR0."""


XSAVE = Bit("XSAVE", 1, 0, "ecx", 26, "xsave")
OSXSAVE = Bit("OSXSAVE", 1, 0, "ecx", 27, "osxsave")
"""The operating system has switched XSAVE on: without it XCR0 cannot be read. /proc/cpuinfo never shows it."""
AVX = Bit("AVX", 1, 0, "ecx", 28, "avx")
HYPERVISOR = Bit("HYPERVISOR", 1, 0, "ecx", 31, "hypervisor")
BMI1 = Bit("BMI1", 7, 0, "ebx", 3, "bmi1")
BMI2 = Bit("BMI2", 7, 0, "ebx", 8, "bmi2")
FMA = Bit("FMA", 1, 0, "ecx", 12, "fma")
MOVBE = Bit("MOVBE", 1, 0, "ecx", 22, "movbe")
RDSEED = Bit("RDSEED", 7, 0, "ebx", 18, "rdseed")
AVX2 = Bit("AVX2", 7, 0, "ebx", 5, "avx2")
AVX_IFMA = Bit("AVX-IFMA", 7, 1, "eax", 23, "avx_ifma")
AVX512F = Bit("AVX512F", 7, 0, "ebx", 16, "avx512f")
AVX512DQ = Bit("AVX512DQ", 7, 0, "ebx", 17, "avx512dq")
AVX512IFMA = Bit("AVX512IFMA", 7, 0, "ebx", 21, "avx512ifma")
AVX512BW = Bit("AVX512BW", 7, 0, "ebx", 30, "avx512bw")
AVX512VL = Bit("AVX512VL", 7, 0, "ebx", 31, "avx512vl")
AVX512VBMI = Bit("AVX512VBMI", 7, 0, "ecx", 1, "avx512vbmi")
GFNI = Bit("GFNI", 7, 0, "ecx", 8, "gfni")
AVX512VBMI2 = Bit("AVX512VBMI2", 7, 0, "ecx", 6, "avx512_vbmi2")
XCR0_SSE = Bit("XCR0 SSE", 0, 0, "xcr0", 1)
XCR0_AVX = Bit("XCR0 AVX", 0, 0, "xcr0", 2)
XCR0_OPMASK = Bit("XCR0 opmask", 0, 0, "xcr0", 5)
XCR0_ZMM_HI256 = Bit("XCR0 ZMM_Hi256", 0, 0, "xcr0", 6)
XCR0_HI16_ZMM = Bit("XCR0 Hi16_ZMM", 0, 0, "xcr0", 7)


class CodePath(NamedTuple):
    """One of the ways in which crypto_mb can work on a CPU."""

    name: str
    chosen_by: tuple[Bit, ...]
    """The library takes this path where all of these are set."""
    executes: tuple[Bit, ...]
    """What its RSA and P-256 code uses: with one of these missing it ends in SIGILL."""
    kinds: tuple[str, ...]
    """Kinds of key it signs with: "rsa", "p-256". For others every lane is MBX_STATUS_UNSUPPORTED_ISA_ERR."""


_AVX512_CHOICE = (
    BMI2, AVX512F, AVX512DQ, AVX512BW, AVX512IFMA, AVX512VBMI2, XCR0_OPMASK, XCR0_ZMM_HI256, XCR0_HI16_ZMM,
)  # fmt: skip
"""CRYPTO_MB_REQUIRED_CPU_FEATURES_K1"""
_AVX_IFMA_CHOICE = (MOVBE, AVX2, RDSEED, AVX_IFMA, XCR0_SSE, XCR0_AVX)
"""CRYPTO_MB_REQUIRED_CPU_FEATURES_L9"""

AVX512 = CodePath(
    "AVX-512",
    _AVX512_CHOICE,
    (
        BMI1,
        BMI2,
        FMA,
        AVX512F,
        AVX512DQ,
        AVX512BW,
        AVX512VL,
        AVX512IFMA,
        AVX512VBMI,
        AVX512VBMI2,
        XCR0_SSE,
        XCR0_AVX,
        XCR0_OPMASK,
        XCR0_ZMM_HI256,
        XCR0_HI16_ZMM,
    ),
    ("rsa", "p-256"),
)
AVX512_CPUS = "Intel Xeon Ice Lake, Sapphire Rapids or later; AMD EPYC Zen 4 (Genoa) or later"
"""CPUs with the whole AVX-512 path, for people."""
AVX512_OF_WHEEL = AVX512._replace(executes=(*AVX512.executes, GFNI))
"""In ipp-crypto-static, which is linked in, and ipp-crypto."""
AVX_IFMA_RSA = CodePath("AVX-IFMA", _AVX_IFMA_CHOICE, (*_AVX_IFMA_CHOICE, BMI1, BMI2, FMA), ("rsa",))
AVX_IFMA_ALL = AVX_IFMA_RSA._replace(kinds=("rsa", "p-256"))


class Release(NamedTuple):
    """Versions of crypto_mb with the same code paths, in the order in which the library tries them."""

    interface: int
    """MBX_INTERFACE_VERSION_MAJOR, the number in libcrypto_mb.so.N."""
    since: tuple[int, int]
    """First version, major and minor, as mbx_getversion gives it."""
    paths: tuple[CodePath, ...]


RELEASES = (
    Release(11, (1, 0), (AVX512,)),
    Release(12, (1, 0), (AVX512, AVX_IFMA_RSA)),
    Release(12, (1, 2), (AVX512, AVX_IFMA_ALL)),
    Release(13, (2, 0), (AVX512, AVX_IFMA_ALL)),
)
"""Interface 11 is ipp-crypto 2021.x (crypto_mb 1.0.4 to 1.0.14). Interface 12 began with cryptography-primitives 1.0,
whose crypto_mb starts again at 1.0: the version alone does not tell the two apart."""


def paths_of(interface: int, version: tuple[int, int] | None = None) -> tuple[CodePath, ...]:
    """The code paths of a crypto_mb. Without its version: the oldest of that interface, which has the fewest."""
    alike = [release for release in RELEASES if release.interface == min(interface, RELEASES[-1].interface)]
    if not alike:
        raise ValueError(f"libcrypto_mb.so.{interface}: the oldest known interface is {RELEASES[0].interface}")
    fitting = [release for release in alike if version is None or release.since <= version]
    return (fitting[0] if version is None else (fitting or alike[:1])[-1]).paths


class EnvoyBuild(NamedTuple):
    """Envoy releases whose crypto_mb has the same code paths."""

    since: tuple[int, int]
    crypto_mb: str
    """What is pinned: bazel/repository_locations.bzl, later bazel/deps."""
    paths: tuple[CodePath, ...]


ENVOY = (
    EnvoyBuild((1, 20), "ipp-crypto 2021, or built with clang 14", (AVX512,)),
    EnvoyBuild((1, 34), "cryptography-primitives 1.0", (AVX512, AVX_IFMA_RSA)),
    EnvoyBuild((1, 35), "cryptography-primitives 1.2 or later", (AVX512, AVX_IFMA_ALL)),
)
"""Envoy's own builds, from the changes that pin the library (envoy pull requests 18399, 32838, 37940, 39710) and the
compiler: the AVX-IFMA path needs gcc 13, clang 16 or icx 2024.2 (src/cmake/linux), and Envoy has clang 18 since pull
request 38571, before 1.34. A build by somebody else may differ. No Envoy has run on an AVX-IFMA CPU under qatprep."""


def envoy_build(version: tuple[int, int] | None) -> EnvoyBuild:
    """The build of an Envoy release; None, when it is not known which: the newest."""
    fitting = [build for build in ENVOY if version is None or build.since <= version]
    return (fitting or ENVOY[:1])[-1]


WHEEL = (AVX512_OF_WHEEL, AVX_IFMA_ALL)
"""The code paths of the wheels ipp-crypto-static and ipp-crypto 2026.2 (crypto_mb 2.3)."""


def judge(paths: Sequence[CodePath], has: Callable[[Bit], bool]) -> tuple[CodePath | None, tuple[Bit, ...]]:
    """The path crypto_mb takes on a CPU, and what that path executes and the CPU or its OS does not have.

    None where it takes no path: then the missing bits are the first path's. Its code may run only where a path is taken
    and nothing is missing. qatprep/native/pygate.c does the same before a library is loaded.
    """
    for path in paths:
        if all(has(bit) for bit in path.chosen_by):
            return path, tuple(bit for bit in path.executes if not has(bit))
    return None, tuple(bit for bit in paths[0].executes if not has(bit))


BITS = tuple(
    dict.fromkeys(bit for release in RELEASES for path in release.paths for bit in (*path.chosen_by, *path.executes))
)
"""Every bit that some crypto_mb needs."""

_WORDS = {(1, 0, "ecx"): 4, (7, 0, "ebx"): 9, (7, 1, "eax"): 12, (7, 0, "ecx"): 16}
"""Which word of the kernel's feature bits a register is (arch/x86/include/asm/cpufeatures.h)."""
_NEEDED_FOR_STATES = {XCR0_AVX: (AVX, XSAVE), XCR0_SSE: (XSAVE,)}


def cleared_by(bit: Bit) -> tuple[str, ...]:
    """Values of the kernel argument clearcpuid= that take this bit away: names and numbers.

    For XCR0: a state is not switched on where the kernel has cleared the feature it belongs to or one that feature
    depends on (arch/x86/kernel/fpu/xstate.c xsave_cpuid_features, arch/x86/kernel/cpu/cpuid-deps.c).
    """
    states = bit.register == "xcr0"
    features = _NEEDED_FOR_STATES.get(bit, (AVX512F, AVX2, AVX, XSAVE)) if states else (bit,)
    return tuple(
        value for f in features for value in (f.flag, str(_WORDS[f.leaf, f.subleaf, f.register] * 32 + f.bit))
    ) + (("fxsr", "24") if states else ())


GateBit = tuple[str, int, int, int, int]
Gate = Sequence[tuple[str, Sequence[GateBit], Sequence[GateBit]]]
"""The paths as the native module takes them: name, chosen_by, executes; registers by number."""


def gate(paths: Sequence[CodePath]) -> Gate:
    def plain(bits: Sequence[Bit]) -> tuple[GateBit, ...]:
        return tuple((b.name, b.leaf, b.subleaf, REGISTERS.index(b.register), b.bit) for b in bits)

    return tuple((path.name, plain(path.chosen_by), plain(path.executes)) for path in paths)
