"""The sections of the report on a Dask cluster."""

from __future__ import annotations

from statistics import median

from bench import dask_model
from bench.tables import (
    BY_TURNS,
    Results,
    by_shape,
    median_ratio,
    number_text,
    records,
    seconds,
    speed_up,
    table,
    time_text,
)

KINDS = {"share": "dask share", "overhead": "dask overhead", "file": "dask file"}


def dask_share_section(results: Results) -> str:
    """Long work on the cluster beside one process."""
    rows = []
    for shape, row in by_shape(records(results, KINDS["share"])).items():
        info = next(iter(row.values()))["extra_info"]
        times = [time_text(seconds(row.get(name))) for name in ("local", "cluster")]
        shares = [number_text(ratio(row, "cluster")) for ratio in (speed_up, median_ratio)]
        rows.append([shape, *times, *shares, number_text(info["target"])])
    text = (
        "Worker processes of one thread each, as many as cores, and the client beside them on the same cores; "
        "`local` is one process with as many threads. The rows are in memory, the workers' and the process's; outputs "
        "stay with the workers. A share of 1 is the local speed."
    )
    header = ["work", "local", "cluster", "share of the local speed", f"{BY_TURNS}, share", "target"]
    return f"## On a Dask cluster\n\n{text}\n\n{table(header, rows)}\n"


def measured(results: Results) -> list[dict[str, float]]:
    """Rounds with next to no work, as `bench.dask_model.fitted` takes them."""
    return [
        {"least": record["stats"]["min"]} | {name: record["extra_info"][name] for name in ("n_params", "n_partitions")}
        for record in records(results, KINDS["overhead"])
    ]


def dask_overhead_section(results: Results) -> str:
    """What a round costs beside its work, and what the model says of it and of other clusters."""
    found = measured(results)
    known = dask_model.fitted(found)
    rows = []
    for record, one in zip(records(results, KINDS["overhead"]), found, strict=True):
        info = record["extra_info"]
        model = dask_model.overhead_here(known, info["n_params"], info["n_partitions"])
        times = [time_text(value) for value in (one["least"], median(info["turns"]), model, info["target"])]
        rows.append([info["network"], f"{info['n_params']:,}", str(info["n_partitions"]), *times])
    text = (
        "Cost and gradient of four rows in each partition. A time is the mean of ten rounds one after the other, of "
        "which the shortest and the median are shown."
    )
    coefficients = ", ".join(f"{name} {time_text(value)}" for name, value in known._asdict().items())
    header = ["network", "parameters", "partitions", "shortest", BY_TURNS, "the model", "target"]
    return (
        f"## What a round costs on a Dask cluster\n\n{text}\n\n{table(header, rows)}\n\n"
        f"Coefficients of the model: {coefficients}. On paper, from these:\n\n{dask_model.table(known)}\n"
    )


def dask_file_section(results: Results) -> str:
    """Rows that are larger than the workers' memory."""
    rows = []
    for record in records(results, KINDS["file"]):
        info = record["extra_info"]
        times = [time_text(info[f"{name}, s"]) for name in ("averaged epoch", "exact round")]
        peaks = ", ".join(map(str, info["peak_mib"]))
        rows.append([info["shape"], f"{info['n_bytes'] / 1e9:.1f} GB", *times, str(info["before_mib"]), peaks])
    text = "Rows of a file of `numpy.save`, `persist=False`, workers of 1 GiB each."
    header = ["work", "rows", "averaged epoch", "exact epoch", "MiB of a worker before", "peak of each, MiB"]
    return f"## Larger than memory\n\n{text}\n\n{table(header, rows)}\n"
