"""Turn saved results into tables and pictures: ``python -m bench.report results.json``."""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.peers import LIBRARIES

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


# --- texts ------------------------------------------------------------------------------------------------------------


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


# --- sections ---------------------------------------------------------------------------------------------------------


def training_section(results: dict[str, Any]) -> str:
    """Training steps of all libraries, and how far from the rate of a large matrix product fastbp is."""
    products = records(results, "matrix product")
    peak = products[0]["extra_info"]["flops"] / seconds(products[0]) if products else None
    libraries = [name for name in LIBRARIES if name != "fastbp"]
    rows = []
    for shape, row in by_shape(records(results, "training step")).items():
        own = row.get("fastbp")
        if own is None:
            continue
        rate = own["extra_info"]["flops"] / own["stats"]["min"]
        rows.append(
            [
                shape,
                *(time_text(seconds(row.get(name))) for name in [*libraries, "fastbp"]),
                number_text(speed_up(row)),
                number_text(own["extra_info"]["target"]),
                str(own["extra_info"]["threads"]),
                f"{rate / 1e9:.3g}",
                f"{rate / peak:.0%}" if peak else "-",
                *(first_call_text(row.get(name)) for name in LIBRARIES),
            ]
        )
    header = ["network, batch", *libraries, "fastbp", "times faster", "target", "threads", "GFLOP/s", "of sgemm"]
    text = table([*header, *(f"first call {name}" for name in LIBRARIES)], rows)
    note = f"A {products[0]['group']}: {peak / 1e9:.3g} GFLOP/s.\n\n" if peak else ""
    return f"## One training step\n\n{note}{text}\n"


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
    rows = [
        [shape, *(time_text(seconds(row.get(name))) for name in LIBRARIES), number_text(speed_up(row))]
        for shape, row in by_shape(records(results, "predict")).items()
    ]
    return f"## Predict\n\n{table(['network, rows', *LIBRARIES, 'times faster'], rows)}\n"


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


_SECTIONS = {
    "training step": training_section,
    "gradient": gradient_section,
    "perturbation": perturbation_section,
    "predict": predict_section,
    "published code": published_section,
    "estimators": estimators_section,
}


def render(results: dict[str, Any]) -> str:
    """All tables as Markdown."""
    machine = results["machine_info"]
    cpu = machine.get("cpu", {})
    versions = {
        record["name"]: record["extra_info"]["version"]
        for record in results["benchmarks"]
        if "version" in record["extra_info"]
    }
    head = [
        "# Benchmarks",
        "",
        f"{cpu.get('brand_raw', machine.get('machine', 'unknown processor'))}, {cpu.get('count', '?')} cores, Python "
        f"{machine.get('python_version', '?')}, {results['datetime'][:10]}",
        "",
        "Versions: " + ", ".join(f"{name} {version}" for name, version in versions.items()),
        "",
        "Times are the shortest of several rounds, measured inside each library's own process, with the number of "
        "threads that suits the library best. `first call` is what the first call took more than the second one.",
        "",
    ]
    return "\n".join([*head, *(section(results) for kind, section in _SECTIONS.items() if records(results, kind))])


# --- pictures ---------------------------------------------------------------------------------------------------------


def draw_perturbation(results: dict[str, Any], path: Path) -> None:
    """Time against the number of parameters, both axes logarithmic, with the theory's line."""
    from matplotlib.figure import Figure

    shapes = by_shape(records(results, "perturbation")).values()
    figure = Figure(figsize=(7, 5), layout="constrained")
    axes = figure.subplots()
    for method in dict.fromkeys(name for row in shapes for name in row):
        found = [row[method] for row in shapes if method in row]
        n_params = [record["extra_info"]["n_params"] for record in found]
        axes.loglog(n_params, [seconds(record) for record in found], "o-", label=method)
    pairs = [(row["backpropagation"], row["backpropagation"]["extra_info"]["n_params"]) for row in shapes]
    theory = [(n + 1) / 3 * record["stats"]["min"] for record, n in pairs]
    axes.loglog([n for _, n in pairs], theory, "k--", label="theory: (n + 1) / 3 times backpropagation")
    axes.set(xlabel="number of parameters n", ylabel="seconds for one gradient")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=150)


def draw_speed_up(results: dict[str, Any], path: Path) -> None:
    """Bars: for each shape and library, how many times longer it takes than fastbp."""
    from matplotlib.figure import Figure

    shapes = {name: row for name, row in by_shape(records(results, "training step")).items() if "fastbp" in row}
    libraries = [name for name in LIBRARIES if name != "fastbp" and any(name in row for row in shapes.values())]
    figure = Figure(figsize=(8, 1.5 + 0.6 * len(shapes)), layout="constrained")
    axes = figure.subplots()
    height = 0.8 / max(1, len(libraries))
    for index, library in enumerate(libraries):
        places = [place for place, row in enumerate(shapes.values()) if library in row]
        rows = [list(shapes.values())[place] for place in places]
        ratios = [row[library]["stats"]["min"] / row["fastbp"]["stats"]["min"] for row in rows]
        offset = (index - (len(libraries) - 1) / 2) * height
        bars = axes.barh([place + offset for place in places], ratios, height, label=library)
        axes.bar_label(bars, [number_text(ratio) for ratio in ratios], padding=2, fontsize=7)
    axes.set_yticks(range(len(shapes)), list(shapes))
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.margins(x=0.15)
    axes.axvline(1.0, color="black", linewidth=1)
    axes.set(xlabel="time of one training step, as a multiple of fastbp's")
    axes.legend()
    figure.savefig(path, dpi=150)


_PICTURES = {"perturbation": draw_perturbation, "training step": draw_speed_up}


def main(argv: Sequence[str] | None = None) -> int:
    """Write `results.md` and the pictures beside the results, or into another folder."""
    parser = argparse.ArgumentParser(prog="python -m bench.report", description=__doc__)
    parser.add_argument("results", type=Path, help="written by pytest --benchmark-json=FILE")
    parser.add_argument("--folder", type=Path, help="where to write; by default beside the results")
    options = parser.parse_args(argv)
    try:
        results = json.loads(options.results.read_text(encoding="utf-8"))
        text = render(results)
    except (OSError, ValueError, KeyError) as error:
        print(f"report: {options.results} holds no results of the benchmarks: {error!r}", file=sys.stderr)
        return 2
    folder = options.folder or options.results.parent
    folder.mkdir(parents=True, exist_ok=True)
    written = [folder / f"{options.results.stem}.md"]
    written[0].write_text(text, encoding="utf-8")
    if importlib.util.find_spec("matplotlib"):
        for kind, draw in _PICTURES.items():
            if records(results, kind):
                written.append(folder / f"{options.results.stem}-{kind.replace(' ', '-')}.png")
                draw(results, written[-1])
    print(text)
    print("written:", ", ".join(str(path) for path in written))
    return 0


if __name__ == "__main__":
    sys.exit(main())
