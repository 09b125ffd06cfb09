"""The sections of the report on derivatives and on nonlinear least squares."""

from __future__ import annotations

from typing import Any

from bench import least_squares_peers
from bench.tables import (
    BY_TURNS,
    Results,
    by_shape,
    by_what_and_shape,
    median_ratio,
    medians,
    number_text,
    records,
    seconds,
    speed_up,
    table,
    time_text,
)


def derivative_section(results: Results) -> str:
    """Derivatives beyond the gradient of the cost."""
    others = ["torch", "jax", "jax by hand"]
    groups = by_what_and_shape(records(results, "derivative"))
    rows = []
    for (what, shape), row in groups.items():
        if "fastbp" not in row:
            continue
        own = row["fastbp"]["extra_info"]
        rows.append(
            [
                what,
                shape,
                *(time_text(seconds(row.get(name))) for name in [*others, "fastbp"]),
                number_text(speed_up(row)),
                number_text(median_ratio(row)),
                number_text(own["target"]),
                number_text(own["gradients"]),
                str(own["threads"]),
            ]
        )
    text = (
        "Large results go into an array that is there already, in fastbp; jax makes a new one. The last but one column "
        "is fastbp's time over that of its gradient of the cost. The physics loss is the mean of (Laplacian - 1)^2."
    )
    header = ["what", "network, rows", *others, "fastbp", "times faster", BY_TURNS, "target", "gradients", "threads"]
    return f"## Derivatives\n\n{text}\n\n{table(header, rows)}\n"


def _own_names(row: dict[str, Any]) -> list[str]:
    return [name for name in row if name.startswith("fastbp")]


def levenberg_marquardt_section(results: Results) -> str:
    """An iteration of all libraries."""
    others = list(least_squares_peers.PEERS)
    rows = []
    for shape, row in by_shape(records(results, "Levenberg-Marquardt")).items():
        for name in _own_names(row):
            chosen = {key: record for key, record in row.items() if key == name or key in others}
            rows.append(
                [
                    shape,
                    name,
                    *(time_text(seconds(row.get(key))) for key in [*others, name]),
                    number_text(speed_up(chosen, name)),
                    number_text(median_ratio(chosen, name)),
                    number_text(row[name]["extra_info"]["target"]),
                    str(row[name]["extra_info"]["threads"]),
                ]
            )
    header = ["network, rows", "way", *others, "fastbp", "times faster", BY_TURNS, "target", "threads"]
    text = f"Of the first {least_squares_peers.MOST} iterations at most, float64."
    return f"## An iteration of Levenberg-Marquardt\n\n{text}\n\n{table(header, rows)}\n"


def lbfgs_section(results: Results) -> str:
    """An iteration of fastbp's L-BFGS beside SciPy's on the same gradient."""
    other, by_turns = "SciPy's L-BFGS", medians(results, "L-BFGS")
    rows = [
        [
            shape,
            *(time_text(seconds(row.get(name))) for name in (other, "fastbp")),
            number_text(speed_up(row)),
            number_text(by_turns.get(shape)),
            number_text(next(iter(row.values()))["extra_info"]["target"]),
        ]
        for shape, row in by_shape(records(results, "L-BFGS")).items()
    ]
    header = ["network, rows", f"{other} on fastbp's gradient", "fastbp", "times faster", BY_TURNS, "target"]
    return f"## An iteration of L-BFGS\n\n{table(header, rows)}\n"


def goal_section(results: Results) -> str:
    """Fits down to a given error."""
    rows = []
    for shape, row in by_shape(records(results, "to a goal")).items():
        scipys = row.get("SciPy's L-BFGS")
        for name, record in row.items():
            ratio = scipys["stats"]["min"] / record["stats"]["min"] if scipys else None
            goal = number_text(record["extra_info"]["goal"])
            rows.append([shape, goal, name, time_text(seconds(record)), number_text(ratio)])
    header = ["network, rows", "mean squared error", "method", "time", "times as quick as SciPy's L-BFGS"]
    return f"## Training to a given error\n\n{table(header, rows)}\n"
