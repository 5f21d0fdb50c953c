"""A kernel command line is taken apart as the kernel does it (lib/cmdline.c, next_arg)."""

from __future__ import annotations

import pytest

from qatprep.facts.boot_loader import split_arguments


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ("ro  quiet\n", ("ro", "quiet")),
        ('vfio-pci.ids="8086:4940,10de:1c82" ro', ("vfio-pci.ids=8086:4940,10de:1c82", "ro")),
        ('"intel_iommu=on" ro', ("intel_iommu=on", "ro")),
        ('dyndbg="file x +p; file y +p" ro', ("dyndbg=file x +p; file y +p", "ro")),
        ('open="never closed ro', ("open=never closed ro",)),
        ("", ()),
    ],
)
def test_arguments(text: str, arguments: tuple[str, ...]) -> None:
    assert split_arguments(text) == arguments
