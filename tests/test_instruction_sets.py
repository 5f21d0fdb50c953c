"""Which code path crypto_mb takes on which CPU, and what is missing: also of partial sets, as hypervisors make them."""

from __future__ import annotations

import re

import pytest

from qatprep import instruction_sets as sets
from qatprep.instruction_sets import AVX512, AVX_IFMA_ALL, AVX_IFMA_RSA, WHEEL, Bit, judge, paths_of

ALL = {*AVX512.executes, *AVX_IFMA_ALL.executes}
ICE_LAKE = set(AVX512.executes)
SIERRA_FOREST = set(AVX_IFMA_ALL.executes)
NEWEST = paths_of(13)

CPUS: list[tuple[str, set[Bit], str, tuple[Bit, ...]]] = [
    # what the CPU and its OS have, the path, and what is missing on it
    ("Ice Lake", ICE_LAKE, "AVX-512", ()),
    ("Sierra Forest, Arrow Lake", SIERRA_FOREST, "AVX-IFMA", ()),
    ("Granite Rapids D, both", ALL, "AVX-512", ()),
    ("the six the library looks for, in a VM", ICE_LAKE - {sets.AVX512VL, sets.AVX512VBMI}, "AVX-512",
     (sets.AVX512VL, sets.AVX512VBMI)),
    ("both, but the wide path would be taken and die", ALL - {sets.AVX512VL}, "AVX-512", (sets.AVX512VL,)),
    ("libvirt's Icelake-Server: no IFMA", ICE_LAKE - {sets.AVX512IFMA}, "", (sets.AVX512IFMA,)),
    ("ZMM states off, AVX on, no AVX-IFMA", ICE_LAKE - {sets.XCR0_ZMM_HI256, sets.XCR0_HI16_ZMM}, "",
     (sets.XCR0_ZMM_HI256, sets.XCR0_HI16_ZMM)),
    ("ZMM states off, with AVX-IFMA", ALL - {sets.XCR0_ZMM_HI256}, "AVX-IFMA", ()),
    ("AVX-IFMA, no BMI2", SIERRA_FOREST - {sets.BMI2}, "AVX-IFMA", (sets.BMI2,)),
    ("AVX off altogether", SIERRA_FOREST - {sets.XCR0_AVX}, "", (sets.AVX512F,)),
]  # fmt: skip


@pytest.mark.parametrize(("cpu", "has", "path", "missing"), CPUS, ids=[cpu[0] for cpu in CPUS])
def test_the_path_and_what_is_missing(cpu: str, has: set[Bit], path: str, missing: tuple[Bit, ...]) -> None:
    taken, absent = judge(NEWEST, has.__contains__)
    assert (taken.name if taken else "") == path
    assert set(missing) <= set(absent)
    assert bool(missing) == bool(absent)


def test_the_wheel_needs_gfni_for_p256() -> None:
    assert judge(WHEEL, ICE_LAKE.__contains__) == (WHEEL[0], (sets.GFNI,))
    assert judge(WHEEL, SIERRA_FOREST.__contains__) == (WHEEL[1], ())


@pytest.mark.parametrize("bit", AVX512.executes, ids=[bit.name for bit in AVX512.executes])
def test_every_bit_alone_closes_the_wide_path(bit: Bit) -> None:
    assert judge((AVX512,), (ICE_LAKE - {bit}).__contains__)[1] == (bit,)


@pytest.mark.parametrize(
    ("interface", "version", "paths"),
    [
        (11, (1, 0), (AVX512,)),
        (11, None, (AVX512,)),
        (12, (1, 0), (AVX512, AVX_IFMA_RSA)),
        (12, (1, 1), (AVX512, AVX_IFMA_RSA)),
        (12, (1, 2), (AVX512, AVX_IFMA_ALL)),
        (12, None, (AVX512, AVX_IFMA_RSA)),
        (13, (2, 3), (AVX512, AVX_IFMA_ALL)),
        (13, None, (AVX512, AVX_IFMA_ALL)),
        (14, (3, 0), (AVX512, AVX_IFMA_ALL)),
    ],
)
def test_the_paths_of_a_version(
    interface: int, version: tuple[int, int] | None, paths: tuple[sets.CodePath, ...]
) -> None:
    """Sierra Forest with Envoy's crypto_mb 1.0: RSA is signed, and every P-256 handshake would fail."""
    assert paths_of(interface, version) == paths


def test_a_version_before_all_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"libcrypto_mb\.so\.10"):
        paths_of(10)


def test_the_table_is_one() -> None:
    """What a path is chosen by it also executes, no bit is there twice, and flags are the kernel's words."""
    for path in (*WHEEL, AVX512, AVX_IFMA_RSA, AVX_IFMA_ALL):
        assert set(path.chosen_by) <= set(path.executes)
        assert len({bit.name for bit in path.executes}) == len(path.executes)
    for bit in ALL:
        assert bit.register in sets.REGISTERS
        assert bool(re.fullmatch("[a-z0-9_]+", bit.flag)) == (bit.register != "xcr0")
    places = {(bit.leaf, bit.subleaf, bit.register, bit.bit) for bit in ALL}
    assert len(places) == len(ALL)


def test_the_node_s_envoy_decides() -> None:
    assert [sets.envoy_build(version).paths for version in ((1, 20), (1, 33), (1, 34), (1, 35), (1, 99), None)] == [
        (AVX512,),
        (AVX512,),
        (AVX512, AVX_IFMA_RSA),
        (AVX512, AVX_IFMA_ALL),
        (AVX512, AVX_IFMA_ALL),
        (AVX512, AVX_IFMA_ALL),
    ]


@pytest.mark.parametrize(
    ("bit", "value", "clears"),
    [
        (sets.AVX512F, "304", True),  # arch/x86/include/asm/cpufeatures.h: 9*32+16
        (sets.AVX512VBMI2, "518", True),  # 16*32+6
        (sets.AVX_IFMA, "407", True),  # 12*32+23
        (sets.MOVBE, "150", True),  # 4*32+22
        (sets.XCR0_HI16_ZMM, "304", True),
        (sets.XCR0_HI16_ZMM, "avx2", True),
        (sets.XCR0_HI16_ZMM, "avx512ifma", False),
        (sets.XCR0_AVX, "avx512f", False),
        (sets.XCR0_AVX, "xsave", True),
        (sets.XCR0_ZMM_HI256, "umip", False),
    ],
)
def test_what_clearcpuid_takes_away(bit: Bit, value: str, clears: bool) -> None:
    assert (value in sets.cleared_by(bit)) is clears
