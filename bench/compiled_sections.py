"""The sections of the report on one row at a time."""

from __future__ import annotations

from bench.tables import (
    BY_TURNS,
    Record,
    Results,
    by_shape,
    by_what_and_shape,
    median_ratio,
    number_text,
    records,
    seconds,
    speed_up,
    table,
    time_text,
)

OWN_CODE = ("own loops", "own np.dot")


def _over_own_code(row: dict[str, Record]) -> float | None:
    """How many times faster fastbp is than the better of what users write themselves."""
    return speed_up({name: record for name, record in row.items() if name in (*OWN_CODE, "fastbp")})


def _section(results: Results, kind: str, title: str, text: str) -> str:
    """A table of all libraries, a row for each kind of call and network."""
    groups = by_what_and_shape(records(results, kind))
    others = list(dict.fromkeys(name for row in groups.values() for name in row if name != "fastbp"))
    has_own_code = set(OWN_CODE) & set(others)
    rows = [
        [
            what,
            shape,
            *(time_text(seconds(row.get(name))) for name in [*others, "fastbp"]),
            number_text(speed_up(row)),
            number_text(median_ratio(row)),
            *([number_text(_over_own_code(row))] if has_own_code else []),
            number_text(next(iter(row.values()))["extra_info"]["target"]),
        ]
        for (what, shape), row in groups.items()
    ]
    header = ["what", "network, dtype", *others, "fastbp", "times faster", BY_TURNS]
    header += ["than own code", "target"] if has_own_code else ["target"]
    return f"## {title}\n\n{text}\n\n{table(header, rows)}\n"


def compiled_section(results: Results) -> str:
    """Calls inside compiled code."""
    text = (
        "A call for one row inside a compiled loop, each call depending on the one before, on one thread. `own loops` "
        "and `own np.dot` are what users write into their own function that Numba compiles, the parameters as "
        "arguments; jax makes all calls in one jitted `lax.scan` that is compiled for the network, and FANN's function "
        "of C is called from Numba. `than own code` is how many times faster fastbp is than the better of the first "
        "two, and `target` how many times it is meant to be."
    )
    return _section(results, "one row, compiled", "One row, in compiled code", text)


def python_section(results: Results) -> str:
    """Calls from Python."""
    text = (
        "The same from Python, from a NumPy array to a NumPy array; a step gives its cost as a number. Some 0.2 us of "
        "each call are the loop around it, which writes the next input."
    )
    return _section(results, "one row, python", "One row, from Python", text)


def user_code_section(results: Results) -> str:
    """First calls of a user's function."""
    found = by_shape(records(results, "user's function"))
    names = list(dict.fromkeys(name for row in found.values() for name in row))
    rows = [[name, *(time_text(seconds(row.get(name))) for row in found.values())] for name in names]
    text = (
        "The first call in a fresh process of a function that predicts with 4-32-16-4, float32, in a loop; all that it "
        "needs of fastbp is on disk and loaded. `net.compiled()` is the call that loads it."
    )
    return f"## A user's function\n\n{text}\n\n{table(['what', *found], rows)}\n"
