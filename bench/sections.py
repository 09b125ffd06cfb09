"""The sections of the report, each a heading and a table of one kind of records."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

from bench.peers import LIBRARIES
from bench.tables import Record, by_shape, first_call_text, number_text, records, seconds, speed_up, table, time_text

CLIFF = 1.5  # times the time per flop of a smaller neighbour, above which the report names the shape


def per_flop(record: Record) -> float:
    """Seconds for a flop."""
    return float(record["stats"]["min"] / record["extra_info"]["flops"])


def training_section(results: dict[str, Any]) -> str:
    """Training steps of all libraries."""
    libraries = [name for name in LIBRARIES if name != "fastbp"]
    runs = [by_shape(records(run, "training step")) for run in results.get("runs", ())]
    several = ["in each run"] if len(runs) > 1 else []
    rows = []
    for shape, row in by_shape(records(results, "training step")).items():
        own = row.get("fastbp")
        if own is None:
            continue
        each = ", ".join(number_text(speed_up(run[shape])) for run in runs if shape in run)
        rows.append(
            [
                shape,
                *(time_text(seconds(row.get(name))) for name in [*libraries, "fastbp"]),
                number_text(speed_up(row)),
                *([each] if several else []),
                number_text(own["extra_info"]["target"]),
                str(own["extra_info"]["threads"]),
                *(first_call_text(row.get(name)) for name in LIBRARIES),
            ]
        )
    header = ["network, batch", *libraries, "fastbp", "times faster", *several, "target", "threads"]
    return f"## One training step\n\n{table([*header, *(f'first call {name}' for name in LIBRARIES)], rows)}\n"


def _steps_section(results: dict[str, Any], kind: str, text: str) -> str:
    """Steps on small data of all libraries."""
    libraries = [name for name in LIBRARIES if name != "fastbp"]
    rows = [
        [
            shape,
            *(time_text(seconds(row.get(name))) for name in [*libraries, "fastbp"]),
            number_text(speed_up(row)),
            number_text(next(iter(row.values()))["extra_info"]["target"]),
        ]
        for shape, row in by_shape(records(results, kind)).items()
    ]
    header = ["network, batch", *libraries, "fastbp", "times faster", "target"]
    return f"## {kind.capitalize()}\n\n{text}\n\n{table(header, rows)}\n"


def small_fit_section(results: dict[str, Any]) -> str:
    """Full-batch fits of small data."""
    text = "A step of a fit with the full batch, in which a step is an epoch: `fit`, a jitted `lax.scan`."
    return _steps_section(results, "small data, one fit", text)


def single_step_section(results: dict[str, Any]) -> str:
    """Steps that are calls."""
    text = "A step that is a call and gives its cost: `net.step`, `partial_fit`, a jitted function."
    return _steps_section(results, "small data, single steps", text)


def roofline_section(results: dict[str, Any]) -> str:
    """fastbp's training steps beside what a large product and a copy of as many bytes would take, in one run."""
    kinds = "matrix product", "training step"
    complete = (run for run in results.get("runs", ()) if all(records(run, kind) for kind in kinds))
    results = next(complete, results)  # a machine's rate differs from run to run
    products = {record["extra_info"]["threads"]: record for record in records(results, "matrix product")}
    rates = {n: record["extra_info"]["flops"] / record["stats"]["min"] for n, record in products.items()}
    copies = by_shape(records(results, "copy"))
    rows = []
    for shape, row in by_shape(records(results, "training step")).items():
        if "fastbp" not in row:
            continue
        own, copy = row["fastbp"], copies.get(shape, {}).get("numpy")
        info, step = own["extra_info"], own["stats"]["min"]
        # on as many threads as the step; where that was not measured, on as many as there are
        rate = rates.get(info["threads"], max(rates.values(), default=None))
        product = info["flops"] / rate if rate else None
        bounds = [bound for bound in (product, seconds(copy)) if bound is not None]
        rows.append(
            [
                shape,
                str(info["threads"]),
                number_text(info["flops"] / 1e6),
                number_text(info["bytes"] / 1e6),
                time_text(product),
                time_text(seconds(copy)),
                time_text(step),
                number_text(info["flops"] / step / 1e9),
                *(
                    f"{bound / step:.0%}" if bound is not None else "-"
                    for bound in (product, max(bounds, default=None))
                ),
            ]
        )
    note = "".join(
        f"- {record['group']}, {n} thread{'s' * (n > 1)}: {rates[n] / 1e9:.3g} GFLOP/s.\n"
        for n, record in products.items()
    )
    header = [
        "network, batch",
        "threads",
        "MFLOP",
        "MB",
        "by sgemm",
        "by copy",
        "fastbp",
        "GFLOP/s",
        "of sgemm",
        "of the larger bound",
    ]
    text = (
        "`by sgemm` is the time of the step's flops at the rate of a large product on as many threads, `by copy` "
        "the time of a copy that reads and writes as many bytes as the step, in the cache that they fit into."
    )
    return f"## Roofline\n\n{text}\n\n{note}\n{table(header, rows)}\n"


def threads_section(results: dict[str, Any]) -> str:
    """fastbp's training steps on one thread and on more."""
    rows = []
    for shape, row in by_shape(records(results, "threads")).items():
        one = row.get("1 thread")
        for name, record in row.items():
            ratio = one["stats"]["min"] / record["stats"]["min"] if one and record is not one else None
            target = number_text(record["extra_info"]["target"])
            rows.append([shape, name, time_text(seconds(record)), number_text(ratio), target])
    header = ["network, batch", "threads", "step", "times faster than one", "target"]
    return f"## Threads\n\nThe bits are the same on any number of threads.\n\n{table(header, rows)}\n"


def cliffs(found: Sequence[Record]) -> list[tuple[Record, Record, float]]:
    """Pairs of a shape and its smaller neighbour where the larger one takes longer for a flop, and how much longer."""
    places = {(record["extra_info"]["width"], record["extra_info"]["batch"]): record for record in found}
    widths, batches = (sorted({place[axis] for place in places}) for axis in (0, 1))
    pairs = [((a, batch), (b, batch)) for a, b in pairwise(widths) for batch in batches]
    pairs += [((width, a), (width, b)) for a, b in pairwise(batches) for width in widths]
    worse = []
    for small, large in pairs:
        if small in places and large in places:
            factor = per_flop(places[large]) / per_flop(places[small])
            if factor > CLIFF:
                worse.append((places[small], places[large], factor))
    return sorted(worse, key=lambda entry: -entry[2])


def sweep_section(results: dict[str, Any]) -> str:
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
    worse = [
        f"- {large['extra_info']['shape']}: {factor:.2f} times the time per flop of {small['extra_info']['shape']}"
        for small, large, factor in cliffs(found)
    ]
    found_text = "\n".join(worse) or f"No shape takes {CLIFF} times as long for a flop as its smaller neighbour."
    return (
        "## Sweep over widths and batches\n\nTraining steps of fastbp for networks w-w-w-10. A network that leaves a "
        "cache is slower for a flop where the batch is small, because a step then mostly moves parameters.\n\n"
        f"Time of a step:\n\n{steps}\n\nPicoseconds for a flop:\n\n{flops}\n\n"
        f"More than {CLIFF} times the time per flop of the neighbour with half the width or a quarter of the batch:"
        f"\n\n{found_text}\n"
    )


def online_section(results: dict[str, Any]) -> str:
    """Plain gradient descent sample by sample, beside FANN."""
    rows = [
        [
            shape,
            *(time_text(seconds(row.get(name))) for name in ("fann", "fastbp")),
            number_text(speed_up(row)),
            number_text(next(iter(row.values()))["extra_info"]["target"]),
        ]
        for shape, row in by_shape(records(results, "online")).items()
    ]
    text = table(["network", "FANN", "fastbp", "times faster", "target"], rows)
    return f"## One sample of online training\n\nsigmoid, quadratic cost, float32, plain gradient descent.\n\n{text}\n"


def cold_start_section(results: dict[str, Any]) -> str:
    """Imports and first calls in fresh processes."""
    rows = [
        [record["name"], time_text(seconds(record)), time_text(record["extra_info"]["target"])]
        for record in records(results, "cold start")
    ]
    return f"## Cold start\n\n{table(['in a fresh process', 'time', 'at most'], rows)}\n"


def gradient_section(results: dict[str, Any]) -> str:
    """A gradient beside a forward pass."""
    forward = by_shape(records(results, "forward"))
    rows = []
    for shape, row in by_shape(records(results, "gradient")).items():
        for name, record in row.items():
            info = record["extra_info"]
            passed = seconds(forward.get(shape, {}).get(name))
            texts = time_text(passed), time_text(seconds(record)), number_text(info["ratio"])
            rows.append([shape, name, *texts, number_text(info["theory"])])
    header = ["network, rows", "library", "forward", "gradient", "gradient / forward", "by flops"]
    return f"## A gradient beside a forward pass\n\n{table(header, rows)}\n"


def estimators_section(results: dict[str, Any]) -> str:
    """The estimators beside scikit-learn's."""
    rows = [
        [
            shape,
            *(time_text(seconds(row.get(name))) for name in ("scikit-learn", "fastbp")),
            number_text(speed_up(row)),
            number_text(next(iter(row.values()))["extra_info"]["target"]),
            first_call_text(row.get("fastbp")),
        ]
        for shape, row in by_shape(records(results, "estimators")).items()
    ]
    header = ["data and network, call, dtype", "scikit-learn", "fastbp", "times faster", "target", "first call fastbp"]
    return f"## Estimators\n\n{table(header, rows)}\n"


def perturbation_section(results: dict[str, Any]) -> str:
    """n + 1 forward passes beside backpropagation."""
    rows = []
    for shape, row in by_shape(records(results, "perturbation")).items():
        slow = row.get("perturbation")
        if slow is None or "backpropagation" not in row:
            continue
        info = slow["extra_info"]
        rows.append(
            [
                shape,
                str(info["n_params"]),
                time_text(seconds(row["backpropagation"])),
                time_text(seconds(slow)),
                number_text(info["ratio"]),
                number_text(info["theory"]),
                number_text(info["pass_over_forward"]),
                time_text(seconds(row.get("perturbation, earlier layers reused"))),
                time_text(seconds(row.get("central differences"))),
            ]
        )
    header = ["network, rows", "n", "backpropagation", "n + 1 passes", "ratio", "(n + 1) / 3", "pass / forward"]
    text = table([*header, "earlier layers reused", "central, 2 n passes"], rows)
    return f"## The gradient by perturbation\n\n{text}\n"


def predict_section(results: dict[str, Any]) -> str:
    """Outputs of all libraries."""
    libraries = [*LIBRARIES, "onnxruntime"]
    rows = [
        [shape, *(time_text(seconds(row.get(name))) for name in libraries), number_text(speed_up(row))]
        for shape, row in by_shape(records(results, "predict")).items()
    ]
    return f"## Predict\n\n{table(['network, rows', *libraries, 'times faster'], rows)}\n"


def published_section(results: dict[str, Any]) -> str:
    """Epochs of the published textbook code beside those of `fastbp.nielsen`."""
    rows = []
    for shape, row in by_shape(records(results, "published code")).items():
        published = row.get("published code")
        for name, record in row.items():
            ratio = (
                published["stats"]["min"] / record["stats"]["min"] if published and record is not published else None
            )
            info = record["extra_info"]
            target = number_text(info["target"])
            rows.append([name, shape, time_text(seconds(record)), number_text(ratio), target, str(info["threads"])])
    header = ["code", "network, rows", "epoch", "times faster", "target", "threads"]
    return f"## The published textbook code\n\n{table(header, rows)}\n"


SECTIONS: dict[str, Callable[[dict[str, Any]], str]] = {
    "training step": training_section,
    "small data, one fit": small_fit_section,
    "small data, single steps": single_step_section,
    "copy": roofline_section,
    "threads": threads_section,
    "sweep": sweep_section,
    "online": online_section,
    "predict": predict_section,
    "gradient": gradient_section,
    "estimators": estimators_section,
    "perturbation": perturbation_section,
    "published code": published_section,
    "cold start": cold_start_section,
}
