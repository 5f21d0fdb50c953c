"""Charts for reports: SVG or PNG by the file's name. They need matplotlib, the extra `qatprep[charts]`."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from qatprep.errors import InputError, QatprepError
from qatprep.measure.aes import AesBench
from qatprep.measure.bench import RsaBench
from qatprep.measure.tune import Tuning
from qatprep.text import plural

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = ("svg", "png")
COLOURS = ("#0b6fb8", "#d1495b", "#2e933c", "#edae49", "#7a5195", "#8c564b", "#4d4d4d")


def check(path: str) -> None:
    """Before anything is measured: InputError for another kind of file, QatprepError without matplotlib."""
    if not path:
        return
    if path.rpartition(".")[2].lower() not in FORMATS:
        raise InputError(f"--chart {path!r} is neither .svg nor .png")
    try:
        import matplotlib  # noqa: F401
    except ImportError as e:
        raise QatprepError("charts need matplotlib, which is not installed", "pip install 'qatprep[charts]'") from e


def _figure(width: float, height: float, columns: int) -> tuple[Figure, list[Axes]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(1, columns, squeeze=False)[0]
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(axis="y", alpha=0.25, linewidth=0.6)
        ax.set_axisbelow(True)
    return figure, list(axes)


def _legend(figure: Figure, ax: Axes, most: int) -> None:
    """Below the panels, at most `most` entries a line."""
    handles, labels = ax.get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=min(most, max(1, len(labels))), frameon=False, fontsize=8
    )


def _bytes(figure: Figure, path: str) -> bytes:
    from matplotlib import rc_context

    out = io.BytesIO()
    kind = path.rpartition(".")[2].lower()
    metadata: Any = {"Date": None} if kind == "svg" else None
    with rc_context({"svg.fonttype": "none"}):  # text stays text
        figure.savefig(out, format=kind, dpi=150, metadata=metadata)
    return out.getvalue()


def rsa(bench: RsaBench, path: str) -> bytes:
    """Bars of signatures a second: a panel for each kind of key, a group for each number of workers."""
    keys = list(dict.fromkeys(row.key for row in bench.rows))
    peers = list(dict.fromkeys(row.peer for row in bench.rows))
    workers = list(dict.fromkeys(row.workers for row in bench.rows))
    figure, axes = _figure(max(5.0, 1.2 + 2.6 * len(keys)), 3.6, max(1, len(keys)))
    for ax, key in zip(axes, keys, strict=False):
        for number, peer in enumerate(peers):
            for group, count in enumerate(workers):
                row = bench.find(key, count, peer)
                if row is None or row.median is None:
                    continue
                place = group * (len(peers) + 1) + number
                low, high = row.median - min(row.rates), max(row.rates) - row.median
                colour = COLOURS[number % len(COLOURS)]
                ax.bar(place, row.median, color=colour, label=peer if group == 0 else None)
                ax.errorbar(place, row.median, [[low], [high]], color="black", linewidth=0.8, capsize=2)
        middle = (len(peers) - 1) / 2
        names = [plural(count, "worker") for count in workers]
        ax.set_xticks([group * (len(peers) + 1) + middle for group in range(len(workers))], names)
        ax.set_title(key.upper())
    axes[0].set_ylabel("signatures per second")
    _legend(figure, axes[0], 5)
    figure.suptitle(f"{bench.cpu}: medians and range of {bench.rounds} interleaved rounds", fontsize=8)
    return _bytes(figure, path)


def aes(bench: AesBench, path: str) -> bytes:
    """Bars of the speed-up by vector AES, by size; the line means no difference."""
    ciphers = list(dict.fromkeys(cell.cipher for cell in bench.cells))
    sizes = list(dict.fromkeys(cell.size for cell in bench.cells))
    figure, (ax,) = _figure(6.0, 3.4, 1)
    width = 0.8 / max(1, len(ciphers))
    for number, cipher in enumerate(ciphers):
        places = [n + (number - (len(ciphers) - 1) / 2) * width for n in range(len(sizes))]
        cells = [bench.find(cipher, size) for size in sizes]
        values = [cell.speedup or 0.0 if cell else 0.0 for cell in cells]
        bars = ax.bar(places, values, width * 0.95, color=COLOURS[number], label=cipher.upper())
        ax.bar_label(bars, [f"{value:.2f}" for value in values], fontsize=7, padding=1)
    ax.axhline(1.0, color="black", linewidth=0.8)
    ax.set_xticks(range(len(sizes)), [f"{size:,}" for size in sizes])
    ax.set_xlabel("bytes encrypted at once")
    ax.set_ylabel("speed-up by vector AES")
    ax.margins(y=0.1)
    _legend(figure, ax, 2)
    ax.set_title(f"{bench.cpu}, {bench.version}", fontsize=8)
    return _bytes(figure, path)


def tune(tuning: Tuning, path: str) -> bytes:
    """p99 and CPU time an operation against offered load, a line for each setting."""
    figure, (left, right) = _figure(9.0, 3.9, 2)
    settings = sorted({point.setting for point in tuning.points}, key=lambda s: s.order)
    number = 0
    for setting in settings:
        points = [p for p in tuning.points if p.setting == setting and p.result.latency]
        plain = setting.provider == "sync"
        style: dict[str, Any] = {"label": setting.label, "marker": "o", "markersize": 3, "linewidth": 1.3}
        style |= {"color": "black", "linestyle": "--"} if plain else {"color": COLOURS[number % len(COLOURS)]}
        style |= {"linestyle": ":"} if setting.provider == "qat" else {}
        number += not plain
        left.plot([p.offered for p in points], [p.p99 * 1000 for p in points], **style)
        right.plot([p.offered for p in points], [p.cpu * 1e6 for p in points], **style)
    left.set_ylabel("p99 latency, ms")
    right.set_ylabel("CPU time per operation, us")
    left.set_yscale("log")
    left.yaxis.set_major_formatter("{x:g}")
    for ax in (left, right):
        ax.set_xscale("log")
        ax.xaxis.set_major_formatter("{x:,g}")
        ax.set_xlabel("offered operations per second")
        if tuning.advice.at:
            ax.axvline(tuning.advice.at, color="grey", linewidth=0.8, alpha=0.6)
    right.set_ylim(bottom=0)
    _legend(figure, left, 6)
    workers = plural(tuning.workers, "worker")
    figure.suptitle(
        f"{tuning.key.upper()}, {workers}, {tuning.cpu}; the grey line is where the advice is for", fontsize=8
    )
    return _bytes(figure, path)
