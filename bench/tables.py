"""Saved results as records, numbers as texts, rows as a Markdown table."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any

from bench.instruction_sets import NATIVE, title

Record = dict[str, Any]  # one benchmark of pytest-benchmark's JSON
Results = dict[str, Any]  # all of that JSON, or of several runs
BY_TURNS = "median of turns"  # the heading of `medians`


def machine_text(results: Results) -> str:
    """The processor, and the instruction set that was measured."""
    machine = results["machine_info"]
    cpu, sets = machine.get("cpu", {}), machine.get("instruction_set")
    text = str(cpu.get("brand_raw", machine.get("machine", "unknown processor")))
    if sets is None:
        return text
    own, wanted = title(sets["processor"]), sets["wanted"]
    if "family" in cpu:  # many processors call themselves by the same brand
        text += f" (family {cpu['family']}, model {cpu.get('model', '?')}, to LLVM {sets['llvm']})"
    if wanted == NATIVE:
        return f"{text}, native instruction set, {own}"
    return f"{text}, {own}" if wanted == sets["processor"] else f"{text}, held to {title(wanted)} instead of {own}"


def records(results: Results, kind: str) -> list[Record]:
    """The benchmarks of one kind, in the order in which they ran."""
    return [record for record in results["benchmarks"] if record["extra_info"].get("kind") == kind]


def by_shape(chosen: Sequence[Record]) -> dict[str, dict[str, Record]]:
    """Benchmarks of one kind: for each shape, by the name of the row."""
    shapes: dict[str, dict[str, Record]] = {}
    for record in chosen:
        shapes.setdefault(record["extra_info"]["shape"], {})[record["name"]] = record
    return shapes


def by_what_and_shape(chosen: Sequence[Record]) -> dict[tuple[str, str], dict[str, Record]]:
    """The same of a kind of which several things are done with each shape."""
    groups: dict[tuple[str, str], dict[str, Record]] = {}
    for record in chosen:
        info = record["extra_info"]
        groups.setdefault((info["what"], info["shape"]), {})[record["name"]] = record
    return groups


def seconds(record: Record | None) -> float | None:
    """The shortest round, which is the one that other processes disturbed least."""
    return None if record is None else float(record["stats"]["min"])


def _others(row: dict[str, Record], own: str) -> list[Record]:
    return [record for name, record in row.items() if name != own]


def speed_up(row: dict[str, Record], own: str = "fastbp") -> float | None:
    """How many times faster one is than the best of the others, each by its shortest round."""
    others = [record["stats"]["min"] for record in _others(row, own)]
    return min(others) / row[own]["stats"]["min"] if others and own in row else None


def median_ratio(row: dict[str, Record], own: str = "fastbp") -> float | None:
    """The median over the turns of the same: each turn's quickest other over the one's time in that turn."""
    turns = [record["extra_info"].get("turns") for record in _others(row, own)]
    mine = row[own]["extra_info"].get("turns") if own in row else None
    if not turns or not mine or any(each is None or len(each) != len(mine) for each in turns):
        return None  # not measured in turn
    return median(min(others) / time for time, *others in zip(mine, *turns, strict=True))


def medians(results: Results, kind: str, own: str = "fastbp", other: str | None = None) -> dict[str, float]:
    """The median ratio of each shape, beside all others or one; of several runs the median of theirs."""
    found: dict[str, list[float]] = {}
    for run in results.get("runs") or [results]:
        for shape, row in by_shape(records(run, kind)).items():
            chosen = {name: record for name, record in row.items() if other is None or name in (own, other)}
            ratio = median_ratio(chosen, own)
            if ratio is not None:
                found.setdefault(shape, []).append(ratio)
    return {shape: median(ratios) for shape, ratios in found.items()}


def time_text(value: float | None) -> str:
    """A time with three digits and the unit that fits, or a dash."""
    if value is None:
        return "-"
    for unit, length in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if value >= 0.9995 * length:  # which three digits would round to 1000 of the smaller unit
            return f"{value / length:.3g} {unit}"
    return f"{value * 1e9:.3g} ns"


def first_call_text(record: Record | None) -> str:
    """What the first call took more than the second, or a dash where that is too short to tell from noise."""
    first = 0.0 if record is None else record["extra_info"]["first_call_s"]
    return time_text(first) if first > 0.05 else "-"


def number_text(value: float | None) -> str:
    """A number with three digits, or a dash."""
    if value is None:
        return "-"
    return f"{value:.3g}" if value < 999.5 else f"{value:.0f}"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, its columns aligned for those who read it as text."""
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        padded = [
            cell.rjust(width) if index else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return f"| {' | '.join(padded)} |"

    rule = [f"{'-' * (width - 1)}:" if index else "-" * width for index, width in enumerate(widths)]
    return "\n".join([line(header), line(rule), *map(line, rows)])
