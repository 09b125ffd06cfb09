"""Wrong arguments at random: every public callable takes a value or says what is wrong with it, and changes nothing.

Each argument in turn gets each of a list of strange values, the others being right; then several do at random. A call
may succeed, since much of it is legal somewhere; otherwise it is a TypeError or ValueError that names an argument.
"""

import inspect
import random
import re

import numba
import numpy as np
import pytest

import fastbp as bp
from tests.twins import same_bits

X, Y = np.linspace(-1, 1, 12).reshape(4, 3), np.linspace(0, 1, 8).reshape(4, 2)
CUBE = (numba.njit(lambda z: z**3), numba.njit(lambda z: 3 * z**2))
STATE = {"0.weight": np.ones((2, 3)), "0.bias": np.ones(2)}


class Hostile:
    """An object on which every operation fails."""

    def __array__(self, *_, **__):
        raise ValueError("no array")

    def __len__(self):
        raise ValueError("no length")


STRANGE = {
    "None": None,
    "True": True,
    "minus one": -1,
    "zero": 0,
    "two": 2,
    "huge": 10**30,
    "minus huge": -(10**400),
    "half": 0.5,
    "minus half": -0.5,
    "nan": float("nan"),
    "inf": float("inf"),
    "minus inf": -np.inf,
    "complex": 1j,
    "numpy int": np.int8(3),
    "numpy float": np.float32(0.25),
    "numpy bool": np.True_,
    "numpy nan": np.float64("nan"),
    "time": np.datetime64("2020-01-01"),
    "empty": "",
    "word": "word",
    "name": "tanh",
    "accents": "\u00e9\ud800\n\0",
    "long": "x" * 300,
    "bytes": b"word",
    "empty list": [],
    "empty tuple": (),
    "list": [1.0, 2.0, 3.0],
    "words": ["tanh", "relu"],
    "nested": [[[[1]]]],
    "ragged": [[1.0, 2.0], [3.0]],
    "runs": [("tanh", 2), ("relu", -1)],
    "pairs": [(1, 2), (3, 4)],
    "nones": [None, None],
    "mixed": [1, "a", None],
    "set": {1, 2},
    "dict": {"a": 1},
    "object": object(),
    "class": dict,
    "instance's class": bp.Network,
    "function": len,
    "lambda": lambda *_, **__: 1,
    "generator": (i for i in range(3)),
    "range": range(3),
    "ellipsis": ...,
    "error": ValueError("x"),
    "hostile": Hostile(),
    "net": bp.Network([3, 2], seed=1),
    "other net": bp.Network([2, 2, 2], dtype="float32", seed=1),
    "X": X,
    "Y": Y,
    "column": X[:, :1],
    "row": X[0],
    "no rows": X[:0],
    "three": np.ones((2, 3, 4)),
    "number": np.array(1.0),
    "single": X.astype("f4"),
    "half precision": X.astype("f2"),
    "swapped": X.astype(">f8"),
    "integers": np.arange(8).reshape(4, 2),
    "labels": np.array([0, 1, 1, 0]),
    "booleans": X > 0,
    "complex array": X + 1j,
    "objects": X.astype(object),
    "words array": np.array([["a", "b", "c"]] * 4),
    "with nan": np.where(X > 0.5, np.nan, X),
    "with inf": np.where(X > 0.5, np.inf, X),
    "masked": np.ma.masked_greater(X, 0.5),
    "matrix": np.zeros((4, 3), [("a", "f8")]),
    "dates": np.array(["2020-01-01"], "M8[D]"),
    "optimizer": bp.SGD(0.1),
    "schedule": bp.Cosine(0.1),
    "stopping": bp.EarlyStopping(),
    "dtype": np.dtype("f4"),
    "good params": np.ones(8),
    "bad params": np.ones(7),
}
# Legal, but it would take too long.
ENDLESS = {"epochs": {"huge"}, "n_steps": {"huge"}, "max_params": set(), "sizes": {"huge"}}
# What can be called with four arrays or not at all: its exceptions are the user's own.
ENDLESS["residual"] = {"class", "instance's class", "function", "schedule"}

COMPILED = bp.Network([3, 2], seed=0).compiled()

RIGHT = {
    "Network": (bp.Network, {"sizes": [3, 2], "activation": "relu", "output": "identity", "loss": "quadratic",
                             "initializer": "zeros", "dtype": "float64", "seed": 0, "l2_penalty": 0.0,
                             "l1_penalty": 0.0, "dropout": 0.0}),
    "Activation": (bp.Activation, {"name": "a", "f": CUBE[0], "df": CUBE[1], "positive": False}),
    "SGD": (bp.SGD, {"learning_rate": 0.1, "momentum": 0.5, "nesterov": True}),
    "Adam": (bp.Adam, {"learning_rate": 0.1, "beta_1": 0.9, "beta_2": 0.9, "epsilon": 1e-8}),
    "AdamW": (bp.AdamW, {"learning_rate": 0.1, "weight_decay": 0.9}),
    "RMSprop": (bp.RMSprop, {"learning_rate": 0.1, "rho": 0.9, "epsilon": 1e-8, "momentum": 0.1}),
    "LBFGS": (bp.LBFGS, {"history": 3, "max_line_search": 9, "gtol": 1e-3, "ftol": 0.0, "max_evaluations": 5}),
    "LevenbergMarquardt": (
        bp.LevenbergMarquardt,
        {"mu": 1e-3, "mu_decrease": 0.1, "mu_increase": 10.0, "mu_max": 1e9, "min_gradient": 1e-7, "max_fail": 6}
        | {"damping": "trainlm", "goal": 0.0, "products": "auto"},
    ),
    "BayesianRegularization": (
        bp.BayesianRegularization,
        {"mu": 1e-3, "mu_decrease": 0.1, "mu_increase": 10.0, "mu_max": 1e9, "min_gradient": 1e-7, "warmup": 20}
        | {"goal": 0.0},
    ),
    "Constant": (bp.Constant, {"learning_rate": 0.1}),
    "InverseScaling": (bp.InverseScaling, {"learning_rate": 0.1, "power": 0.5}),
    "Step": (bp.Step, {"learning_rate": 0.1, "step_size": 5, "gamma": 0.5}),
    "Cosine": (bp.Cosine, {"learning_rate": 0.1, "final": 0.01, "n_steps": 5, "warmup_steps": 2}),
    "OneCycle": (bp.OneCycle, {"max_learning_rate": 0.1, "n_steps": 5, "start_fraction": 0.3, "div_factor": 25.0,
                               "final_div_factor": 1e4}),
    "EarlyStopping": (bp.EarlyStopping, {"patience": 3, "min_delta": 0.0, "restore_best": True, "monitor": "val_loss",
                                          "mode": None}),
    "predict": (bp.Network.predict, {"X": X, "n_threads": 1}),
    "predict_one": (bp.Network.predict_one, {"x": X[0], "out": None}),
    "loss_value": (bp.Network.loss_value, {"X": X, "Y": Y, "sample_weight": None, "n_threads": 1}),
    "value_and_grad": (bp.Network.value_and_grad,
                       {"X": X, "Y": Y, "params": np.ones(8), "sample_weight": None, "n_threads": 1}),
    "vjp": (bp.Network.vjp, {"X": X, "dC_da": Y, "wrt": "both", "n_threads": 1}),
    "input_gradient": (bp.Network.input_gradient, {"X": X, "Y": Y, "n_threads": 1}),
    "input_jacobian": (bp.Network.input_jacobian, {"X": X, "out": None, "n_threads": 1}),
    "jacobian": (bp.Network.jacobian, {"X": X, "out": None, "n_threads": 1}),
    "jacobian_blocks": (bp.Network.jacobian_blocks, {"X": X, "rows": 2, "n_threads": 1}),
    "per_sample_gradients": (bp.Network.per_sample_gradients, {"X": X, "Y": Y, "out": None, "n_threads": 1}),
    "per_sample_gradient_blocks": (bp.Network.per_sample_gradient_blocks,
                                   {"X": X, "Y": Y, "rows": 2, "n_threads": 1}),
    "per_sample_gradient_norms": (bp.Network.per_sample_gradient_norms, {"X": X, "Y": Y, "n_threads": 1}),
    "per_sample_gradient_dots": (bp.Network.per_sample_gradient_dots,
                                 {"X": X, "Y": Y, "v": np.ones(8), "n_threads": 1}),
    "laplacian": (bp.Network.laplacian, {"X": X, "n_threads": 1}),
    "input_derivatives": (bp.Network.input_derivatives, {"X": X, "n_threads": 1}),
    "input_hessian": (bp.Network.input_hessian, {"X": X, "n_threads": 1}),
    "linearize_inputs": (bp.Network.linearize_inputs, {"X": X, "params": np.ones(8), "n_threads": 1}),
    "residual_value_and_grad": (bp.Network.residual_value_and_grad,
                                {"X": X, "residual": lambda X, u, du, lap: (u[:, 0], None, du, None),
                                 "params": np.ones(8), "sample_weight": None, "n_threads": 1}),
    **{
        name: (getattr(bp.Network, name), {"X": X, "Y": Y, "v": np.ones(8), "sample_weight": None, "params": np.ones(8),
                                           "n_threads": 1})
        for name in ("hvp", "gnvp")
    },
    "fisher_vp": (bp.Network.fisher_vp, {"X": X, "v": np.ones(8), "sample_weight": None, "params": np.ones(8),
                                         "n_threads": 1}),
    "jvp": (bp.Network.jvp, {"X": X, "tangent": np.ones(8), "wrt": "params", "params": np.ones(8), "n_threads": 1}),
    "linearize": (bp.Network.linearize,
                  {"X": X, "Y": Y, "sample_weight": None, "params": np.ones(8), "n_threads": 1}),
    "trace": (bp.Network.trace, {"X": X, "Y": Y, "sample_weight": None}),
    "fit": (bp.Network.fit, {"X": X, "Y": Y, "epochs": 1, "batch_size": 2, "optimizer": None, "shuffle": True,
                             "seed": 0, "validation_data": None, "sample_weight": None, "early_stopping": None,
                             "tol": None, "clip_norm": None, "callbacks": (), "progress": False, "n_threads": 1,
                             "metrics": None}),
    "fit_many": (bp.fit_many, {"networks": None, "X": X, "Y": Y, "epochs": 1, "batch_size": 2, "optimizer": None,
                               "shuffle": True, "seed": 0, "rows": None, "sample_weight": None,
                               "validation_data": None, "validation_rows": None, "early_stopping": None, "tol": None,
                               "clip_norm": None, "callbacks": (), "progress": False, "n_threads": 1}),
    "predict_many": (bp.predict_many, {"networks": None, "X": X, "n_threads": 1}),
    "step": (bp.Network.step, {"X": X, "Y": Y, "sample_weight": None, "optimizer": None, "clip_norm": None,
                               "n_threads": 1}),
    "find_learning_rate": (bp.find_learning_rate,
                           {"net": None, "X": X, "Y": Y, "optimizer": None, "batch_size": 2, "lowest": 1e-6,
                            "highest": 1.0, "n_steps": 5, "sample_weight": None, "seed": 0, "n_threads": 1}),
    "finite_difference_gradient": (bp.finite_difference_gradient,
                                   {"net": None, "X": X, "Y": Y, "scheme": "forward", "epsilon": 1e-3,
                                    "reuse_layers": False, "sample_weight": None, "dtype": None, "n_threads": 1}),
    "check_gradient": (bp.check_gradient,
                       {"net": None, "X": X, "Y": Y, "sample_weight": None, "tolerance": None, "max_params": 5,
                        "gradient": None, "seed": 0, "n_threads": 1}),
    "diagnose": (bp.diagnose, {"net": None, "X": X}),
    "DiagnosticWatch": (bp.DiagnosticWatch, {"X": X, "every": 1}),
    "WeightHistory": (bp.WeightHistory, {"net": None, "sample": 5, "seed": 0}),
    "warmup": (bp.warmup, {"dtypes": ("float32", "float64")}),
    "show_versions": (bp.show_versions, {}),
    "node_perturbation": (bp.node_perturbation, {"net": None, "X": X, "Y": Y, "epsilon": 1e-3, "n_threads": 1}),
    "random_weight_search": (bp.random_weight_search,
                             {"net": None, "X": X, "Y": Y, "n_steps": 3, "scale": 0.1, "seed": 0, "record_every": 1}),
    "from_torch_state_dict": (bp.from_torch_state_dict,
                              {"state": STATE, "activation": "relu", "output": "identity", "loss": "quadratic"}),
    "from_onnx": (bp.from_onnx, {"model": b"\x08\x08", "output": None, "loss": None, "dtype": None}),
    "load_torch_state_dict": (bp.Network.load_torch_state_dict, {"state": STATE}),
    "torch_state_dict": (bp.Network.torch_state_dict, {}),
    "save": (bp.Network.save, {"path": None}),
    "to_onnx": (bp.Network.to_onnx, {"path": None}),
    "to_c": (
        bp.Network.to_c,
        {"path": None, "name": "net", "format": "auto", "calibration": X, "input_range": None, "tolerance": 0.01}
        | {"test_vectors": 2, "exact": True},
    ),
    "compiled": (bp.Network.compiled, {"optimizer": bp.SGD(0.1)}),
    "network_at": (bp.network_at, {"pointer": COMPILED.pointer, "dtype": np.dtype("f8")}),
    "load": (bp.load, {"path": None, "mmap": False, "custom_functions": ()}),
}  # fmt: skip
CHANGING = {
    "fit",
    "step",
    "random_weight_search",
    "load_torch_state_dict",
    "fit_many",
}  # a call that succeeds may change the network


def test_every_public_callable_is_here():
    results = {"FiniteDifferenceResult", "GradientReport", "History", "LayerCheck", "LayerTrace", "LearningRateRange",
               "RandomSearchResult", "Trace", "DiagnosticReport", "LayerDiagnosis", "InputDerivatives",
               "InputLinearization", "CompiledNetwork", "CReport", "FixedPointReport"}  # fmt: skip
    own = {
        "Optimizer",
        "WholeBatchOptimizer",
        "Schedule",
        "FileError",
        "TrainingDivergedError",
        "Loss",
    }  # bases, errors; the twin of Activation
    types = {"ActivationName", "ActivationSpec", "Callback", "DTypeName", "InitializerName", "LossName", "MatrixLike",
             "OutputName", "OutputSpec", "PathLike"}  # fmt: skip
    settings = {"get_num_threads", "num_threads", "set_num_threads"}  # of the process, tested in test_process_limits
    callables = {name for name in bp.__all__ if callable(getattr(bp, name))} - types - settings
    methods = {
        name
        for cls in bp.Network.__mro__[:-1]
        for name, member in vars(cls).items()
        if inspect.isfunction(member) and not name.startswith("_")
    }
    assert callables - results - own - set(RIGHT) == set()
    assert methods - set(RIGHT) == set()
    for name, (function, right) in RIGHT.items():
        assert set(right) - {"net"} <= set(inspect.signature(function).parameters), name


def check_error(error, arguments):
    """Its type is a plain one, and its text names an argument and is one sane sentence or more."""
    text = str(error)
    assert type(error) in (TypeError, ValueError), f"{type(error).__name__}: {text}"
    named = any(re.search(rf"`[^`]*\b{re.escape(argument)}\b", text) for argument in arguments)
    assert named, f"no argument is named: {text}"
    assert text.endswith("."), text
    assert len(text) < 2000, text[:2000]


def check(name, changed, tmp_path):
    """Call it with some arguments changed; errors are of the right type and say which argument is wrong."""
    function, right = RIGHT[name]
    net = bp.Network([3, 2], seed=0)
    arguments = dict(right)
    if "net" in arguments:
        arguments["net"] = net
    if "networks" in arguments:
        arguments["networks"] = [net, bp.Network([3, 2], seed=1)]
    if "path" in arguments:
        arguments["path"] = tmp_path / ("file.c" if name == "to_c" else "file")
        if name == "load":
            net.save(tmp_path / "file")
    arguments |= changed
    if hasattr(bp.Network, name):
        arguments = {"self": net} | arguments
    kept = net.params.copy()
    data = X.tobytes(), Y.tobytes()
    try:
        function(**arguments)
    except bp.FileError:
        assert name == "load"
        assert isinstance(changed["path"], bytes)  # of no file
    except (TypeError, ValueError) as error:
        check_error(error, right)
        assert same_bits(net.params, kept)
        assert net._training_state is None
    except bp.TrainingDivergedError:
        assert same_bits(net.params, kept)
    except OSError:
        assert {"path", "model"} & set(changed)
    else:
        assert name in CHANGING or same_bits(net.params, kept)
        assert np.isfinite(net.params).all()
    assert (X.tobytes(), Y.tobytes()) == data


SINGLE = [(name, argument) for name, (_, right) in RIGHT.items() for argument in right]


@pytest.mark.parametrize(("name", "argument"), SINGLE, ids=[f"{name}-{argument}" for name, argument in SINGLE])
def test_each_argument_in_turn(name, argument, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    failures = []
    for label, value in STRANGE.items():
        if label in ENDLESS.get(argument, ()):
            continue
        try:
            check(name, {argument: value}, tmp_path)
        except Exception as error:
            failures.append(f"{label}: {type(error).__name__}: {str(error)[:300]}")
    assert not failures, "\n".join(failures)


@pytest.mark.parametrize("name", [name for name, (_, right) in RIGHT.items() if len(right) > 1])
def test_several_arguments_at_random(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = random.Random(name)
    arguments = sorted(RIGHT[name][1])
    for _ in range(30):
        chosen = rng.sample(arguments, rng.randint(1, min(3, len(arguments))))
        labels = {argument: rng.choice(sorted(set(STRANGE) - ENDLESS.get(argument, set()))) for argument in chosen}
        try:
            check(name, {argument: STRANGE[label] for argument, label in labels.items()}, tmp_path)
        except Exception as error:
            pytest.fail(f"{labels}: {type(error).__name__}: {str(error)[:300]}")
