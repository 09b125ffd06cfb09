"""Networks in files: the same bits after every detour, old versions, one clear error for every bad file."""

import errno
import io
import json
import math
import os
import pickle
import stat
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import fastbp as bp
from fastbp.storage import arrays as array_files
from fastbp.storage import atomic, networks
from tests import cases, problems
from tests.fresh import run_python
from tests.streams import Drip
from tests.twins import network, same_bits

dtypes = pytest.mark.parametrize("dtype", cases.DTYPES)
CUBE = bp.Activation("cube", numba.njit(lambda z: z**3), numba.njit(lambda z: 3 * z**2))
OTHER_CUBE = bp.Activation("cube", numba.njit(lambda z: 2 * z**3), numba.njit(lambda z: 6 * z**2))
QUARTIC = bp.Loss("quartic", numba.njit(lambda a, y: (a - y) ** 4), numba.njit(lambda a, y: 4 * (a - y) ** 3))


def everything(net):
    """What a file must bring back, beside the parameters."""
    return net.sizes, net.dtype, net.activations, net.loss, net.initializer, net.penalties, net.dropout


def assert_twins(twin, net):
    """The same network, bit by bit."""
    assert everything(twin) == everything(net)
    assert same_bits(twin.params, net.params)
    assert twin.params.flags.carray
    assert type(twin.params) is np.ndarray
    assert twin._training_state is None


@pytest.fixture
def path(tmp_path):
    """Where a file may go."""
    return tmp_path / "net.safetensors"


def stored(path):
    """Header and data of a file."""
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def written(path, header, data):
    """Write header and data as they are."""
    encoded = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(encoded).to_bytes(8, "little") + encoded + data)


def loading_fails(path, reason, **keywords):
    """Loading raises the one error, with exactly this reason, by whatever door the file comes."""
    for mmap in (False, True):
        with pytest.raises(bp.FileError) as caught:
            bp.load(path, mmap=mmap, **keywords)
        assert str(caught.value) == f"The file {str(path)!r} cannot be loaded: {reason}"
    content = path.read_bytes()
    for source, name in ((content, "<bytes>"), (io.BytesIO(content), "<BytesIO>"), (Drip(content), "<Drip>")):
        with pytest.raises(bp.FileError) as caught:
            bp.load(source, **keywords)
        assert str(caught.value) == f"The file {name!r} cannot be loaded: {reason}"


# ---- There and back --------------------------------------------------------------------------------------------------


@dtypes
@pytest.mark.parametrize("mmap", [False, True])
@pytest.mark.parametrize("case", cases.ALL_CASES, ids=str)
def test_there_and_back(case, mmap, dtype, path):
    net = network(case, problems.random_params(case, np.random.default_rng(1)), dtype, initializer="he_normal")
    net.save(path)
    twin = bp.load(path, mmap=mmap)
    assert_twins(twin, net)
    X = np.random.default_rng(2).standard_normal((3, case.sizes[0])).astype(dtype)
    assert same_bits(twin.predict(X), net.predict(X))


@given(problem=problems.problems(), dtype=st.sampled_from(cases.DTYPES), mmap=st.booleans(), rate=st.floats(0, 0.99))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
def test_there_and_back_at_random(problem, dtype, mmap, rate, path):
    net = network(problem.case, problem.params, dtype, dropout=rate)
    net.save(path)
    assert_twins(bp.load(path, mmap=mmap), net)


@dtypes
def test_extreme_parameters(dtype, path):
    info = np.finfo(dtype)
    net = bp.Network([3, 2], dtype=dtype)
    net.params = np.array([info.max, info.min, info.tiny, info.smallest_subnormal, -0.0, 0.0, 1.0, -1.0], dtype)
    net.save(path)
    assert_twins(bp.load(path), net)


@dtypes
@pytest.mark.parametrize("mmap", [False, True])
def test_training_goes_on_as_in_the_network_itself(dtype, mmap, path):
    rng = np.random.default_rng(3)
    X, Y = rng.standard_normal((40, 5)).astype(dtype), rng.integers(3, size=40)
    net = bp.Network([5, 8, 3], "tanh", "softmax", "cross_entropy", dtype=dtype, seed=0, dropout=0.2, l2_penalty=0.01)
    net.save(path)
    before = path.read_bytes()
    twin = bp.load(path, mmap=mmap)
    for each in (net, twin):
        each.fit(X, Y, epochs=3, batch_size=8, optimizer=bp.Adam(0.01), seed=4)
    assert same_bits(twin.params, net.params)
    assert not same_bits(twin.params, bp.load(path).params)
    assert path.read_bytes() == before


def test_functions_of_ones_own(path):
    net = bp.Network([3, 4, 2], [[(CUBE, 3), ("tanh", 1)]], [("identity", 1), (CUBE, 1)], QUARTIC, seed=0)
    net.save(path)
    assert_twins(bp.load(path, custom_functions=[CUBE, QUARTIC]), net)
    assert_twins(bp.load(path, custom_functions=iter((QUARTIC, CUBE, CUBE))), net)
    assert pickle.loads(pickle.dumps(bp.load(path, custom_functions=[CUBE, QUARTIC]))).sizes == net.sizes
    loading_fails(
        path,
        "its network has the bp.Loss 'quartic', and a file holds no code. Pass it: load(path, custom_functions=[...]).",
        custom_functions=[CUBE],
    )
    loading_fails(
        path,
        "its network has the bp.Activation 'cube', and a file holds no code. Pass it: load(path, "
        "custom_functions=[...]).",
    )


def test_an_activation_of_ones_own_is_never_taken_for_the_built_in_one(path):
    relu = bp.Activation("relu", CUBE.f, CUBE.df)
    net = bp.Network([2, 3, 1], relu, seed=0)
    net.save(path)
    assert bp.load(path, custom_functions=[relu]).activations[0] == ((relu, 3),)
    bp.Network([2, 3, 1], "relu", seed=0).save(path)
    assert bp.load(path, custom_functions=[relu]).activations[0] == (("relu", 3),)


def test_a_network_around_a_checkpoints_array(path):
    net = bp.Network([2, 3, 1], "tanh", seed=0)
    own = {"net": networks.describe(net), "step": 7, "state": 2**127, "note": "\ud800 \u00e9"}
    arrays = {"w": net.params, "loss": np.array([np.nan, 1.0]), "order": np.arange(5), "none": np.zeros((0, 3))}
    array_files.write_arrays(path, "run", 2, own, arrays)
    content = array_files.read_arrays(path, {"run": 3, "other": 1})
    assert (content.kind, content.version, content.description) == ("run", 2, own)
    assert_twins(networks.rebuild(content, bp.Network, content.description["net"], "w", {}), net)
    assert content.take("order", (5,), "int64").tolist() == [0, 1, 2, 3, 4]
    assert content.take("none", (0, 3), "float64").shape == (0, 3)
    assert np.isnan(content.take("loss", (2,), "float64", finite=False)[0])
    with pytest.raises(bp.FileError, match="its array 'loss' holds NaN or infinity"):
        content.take("loss", (2,), "float64")
    with pytest.raises(bp.FileError, match="there is no array 'v'"):
        content.take("v", (2,), "float64")
    loading_fails(path, "it holds a 'run'; expected: classifier, network, pipeline, regressor.")


# ---- Versions --------------------------------------------------------------------------------------------------------


VERSION_1 = Path(__file__).parent / "data"


@dtypes
def test_a_file_of_version_1(dtype):
    """Never written again: these files are what an early release left on somebody's disk."""
    net = bp.load(VERSION_1 / f"network-1-{dtype}.safetensors")
    assert net.sizes == (2, 3, 3, 2)
    assert net.dtype == dtype
    assert net.activations == ((("relu", 1), ("sine", 2)), (("gelu", 3),), (("softmax", 2),))
    assert (net.loss, net.initializer, net.penalties, net.dropout) == (
        "cross_entropy",
        "zeros",
        (0.5, 0.25),
        (0.1, 0.2),
    )
    assert same_bits(net.params, (np.arange(29) / 8 - 2).astype(dtype))


def test_a_newer_file(path):
    array_files.write_arrays(path, "network", 2, {}, {})
    loading_fails(
        path,
        f"it was written by fastbp {bp.__version__!r} in version 2 of its format, and fastbp {bp.__version__} reads up "
        "to version 1. Update fastbp.",
    )


# ---- The format, and the library of that name ------------------------------------------------------------------------


@dtypes
def test_files_are_safetensors(dtype, path, tmp_path):
    safetensors = pytest.importorskip("safetensors")
    from safetensors import numpy

    net = bp.Network([3, 4, 2], "silu", dtype=dtype, seed=0)
    net.save(path)
    arrays = numpy.load_file(path)
    assert list(arrays) == ["params"]
    assert same_bits(arrays["params"], net.params)
    with safetensors.safe_open(path, "numpy") as file:
        metadata = file.metadata()
    numpy.save_file(arrays, tmp_path / "again", metadata=metadata)
    assert_twins(bp.load(tmp_path / "again"), net)


def test_data_begin_at_a_multiple_of_a_cache_line(path):
    for size in range(1, 40):
        bp.Network([size, 1]).save(path)
        assert (8 + int.from_bytes(path.read_bytes()[:8], "little")) % 64 == 0


# ---- Bad files -------------------------------------------------------------------------------------------------------


@pytest.fixture
def good(path):
    """A file that is right; its header and data."""
    bp.Network([3, 2], seed=0).save(path)
    return stored(path)


def own(header, **changes):
    """The header with other metadata."""
    metadata = json.loads(header["__metadata__"]["fastbp"]) | changes
    return header | {"__metadata__": header["__metadata__"] | {"fastbp": json.dumps(metadata)}}


NO_JSON = "its header is not valid JSON:"
NOT_OURS = "it was not written by fastbp. Its safetensors header has no metadata of fastbp."
NO_METADATA = "its metadata must have a `kind`, a `version` from 1 on, and a `description`."
OTHER_SUM = "its checksum is wrong. It was damaged after it was written; use a copy of it."
DAMAGES = {
    "empty": (lambda h, d: b"", "it has 0 bytes; its header would begin after 8."),
    "short": (lambda h, d: b"1234567", "it has 7 bytes; its header would begin after 8."),
    "text": (lambda h, d: b"a text  ",
             "its header should have 2314978268915441761 bytes; at most 16777216 are allowed."),
    "huge": (lambda h, d: b"\xff" * 9,
             "its header should have 18446744073709551615 bytes; at most 16777216 are allowed."),
    "utf": (lambda h, d: b"\1" + bytes(7) + b"\xff", "its header is not UTF-8."),
    "no-json": (lambda h, d: (b"{", d),
                f"{NO_JSON} Expecting property name enclosed in double quotes: line 1 column 2 (char 1)."),
    "list": (lambda h, d: (b"[]", d), "its header must be a JSON object; it is a list."),
    "number": (lambda h, d: (b"1", d), "its header must be a JSON object; it is a int."),
    "deep": (lambda h, d: (b"[" * 200_000, d), "its header nests too deeply."),
    "twice": (lambda h, d: (b'{"a":1,"a":2}', d), f"{NO_JSON} a key stands there twice."),
    "nan": (lambda h, d: (b'{"a":NaN}', d), f"{NO_JSON} NaN is not a number."),
    "infinite": (lambda h, d: (b'{"a":1e999}', d), f"{NO_JSON} 1e999 is not a number."),
    "no-metadata": (lambda h, d: ({"params": h["params"]}, d), NOT_OURS),
    "foreign": (lambda h, d: (h | {"__metadata__": {"format": "pt"}}, d), NOT_OURS),
    "metadata": (lambda h, d: (h | {"__metadata__": h["__metadata__"] | {"fastbp": "[]"}}, d),
                 "its metadata must be a JSON object; it is a list."),
    "version": (lambda h, d: (own(h, version=True), d), NO_METADATA),
    "optional": (lambda h, d: (own(h, optional=[]), d), "its metadata must have a JSON object as `optional`."),
    "older": (lambda h, d: (own(h, version=0), d), NO_METADATA),
    "kind": (lambda h, d: (own(h, kind="cat"), d),
             "it holds a 'cat'; expected: classifier, network, pipeline, regressor."),
    "cut": (lambda h, d: (h, d[:-1]),
            "it is cut off: its array 'params' ends at byte 64 of the data, and there are 63."),
    "longer": (lambda h, d: (h, d + b"x"), "its arrays have 64 bytes, and more follow them."),
    "one-bit": (lambda h, d: (h, d[:-1] + bytes([d[-1] ^ 1])), OTHER_SUM),
    "description": (lambda h, d: (own(h, fastbp="0.0.9"), d), OTHER_SUM),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGES)
def test_damaged_files(name, good, path):
    damage, reason = DAMAGES[name]
    result = damage(*good)
    if isinstance(result, bytes):
        path.write_bytes(result)
    else:
        written(path, *result)
    loading_fails(path, reason)


ENTRY = {"dtype": "F64", "shape": [8], "data_offsets": [0, 64]}
ENTRIES = {
    "no-object": ([], "its array 'params' must have a dtype, a shape and data_offsets."),
    "more": (ENTRY | {"x": 1}, "its array 'params' must have a dtype, a shape and data_offsets."),
    "dtype": (ENTRY | {"dtype": "F16"}, "its array 'params' has dtype 'F16'; allowed: F32, F64, I64, U8."),
    "dtypes": (ENTRY | {"dtype": []}, "its array 'params' has dtype []; allowed: F32, F64, I64, U8."),
    "negative": (ENTRY | {"shape": [-8, -1]}, "its array 'params' has an impossible shape [-8, -1]."),
    "true": (ENTRY | {"shape": [8, True]}, "its array 'params' has an impossible shape [8, True]."),
    "overflow": (ENTRY | {"shape": [2**61, 8]}, f"its array 'params' has an impossible shape [{2**61}, 8]."),
    "wrap": (ENTRY | {"shape": [64] * 7},
             f"its array 'params' of shape {[64] * 7} needs {8 * 64**7} bytes; it has 64."),
    "deep": (ENTRY | {"shape": [8] + [1] * 8}, f"its array 'params' has an impossible shape {[8] + [1] * 8}."),
    "offsets": (ENTRY | {"data_offsets": [0, 1e2]}, "its array 'params' has impossible data_offsets [0, 100.0]."),
    "three": (ENTRY | {"data_offsets": [0, 64, 64]}, "its array 'params' has impossible data_offsets [0, 64, 64]."),
    "backwards": (ENTRY | {"data_offsets": [64, 0]}, "its array 'params' of shape [8] needs 64 bytes; it has -64."),
    "beyond": (ENTRY | {"data_offsets": [64, 128]},
               "it is cut off: its array 'params' ends at byte 128 of the data, and there are 64."),
    "hole": (ENTRY | {"shape": [7], "data_offsets": [8, 64]},
             "its array 'params' must begin at byte 0 of the data, not 8."),
}  # fmt: skip


@pytest.mark.parametrize("name", ENTRIES)
def test_tables_that_cannot_be_true(name, good, path):
    entry, reason = ENTRIES[name]
    header, data = good
    written(path, header | {"params": entry}, data)
    loading_fails(path, reason)


def test_overlapping_arrays(good, path):
    header, data = good
    written(path, header | {"more": ENTRY | {"shape": [1], "data_offsets": [8, 16]}}, data)
    loading_fails(path, "its array 'more' must begin at byte 64 of the data, not 8.")


RIGHT = {
    "sizes": [3, 2],
    "dtype": "float64",
    "activations": [[["identity", 2]]],
    "loss": "quadratic",
    "initializer": "zeros",
    "l2_penalty": 0.0,
    "l1_penalty": 0.0,
    "dropout": [],
}
FORM = "its `activations` must be a list of [name, count] for each layer."
KNOWN_ACTIVATIONS = "identity, sigmoid, tanh, relu, leaky_relu, elu, softplus, gelu, silu, sine, exp, softmax"
DESCRIPTIONS = {
    "sizes": ({"sizes": [3, -2]}, "its `sizes` must be two or more positive integers; they are [3, -2]."),
    "float": ({"sizes": [3, 2.0]}, "its `sizes` must be two or more positive integers; they are [3, 2.0]."),
    "endless-sizes": ({"sizes": [int("9" * 4000)] * 3},
                      "its `sizes` must be two or more positive integers; they are [" + "9" * 339 + "..."),
    "one": ({"sizes": [3]}, "its `sizes` must be two or more positive integers; they are [3]."),
    "larger": ({"sizes": [10**9, 10**9]},
               f"its array 'params' must have shape ({(10**9 + 1) * 10**9},) and dtype float64; it has (8,) and "
               "float64."),
    "dtype": ({"dtype": "float32"},
              "its array 'params' must have shape (8,) and dtype float32; it has (8,) and float64."),
    "no-dtype": ({"dtype": ">f8"}, "its `dtype` must be 'float32' or 'float64'; it is '>f8'."),
    "no-layer": ({"activations": []}, FORM),
    "no-runs": ({"activations": [["identity", 2]]}, FORM),
    "counts": ({"activations": [[["identity", 3]]]},
               "its network is impossible: `output` must cover the layer's 2 neurons; its counts add up to 3."),
    "activation": ({"activations": [[["eval", 2]]]},
                   "its network is impossible: `output` must be the name of an activation; got 'eval'. Known names: "
                   f"{KNOWN_ACTIVATIONS}."),
    "half-softmax": ({"activations": [[["softmax", 1], ["exp", 1]]]},
                     "its network is impossible: `output` cannot be 'softmax': softmax normalises a whole output "
                     "layer, so it is allowed as `output='softmax'` only. Use 'sigmoid' or 'tanh' in a hidden layer."),
    "loss": ({"loss": "poisson"},
             "its network is impossible: `loss='poisson'` needs outputs that are positive: 'exp', 'softplus', "
             "'sigmoid' or 'softmax'; got output 'identity'."),
    "no-loss": ({"loss": 3},
                "its network is impossible: `loss` must be the name of a loss or a bp.Loss; got 3. Known names: "
                "quadratic, cross_entropy, absolute, huber, log_cosh, poisson, quantile."),
    "custom": ({"loss": {"custom": ["x"]}},
               "its network has the bp.Loss ['x'], and a file holds no code. Pass it: load(path, "
               "custom_functions=[...])."),
    "initializer": ({"initializer": ["zeros"]}, "its `initializer` is unknown: ['zeros']."),
    "penalty": ({"l2_penalty": -1}, "its network is impossible: `l2_penalty` must be at least 0; got -1."),
    "endless": ({"l1_penalty": 10**309},
                f"its network is impossible: `l1_penalty` must be at least 0; got 1{'0' * 309}."),
    "dropout": ({"dropout": [0.5]},
                "its network is impossible: `dropout` must be one rate, or one for each of the 0 hidden layers; got "
                "1."),
    "long": ({"sizes": "x" * 1000},
             "its `sizes` must be two or more positive integers; they are '" + "x" * 339 + "..."),
    "field": ({"extra": 1},
              "a network must have the fields activations, dropout, dtype, initializer, l1_penalty, l2_penalty, loss, "
              "sizes; there is also 'extra'."),
}  # fmt: skip


@pytest.mark.parametrize("name", DESCRIPTIONS)
def test_descriptions_that_cannot_be_true(name, path):
    changes, reason = DESCRIPTIONS[name]
    array_files.write_arrays(path, "network", 1, RIGHT | changes, {"params": np.arange(8.0)})
    loading_fails(path, reason)


def test_a_field_or_an_array_that_is_missing(path):
    short = {key: value for key, value in RIGHT.items() if key != "loss"}
    array_files.write_arrays(path, "network", 1, short, {"params": np.arange(8.0)})
    loading_fails(
        path,
        "a network must have the fields activations, dropout, dtype, initializer, l1_penalty, l2_penalty, loss, sizes; "
        "there is no 'loss'.",
    )
    array_files.write_arrays(path, "network", 1, RIGHT, {"weights": np.arange(8.0)})
    loading_fails(path, "a network must have the arrays params; there is no 'params'.")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_parameters_that_are_not_finite(value, path):
    params = np.arange(8.0)
    params[5] = value
    array_files.write_arrays(path, "network", 1, RIGHT, {"params": params})
    loading_fails(path, "its array 'params' holds NaN or infinity.")


def test_a_signalling_nan_is_no_warning(path):
    params = np.array([0x7FF0000000000001] * 8, np.uint64).view(np.float64)
    array_files.write_arrays(path, "network", 1, RIGHT, {"params": params})
    loading_fails(path, "its array 'params' holds NaN or infinity.")


@pytest.mark.parametrize("mmap", [False, True])
def test_a_file_that_becomes_shorter_meanwhile(mmap, path, monkeypatch):
    bp.Network([300, 200]).save(path)  # more than is read beforehand
    places = array_files._places

    def cut(header, size):
        os.truncate(path, path.stat().st_size - 8)
        return places(header, size)

    monkeypatch.setattr(array_files, "_places", cut)
    with pytest.raises(bp.FileError, match=r"cannot be loaded: it became shorter while it was read\.$"):
        bp.load(path, mmap=mmap)


def test_the_error_is_a_value_error_that_survives_pickling():
    error = pickle.loads(pickle.dumps(bp.FileError("a", "it is b.")))
    assert isinstance(error, ValueError)
    assert (error.path, error.reason) == ("a", "it is b.")


# ---- Wrong arguments -------------------------------------------------------------------------------------------------

PATH_TYPE = "`path` must be the name of a file, a str or os.PathLike[str]"
PATH_NAME = "`path` must be a name that a file can have; got"
PATHS = [
    ("", ValueError, f"{PATH_NAME} ''."),
    ("a\0b", ValueError, f"{PATH_NAME} 'a\\x00b'."),
    ("\ud800", ValueError, f"{PATH_NAME} '\\ud800'."),
    (os.devnull, ValueError, f"`path` must be a regular file, not a device or pipe; got {os.devnull!r}."),
    (os.curdir, IsADirectoryError, f"[Errno {errno.EISDIR}] `path` must be the name of a file, not of a folder: '.'"),
]


@pytest.mark.parametrize(("path", "error", "message"), PATHS, ids=[repr(row[0]) for row in PATHS])
def test_paths(path, error, message):
    for call in (bp.Network([1, 1]).save, bp.load):
        with pytest.raises(error) as caught:
            call(path)
        assert str(caught.value) == message


@pytest.mark.parametrize(("path", "kind"), [(3, "int"), (None, "NoneType"), (io.BytesIO, "the class BytesIO")])
def test_what_is_neither_a_path_nor_a_file_object(path, kind):
    message = f"{PATH_TYPE}, or a binary file object to write to; got {kind}."
    with pytest.raises(TypeError) as caught:
        bp.Network([1, 1]).save(path)
    assert str(caught.value) == message
    with pytest.raises(TypeError) as caught:
        bp.load(path)
    assert str(caught.value) == f"{PATH_TYPE}, a binary file object or the bytes of a file; got {kind}."
    with pytest.raises(TypeError) as caught:
        bp.Network([1, 1]).to_onnx(path)
    assert str(caught.value) == f"{PATH_TYPE}; got {kind.replace('the class BytesIO', 'type')}."


def test_missing_files_and_folders(tmp_path):
    missing = tmp_path / "no" / "net"
    with pytest.raises(FileNotFoundError) as caught:
        bp.Network([1, 1]).save(missing)
    reason = "`path` must lie in a folder that exists; os.makedirs can create it"
    assert str(caught.value) == f"[Errno {errno.ENOENT}] {reason}: {str(missing)!r}"
    with pytest.raises(FileNotFoundError) as caught:
        bp.load(missing)
    assert (
        str(caught.value)
        == f"[Errno {errno.ENOENT}] `path` must be the name of a file; there is none: {str(missing)!r}"
    )


LIST = "`custom_functions` must be a list of bp.Activation and bp.Loss; got"
ARGUMENTS = [
    ({"mmap": 1}, TypeError, "`mmap` must be True or False; got int."),
    ({"custom_functions": 3}, TypeError, f"{LIST} int."),
    ({"custom_functions": "cube"}, TypeError, f"{LIST} str."),
    ({"custom_functions": [math.sin]}, TypeError, f"{LIST} builtin_function_or_method."),
    ({"custom_functions": [CUBE, OTHER_CUBE]}, ValueError,
     "`custom_functions` must have different names; two have the name 'cube'."),
]  # fmt: skip


@pytest.mark.parametrize(("keywords", "error", "message"), ARGUMENTS, ids=[row[-1][:50] for row in ARGUMENTS])
def test_arguments_of_load(keywords, error, message, path):
    with pytest.raises(error) as caught:
        bp.load(path, **keywords)
    assert str(caught.value) == message


def test_what_cannot_be_saved(path):
    calls = [
        (lambda: networks.save([1], path), TypeError, "`net` must be a bp.Network; got list."),
        (lambda: bp.Network([1, 2, 2, 1], [CUBE, OTHER_CUBE]).save(path), ValueError,
         "Functions of your own must have different names to be saved; two have the name 'cube'."),
    ]  # fmt: skip
    net = bp.Network([1, 1])
    net.params[0] = np.nan
    calls.append((lambda: net.save(path), ValueError,
                  "`net.params` must be finite to be saved, because a file with NaN or infinity would be taken for "
                  "damaged."))  # fmt: skip
    for call, error, message in calls:
        with pytest.raises(error) as caught:
            call()
        assert str(caught.value) == message
    assert list(path.parent.iterdir()) == []


def test_a_description_that_is_too_large(path, monkeypatch):
    monkeypatch.setattr(array_files, "_MOST_HEADER_BYTES", 512)
    with pytest.raises(
        ValueError, match=r"The description takes \d+ bytes, and a file may have 512\. Join neighbouring "
    ):
        bp.Network([1, 40], output=[("tanh", 1), ("exp", 1)] * 20).save(path)
    assert list(path.parent.iterdir()) == []


# ---- Whole or not at all ---------------------------------------------------------------------------------------------


class Stop(BaseException):
    """As KeyboardInterrupt: not an Exception."""


@pytest.mark.parametrize("function", ["fsync", "replace", "chmod"])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "x"), OSError(errno.EIO, "x"), Stop(), MemoryError()])
def test_a_failure_leaves_the_old_file_and_nothing_else(function, error, path, monkeypatch):
    net = bp.Network([3, 2], seed=0)
    net.save(path)
    before = path.read_bytes()

    def fail(*arguments, **rest):
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(os, function, fail)
        with pytest.raises(type(error)) as caught:
            bp.Network([3, 2], seed=1).save(path)
    if isinstance(error, OSError):
        reason = f"{os.strerror(error.errno)}; the file was not written, and one that was there is as it was"
        assert str(caught.value) == f"[Errno {error.errno}] {reason}: {str(path)!r}"
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    assert path.read_bytes() == before


FULL_DISK = """
import errno, os, resource, signal, sys
import fastbp as bp
path = sys.argv[1]
bp.Network([3, 2], seed=0).save(path)
before = open(path, "rb").read()
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
try:
    bp.Network([300, 200], seed=1).save(path)
except OSError as error:
    print(error.errno == errno.EFBIG, error.filename == path, open(path, "rb").read() == before)
print(os.listdir(os.path.dirname(path)) == [os.path.basename(path)])
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs limits of a POSIX system")
def test_a_write_that_the_system_cuts_short(path):
    program = FULL_DISK.replace("sys.argv[1]", repr(str(path)))
    assert run_python(program) == "True True True\nTrue\n"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_a_device_that_is_full_is_refused_before():
    with pytest.raises(ValueError, match="must be a regular file"):
        bp.Network([1, 1]).save("/dev/full")


def test_whoever_has_the_old_file_keeps_it(path):
    old, new = bp.Network([30, 20], seed=0), bp.Network([30, 20], seed=1)
    old.save(path)
    mapped = bp.load(path, mmap=True)
    new.save(path)
    assert same_bits(mapped.params, old.params)
    assert same_bits(bp.load(path).params, new.params)


def test_a_mapped_file_is_not_copied(path):
    net = bp.Network([300, 200], seed=0)
    net.save(path)
    base = bp.load(path, mmap=True).params
    while isinstance(base, np.ndarray):
        base = base.base
    assert type(base.obj).__name__ == "mmap"


@pytest.mark.skipif(os.name != "posix", reason="permission bits of a POSIX system")
def test_permissions(path):
    net = bp.Network([1, 1])
    mask = os.umask(0o027)
    try:
        net.save(path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
        for mode in (0o600, 0o664, 0o444):
            path.chmod(mode)
            net.save(path)
            assert stat.S_IMODE(path.stat().st_mode) == mode
    finally:
        os.umask(mask)


@pytest.mark.skipif(os.name != "posix", reason="symbolic links need no rights on a POSIX system")
def test_a_symbolic_link_stays_one(tmp_path, monkeypatch):
    (tmp_path / "folder").mkdir()
    link = tmp_path / "link"
    link.symlink_to(Path("folder") / "net")
    net = bp.Network([2, 1], seed=0)
    net.save(link)
    assert link.is_symlink()
    assert_twins(bp.load(tmp_path / "folder" / "net"), net)
    monkeypatch.chdir(tmp_path / "folder")
    net.save("here")
    assert_twins(bp.load("here"), net)


def test_the_longest_name(tmp_path):
    path = tmp_path / ("x" * 255)
    net = bp.Network([2, 1], seed=0)
    net.save(path)
    assert_twins(bp.load(path), net)
    with pytest.raises(OSError, match="too long"):
        net.save(tmp_path / ("x" * 256))


PIPE = """
import os, sys
import fastbp as bp
os.mkfifo(sys.argv[1])
try:
    bp.load(sys.argv[1])
except ValueError as error:
    print(error)
"""


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_refused_and_not_waited_for(path):
    expected = f"`path` must be a regular file, not a device or pipe; got {str(path)!r}.\n"
    result = subprocess.run([sys.executable, "-c", PIPE, path], capture_output=True, text=True, timeout=60, check=True)
    assert result.stdout == expected


TRAINING = """
import sys, threading
import numpy as np
import fastbp as bp
net = bp.Network([20, 200, 10], seed=0)
X, Y = np.random.default_rng(0).standard_normal((2, 500, 20)), np.zeros((500, 10))
thread = threading.Thread(target=lambda: net.fit(X[0], Y, epochs=300, batch_size=10, seed=0), daemon=True)
thread.start()
for _ in range(100):
    net.save(sys.argv[1])
    bp.load(sys.argv[1])
"""


def test_saving_while_another_thread_trains(path):
    subprocess.run([sys.executable, "-W", "error", "-c", TRAINING, path], timeout=100, check=True)


def test_files_do_not_depend_on_the_process(path):
    """No time, no user, no folder in it: the same network is the same file."""
    net = bp.Network([2, 3, 1], "tanh", seed=0)
    net.save(path)
    first = path.read_bytes()
    net.save(str(path))
    assert path.read_bytes() == first
    assert atomic.checked_path(path) == str(path)


@pytest.mark.skipif(os.name != "posix", reason="permission bits of a POSIX system")
def test_nobody_else_can_read_the_new_file_where_the_old_one_is_private(path, monkeypatch):
    net = bp.Network([1, 1])
    net.save(path)
    path.chmod(0o600)
    chmod, seen = os.chmod, []

    def watch(name, mode):
        seen.append(stat.S_IMODE(os.stat(name).st_mode))
        chmod(name, mode)

    monkeypatch.setattr(os, "chmod", watch)
    net.save(path)
    assert seen == [0o600]  # before it was set, too
