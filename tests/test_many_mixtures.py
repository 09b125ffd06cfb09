"""Networks of random kinds trained together, on one thread and on more: the bits of each network's own fits.

A mixture is some networks, their data and a few calls one after the other, each with arguments for all networks or one
for each of them.  The oracle is `Network.fit`, called for one network after the other on copies of its rows.
"""

import contextlib
import warnings
from dataclasses import dataclass

import numba
import numpy as np
import pytest
from scipy import sparse

import fastbp as bp
from fastbp.training.trained import training_state_of
from tests.cases import ACTIVATION_NAMES, LEGAL_OUTPUTS, LOSS_BY_NAME

N_MIXTURES = 6 if numba.config.DISABLE_JIT else 200
AT_ONCE = N_MIXTURES // 2
THREADS = (1, 2, 3)
# Targets, and the losses that can be computed with them.
LOSSES_FOR = {
    "real": ("quadratic", "absolute", "huber", "log_cosh", "quantile"),
    "probability": ("quadratic", "cross_entropy", "huber"),
    "count": ("poisson", "quadratic"),
    "labels": ("cross_entropy",),
}


@dataclass(frozen=True)
class Problem:
    """What networks learn: shape, kind and form of the data."""

    dtype: str
    targets: str
    n_in: int
    n_out: int
    n_rows: int
    form: str

    @classmethod
    def drawn(cls, rng):
        """A problem drawn by random numbers."""
        targets = rng.choice(list(LOSSES_FOR))
        return cls(
            dtype=str(rng.choice(["float32", "float64"])),
            targets=str(targets),
            n_in=int(rng.integers(1, 9)),
            n_out=int(rng.integers(1 + (targets == "labels"), 5)),
            n_rows=int(rng.integers(6, 70)),
            form=str(rng.choice(["array", "array", "array", "fortran", "csr", "frame"])),
        )

    def data(self, rng):
        """Inputs, targets and weights of some rows."""
        n, shape = self.n_rows, (self.n_rows, self.n_out)
        X = rng.standard_normal((n, self.n_in)) * (rng.random((n, self.n_in)) < 0.6)
        labels = rng.integers(self.n_out, size=n)
        Y = {
            "real": lambda: rng.standard_normal(shape),
            "probability": lambda: np.eye(self.n_out)[labels],
            "count": lambda: rng.integers(0, 4, shape).astype(float),
            "labels": lambda: labels,
        }[self.targets]()
        weights = rng.uniform(0, 2, n) * (rng.random(n) < 0.9) + 1e-3
        X = self._formed(X.astype(self.dtype))
        return X, Y if self.targets == "labels" else Y.astype(self.dtype), weights.astype(self.dtype)

    def _formed(self, X):
        """Inputs as an array, a sparse matrix or a data frame."""
        if self.form == "csr":
            return sparse.csr_array(X)
        if self.form == "frame":
            with contextlib.suppress(ImportError):
                import pandas as pd

                return pd.DataFrame(X, columns=[f"column {i}" for i in range(self.n_in)])
        return np.asfortranarray(X) if self.form == "fortran" else X

    def rows(self, rng, is_for_training):
        """A mask, indices some of which may come several times, or None for all."""
        n = self.n_rows
        kind = rng.choice(["mask", "indices", "repeated", "slice", *["all"] * is_for_training])
        if kind == "mask":
            mask = rng.random(n) < 0.7
            mask[:2] = True
            return mask
        if kind == "repeated":
            return rng.integers(-n, n, size=int(rng.integers(2, 2 * n)))  # some from the end
        if kind == "slice":
            return np.arange(n)[1::2].astype(rng.choice([np.int32, np.uint8, np.int64]))
        return rng.permutation(n)[: int(rng.integers(2, n + 1))] if kind == "indices" else None


class Mixture:
    """Networks with their data and the arguments of some calls, all drawn by a seed.

    Attributes
    ----------
    definitions : list of dict
        Arguments of ``bp.Network``.
    calls : list of dict
        Arguments of `bp.fit_many` after the networks.
    own_calls : list of list of dict
        For each call and network the arguments of its own fit.
    """

    def __init__(self, seed):
        self.rng = rng = np.random.default_rng(seed)
        is_family = rng.random() < 0.25  # of one shape, as ensembles and grids are
        self.n = int(rng.integers(6, 20) if is_family else rng.integers(1, 6))
        self.has_own_data = rng.random() < 0.4  # arrays for each network, or one for all
        n_problems = self.n if self.has_own_data and not is_family else 1
        self.problems = [Problem.drawn(rng) for _ in range(n_problems)] * (self.n // n_problems)
        self.definitions = [self._network(problem) for problem in self.problems]
        if is_family:
            ones_own = ("seed", "l2_penalty") if rng.random() < 0.5 else ("seed",)
            first = self.definitions[0]
            self.definitions = [first | {name: one[name] for name in ones_own} for one in self.definitions]
        self.calls, self.own_calls = [], []
        optimizers = None
        for i in range(int(rng.integers(1, 4))):
            optimizers = self._call(i, optimizers)

    def pick(self, values):
        """One of some values."""
        return values[int(self.rng.integers(len(values)))]

    def networks(self):
        """The networks, untrained."""
        return [bp.Network(**definition) for definition in self.definitions]

    # --- networks -----------------------------------------------------------------------------------------------------

    def _layer(self, width):
        """Of a hidden layer: one activation, or several in turn."""
        names = [name for name in ACTIVATION_NAMES if name != "exp"]
        if width == 1 or self.rng.random() < 0.7:
            return self.pick(names)
        first = int(self.rng.integers(1, width))
        return [(self.pick(names), first), (self.pick(names), width - first)]

    def _network(self, problem):
        rng, n_out = self.rng, problem.n_out
        hidden = [int(self.pick([1, 2, 3, 5, 8, 16, 17, 40])) for _ in range(rng.integers(0, 4))]
        loss = self.pick(LOSSES_FOR[problem.targets])
        outputs = [output for output, name in LEGAL_OUTPUTS if name == loss]
        outputs = ["softmax"] if problem.targets == "labels" else outputs
        if n_out == 1:
            outputs.remove("softmax")  # always 1, and a warning
        output = self.pick(outputs)
        if loss != "cross_entropy" and n_out > 1 and rng.random() < 0.2 and "identity" in outputs:
            output = [("identity", 1), ("softplus", n_out - 1)]
        return {
            "sizes": [problem.n_in, *hidden, n_out],
            "activation": [self._layer(width) for width in hidden],
            "output": output,
            "loss": loss,
            "loss_parameter": self.pick([None, *LOSS_BY_NAME[loss].parameters]),
            "dtype": problem.dtype,
            "seed": int(rng.integers(100)),
            "l2_penalty": self.pick([0.0, 0.0, 0.01]),
            "l1_penalty": self.pick([0.0, 0.0, 0.002]),
            "dropout": self.pick([0.0, 0.0, 0.3]) if hidden else 0.0,
        }

    def _optimizer(self):
        rate = self.pick([0.01, 0.003, bp.Step(0.02, 3), bp.Cosine(0.02), bp.OneCycle(0.05), bp.InverseScaling(0.01)])
        if self.rng.random() < 0.02:
            return bp.SGD(1e30)  # which diverges, mostly
        makers = [bp.SGD, lambda rate: bp.SGD(rate, momentum=0.9), bp.Adam, bp.AdamW, bp.RMSprop]
        return self.pick([*makers, lambda rate: bp.RMSprop(rate, momentum=0.5)])(rate)

    # --- calls --------------------------------------------------------------------------------------------------------

    def _of_each(self, draw, is_of_each=False):
        """What is drawn for each network, or once for all that share their data."""
        if self.has_own_data or is_of_each:
            return [draw(problem) for problem in self.problems]
        return [draw(self.problems[0])] * self.n

    def _call(self, i, before):
        """Draw a call; its optimizers, with which a later one may go on."""
        rng, n = self.rng, self.n
        data = self._of_each(lambda problem: problem.data(rng))
        rows = [problem.rows(rng, True) for problem in self.problems] if rng.random() < 0.6 else None
        has_weights = rng.random() < 0.4
        own = [_taken(*data[k][:2], data[k][2] if has_weights else None, rows[k] if rows else None) for k in range(n)]
        counts = [each["Y"].shape[0] for each in own]
        names = ("X", "Y", "sample_weight")[: 2 + has_weights]
        columns = dict(zip(names, zip(*data, strict=True), strict=False))
        many = {name: list(arrays) if self.has_own_data else arrays[0] for name, arrays in columns.items()}
        if rows:
            many["rows"] = rows
        stopping = self._validation(data, many, own)

        def draw(name, value):
            """An argument for all networks, or for each."""
            if rng.random() < 0.5:
                chosen = [value(k) for k in range(n)]
                many[name] = self.pick([list, tuple])(chosen)
            else:
                chosen = [value(None)] * n
                many[name] = chosen[0]
            for arguments, one in zip(own, chosen, strict=True):
                arguments[name] = one

        def optimizer(k):
            if before and rng.random() < 0.6:
                return None if rng.random() < 0.5 or k is None else before[k]
            return self._optimizer()

        draw("epochs", lambda k: int(rng.integers(1, 6)))
        most = lambda k: min(counts) if k is None else counts[k]  # noqa: E731
        draw("batch_size", lambda k: self.pick([1, "auto", None, int(rng.integers(1, most(k) + 1))]))
        draw("optimizer", optimizer)
        draw("shuffle", lambda k: bool(rng.random() < 0.8))
        draw("seed", lambda k: int(rng.integers(1000)) if i == 0 or rng.random() < 0.4 else None)
        draw("tol", lambda k: self.pick([None, None, 0.3]))
        draw("clip_norm", lambda k: self.pick([None, None, 0.5]))
        if stopping:
            draw("early_stopping", lambda k: self.pick([None, bp.EarlyStopping(1), bp.EarlyStopping(2, 0.01, False)]))
        self.calls.append(many)
        self.own_calls.append(own)
        return [arguments["optimizer"] for arguments in own]

    def _validation(self, data, many, own):
        """Draw validation data; whether there are any."""
        kind = self.pick(["none", "none", "rows", "data", "data of each"])
        if kind == "rows":
            many["validation_rows"] = [problem.rows(self.rng, False) for problem in self.problems]
            for arguments, (X, Y, W), rows in zip(own, data, many["validation_rows"], strict=True):
                weights = W if "sample_weight" in many else None
                taken = _taken(X, Y, weights, rows)
                arguments["validation_data"] = (taken["X"], taken["Y"], taken["sample_weight"])
        elif kind != "none":
            k = 2 + (self.rng.random() < 0.5)  # with weights or without
            is_of_each = self.has_own_data or kind == "data of each"
            found = self._of_each(lambda problem: problem.data(self.rng)[:k], is_of_each)
            many["validation_data"] = found if is_of_each else found[0]
            for arguments, one in zip(own, found, strict=True):
                arguments["validation_data"] = one
        return kind != "none"


def _taken(X, Y, weights, rows):
    """Copies of rows, as a network's own fit gets them."""
    if rows is not None:
        X = X.iloc[rows] if hasattr(X, "iloc") else X[rows]
        Y, weights = Y[rows], None if weights is None else weights[rows]
    return {"X": X, "Y": Y, "sample_weight": weights}


def bits(net):
    """All that a training leaves in a network, apart from how long it took."""
    history, state = net.history, training_state_of(net)
    columns = {name: column.tobytes() for name, column in history.as_dict().items() if name != "seconds"}
    return {
        "params": net.params.tobytes(),
        "history": (columns, history.stopped_by, history.best_epoch),
        "feature_names": net.feature_names,
        "vectors": state.vectors.tobytes(),
        "steps": (state.step, state.powers, state.code, state.constants.tobytes(), state.optimizer),
        "random numbers": (state.rng.bit_generator.state, state.dropout_seed),
    }


def fit_each(networks, own_calls):
    """Train one network after the other."""
    for net, arguments in zip(networks, own_calls, strict=True):
        with contextlib.suppress(bp.TrainingDivergedError):
            net.fit(**arguments)


def continue_each(networks, mixture):
    """Train each network a little more, with whatever it remembers."""
    for net, arguments in zip(networks, mixture.own_calls[-1], strict=True):
        with contextlib.suppress(bp.TrainingDivergedError):
            net.fit(arguments["X"], arguments["Y"], epochs=1)


# NumPy's, of the norm of a gradient before a network diverges
@pytest.mark.filterwarnings("ignore:overflow encountered in dot:RuntimeWarning")
@pytest.mark.parametrize("first", range(0, N_MIXTURES, AT_ONCE))
def test_networks_have_the_bits_of_their_own_fits(first):
    n_networks = n_diverged = 0
    for seed in range(first, first + AT_ONCE):
        mixture = Mixture(seed)
        alone, together = mixture.networks(), {n_threads: mixture.networks() for n_threads in THREADS}
        for i, (arguments, own_calls) in enumerate(zip(mixture.calls, mixture.own_calls, strict=True)):
            fit_each(alone, own_calls)
            expected = [bits(net) for net in alone]
            diverged = {k for k, net in enumerate(alone) if net.history.stopped_by == "divergence"}
            for n_threads, networks in together.items():
                where = f"seed {seed}, call {i}, {n_threads} threads"
                with warnings.catch_warnings(record=True) as caught:
                    warnings.simplefilter("always")
                    histories = bp.fit_many(networks, **arguments, n_threads=n_threads)
                named = [w.category for w in caught if "networks became NaN" in str(w.message)]
                assert named == [RuntimeWarning] * bool(diverged), where
                assert len(histories) == mixture.n, where
                for k, net in enumerate(networks):
                    assert histories[k] is net.history, f"{where}, network {k}"
                    for name, found in bits(net).items():
                        assert found == expected[k][name], f"{where}, network {k}: {name}"
            n_networks, n_diverged = n_networks + mixture.n, n_diverged + len(diverged)
        if not mixture.has_own_data:
            X = mixture.calls[-1]["X"]
            expected = np.array([net.predict(X) for net in alone])
            for n_threads, networks in together.items():
                found = bp.predict_many(networks, X, n_threads=n_threads)
                assert found.dtype == expected.dtype, f"seed {seed}"
                np.testing.assert_array_equal(found, expected, f"seed {seed}, predictions, {n_threads} threads")
        for networks in (alone, *together.values()):
            continue_each(networks, mixture)
        for k, net in enumerate(alone):
            for n_threads, networks in together.items():
                assert bits(networks[k]) == bits(net), f"seed {seed}, later fit, {n_threads} threads, network {k}"
    assert n_diverged < n_networks / 10  # nearly all have learned something
    assert n_diverged or numba.config.DISABLE_JIT
