"""Saved results as records, numbers as texts, rows as a Markdown table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Record = dict[str, Any]  # one benchmark of pytest-benchmark's JSON


def records(results: dict[str, Any], kind: str) -> list[Record]:
    """The benchmarks of one kind, in the order in which they ran."""
    return [record for record in results["benchmarks"] if record["extra_info"].get("kind") == kind]


def by_shape(chosen: Sequence[Record]) -> dict[str, dict[str, Record]]:
    """Benchmarks of one kind: for each shape, by the name of the row."""
    shapes: dict[str, dict[str, Record]] = {}
    for record in chosen:
        shapes.setdefault(record["extra_info"]["shape"], {})[record["name"]] = record
    return shapes


def seconds(record: Record | None) -> float | None:
    """The shortest round, which is the one that other processes disturbed least."""
    return None if record is None else float(record["stats"]["min"])


def speed_up(row: dict[str, Record]) -> float | None:
    """How many times faster fastbp is than the best of the others."""
    others = [record["stats"]["min"] for name, record in row.items() if name != "fastbp"]
    return min(others) / row["fastbp"]["stats"]["min"] if others and "fastbp" in row else None


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
