"""The simulated kernel answers as real ones do: as they did when recorded, and as they do now."""

from __future__ import annotations

import os

import pytest

from . import model, script
from .conftest import Boot, full
from .kernels import KERNELS
from .machine import Hardware


@pytest.mark.parametrize("series", KERNELS)
def test_the_model_answers_as_the_kernel_was_recorded(series: str) -> None:
    played = model.load(os.path.join(model.RECORDINGS, f"{series}.json"))
    assert [[line for line, _ in act["answers"]] for act in played] == script.acts(), (
        "the script has changed: rig.py record"
    )
    found = model.differences(played)
    assert not found, "\n".join(map(str, found))


@pytest.mark.vm
def test_the_model_answers_as_the_kernel_does(boot: Boot, kernel: str) -> None:
    with boot(kernel) as guest:
        played = model.play_in(guest, script.acts())
        complaints = guest.run("dmesg | grep -E 'WARNING|BUG|Oops'").out
    found = model.differences(played)
    assert not found, "\n".join(map(str, found))
    recorded = model.load(os.path.join(model.RECORDINGS, f"{kernel}.json"))
    assert [act["answers"] for act in played] == [act["answers"] for act in recorded], "record again: rig.py record"
    assert not complaints


@pytest.mark.vm
@full
def test_the_look_alike_answers_as_the_unpatched_driver(boot: Boot, kernel: str) -> None:
    """The same acts on emulated PFs, under the driver that the look-alike stands for."""
    with boot(kernel, Hardware(kind="emulated", memory=1024)) as guest:
        played = model.play_in(guest, script.acts())
    recorded = model.load(os.path.join(model.RECORDINGS, f"{kernel}.json"))
    lines = [
        f"{name} {number}: {line}\n    recorded:  {was}\n    unpatched: {now}"
        for name, act, before in zip(script.NAMES, played, recorded, strict=True)
        for number, ((line, now), (_, was)) in enumerate(zip(act["answers"], before["answers"], strict=True), 1)
        if now != was
    ]
    assert not lines, "\n".join(lines)
    found = model.differences(played)
    assert not found, "\n".join(map(str, found))
