"""The sections of the report on many networks in one call."""

from __future__ import annotations

from bench.tables import (
    BY_TURNS,
    Record,
    Results,
    by_shape,
    first_call_text,
    median_ratio,
    number_text,
    records,
    seconds,
    speed_up,
    table,
    time_text,
)

KINDS = {"many_fit": "many fits", "many_predict": "many predictions", "many_validated": "many validated fits"}
ONE_THREAD = "fastbp, 1 thread"
OWN = ("loop", "pool")


def _without(row: dict[str, Record], *names: str) -> dict[str, Record]:
    return {name: record for name, record in row.items() if name not in names}


def _ratio(row: dict[str, Record], other: str) -> float | None:
    """How many times longer one takes than fastbp."""
    return speed_up({name: record for name, record in row.items() if name in (other, "fastbp")})


def _rows(results: Results, kind: str) -> tuple[list[str], list[list[str]]]:
    """Header and rows of a table: times, ratios to other libraries, to what users write themselves, to one thread."""
    found = by_shape(records(results, kind))
    names = list(dict.fromkeys(name for row in found.values() for name in row if name != "fastbp"))
    has_others = any(name not in (*OWN, ONE_THREAD) for name in names)
    rows = []
    for shape, row in found.items():
        by_others = _without(row, *OWN, ONE_THREAD)
        own = {name: record for name, record in row.items() if name in (*OWN, "fastbp")}
        texts = [shape, *(time_text(seconds(row.get(name))) for name in [*names, "fastbp"])]
        if has_others:
            texts += [number_text(speed_up(by_others)), number_text(median_ratio(by_others))]
        texts += [number_text(speed_up(own)), number_text(median_ratio(own)), number_text(_ratio(row, ONE_THREAD))]
        rows.append(texts)
    header = [*names, "fastbp", *(["times faster", BY_TURNS] if has_others else [])]
    return [*header, "than loop or pool", f"{BY_TURNS}, those", "than 1 thread"], rows


def many_section(results: Results) -> str:
    """Whole fits of many networks."""
    header, rows = _rows(results, KINDS["many_fit"])
    found = by_shape(records(results, KINDS["many_fit"]))
    for texts, row in zip(rows, found.values(), strict=True):
        info, own = next(iter(row.values()))["extra_info"], seconds(row.get("fastbp"))
        per_step = None if own is None else own / (info["n_networks"] * info["n_steps"])
        texts += [
            number_text(_ratio(row, "scikit-learn, loky")),
            time_text(per_step),
            number_text(info["target"]),
            first_call_text(row.get("jax, vmap")),
        ]
    header = ["network, batch", *header, "than loky", "network and step", "target", "first call jax"]
    text = (
        "96 networks of one shape, each with weights and an order of the rows of its own: 20 epochs of Adam, float32, "
        "quadratic cost. `fastbp` is `fit_many` on all threads; `loop` calls `Network.fit` for one network after the "
        "other, `pool` in a pool of threads. jax makes all steps of all networks in one jitted `lax.scan` under "
        "`vmap`; the orders of its rows are drawn beforehand, and compiling is in a column of its own. torch under "
        "`torch.func.vmap` takes 63 steps, and scikit-learn trains 8 networks, 4 with batch size 1, in joblib's "
        "processes, which are there already: what is shown is their time for so much more work."
    )
    return f"## Many networks in one call\n\n{text}\n\n{table(header, rows)}\n"


def many_validated_section(results: Results) -> str:
    """The same with early stopping."""
    header, rows = _rows(results, KINDS["many_validated"])
    text = "The same with half of the rows, the others for validation after each epoch, and early stopping."
    return f"## Many networks, early stopping\n\n{text}\n\n{table(['network, batch', *header], rows)}\n"


def many_predictions_section(results: Results) -> str:
    """Outputs of many networks."""
    header, rows = _rows(results, KINDS["many_predict"])
    text = (
        "The outputs of 96 networks, (96, n, 1), from a NumPy array to a NumPy array. `fastbp` is `predict_many`, "
        "`loop` and `pool` call `Network.predict`."
    )
    return f"## Predictions of many networks\n\n{text}\n\n{table(['network, rows', *header], rows)}\n"


def search_section(results: Results) -> str:
    """Searches over a grid with folds."""
    names = ("scikit-learn", "fastbp in GridSearchCV", "fastbp")
    rows = []
    for shape, row in by_shape(records(results, "grid search")).items():
        beside = _without(row, "fastbp in GridSearchCV")
        info = next(iter(row.values()))["extra_info"]
        texts = [shape, *(time_text(seconds(row.get(name))) for name in names)]
        texts += [number_text(speed_up(beside)), number_text(median_ratio(beside))]
        rows.append([*texts, number_text(info["target"]), str(info["n_jobs"])])
    text = (
        "`MLPGridSearchCV` of fastbp's `MLPClassifier`, beside scikit-learn's `GridSearchCV` of both libraries' own. "
        "`n_jobs` are joblib's processes, which are there already, or threads. Scores and best point are the same."
    )
    table_text = table(["search", *names, "times faster", BY_TURNS, "target", "n_jobs"], rows)
    return f"## A grid of points with folds\n\n{text}\n\n{table_text}\n"
