"""What a compiled module that root loads has to have, read from the file itself."""

from __future__ import annotations

import io
from collections.abc import Iterator

from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

_NOW = {"DT_FLAGS": 0x8, "DT_FLAGS_1": 0x1}
"""DF_BIND_NOW and DF_1_NOW: elf.h."""


def weaknesses(data: bytes) -> list[str]:
    """What an ELF file lacks, or has and should not have; [] for one that is as it should be."""
    return list(_weaknesses(ELFFile(io.BytesIO(data))))


def _weaknesses(elf: ELFFile) -> Iterator[str]:
    segments = {segment["p_type"]: segment for segment in elf.iter_segments()}
    if "PT_GNU_RELRO" not in segments:
        yield "no RELRO: the tables of addresses stay writable"
    if "PT_GNU_STACK" not in segments or segments["PT_GNU_STACK"]["p_flags"] & 1:
        yield "the stack is executable"
    dynamic = elf.get_section_by_name(".dynamic")
    assert isinstance(dynamic, DynamicSection)
    tags = {tag.entry.d_tag: tag.entry.d_val for tag in dynamic.iter_tags()}
    if "DT_BIND_NOW" not in tags and not any(tags.get(name, 0) & flag for name, flag in _NOW.items()):
        yield "no BIND_NOW: addresses are looked up, and written, at the first call"
    for name in ("DT_RPATH", "DT_RUNPATH"):
        if name in tags:
            yield f"{name}: libraries are looked for in a folder of the machine that built it"
    symbols = elf.get_section_by_name(".dynsym")
    assert isinstance(symbols, SymbolTableSection)
    imported = {symbol.name for symbol in symbols.iter_symbols() if symbol["st_shndx"] == "SHN_UNDEF"}
    if "__stack_chk_fail" not in imported:
        yield "no stack protector"
    if not any(name.endswith("_chk") for name in imported):
        yield "no FORTIFY_SOURCE"
