"""The pictures of the report. Lines differ in style and marker, bars in shade and hatch: they can be read in grey."""

from __future__ import annotations

from itertools import cycle
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from bench.peers import LIBRARIES
from bench.sweep_sections import families, per_flop
from bench.tables import Record, Results, by_shape, machine_text, number_text, records, seconds

_LINES = ("o-", "s--", "^-.", "d:", "v-", "x--", "*-.")
_GREYS = ("0.85", "0.6", "0.35", "0.15")
_HATCHES = ("", "///", "...", "xx")


def _save(figure: Figure, results: Results, path: Path) -> None:
    """Write the picture, under the processor and the instruction set."""
    figure.suptitle(machine_text(results), fontsize=8)
    figure.savefig(path, dpi=100)


def draw_perturbation(results: Results, path: Path) -> None:
    """Time against the number of parameters, both axes logarithmic, with the theory's line."""
    shapes = by_shape(records(results, "perturbation")).values()
    figure = Figure(figsize=(7, 5), layout="constrained")
    axes = figure.subplots()
    for method, style in zip(dict.fromkeys(name for row in shapes for name in row), cycle(_LINES)):
        found = [row[method] for row in shapes if method in row]
        n_params = [record["extra_info"]["n_params"] for record in found]
        axes.loglog(n_params, [seconds(record) for record in found], style, label=method)
    pairs = [(row["backpropagation"], row["backpropagation"]["extra_info"]["n_params"]) for row in shapes]
    theory = [(n + 1) / 3 * record["stats"]["min"] for record, n in pairs]
    axes.loglog(
        [n for _, n in pairs], theory, color="black", linewidth=1, label="theory: (n + 1) / 3 times backpropagation"
    )
    axes.set(xlabel="number of parameters n", ylabel="seconds for one gradient")
    axes.grid(alpha=0.3)
    axes.legend()
    _save(figure, results, path)


def draw_speed_up(results: Results, path: Path) -> None:
    """Bars: for each shape and library, how many times longer it takes than fastbp."""
    shapes = {name: row for name, row in by_shape(records(results, "training step")).items() if "fastbp" in row}
    libraries = [name for name in LIBRARIES if name != "fastbp" and any(name in row for row in shapes.values())]
    figure = Figure(figsize=(8, 1.5 + 0.6 * len(shapes)), layout="constrained")
    axes = figure.subplots()
    height, everything = 0.8 / max(1, len(libraries)), []
    for index, library in enumerate(libraries):
        places = [place for place, row in enumerate(shapes.values()) if library in row]
        rows = [list(shapes.values())[place] for place in places]
        ratios = [row[library]["stats"]["min"] / row["fastbp"]["stats"]["min"] for row in rows]
        everything += ratios
        offset = (index - (len(libraries) - 1) / 2) * height
        bars = axes.barh(  # from 1, fastbp's own time: on a logarithmic axis a bar's length is then its logarithm
            [place + offset for place in places],
            [ratio - 1 for ratio in ratios],
            height,
            left=1,
            label=library,
            color=_GREYS[index % len(_GREYS)],
            hatch=_HATCHES[index % len(_HATCHES)],
            edgecolor="black",
            linewidth=0.5,
        )
        axes.bar_label(bars, [number_text(ratio) for ratio in ratios], padding=2, fontsize=7)
    axes.set_yticks(range(len(shapes)), list(shapes))
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.margins(x=0.15)
    if all(ratio >= 1 for ratio in everything):
        axes.set_xlim(left=1)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.axvline(1.0, color="black", linewidth=1)
    axes.set(xlabel="time of one training step, as a multiple of fastbp's")
    axes.legend()
    _save(figure, results, path)


def draw_sweep(results: Results, path: Path) -> None:
    """Time per flop against the width, one line for each batch."""
    found = records(results, "sweep")
    figure = Figure(figsize=(7, 5), layout="constrained")
    axes = figure.subplots()
    batches = dict.fromkeys(record["extra_info"]["batch"] for record in found)
    for index, (batch, style) in enumerate(zip(batches, cycle(_LINES))):
        line = [record for record in found if record["extra_info"]["batch"] == batch]
        widths = [record["extra_info"]["width"] for record in line]
        shade = f"{0.6 * index / len(batches):.2f}"
        axes.loglog(widths, [per_flop(record) for record in line], style, label=f"batch {batch}", color=shade)
    axes.set(xlabel="width w of the layers of w-w-w-10", ylabel="seconds for a flop of a training step")
    axes.grid(alpha=0.3)
    axes.legend()
    _save(figure, results, path)


def draw_narrow(results: Results, path: Path) -> None:
    """Time of a step against the width, for each family of networks and library."""
    lines: dict[str, dict[str, list[Record]]] = {}
    for family, found in families(results).items():
        lines.setdefault(family.rpartition(": ")[0], {})[found[0]["name"]] = found
    figure = Figure(figsize=(4 * len(lines), 4), layout="constrained")
    for axes, (family, row) in zip(figure.subplots(1, len(lines), squeeze=False)[0], lines.items(), strict=True):
        for (name, found), style in zip(row.items(), cycle(_LINES)):
            widths = [record["extra_info"]["width"] for record in found]
            axes.loglog(widths, [seconds(record) for record in found], style, label=name, color="black")
            axes.set_xticks(widths, widths, fontsize=8)
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set(xlabel=f"width w of {family}", ylabel="seconds for a training step")
        axes.grid(alpha=0.3)
        axes.legend()
    _save(figure, results, path)


PICTURES = {
    "perturbation": draw_perturbation,
    "training step": draw_speed_up,
    "sweep": draw_sweep,
    "narrow": draw_narrow,
}
