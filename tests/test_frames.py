"""Data frames of pandas and polars as inputs and targets: the numbers in them, or a message that names the column."""

import copy
import io
import pickle

import numpy as np
import pytest

import fastbp as bp
from fastbp.validation import arrays
from tests.fuzz_files import join, split
from tests.test_wrong_input import check
from tests.twins import same_bits

pandas = pytest.importorskip("pandas")
polars = pytest.importorskip("polars")

VALUES = np.array([[1.5, 1.0, 3.0], [-2.0, 0.0, 4.0], [0.25, 1.0, -5.0]])
FLOATS, BOOLS, INTEGERS = VALUES[:, 0], VALUES[:, 1].astype(bool), VALUES[:, 2].astype(int)
WHY = "because a network computes with them"
PANDAS_CURE = (
    "Convert it with .astype('float64') if it holds numbers, encode classes with pandas.get_dummies, or drop it."
)
POLARS_CURE = (
    "Convert it with .cast(polars.Float64) if it holds numbers, encode classes with .to_dummies(), or drop it."
)


def pandas_frame(floats="float64", bools="bool", integers="int64"):
    return pandas.DataFrame({
        "a": pandas.Series(FLOATS).astype(floats), "b": pandas.Series(BOOLS).astype(bools),
        "c": pandas.Series(INTEGERS).astype(integers),
    })  # fmt: skip


def polars_frame(floats=polars.Float64, integers=polars.Int64):
    return polars.DataFrame({
        "a": polars.Series(FLOATS, dtype=floats), "b": BOOLS, "c": polars.Series(INTEGERS, dtype=integers),
    })  # fmt: skip


def arrow_frame():
    pytest.importorskip("pyarrow")
    return pandas_frame("double[pyarrow]", "bool[pyarrow]", "int16[pyarrow]")


def sparse_frame():
    return pandas_frame(pandas.SparseDtype(float), pandas.SparseDtype(bool), pandas.SparseDtype(int))


def polars_of_128_bits():
    if not hasattr(polars, "Int128"):
        pytest.skip("polars before 1.18 has no such integers")
    return polars_frame(polars.Float32, polars.Int128)


FRAMES = {
    "mixed": pandas_frame, "nullable": lambda: pandas_frame("Float64", "boolean", "Int64"),
    "nullable of 32 bits": lambda: pandas_frame("Float32", "boolean", "Int8"),
    "float32 among others": lambda: pandas_frame("float32", "bool", "int8"),
    "categories of integers": lambda: pandas_frame(integers="category"), "arrow": arrow_frame, "sparse": sparse_frame,
    "polars": polars_frame, "polars of 32 bits": lambda: polars_frame(polars.Float32, polars.Int8),
    "polars of 32 and 128 bits": polars_of_128_bits,
    "floats": lambda: pandas.DataFrame(VALUES), "polars' floats": lambda: polars.DataFrame(VALUES),
    "same names": lambda: pandas_frame().set_axis(["a", "a", "a"], axis=1),
}  # fmt: skip


@pytest.mark.parametrize("name", FRAMES)
def test_frames_are_their_numbers(name):
    frame, net = FRAMES[name](), bp.Network([3, 4, 1], "tanh", seed=0)
    assert same_bits(net.predict(frame), net.predict(VALUES))
    for target in (frame.iloc[:, 0], frame.iloc[:, :1]) if hasattr(frame, "iloc") else (frame[:, 0], frame[:, :1]):
        if "32" not in name:  # an array in float32 is refused as well
            assert net.loss_value(frame, target) == net.loss_value(VALUES, VALUES[:, :1])


def test_get_dummies():
    frame = pandas.get_dummies(pandas.DataFrame({"colour": ["red", "green", "red"], "size": FLOATS}))
    net = bp.Network([3, 1], seed=0, dtype="float32")
    expected = np.array([FLOATS, [0, 1, 0], [1, 0, 1]], "f4").T
    assert same_bits(net.predict(frame.astype({"size": "float32"})), net.predict(expected))
    assert bp.Network([2, 1]).predict(frame.iloc[:, 1:]).shape == (3, 1)  # nothing but bool


@pytest.mark.parametrize(
    "labels",
    [
        pandas.Series([0, 2, 1]), pandas.Series([0, 2, 1], dtype="Int64"), pandas.Series([0, 2, 1], dtype="category"),
        pandas.Series([0, 2, 1], dtype="uint8"), polars.Series([0, 2, 1]), polars.Series([0, 2, 1], dtype=polars.UInt8),
    ],
    ids=lambda labels: f"{type(labels).__module__.split('.')[0]}-{labels.dtype}",
)  # fmt: skip
def test_labels_and_weights_in_a_series(labels):
    net = bp.Network([3, 3], output="softmax", loss="cross_entropy", seed=0)
    expected = net.loss_value(VALUES, [0, 2, 1], [1.0, 0.0, 2.0])
    assert net.loss_value(VALUES, labels, [1.0, 0.0, 2.0]) == expected
    weights = type(labels)([1, 0, 2])
    assert net.loss_value(VALUES, labels, weights) == expected
    if type(labels) is pandas.Series:
        assert net.loss_value(VALUES, labels, weights.astype("Int64")) == expected


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_missing_values_are_found(library, dtype):
    columns = {"a": [1, 2, None], "b": [True, None, False]}
    if library == "pandas":
        frame = pandas.DataFrame(columns).astype({"a": "Int64", "b": "boolean"})
    else:
        frame = polars.DataFrame(columns)
    net = bp.Network([2, 1], dtype=dtype)
    message = "`X` must be finite; found nan in column 'b' at (1, 1). Impute or drop such rows."
    check(lambda: net.predict(frame), ValueError, message)
    target = "`Y` must be finite; found nan at (2, 0). Impute or drop such rows."
    check(lambda: net.loss_value(np.ones((3, 2), dtype), frame["a"]), ValueError, target)
    column = "`Y` must be finite; found nan in column 'a' at (2, 0). Impute or drop such rows."
    check(lambda: net.loss_value(np.ones((3, 2), dtype), frame[["a"]]), ValueError, column)


def test_columns_without_names_are_found_by_their_place():
    unnamed = pandas.DataFrame([[1.0, np.inf]], columns=["a", 2])
    check(
        lambda: bp.Network([2, 1]).predict(unnamed), ValueError,
        "`X` must be finite; found inf at (0, 1). Impute or drop such rows.",
    )  # fmt: skip


def frame_with(library, values):
    return library.DataFrame({"a": FLOATS, "odd one": values})


DATES = ["2020-01-01", "2020-01-02", "2021-01-01"]
ODD = [
    (frame_with(pandas, pandas.array(["x", "y", "z"], "string")), "string", PANDAS_CURE),
    (frame_with(pandas, pandas.Categorical(["x", "y", "x"])), "category", PANDAS_CURE),
    (frame_with(pandas, pandas.Series([1.0, True, None], dtype=object)), "object", PANDAS_CURE),
    (frame_with(pandas, [1j, 2, 3]), "complex128", PANDAS_CURE),
    (frame_with(pandas, pandas.period_range("2020", periods=3, freq="M")), "period[M]", PANDAS_CURE),
    (frame_with(pandas, pandas.to_datetime(DATES).as_unit("s")), "datetime64[s]",
     "Turn dates into numbers, for instance into days since the first one, or drop the column."),
    (frame_with(polars, ["x", "y", "z"]), "String", POLARS_CURE),
    (frame_with(polars, polars.Series(DATES).str.to_date()), "Date",
     "Turn dates into numbers, for instance into days since the first one, or drop the column."),
    (frame_with(polars, [[1], [2], [3]]), "List(Int64)", POLARS_CURE),
]  # fmt: skip


@pytest.mark.parametrize(("frame", "dtype", "cure"), ODD, ids=[f"{type(f).__module__[:6]}-{d}" for f, d, _ in ODD])
def test_a_column_without_numbers_is_named(frame, dtype, cure):
    net = bp.Network([2, 1])
    message = f"must hold real numbers, {WHY}; its column 'odd one' has dtype {dtype}. {cure}"
    check(lambda: net.predict(frame), TypeError, f"`X` {message}")
    check(lambda: net.loss_value(VALUES[:, :2], frame), TypeError, f"`Y` {message}")


def test_arrow_columns_without_numbers():
    pyarrow = pytest.importorskip("pyarrow")
    frame = frame_with(pandas, pandas.array(["x", "y", "z"], pandas.ArrowDtype(pyarrow.large_string())))
    check(
        lambda: bp.Network([2, 1]).predict(frame), TypeError,
        f"`X` must hold real numbers, {WHY}; its column 'odd one' has dtype large_string[pyarrow]. {PANDAS_CURE}",
    )  # fmt: skip


@pytest.mark.parametrize("frame", [pandas_frame(), polars_frame()], ids=["pandas", "polars"])
def test_a_column_of_a_wider_float_is_named(frame):
    name = str(frame["a"].dtype)
    check(
        lambda: bp.Network([3, 1], dtype="float32").predict(frame), TypeError,
        "`X` must have the network's dtype float32, because nothing is converted between float types silently; its "
        f"column 'a' has dtype {name}. Convert it to float32, or build the network with dtype='float64'.",
    )  # fmt: skip


def test_a_series_without_numbers():
    check(
        lambda: bp.Network([3, 1]).loss_value(VALUES, pandas.Series(["x", "y", "z"])), TypeError,
        "`Y` must hold real numbers of dtype float64; got dtype object with str at (0,). Encode it as a number, or "
        "drop its row or column.",
    )  # fmt: skip
    check(
        lambda: bp.Network([3, 1]).predict(polars_frame().lazy()), TypeError,
        "`X` must hold real numbers of dtype float64; got LazyFrame. Pass an array, nested lists or a data frame.",
    )  # fmt: skip


# ---- The columns of the fit ------------------------------------------------------------------------------------------


def every_call(net, frame):
    """Everything that takes inputs."""
    return [
        lambda: net.predict(frame), lambda: net.loss_value(frame, FLOATS), lambda: net.value_and_grad(frame, FLOATS),
        lambda: net.trace(frame, FLOATS), lambda: net.fit(frame, FLOATS), lambda: bp.diagnose(net, frame),
        lambda: bp.check_gradient(net, frame, FLOATS), lambda: bp.find_learning_rate(net, frame, FLOATS),
    ]  # fmt: skip


@pytest.mark.parametrize("make", [pandas_frame, polars_frame], ids=["pandas", "polars"])
def test_other_columns_than_in_fit_are_refused(make):
    net, frame = bp.Network([3, 1], seed=0), make()
    assert net.feature_names is None
    net.fit(frame, FLOATS, epochs=1, seed=0)
    assert net.feature_names == ("a", "b", "c")
    before, state = net.params.copy(), net._training_state
    wrong = frame[["a", "c", "b"]]
    message = (
        "`X` must have its columns in the order of `fit`, because the network knows them by their place; column 1 is "
        "'c' and was 'b'. Use X[list(net.feature_names)], or pass an array if the order is right."
    )
    for call in every_call(net, wrong):
        check(call, ValueError, message)
    check(
        lambda: net.fit(frame, FLOATS, validation_data=(wrong, FLOATS)), ValueError, f"In `validation_data`: {message}"
    )
    other = frame.rename({"b": "d"}) if make is polars_frame else frame.rename(columns={"b": "d"})
    check(
        lambda: net.predict(other), ValueError,
        "`X` must have the columns of `fit`, because the network knows them by their place; missing: 'b'; unknown: "
        "'d'. Use X[list(net.feature_names)], or pass an array if the columns are the right ones under other "
        "names.",
    )  # fmt: skip
    few = frame[["a"]]
    check(
        lambda: net.predict(few), ValueError,
        "`X` must have the columns of `fit`, because the network knows them by their place; missing: 'b', 'c'; "
        "unknown: none. Use X[list(net.feature_names)], or pass an array if the columns are the right ones under other "
        "names.",
    )  # fmt: skip
    check(lambda: pickle.loads(pickle.dumps(net)).predict(wrong), ValueError, message)
    assert same_bits(net.params, before)
    assert net._training_state is state
    expected = net.predict(VALUES)  # an array has no names
    assert same_bits(net.predict(frame), expected)
    assert same_bits(net.predict(wrong[list(net.feature_names)]), expected)
    assert same_bits(net.predict(np.asarray(VALUES[:, [0, 2, 1]])), net.predict(wrong.to_numpy().astype(float)))


def test_the_names_of_a_first_fit_hold_for_its_validation_data():
    net, frame = bp.Network([3, 1], seed=0), pandas_frame()
    with pytest.raises(ValueError, match="In `validation_data`: `X` must have its columns in the order of `fit`"):
        net.fit(frame, FLOATS, validation_data=(frame[["c", "b", "a"]], FLOATS))
    assert net.feature_names is None  # nothing was fitted
    net.fit(frame, FLOATS, epochs=1, validation_data=(frame, FLOATS))
    net.fit(VALUES, FLOATS, epochs=1)
    assert net.feature_names == ("a", "b", "c")


def test_names_that_are_no_words_are_not_compared():
    net = bp.Network([3, 1], seed=0)
    net.fit(pandas.DataFrame(VALUES), FLOATS, epochs=1)
    assert net.feature_names is None
    net.predict(pandas.DataFrame(VALUES)[[2, 1, 0]])


def test_long_lists_of_names_are_cut():
    names = [f"x{i}" for i in range(12)]
    net = bp.Network([12, 1], seed=0)
    net.fit(pandas.DataFrame(np.ones((3, 12)), columns=names), FLOATS, epochs=1)
    with pytest.raises(ValueError, match="missing: 'x2', 'x3', 'x4' and 7 more; unknown: none"):
        net.predict(pandas.DataFrame(np.ones((3, 2)), columns=names[:2]))


# ---- The columns in files --------------------------------------------------------------------------------------------


def of_frame():
    """A network that was fitted on a frame."""
    net = bp.Network([3, 4, 1], "tanh", seed=0)
    net.fit(pandas_frame(), FLOATS, epochs=1, seed=0)
    return net


def saved(net):
    """The bytes of its file."""
    file = io.BytesIO()
    net.save(file)
    return file.getvalue()


WAYS = {
    "file": lambda net: bp.load(saved(net)), "copy": copy.copy, "deepcopy": copy.deepcopy,
    "pickle": lambda net: pickle.loads(pickle.dumps(net)),
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("make", [pandas_frame, polars_frame], ids=["pandas", "polars"])
def test_names_go_with_the_network(make, way):
    twin = WAYS[way](of_frame())
    assert twin.feature_names == ("a", "b", "c")
    assert twin.feature_names_in_.dtype == object
    assert twin.feature_names_in_.tolist() == ["a", "b", "c"]
    assert same_bits(twin.predict(make()), of_frame().predict(VALUES))
    with pytest.raises(ValueError, match="column 1 is 'c' and was 'b'"):
        twin.predict(make()[["a", "c", "b"]])


def test_a_network_without_names_has_none_anywhere():
    net = bp.load(saved(bp.Network([3, 1], seed=0)))
    assert net.feature_names is None
    assert not hasattr(net, "feature_names_in_")
    with pytest.raises(AttributeError) as caught:
        _ = net.feature_names_in_
    assert str(caught.value) == "this Network has no `feature_names_in_`; it was fitted on no data frame with names"


def test_names_of_all_kinds_are_kept_by_files():
    names = ["\u00e9\u4e2d", "a\nb\0", "", "'\"\\"]
    net = bp.Network([4, 1], seed=0)
    net.fit(pandas.DataFrame(np.ones((3, 4)), columns=names), FLOATS, epochs=1)
    assert bp.load(saved(net)).feature_names == tuple(names)


class Mine(bp.Network):
    """A class of the user's."""


def test_names_of_a_subclass():
    net = Mine([3, 1], seed=0)
    net.fit(pandas_frame(), FLOATS, epochs=1)
    twin = bp.load(saved(net), custom_classes=[Mine])
    assert type(twin) is Mine
    assert twin.feature_names == ("a", "b", "c")


@pytest.mark.parametrize("names", [["a", "b"], ["a", "b", 3], "abc", {"a": 1}, 3, [["a"], "b", "c"], False])
def test_files_with_names_that_cannot_be(names):
    header, own, data = split(saved(of_frame()))
    assert own["optional"] == {"feature_names": ["a", "b", "c"]}  # which earlier releases pass over
    own["optional"]["feature_names"] = names
    with pytest.raises(bp.FileError) as caught:
        bp.load(join(header, own, data))
    assert caught.value.reason == "its `feature_names` must be 3 names, one for each input."


@pytest.mark.parametrize("form", [list, np.array])
def test_names_that_a_user_sets(form, tmp_path):
    """In any sequence; they are compared and saved as those of a fit."""
    path, net = tmp_path / "c", bp.Network([3, 4, 1], "tanh", seed=0)
    net.fit(pandas_frame(), FLOATS, epochs=1, seed=0, checkpoint=path)
    other = bp.Network([3, 4, 1], "tanh", seed=0)
    other.feature_names = form(["a", "b", "c"])
    other.predict(pandas_frame())
    other.fit(VALUES, FLOATS, epochs=1, seed=0, checkpoint=path, resume=True)
    assert same_bits(other.params, net.params)
    with pytest.raises(ValueError, match="column 1 is 'c' and was 'b'"):
        other.predict(pandas_frame()[["a", "c", "b"]])
    assert bp.load(saved(other)).feature_names == ("a", "b", "c")


def test_names_that_come_twice_are_counted():
    net = bp.Network([3, 1], seed=0)
    net.fit(pandas.DataFrame(VALUES, columns=["a", "a", "b"]), FLOATS, epochs=1)
    with pytest.raises(ValueError, match="missing: 'a'; unknown: 'b'"):
        net.predict(pandas.DataFrame(VALUES, columns=["a", "b", "b"]))


@pytest.mark.parametrize("names", [("a", "b"), ("a", "b", 3), 3])
def test_names_that_no_file_can_have(names):
    net = of_frame()
    net.feature_names = names
    check(
        lambda: net.save(io.BytesIO()), ValueError,
        f"`net.feature_names` must be 3 names to be saved, one for each input, or None; got {names!r}.",
    )  # fmt: skip


def test_checkpoints_know_the_names(tmp_path):
    path = str(tmp_path / "c")
    settings = {"epochs": 3, "seed": 0, "checkpoint": path}
    net, other = (bp.Network([3, 4, 1], "tanh", seed=0) for _ in range(2))
    net.fit(pandas_frame(), FLOATS, **settings)
    before = other.params.copy()
    renamed = pandas_frame().rename(columns={"b": "d"})
    message = (
        f"The checkpoint {path!r} is of a fit with `feature_names` ['a', 'b', 'c'], and this fit has ['a', 'd', 'c']. "
        "Resume with the network, data and arguments of that fit, or start afresh with resume=False."
    )
    check(lambda: other.fit(renamed, FLOATS, **settings, resume=True), ValueError, message)
    assert same_bits(other.params, before)
    assert other.feature_names is None
    other.fit(VALUES, FLOATS, **settings, resume=True)  # the same rows without names
    assert other.feature_names == ("a", "b", "c")
    assert same_bits(other.params, net.params)


def test_checkpoints_of_many_know_the_names(tmp_path):
    settings = {"epochs": 3, "seed": 0, "checkpoint": tmp_path}
    nets, again = ([bp.Network([3, 4, 1], "tanh", seed=0) for _ in range(2)] for _ in range(2))
    bp.fit_many(nets, pandas_frame(), FLOATS, **settings)
    renamed = pandas_frame().rename(columns={"b": "d"})
    with pytest.raises(ValueError, match=r"`feature_names` \['a', 'b', 'c'\], and this fit has \['a', 'd', 'c'\]"):
        bp.fit_many(again, renamed, FLOATS, **settings, resume=True)
    assert [net.feature_names for net in again] == [None, None]
    bp.fit_many(again, VALUES, FLOATS, **settings, resume=True)
    assert [net.feature_names for net in again] == [("a", "b", "c")] * 2


V = np.ones(21)
EVERYTHING = {
    "vjp": (np.ones((3, 1)),), "input_gradient": (FLOATS,), "input_jacobian": (), "jacobian": (),
    "jacobian_blocks": (), "per_sample_gradients": (FLOATS,), "per_sample_gradient_blocks": (FLOATS,),
    "per_sample_gradient_norms": (FLOATS,), "per_sample_gradient_dots": (FLOATS, V), "laplacian": (),
    "input_derivatives": (), "input_hessian": (), "linearize_inputs": (), "hvp": (FLOATS, V), "gnvp": (FLOATS, V),
    "fisher_vp": (V,), "jvp": (V,), "linearize": (FLOATS,), "step": (FLOATS,), "predict": (), "loss_value": (FLOATS,),
    "value_and_grad": (FLOATS,), "trace": (FLOATS,),
    "residual_value_and_grad": (lambda X, u, du, lap: (u[:, 0], None, du, None),),
}  # fmt: skip


@pytest.mark.parametrize("name", EVERYTHING)
def test_every_method_looks_at_the_columns(name):
    net = bp.Network([3, 4, 1], "tanh", "sigmoid", "cross_entropy", seed=0)  # which has a Fisher matrix
    targets = VALUES[:, 1]
    net.fit(pandas_frame(), targets, epochs=1)
    method = getattr(net, name)
    rest = [targets if each is FLOATS else each for each in EVERYTHING[name]]
    with pytest.raises(ValueError, match="`X` must have its columns in the order of `fit`"):
        list(method(pandas_frame()[["b", "a", "c"]], *rest))
    method(pandas_frame(), *rest)
    method(VALUES, *rest)


def test_an_array_is_not_asked_for_names(monkeypatch):
    """A look at its type is all that a row costs."""
    net = of_frame()
    monkeypatch.setattr(arrays, "_library", lambda values: pytest.fail("looked for data frames"))
    net.predict(np.ones((1, 3)))
