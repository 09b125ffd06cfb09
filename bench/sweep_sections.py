"""The sections of the report on how fastbp's time changes with widths and batches, and where it rises."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise

from bench.tables import (
    BY_TURNS,
    Record,
    Results,
    by_shape,
    medians,
    number_text,
    records,
    seconds,
    speed_up,
    table,
    time_text,
)

CLIFF = 1.5  # times the time per flop of a smaller neighbour, above which the report names the shape


def per_flop(record: Record) -> float:
    """Seconds for a flop."""
    return float(record["stats"]["min"] / record["extra_info"]["flops"])


def cliffs(found: Sequence[Record]) -> list[tuple[Record, Record, float]]:
    """Pairs of a shape and its smaller neighbour where the larger one takes longer for a flop, and how much longer."""
    places = {(record["extra_info"]["width"], record["extra_info"]["batch"]): record for record in found}
    widths, batches = (sorted({place[axis] for place in places}) for axis in (0, 1))
    pairs = [((a, batch), (b, batch)) for a, b in pairwise(widths) for batch in batches]
    pairs += [((width, a), (width, b)) for a, b in pairwise(batches) for width in widths]
    return _rises((places[small], places[large]) for small, large in pairs if small in places and large in places)


def _rises(pairs: Iterable[tuple[Record, Record]]) -> list[tuple[Record, Record, float]]:
    """The pairs whose second takes longer for a flop than the first, the worst first."""
    found = [(small, large, per_flop(large) / per_flop(small)) for small, large in pairs]
    return sorted((entry for entry in found if entry[2] > CLIFF), key=lambda entry: -entry[2])


def _rise_text(rises: Sequence[tuple[Record, Record, float]]) -> str:
    """A line for each."""
    lines = [
        f"- {large['extra_info']['shape']}: {factor:.2f} times the time per flop of {small['extra_info']['shape']}"
        for small, large, factor in rises
    ]
    return "\n".join(lines) or f"No shape takes {CLIFF} times as long for a flop as its smaller neighbour."


def sweep_section(results: Results) -> str:
    """Time per step and per flop for each width and batch, and where it rises."""
    found = records(results, "sweep")
    places = {(record["extra_info"]["width"], record["extra_info"]["batch"]): record for record in found}
    widths, batches = (sorted({place[axis] for place in places}) for axis in (0, 1))
    header = ["width", *(f"batch {batch}" for batch in batches)]

    def rows(text: Callable[[Record], str]) -> list[list[str]]:
        cells = [[places.get((width, batch)) for batch in batches] for width in widths]
        return [
            [str(width), *("-" if record is None else text(record) for record in line)]
            for width, line in zip(widths, cells, strict=True)
        ]

    steps = table(header, rows(lambda record: time_text(seconds(record))))
    flops = table(header, rows(lambda record: number_text(per_flop(record) * 1e12)))
    return (
        "## Sweep over widths and batches\n\nTraining steps of fastbp for networks w-w-w-10. A network that leaves a "
        "cache is slower for a flop where the batch is small, because a step then mostly moves parameters.\n\n"
        f"Time of a step:\n\n{steps}\n\nPicoseconds for a flop:\n\n{flops}\n\n"
        f"More than {CLIFF} times the time per flop of the neighbour with half the width or a quarter of the batch:"
        f"\n\n{_rise_text(cliffs(found))}\n"
    )


def families(results: Results) -> dict[str, list[Record]]:
    """The records of `bench_narrow` by family of networks and library, each by width."""
    found: dict[str, list[Record]] = {}
    for record in sorted(records(results, "narrow"), key=lambda record: record["extra_info"]["width"]):
        found.setdefault(f"{record['extra_info']['family']}: {record['name']}", []).append(record)
    return found


def narrow_section(results: Results) -> str:
    """One hidden layer trained row by row, and three narrow ones, beside another library."""
    by_turns = medians(results, "narrow")
    rows = [
        [
            shape,
            *(time_text(seconds(row.get(name))) for name in ("jax", "fastbp")),
            number_text(speed_up(row)),
            number_text(by_turns.get(shape)),
            number_text(per_flop(row["fastbp"]) * 1e12 if "fastbp" in row else None),
        ]
        for shape, row in by_shape(records(results, "narrow")).items()
    ]
    own = [line for name, line in families(results).items() if name.endswith(": fastbp")]
    rises = _rises(pair for line in own for pair in pairwise(line))
    header = ["network, batch", "jax", "fastbp", "times faster", BY_TURNS, "ps for a flop"]
    text = "Training steps of networks with one hidden layer, one row at a time, and with three narrow ones."
    return (
        f"## Narrow networks\n\n{text}\n\n{table(header, rows)}\n\n"
        f"More than {CLIFF} times the time per flop of the next narrower one:\n\n{_rise_text(rises)}\n"
    )
