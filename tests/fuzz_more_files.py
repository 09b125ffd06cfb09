"""Hostile files of every other kind: checkpoints, estimators, Nielsen's files, and state dicts of torch.

``python -m tests.fuzz_more_files --count 20000 --seed 0`` prints how many files ended how. All files are whole and have
the right checksum: what is wrong is the content, chosen with the format in mind. Each is the one error, which names the
file, or what the file says can be used; a network that is not loaded from the file is as it was.
"""

import collections
import contextlib
import json
import random
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

import fastbp as bp
from fastbp import nielsen2
from fastbp.neural_network import MLPClassifier, MLPRegressor
from tests.fuzz_files import SECONDS_PER_FILE, arguments, check_text, join, limited, mutated, split
from tests.saved_files import OPTIMIZERS
from tests.streams import Drip

X = np.random.default_rng(0).standard_normal((12, 3))
LABELS = np.arange(12) % 3
NUMBERS_OF_OPTIMIZERS = (0, 1, -1, 2**63, 10**400, 1e308, -0.5, 5e-324, True, None, "0.1", [], [0.1], {}, {"class": 1})
SHAPES = (12, None, "12", [], [12], [[12, 3]], [12.0, 3.0], [-12, 3], [10**30, 3], [12, 3, 1], {"0": 12}, [True, 3])


# ---- Kinds of files: how one is written, and what is done with one ---------------------------------------------------


def net_of_checkpoint():
    """The network whose fit is resumed."""
    return bp.Network([3, 4, 3], "tanh", "softmax", "cross_entropy", seed=0, dropout=0.25)


def fit(net, path, **arguments):
    """A fit with all that a checkpoint holds."""
    validation = {"validation_data": (X, LABELS), "early_stopping": bp.EarlyStopping(4), "sample_weight": np.ones(12)}
    return net.fit(X, LABELS, epochs=3, batch_size=4, seed=1, clip_norm=0.5, checkpoint=path, **validation, **arguments)


def check_names(name, error):
    """The error names what is wrong."""
    assert name in str(error), error


def resume(path):
    """ "error", "other" for a checkpoint of another fit, or "used"; anything else is raised."""
    net = net_of_checkpoint()
    before = net.params.copy()
    try:
        history = fit(net, path, resume=True)
    except bp.TrainingDivergedError:
        return "used"
    except ValueError as error:
        is_damage = isinstance(error, bp.FileError)
        if is_damage:
            check_text(path, str(error))
        else:
            check_names(f"he checkpoint {str(path)!r} ", error)
        assert np.array_equal(net.params, before)
        assert net._training_state is None
        assert net.history is None
        return "error" if is_damage else "other"
    assert np.isfinite(net.params).all()
    assert len(history) == 3
    return "used"


def load_estimator(path):
    """ "error" or "used"; as a file object it is the same."""
    try:
        model = bp.load(path)
    except bp.FileError as error:
        check_text(path, str(error))
        with pytest.raises(bp.FileError):
            bp.load(Drip(path.read_bytes()))
        return "error"
    assert repr(bp.load(Drip(path.read_bytes()))) == repr(model)
    assert model.predict(np.zeros((2, model.n_features_in_), model.coefs_[0].dtype)).shape[0] == 2
    repr(model)
    return "used"


def load_nielsen(path):
    """The same."""
    try:
        net = nielsen2.load(path)
    except bp.FileError as error:
        check_text(path, str(error))
        return "error"
    assert net.feedforward(np.zeros((net.sizes[0], 1))).shape == (net.sizes[-1], 1)
    return "used"


def checkpoints(folder):
    """One of each optimizer, each with another schedule."""
    paths = []
    for name, optimizer in OPTIMIZERS.items():
        paths.append(Path(folder) / f"checkpoint-{name}")
        net_to_file = net_of_checkpoint()
        with contextlib.suppress(KeyboardInterrupt):
            fit(net_to_file, paths[-1], optimizer=optimizer, callbacks=[_interrupt])
    return paths


def _interrupt(net, history):
    if len(history) == 2:
        raise KeyboardInterrupt


def estimators(folder):
    """Estimators of both kinds, with all kinds of parameters."""
    settings = {"hidden_layer_sizes": (4,), "max_iter": 2, "random_state": 0}
    models = [
        MLPClassifier(**settings, class_weight={"a": 2.0, "b": 1.0, "c": 0.5}).fit(X, np.array(list("abc"))[LABELS]),
        MLPClassifier(**settings, learning_rate="adaptive", solver="sgd").fit(X, (X > 0).astype(int)),
        MLPRegressor(**settings, loss="quantile", quantile=0.9, activation=["gelu"]).fit(X, X[:, 0]),
        MLPRegressor(**settings, learning_rate=bp.Cosine(0.1), dropout=0.25, early_stopping=True).fit(X, X[:, :2]),
    ]
    paths = [Path(folder) / f"estimator-{i}" for i in range(len(models))]
    for path, model in zip(paths, models, strict=True):
        model.save(path)
    return paths


def nielsen_files(folder):
    """Files of Nielsen's improved class."""
    paths = [Path(folder) / f"nielsen-{dtype}.json" for dtype in ("float32", "float64")]
    for path in paths:
        nielsen2.Network([3, 4, 2], dtype=path.stem[-7:]).save(path)
    return paths


KINDS = {
    "checkpoint": (checkpoints, resume),
    "estimator": (estimators, load_estimator),
    "nielsen": (nielsen_files, load_nielsen),
}


# ---- Mutations -------------------------------------------------------------------------------------------------------


def places(value, path=()):
    """All places of a plain value, as tuples of keys."""
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inner:
        yield from places(item, (*path, key))


def with_value(value, path, change):
    """A plain value with change(item) at a place."""
    if not path:
        return change(value)
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = with_value(value[path[0]], path[1:], change)
    return copy


def any_field(description, rng):
    """Something else at any place, each as likely as every other."""
    path = rng.choice(list(places(description)))
    return with_value(description, path, lambda item: mutated(item, rng))


def several_fields(description, rng):
    """The same some times."""
    for _ in range(rng.choice((2, 3))):
        description = any_field(description, rng)
    return description


def swapped(description, rng):
    """What stands at one place also at another."""
    paths = list(places(description))[1:]
    source, target = rng.choice(paths), rng.choice(paths)
    value = description
    for key in source:
        value = value[key]
    return with_value(description, target, lambda _: value)


def of_one_kind(description, rng):
    """Shapes, numbers of optimizers and schedules, the generator's state: what a checkpoint has beside a network."""
    paths = [path for path in places(description) if {"shape", "optimizer", "parameters", "rng", "powers"} & {*path}]
    if not paths:
        return any_field(description, rng)
    path = rng.choice(paths)
    values = SHAPES if "shape" in path else NUMBERS_OF_OPTIMIZERS
    return with_value(description, path, lambda _: rng.choice(values))


def nested(description, rng):
    """A list in a list in a list, as deep as JSON is read or deeper."""
    depth = rng.choice((2, 10, 300, 900))
    paths = list(places(description))[1:]
    return with_value(description, rng.choice(paths), lambda item: json.loads("[" * depth + "1" + "]" * depth))


MUTATIONS = (any_field, any_field, several_fields, swapped, of_one_kind, nested)


def twice(text, rng):
    """A text of JSON in which a key stands twice."""
    begins = [i for i, letter in enumerate(text) if letter == "{" and text[i + 1 : i + 2] == '"']
    place = rng.choice(begins) + 1
    key = text[place : text.index('"', place + 1) + 1]
    return f"{text[:place]}{key}:{rng.choice(('1', 'null', '{}'))},{text[place:]}"


def mutated_file(kind, content, rng):
    """Another content with the right checksum."""
    if kind == "nielsen":
        document = rng.choice(MUTATIONS)(json.loads(content), rng)
        text = json.dumps(document)
        return (twice(text, rng) if text.startswith("{") and rng.random() < 0.05 else text).encode()
    header, own, data = split(content)
    if rng.random() < 0.15:
        return join(*other_arrays(header, own, data, rng))
    own["description"] = rng.choice(MUTATIONS)(own["description"], rng)
    return join(header, twice(json.dumps(own, separators=(",", ":")), rng) if rng.random() < 0.05 else own, data)


def other_arrays(header, own, data, rng):
    """Arrays with other values, NaN and infinity among them, of another dtype or shape, gone, or under another name."""
    names = [name for name in header if name != "__metadata__"]
    name, changed = rng.choice(names), dict(header)
    kind = rng.choice(("values", "dtype", "shape", "gone", "name"))
    if kind == "values" and data:
        special = np.array(rng.choice((np.nan, np.inf, -1.0, 5e-324, 1e308)), "f8").tobytes()
        place = 8 * rng.randrange(len(data) // 8)
        return header, own, data[:place] + special + data[place + 8 :]
    if kind == "dtype":
        changed[name] = header[name] | {"dtype": rng.choice(("F32", "F64", "I64", "U8"))}
    elif kind == "shape":
        changed[name] = header[name] | {"shape": rng.choice(([0], [], header[name]["shape"] + [1], [1] * 9, [-1]))}
    elif kind == "gone":
        changed[name] = changed.pop(name) | {"shape": [0], "data_offsets": [0, 0]}
    else:
        other = rng.choice(names)
        changed[name], changed[other] = changed[other], changed[name]
    return changed, own, data


# ---- State dicts -----------------------------------------------------------------------------------------------------


def state_dict(rng):
    """A state dict with something wrong with it, or nothing."""
    state = {"0.weight": np.ones((4, 3)), "0.bias": np.ones(4), "2.weight": np.ones((2, 4)), "2.bias": np.ones(2)}
    values = (
        None, 1, 1.0, "w", b"w", [], [[1.0]], {}, np.ones(()), np.ones((0, 3)), np.ones((4, 0)), np.ones((4, 3, 1)),
        np.full((4, 3), np.nan), np.full(4, np.inf), np.ones(4, int), np.ones((4, 3), "f4"), np.ones(4, complex),
        np.array([None] * 4), np.array(["a"] * 4), np.ones((2, 4)), np.ones(4, "f2"), np.zeros(4, "M8[s]"), object(),
    )  # fmt: skip
    names = ("", "weight", "bias", ".weight", "0.weight", "1.bias", "0..weight", "0.weight.x", "\0.bias", 0, None, b"0")
    for _ in range(rng.choice((1, 1, 2, 3))):
        key = rng.choice(list(state)) if state else "0.weight"
        kind = rng.random()
        if kind < 0.2:
            state.pop(key, None)
        elif kind < 0.4:
            state[rng.choice(names)] = rng.choice((*values, *state.values()))
        else:
            state[key] = rng.choice(values)
    return state


def load_state(state):
    """ "error" for one that is refused by name, the network being as it was, or "used"."""
    net = bp.Network([3, 4, 2], seed=0)
    before = net.params.copy()
    result = set()
    for call in (lambda: bp.from_torch_state_dict(state), lambda: net.load_torch_state_dict(state)):
        try:
            call()
        except (TypeError, ValueError) as error:
            check_names("`state", error)
            result.add("error")
        else:
            result.add("used")
    assert np.array_equal(net.params, before) or "used" in result
    return "error" if "error" in result else "used"


# ---- The run ---------------------------------------------------------------------------------------------------------


def fuzz(count, seed, folder):
    """Mutate and load so many files of each kind; return how often each kind ended how."""
    rng, found = random.Random(seed), collections.Counter()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", ConvergenceWarning)
        for kind, (make, attempt) in KINDS.items():
            contents = [path.read_bytes() for path in make(folder)]
            path = Path(folder) / "mutated"
            for number in range(-len(contents), count):
                content = contents[number] if number < 0 else mutated_file(kind, rng.choice(contents), rng)
                path.write_bytes(content)
                try:
                    with limited(SECONDS_PER_FILE):
                        result = attempt(path)
                except BaseException:
                    kept = Path(tempfile.gettempdir()) / f"fastbp-fuzz-{kind}-{seed}-{number}"
                    kept.write_bytes(content)
                    print(f"{kind} {number}: kept as {kept}", file=sys.stderr)
                    raise
                assert number >= 0 or result == "used", f"the {kind} that was not changed"
                found[kind, result] += number >= 0
        for _ in range(count):
            found["state dict", load_state(state_dict(rng))] += 1
    return found


def main():
    """Fuzz as the arguments say, and print a table."""
    options = arguments(__doc__, "of all kinds together")
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        found = fuzz(options.count // (len(KINDS) + 1), options.seed, folder)
    print(f"{'kind':<12}{'error':>8}{'other fit':>11}{'used':>8}")
    for kind in (*KINDS, "state dict"):
        print(f"{kind:<12}{found[kind, 'error']:>8}{found[kind, 'other']:>11}{found[kind, 'used']:>8}")
    print(f"{sum(found.values())} files in {time.perf_counter() - begin:.0f} s: nothing else happened")


if __name__ == "__main__":
    main()
