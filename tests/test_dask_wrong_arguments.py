"""Wrong arguments of `fastbp.dask`: each in turn gets each of the strange values, and values of Dask's."""

import inspect
import time

import dask
import dask.array as da
import dask.bag
import dask.dataframe as dd
import pandas as pd
import pytest

import fastbp as bp
import fastbp.dask as on_dask
from tests.test_dask import client  # noqa: F401 # the cluster of the module
from tests.test_wrong_arguments_fuzz import STRANGE, X, Y, check_error
from tests.twins import same_bits

SERIES = dd.from_pandas(pd.Series(X[:, 0]), npartitions=2)
ROWS, TARGETS = da.from_array(X, chunks=(2, 3)), da.from_array(Y, chunks=(2, 2))
OF_DASK = {
    "rows": ROWS,
    "of unknown sizes": ROWS[ROWS[:, 0] > -9],
    "of no rows": ROWS[:0],
    "of no columns": ROWS[:, :0],
    "a column": ROWS[:, 0],
    "a cube": da.ones((4, 3, 2), chunks=2),
    "other rows": da.ones((6, 3), chunks=2),
    "text": ROWS.astype("U4"),
    "below 0": -da.ones(4, chunks=2),
    "an array without axes": ROWS.sum(),
    "a series": SERIES,
    "a frame": dd.from_pandas(pd.DataFrame(X), npartitions=2),
    "a scalar of frames": SERIES.sum(),
    "a bag": dask.bag.from_sequence([1, 2]),
    "delayed": dask.delayed(3),
    "one": (ROWS,),
    "four": (ROWS, TARGETS, None, None),
    "one local": (ROWS, Y),
}


# The other arguments go to a `Plan` like those of `Network.fit`, and are tried there.
@pytest.mark.parametrize(
    "argument",
    ["net", "X", "Y", "batch_size", "client", "average_every", "persist", "validation_data", "sample_weight"],
)
def test_fit_refuses_what_cannot_be_and_leaves_nothing(argument, client):  # noqa: F811
    right = {"X": ROWS, "Y": TARGETS, "epochs": 1, "batch_size": 2, "client": client, "seed": 0}
    failures = []
    for label, value in (STRANGE | OF_DASK).items():
        if argument == "client" and value is None:
            continue
        net = bp.Network([3, 2], seed=0)
        kept = net.params.copy()
        try:
            on_dask.fit(**{"net": net} | right | {argument: value})
        except (TypeError, ValueError) as error:
            try:
                check_error(error, inspect.signature(on_dask.fit).parameters)
                assert same_bits(net.params, kept)
                assert net._training_state is None
            except AssertionError as wrong:
                failures.append(f"{label}: {wrong}")
        except Exception as error:
            failures.append(f"{label}: {error!r}")
    assert not failures, "\n".join(failures)
    end = time.monotonic() + 60
    while client.cluster.scheduler.tasks:
        assert time.monotonic() < end


@pytest.mark.parametrize("argument", ["net", "X"])
def test_predict_refuses_what_cannot_be(argument, client):  # noqa: F811
    for label, value in (STRANGE | OF_DASK).items():
        try:
            on_dask.predict(**{"net": bp.Network([3, 2], seed=0), "X": ROWS} | {argument: value})
        except (TypeError, ValueError) as error:
            check_error(error, ("net", "X"))
        else:
            assert label in {"net", "rows", "of unknown sizes", "of no rows", "other rows", "text", "a frame"}


COLLECTION = "must be an array, a data frame or a series of Dask; got"
MESSAGES = {
    "no network": ({"net": "net"}, TypeError, "`net` must be a fastbp.Network; got str."),
    "an array without axes": (
        {"X": ROWS.sum()},
        TypeError,
        f"`X` {COLLECTION} Array without axes. Write dask.array.from_array(..., chunks=(100_000, -1)), or train with "
        "Network.fit what fits into memory.",
    ),
    "a bag": (
        {"Y": OF_DASK["a bag"]},
        TypeError,
        f"`Y` {COLLECTION} Bag. Write dask.array.from_array(..., chunks=(100_000, -1)), or train with Network.fit "
        "what fits into memory.",
    ),
    "a word": ({"batch_size": "all"}, ValueError, "`batch_size` must be an integer, None or 'auto'; got 'all'."),
    "one": (
        {"validation_data": (ROWS,)},
        TypeError,
        "`validation_data` must be (X_val, Y_val) or (X_val, Y_val, sample_weight_val).",
    ),
}


MADE = []


def make():
    """Make rows, and say so."""
    MADE.append(X)
    return X


@pytest.mark.parametrize("kind", MESSAGES)
def test_what_needs_no_rows_is_refused_before_any_is_made(kind, client):  # noqa: F811
    arguments, error, text = MESSAGES[kind]
    rows = da.from_delayed(dask.delayed(make)(), (4, 3), dtype=float)
    with pytest.raises(error) as caught:
        on_dask.fit(**{"net": bp.Network([3, 2]), "X": rows, "Y": TARGETS, "client": client} | arguments)
    assert str(caught.value) == text
    assert not MADE
