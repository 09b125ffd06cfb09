"""The sections of the report, each a heading and a table of one kind of records."""

from __future__ import annotations

from collections.abc import Callable

from bench.compiled_sections import compiled_section, python_section, user_code_section
from bench.dask_sections import dask_file_section, dask_overhead_section, dask_share_section
from bench.derivative_sections import derivative_section, goal_section, lbfgs_section, levenberg_marquardt_section
from bench.many_sections import many_predictions_section, many_section, many_validated_section, search_section
from bench.peers import LIBRARIES
from bench.sweep_sections import narrow_section, sweep_section
from bench.tables import (
    BY_TURNS,
    Results,
    by_shape,
    first_call_text,
    medians,
    number_text,
    records,
    seconds,
    speed_up,
    table,
    time_text,
)


def training_section(results: Results) -> str:
    """Training steps of all libraries."""
    libraries = [name for name in LIBRARIES if name != "fastbp"]
    runs = [by_shape(records(run, "training step")) for run in results.get("runs", ())]
    several = ["in each run"] if len(runs) > 1 else []
    by_turns = medians(results, "training step")
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
                number_text(by_turns.get(shape)),
                number_text(own["extra_info"]["target"]),
                str(own["extra_info"]["threads"]),
                *(first_call_text(row.get(name)) for name in LIBRARIES),
            ]
        )
    header = ["network, batch", *libraries, "fastbp", "times faster", *several, BY_TURNS, "target", "threads"]
    return f"## One training step\n\n{table([*header, *(f'first call {name}' for name in LIBRARIES)], rows)}\n"


def _steps_section(results: Results, kind: str, text: str) -> str:
    """Steps on small data of all libraries."""
    libraries = [name for name in LIBRARIES if name != "fastbp"]
    by_turns = medians(results, kind)
    rows = [
        [
            shape,
            *(time_text(seconds(row.get(name))) for name in [*libraries, "fastbp"]),
            number_text(speed_up(row)),
            number_text(by_turns.get(shape)),
            number_text(next(iter(row.values()))["extra_info"]["target"]),
        ]
        for shape, row in by_shape(records(results, kind)).items()
    ]
    header = ["network, batch", *libraries, "fastbp", "times faster", BY_TURNS, "target"]
    return f"## {kind.capitalize()}\n\n{text}\n\n{table(header, rows)}\n"


def small_fit_section(results: Results) -> str:
    """Full-batch fits of small data."""
    text = "A step of a fit with the full batch, in which a step is an epoch: `fit`, a jitted `lax.scan`."
    return _steps_section(results, "small data, one fit", text)


def single_step_section(results: Results) -> str:
    """Steps that are calls."""
    text = "A step that is a call and gives its cost: `net.step`, `partial_fit`, a jitted function."
    return _steps_section(results, "small data, single steps", text)


def roofline_section(results: Results) -> str:
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


def threads_section(results: Results) -> str:
    """fastbp's training steps on one thread and on more."""
    rows = []
    for shape, row in by_shape(records(results, "threads")).items():
        one = row.get("1 thread")
        for name, record in row.items():
            ratio = one["stats"]["min"] / record["stats"]["min"] if one and record is not one else None
            by_turns = medians(results, "threads", name, "1 thread").get(shape)
            texts = number_text(ratio), number_text(by_turns), number_text(record["extra_info"]["target"])
            rows.append([shape, name, time_text(seconds(record)), *texts])
    header = ["network, batch", "threads", "step", "times faster than one", BY_TURNS, "target"]
    return f"## Threads\n\nThe bits are the same on any number of threads.\n\n{table(header, rows)}\n"


def product_section(results: Results) -> str:
    """Products by register tiles beside BLAS, on one thread."""
    by_turns = medians(results, "product")
    rows = []
    for shape, row in by_shape(records(results, "product")).items():
        info = next(iter(row.values()))["extra_info"]
        rates = {name: info["flops"] / record["stats"]["min"] / 1e9 for name, record in row.items()}
        numbers = rates.get("scipy"), rates.get("fastbp"), speed_up(row), by_turns.get(shape), info["target"]
        rows.append([shape, *map(number_text, numbers)])
    header = ["m x n x k", "SciPy's BLAS, GFLOP/s", "fastbp, GFLOP/s", "times faster", BY_TURNS, "target"]
    text = "C (m, n) = A (m, k) B (k, n) on one thread, both in one process, in turn."
    return f"## Matrix products\n\n{text}\n\n{table(header, rows)}\n"


def online_section(results: Results) -> str:
    """Plain gradient descent sample by sample, beside FANN."""
    by_turns = medians(results, "online")
    rows = [
        [
            shape,
            *(time_text(seconds(row.get(name))) for name in ("fann", "fastbp")),
            number_text(speed_up(row)),
            number_text(by_turns.get(shape)),
            number_text(next(iter(row.values()))["extra_info"]["target"]),
        ]
        for shape, row in by_shape(records(results, "online")).items()
    ]
    text = table(["network", "FANN", "fastbp", "times faster", BY_TURNS, "target"], rows)
    return f"## One sample of online training\n\nsigmoid, quadratic cost, float32, plain gradient descent.\n\n{text}\n"


def cold_start_section(results: Results) -> str:
    """Imports and first calls in fresh processes."""
    rows = [
        [record["name"], time_text(seconds(record)), time_text(record["extra_info"]["target"])]
        for record in records(results, "cold start")
    ]
    return f"## Cold start\n\n{table(['in a fresh process', 'time', 'at most'], rows)}\n"


def gradient_section(results: Results) -> str:
    """A gradient beside a forward pass."""
    forward, by_turns = by_shape(records(results, "forward")), medians(results, "gradient")
    rows = []
    for shape, row in by_shape(records(results, "gradient")).items():
        for name, record in row.items():
            info = record["extra_info"]
            passed = seconds(forward.get(shape, {}).get(name))
            texts = time_text(passed), time_text(seconds(record)), number_text(info["ratio"])
            ahead = (speed_up(row), by_turns.get(shape)) if name == "fastbp" else (None, None)
            rows.append([shape, name, *texts, number_text(info["theory"]), *map(number_text, ahead)])
    header = ["network, rows", "library", "forward", "gradient", "gradient / forward", "by flops", "times faster"]
    return f"## A gradient beside a forward pass\n\n{table([*header, BY_TURNS], rows)}\n"


def estimators_section(results: Results) -> str:
    """The estimators beside scikit-learn's."""
    by_turns = medians(results, "estimators")
    rows = [
        [
            shape,
            *(time_text(seconds(row.get(name))) for name in ("scikit-learn", "fastbp")),
            number_text(speed_up(row)),
            number_text(by_turns.get(shape)),
            number_text(next(iter(row.values()))["extra_info"]["target"]),
            first_call_text(row.get("fastbp")),
        ]
        for shape, row in by_shape(records(results, "estimators")).items()
    ]
    header = ["data and network, call, dtype", "scikit-learn", "fastbp", "times faster", BY_TURNS, "target"]
    return f"## Estimators\n\n{table([*header, 'first call fastbp'], rows)}\n"


def perturbation_section(results: Results) -> str:
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


def predict_section(results: Results) -> str:
    """Outputs of all libraries."""
    libraries = [*LIBRARIES, "onnxruntime"]
    by_turns = medians(results, "predict")
    rows = [
        [
            shape,
            *(time_text(seconds(row.get(name))) for name in libraries),
            number_text(speed_up(row)),
            number_text(by_turns.get(shape)),
        ]
        for shape, row in by_shape(records(results, "predict")).items()
    ]
    return f"## Predict\n\n{table(['network, rows', *libraries, 'times faster', BY_TURNS], rows)}\n"


def published_section(results: Results) -> str:
    """Epochs of the published textbook code beside those of `fastbp.nielsen`."""
    rows = []
    for shape, row in by_shape(records(results, "published code")).items():
        published = row.get("published code")
        for name, record in row.items():
            ratio = (
                published["stats"]["min"] / record["stats"]["min"] if published and record is not published else None
            )
            info = record["extra_info"]
            by_turns = medians(results, "published code", name, "published code").get(shape)
            texts = number_text(ratio), number_text(by_turns), number_text(info["target"])
            rows.append([name, shape, time_text(seconds(record)), *texts, str(info["threads"])])
    header = ["code", "network, rows", "epoch", "times faster", BY_TURNS, "target", "threads"]
    return f"## The published textbook code\n\n{table(header, rows)}\n"


SECTIONS: dict[str, Callable[[Results], str]] = {
    "training step": training_section,
    "small data, one fit": small_fit_section,
    "small data, single steps": single_step_section,
    "copy": roofline_section,
    "product": product_section,
    "threads": threads_section,
    "sweep": sweep_section,
    "narrow": narrow_section,
    "online": online_section,
    "predict": predict_section,
    "gradient": gradient_section,
    "derivative": derivative_section,
    "Levenberg-Marquardt": levenberg_marquardt_section,
    "L-BFGS": lbfgs_section,
    "to a goal": goal_section,
    "one row, compiled": compiled_section,
    "one row, python": python_section,
    "user's function": user_code_section,
    "many fits": many_section,
    "many validated fits": many_validated_section,
    "many predictions": many_predictions_section,
    "grid search": search_section,
    "estimators": estimators_section,
    "dask share": dask_share_section,
    "dask overhead": dask_overhead_section,
    "dask file": dask_file_section,
    "perturbation": perturbation_section,
    "published code": published_section,
    "cold start": cold_start_section,
}
