"""What the two estimators share: the way from `fit` to the kernels and back, and pickles."""

from __future__ import annotations

import functools
import inspect
import math
import operator
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from fastbp.engine.batch_cost import BatchCost
from fastbp.engine.objective import Objective
from fastbp.engine.rows import Data
from fastbp.model.definition import problem_of, settings_of
from fastbp.model.model import passes_of
from fastbp.network import Network
from fastbp.neural_network import callbacks, lbfgs
from fastbp.neural_network.data import data_of_rows, flat
from fastbp.neural_network.errors import warn
from fastbp.neural_network.files import Portable
from fastbp.neural_network.gradients import SPARSE_FORMATS, Gradients
from fastbp.neural_network.held_out import Given, HeldOut, ScorerOfRows
from fastbp.neural_network.initial import initial_parameters
from fastbp.neural_network.learner import Task, initialise_record, optimizer_for
from fastbp.neural_network.outputs import Outputs
from fastbp.neural_network.parameters import NETWORK_NAMES, STOCHASTIC_SOLVERS, check_parameters
from fastbp.neural_network.sklearn_private import check_sample_weight, parameter_names
from fastbp.neural_network.stochastic import StochasticFit
from fastbp.neural_network.types import Fitted
from fastbp.system.alone import alone
from fastbp.training.state import OptimizerState
from fastbp.validation.data import Targets
from fastbp.validation.matrix_like import MatrixLike


class BaseMLP(Fitted, Portable, Gradients, Outputs, callbacks.Support, BaseEstimator, ABC):
    """The base of `MLPClassifier` and `MLPRegressor`; not to be used by itself."""

    _optimizer: OptimizerState  # of the stochastic solvers; a fit may go on with it

    # --- what the two differ in ---------------------------------------------------------------------------------------

    @abstractmethod
    def _learn_targets(self, y: NDArray[Any], incremental: bool) -> None:
        """Note the classes, or check them against those that are known."""

    @abstractmethod
    def _encoded(self, y: NDArray[Any], dtype: np.dtype) -> Targets:
        """Return valid targets as the kernels take them."""

    @abstractmethod
    def _count_outputs(self, targets: Targets) -> int:
        """Return the number of output neurons."""

    @abstractmethod
    def _output_settings(self) -> dict[str, Any]:
        """Return `out_activation_`, and the arguments of `Network` for the output layer."""

    @abstractmethod
    def _objective(self, with_penalties: bool = True) -> Objective:
        """Return what is minimised."""

    def _weights_of_rows(self, y: NDArray[Any], sample_weight: Any, X: Any, incremental: bool) -> NDArray[Any] | None:
        """Return the sample weights, or None."""
        return None if sample_weight is None else check_sample_weight(sample_weight, X)

    @property
    def _weighs_by_all_rows(self) -> bool:
        """Whether the weights of a mini-batch are compared with those of all rows, rather than with each other."""
        return bool(self.weight_normalization == "data")

    def _valid_weights(self, y: NDArray[Any], sample_weight: Any, X: Any, incremental: bool) -> NDArray[Any] | None:
        """Return the weights of the rows, at least one of which is not 0, or None."""
        weights = self._weights_of_rows(y, sample_weight, X, incremental)
        if weights is not None and not weights.any():
            has_two = getattr(self, "class_weight", None) is not None
            names = "`sample_weight` times `class_weight`" if has_two else "`sample_weight`"
            raise ValueError(f"{names} must be other than 0 for at least one row; got 0 for all {len(y)}.")
        return weights

    def _watched(self) -> Any:
        """Return the scorer of early stopping, 'loss' for the validation loss, or None for `_score_of_outputs`."""
        return self.scoring

    def _labels_to_stratify_by(self, data: Data) -> NDArray[Any] | None:
        """Return the classes whose shares the split of early stopping keeps, or None."""
        return None

    def _check_solver(self) -> bool:
        """Whether there is a `partial_fit`; raises the error that `hasattr` expects if not."""
        if self.solver not in STOCHASTIC_SOLVERS:
            raise AttributeError(
                f"partial_fit is only available for stochastic optimizers. {self.solver} is not stochastic."
            )
        return True

    # --- fit ----------------------------------------------------------------------------------------------------------

    def _validate_params(self) -> None:
        """Check the parameters as scikit-learn does, and say what a name of another library is called here."""
        check_parameters(self)

    def _fit(self, X: Any, y: Any, sample_weight: Any, *, incremental: bool, given: Given | None = None) -> Self:
        """Do what `fit` and `partial_fit` do."""
        if given is not None and self.solver not in STOCHASTIC_SOLVERS:
            raise ValueError(
                f"{given.argument} must be None except for the solvers 'adam' and 'sgd', which have epochs; got "
                f"validation data for solver={self.solver!r}."
            )
        before = self.__dict__.copy()
        try:
            run = self._ready(X, y, sample_weight, incremental, given)
        except BaseException:  # a fit that is refused leaves the model as it was
            self.__dict__.clear()
            self.__dict__.update(before)
            raise
        alone(self._network, "partial_fit" if incremental else "fit", run)  # against `network_.fit`
        return self

    def _ready(self, X: Any, y: Any, sample_weight: Any, incremental: bool, given: Given | None) -> Callable[[], None]:
        """Check everything, make the network, and return what trains it."""
        hidden = self._hidden_sizes()
        first_pass = not hasattr(self, "coefs_") or not (self.warm_start or incremental)
        X, y = self._checked(X, y, reset=first_pass)
        data = self._data_of(X, y, sample_weight, incremental, first_pass)
        self._begin(hidden, data, first_pass)
        held_out = None if given is None else self._held_out(given)

        def run() -> None:
            context = callbacks.begin(self, X, y, sample_weight, 1 if incremental else self.max_iter)
            if self.solver in STOCHASTIC_SOLVERS:
                fit = self._stochastic_fit(data, held_out, incremental, first_pass)
                fit.run(context.on_epoch, context.is_wanted)
            else:
                self._minimise(data, context.on_iteration if context.is_wanted else None)
            context.end()

        return run

    def _data_of(self, X: Any, y: NDArray[Any], sample_weight: Any, incremental: bool, first_pass: bool) -> Data:
        """Return checked inputs and targets as the kernels take them, with their weights."""
        self._learn_targets(y, incremental)
        weights = self._valid_weights(y, sample_weight, X, incremental)
        dtype = self._compute_dtype(X.dtype, first_pass)
        return data_of_rows(X, self._encoded(y, dtype), weights, dtype)

    def _stochastic_fit(
        self,
        data: Data,
        held_out: HeldOut | None,
        incremental: bool,
        first_pass: bool,
        rows: NDArray[np.int64] | None = None,
        *,
        together: bool = False,
    ) -> StochasticFit:
        """Return a fit of the network that was begun, on all rows or some, alone or together with others."""
        initialise_record(self, first_pass, has_losses=held_out is not None)
        self._optimizer = optimizer_for(self, self._network, getattr(self, "_optimizer", None), incremental)
        return StochasticFit(self, self._task(data, held_out, rows), incremental, together=together)

    def _task(self, data: Data, held_out: HeldOut | None, rows: NDArray[np.int64] | None) -> Task:
        """Return what a stochastic fit works on."""
        return Task(
            self._network,
            data,
            self._objective(),
            self._optimizer,
            self._random_state,
            held_out,
            self._weighs_by_all_rows,
            functools.partial(self._watch, with_losses=False),
            self._labels_to_stratify_by,
            rows,
        )

    def _minimise(self, data: Data, callback: Callable[[NDArray[Any]], None] | None) -> None:
        """Fit with 'lbfgs'."""
        cost = BatchCost(problem_of(self._network), data, self._objective(), n_threads=self.n_threads)
        found = lbfgs.minimise(self._network.params, cost, self, callback)
        self.n_iter_ = found.n_iter
        if found.shortfall is not None:
            warn(found.shortfall, ConvergenceWarning)
        self.loss_ = found.loss
        self._network.params[...] = found.params

    def _hidden_sizes(self) -> list[int]:
        """Return the hidden layers' sizes as a list."""
        sizes = self.hidden_layer_sizes
        listed = list(sizes) if hasattr(sizes, "__iter__") else [sizes]
        if np.any(np.array(listed) <= 0):
            raise ValueError(f"hidden_layer_sizes must be > 0, got {listed}.")
        return listed

    def _checked(self, X: MatrixLike, y: ArrayLike, reset: bool) -> tuple[Any, NDArray[Any]]:
        """Return X and y as arrays, or raise what scikit-learn raises."""
        dtype = (np.float64, np.float32) if self.dtype is None else np.dtype(self.dtype)
        checked: tuple[Any, NDArray[Any]] = validate_data(
            self, X, y, accept_sparse=SPARSE_FORMATS, multi_output=True, dtype=dtype, reset=reset, **self._y_rules
        )
        return checked

    _y_rules: dict[str, Any] = {}  # noqa: RUF012 # never changed; a ClassVar would be one more import for the same

    def _compute_dtype(self, dtype: np.dtype, first_pass: bool) -> np.dtype:
        """Return the dtype of the parameters and of all arithmetic."""
        if not first_pass:
            return np.dtype(self.coefs_[0].dtype)
        if self.dtype is None and self.solver not in STOCHASTIC_SOLVERS:
            return np.dtype(np.float64)  # SciPy's L-BFGS-B takes its steps in float64, so scikit-learn's passes are too
        return np.dtype(dtype)

    def _begin(self, hidden: list[int], data: Data, first_pass: bool) -> None:
        """Make the network, with initial parameters or those to go on from, and the attributes that describe it."""
        self._random_state = check_random_state(self.random_state)
        n_outputs = self._count_outputs(data.targets)
        sizes, dtype = [data.X.shape[1], *hidden, n_outputs], data.X.dtype
        if first_pass:
            self.n_iter_ = 0
            self.t_ = 0
            self.n_layers_ = len(sizes)
            self.out_activation_ = self._output_settings()["out_activation"]
            params = initial_parameters(sizes, dtype, self.initializer, self.activation, self._random_state)
        else:
            known = [len(self.coefs_[0]), *(W.shape[1] for W in self.coefs_)]
            if known != sizes:
                raise ValueError(
                    f"A fit that goes on (`warm_start` or `partial_fit`) must have the layer sizes of the one before, "
                    f"{known}; `hidden_layer_sizes` and the data ask for {sizes}. Set warm_start=False to begin afresh."
                )
            params = flat(self.coefs_, self.intercepts_)
        self._link(self._make_network(sizes, dtype, params))
        self.n_outputs_ = n_outputs

    def _make_network(self, sizes: list[int], dtype: np.dtype, params: NDArray[Any] | None = None) -> Network:
        """Return the network that computes what this estimator does."""
        names: Any = self.activation
        names = names if isinstance(names, list | tuple) else [names] * (len(sizes) - 2)
        hidden: list[Any] = [NETWORK_NAMES.get(name, name) if isinstance(name, str) else name for name in names]
        settings = {key: value for key, value in self._output_settings().items() if key != "out_activation"}
        net = Network(sizes, hidden, initializer="zeros", dtype=dtype, dropout=self.dropout, **settings)
        if params is not None:
            net.params[...] = params
        return net

    def _held_out(self, given: Given) -> HeldOut:
        """Return the user's validation data, checked."""
        try:
            data = self._checked_data(given.X, given.y, given.sample_weight)
        except (TypeError, ValueError) as error:
            kind = TypeError if isinstance(error, TypeError) else ValueError
            raise kind(f"In {given.argument}: {error}") from error
        return self._watch(data, with_losses=True)

    def _watch(self, data: Data, *, with_losses: bool) -> HeldOut:
        """Return rows that are not trained on, as early stopping and the user want to see them."""
        net, watched, cost = self._network, self._watched(), None
        by_loss = isinstance(watched, str) and watched == "loss"
        if with_losses or by_loss:
            objective = self._objective(with_penalties=False)
            cost = BatchCost(problem_of(net), data, objective, gradient=False, n_threads=self.n_threads)
        score: Callable[[], float] | None = None
        if not by_loss:
            score = functools.partial(self._own_score, data)
            if watched is not None and self.early_stopping:
                score = ScorerOfRows(self, watched, data, self._decoded_targets(data))
        return HeldOut(net.params, cost, score, has_losses=with_losses)

    def _own_score(self, data: Data) -> float:
        """Return the score that scikit-learn watches; NaN where an output is not finite."""
        out = passes_of(self._network).outputs(data.X, self.n_threads)
        return float(self._score_of_outputs(out, data)) if np.isfinite(out).all() else math.nan

    def _checked_data(self, X: MatrixLike, y: ArrayLike, sample_weight: ArrayLike | None) -> Data:
        """Return further data of the kind that the model was fitted on."""
        valid, targets = self._checked(X, y, reset=False)
        self._check_known(targets)
        weights = self._valid_weights(targets, sample_weight, valid, incremental=False)
        dtype = self._network.dtype
        return data_of_rows(valid, self._encoded(targets, dtype), weights, dtype)

    def _check_known(self, y: NDArray[Any]) -> None:
        """Check that further targets are of the kind that the model was fitted on."""
        n_outputs = 1 if y.ndim == 1 else y.shape[1]
        if n_outputs != self.n_outputs_:
            raise ValueError(f"`y` must have {self.n_outputs_} columns, as in `fit`; got {n_outputs}.")

    # --- parameters ---------------------------------------------------------------------------------------------------

    def _link(self, net: Network) -> None:
        """Have `coefs_` and `intercepts_` be views into the network's parameters."""
        self._network = net
        self.coefs_, self.intercepts_ = list(net.weights), list(net.biases)

    def _linked(self) -> Network:
        """Return the network with the parameters of `coefs_` and `intercepts_`, which a user may have replaced."""
        try:
            net: Network = self._network
        except AttributeError:
            check_is_fitted(self)
            raise
        mine = (*self.coefs_, *self.intercepts_)
        views = (*net.weights, *net.biases)
        if len(mine) == len(views) and all(map(operator.is_, mine, views)):
            return net
        sizes = [len(self.coefs_[0]), *(W.shape[1] for W in self.coefs_)]
        if tuple(sizes) != net.sizes:
            return self._make_network(sizes, net.dtype, flat(self.coefs_, self.intercepts_))
        for array, view in zip(mine, views, strict=True):
            view[...] = array
        return net

    @property
    def network_(self) -> Network:
        """The `fastbp.Network` inside, with this model's parameters; it has no penalties, which belong to a fit."""
        check_is_fitted(self)
        return self._linked()

    def __getstate__(self) -> dict[str, Any]:
        """Return arrays, plain values and scikit-learn's objects, all of which skops trusts: no network."""
        made = ("_network", "_double")
        state = {name: value for name, value in super().__getstate__().items() if name not in made}
        if "_network" in vars(self):  # `set_params` may have changed the parameters that it was made of
            state["_settings"] = settings_of(self._linked())
        if "_optimizer" in state:
            state["_optimizer"] = dict(vars(state["_optimizer"]))
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take the state, and make the network again; a parameter that is newer than the pickle gets its default."""
        parameters = inspect.signature(type(self).__init__).parameters
        younger = {name: parameters[name].default for name in parameter_names(type(self)) if name not in state}
        known = younger | state
        settings = known.pop("_settings", None)  # of the network, which version 0.1.0 does not write
        super().__setstate__(known)
        if hasattr(self, "_optimizer"):  # a shallow copy would share its vectors, and a memory map may be read-only
            kept: Any = self._optimizer
            optimizer = OptimizerState(**kept) if isinstance(kept, dict) else kept  # of a pickle of version 0.1.0
            self._optimizer = optimizer.copy()
        if hasattr(self, "coefs_"):
            sizes = [len(self.coefs_[0]), *(W.shape[1] for W in self.coefs_)]
            dtype, params = np.dtype(self.coefs_[0].dtype), flat(self.coefs_, self.intercepts_)
            if settings is None:
                self._link(self._make_network(sizes, dtype, params))
                return
            self._link(Network(sizes, dtype=dtype, **settings))
            self._network.params[...] = params
