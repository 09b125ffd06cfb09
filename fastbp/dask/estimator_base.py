"""What `DaskMLPClassifier` and `DaskMLPRegressor` share: the way from Dask's collections to the local classes' fit."""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable
from typing import Any, Self, cast

import numpy as np
from distributed import Client
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning

from fastbp.dask import scores
from fastbp.dask.estimator_fit import AveragedEpochs, ExactEpochs, PartitionedFit, without_penalties
from fastbp.dask.estimator_rows import aside, examples, make_estimator_part, seen_in, without
from fastbp.dask.exact import Cost
from fastbp.dask.partitions import Partitions, is_collection, partitions_of
from fastbp.dask.parts import Blueprint
from fastbp.dask.prediction import lazily
from fastbp.dask.rows import AllRows
from fastbp.dask.session import Session, session_on
from fastbp.dask.squares import SummedEquations
from fastbp.dask.walks import Rounds
from fastbp.neural_network import lbfgs, squares
from fastbp.neural_network.base import BaseMLP
from fastbp.neural_network.errors import warn
from fastbp.neural_network.held_out import Given, HeldOut
from fastbp.neural_network.learner import initialise_record, optimizer_for
from fastbp.neural_network.parameters import STOCHASTIC_SOLVERS
from fastbp.neural_network.stochastic import batch_rows_of
from fastbp.system.alone import alone
from fastbp.training.levenberg_marquardt import sums_in_float32
from fastbp.validation.numbers import flag, positive_integer

_OWN = ("client", "average_every", "persist")  # parameters that the local classes have not


def with_parameters_of(local: type[BaseMLP]) -> Callable[[Any], Any]:
    """Give a constructor the parameters of a local class in front of its own, for scikit-learn and for readers."""

    def decorate(constructor: Any) -> Any:
        parameters = list(inspect.signature(local.__init__).parameters.values())
        own = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default) for name, default in _DEFAULTS]
        constructor.__signature__ = inspect.Signature([*parameters, *own])
        return constructor

    return decorate


_DEFAULTS = (("client", None), ("average_every", None), ("persist", True))


class OnDask(BaseMLP):
    """What the two have in common; see `DaskMLPClassifier`."""

    _local: type[BaseMLP]
    _labels: bool  # whether targets are labels

    def _set_parameters(self, values: tuple[Any, ...], named: dict[str, Any]) -> None:
        """Do what a constructor does."""
        bound = inspect.signature(type(self).__init__).bind(self, *values, **named)
        bound.apply_defaults()
        own = {name: bound.arguments.pop(name) for name in _OWN}
        self._local.__init__(*bound.args, **bound.kwargs)
        for name, value in own.items():
            setattr(self, name, value)

    # --- what the local class has and this one has not ----------------------------------------------------------------

    @property
    def client_(self) -> Client:
        """The client that is used: the parameter, or the current one."""
        from distributed import get_client

        return self.client if self.client is not None else get_client()

    def to_local(self) -> Any:
        """Return the ordinary estimator, with everything that was learned.

        Returns
        -------
        MLPClassifier or MLPRegressor
            A copy of its own.
        """
        parameters = {name: value for name, value in self.get_params(deep=False).items() if name not in _OWN}
        local = self._local(**parameters)
        learned = {name: value for name, value in self.__getstate__().items() if name not in (*parameters, *_OWN)}
        local.__setstate__(copy.deepcopy(local.__getstate__() | learned))
        return local

    def __getstate__(self) -> dict[str, Any]:
        """Return everything but the client, which belongs to this process."""
        state: dict[str, Any] = super().__getstate__()
        return state | {"client": None}

    def __sklearn_clone__(self) -> Self:
        """Return an unfitted estimator with the same parameters; the client is the same object, not a copy."""
        from sklearn.base import clone

        parameters = self.get_params(deep=False)
        client = parameters.pop("client")
        return type(self)(**{name: clone(value, safe=False) for name, value in parameters.items()}, client=client)

    # --- fit ----------------------------------------------------------------------------------------------------------

    def _check_own(self) -> None:
        """Refuse parameters that cannot be followed on a cluster."""
        if self.average_every is not None:
            positive_integer(self.average_every, "average_every")
        flag(self.persist, "persist")
        if self.n_threads is not None:
            raise ValueError(
                f"`n_threads` must be None, because a task uses the threads of its worker; got {self.n_threads}. Start "
                "the workers with other nthreads."
            )
        if self.scoring is not None and not (isinstance(self.scoring, str) and self.scoring == "loss"):
            raise ValueError(
                f"`scoring` must be None or 'loss', which are sums over partitions; got {self.scoring!r}. Use "
                "to_local() and a scorer of scikit-learn's on rows that fit into memory."
            )

    def _fit_on_partitions(self, X: Any, y: Any, sample_weight: Any, validation: Given | None) -> Self:
        if validation is not None and self.solver not in STOCHASTIC_SOLVERS:
            raise ValueError(
                f"{validation.argument} must be None except for the solvers 'adam' and 'sgd', which have epochs; got "
                f"validation data for solver={self.solver!r}."
            )
        self._validate_params()
        self._check_own()
        partitions = partitions_of(X, y, sample_weight, names=("X", "y"))
        with session_on(self.client) as session:
            before = self.__dict__.copy()
            try:
                run = self._prepare(session, partitions, validation)
            except BaseException:  # a fit that is refused leaves the model as it was
                self.__dict__.clear()
                self.__dict__.update(before)
                raise
            alone(self._network, "fit", run)
        return self

    def _prepare(self, session: Session, partitions: Partitions, validation: Given | None) -> Callable[[], None]:
        """Look at the data, make the network, and return what trains it."""
        hidden = self._hidden_sizes()
        first_pass = not hasattr(self, "coefs_") or not self.warm_start
        seen = seen_in(session, partitions, with_labels=self._labels)
        rows, targets, counts = examples(seen)
        rows, targets = self._checked(rows, targets, reset=first_pass)
        weight = self.__dict__.get("class_weight")
        if weight == "balanced":  # of these examples nothing follows
            self.__dict__["class_weight"] = None
        try:
            data = self._data_of(rows, targets, None, False, first_pass)
        finally:
            if weight is not None:
                self.__dict__["class_weight"] = weight
        self._begin(hidden, data, first_pass)
        all_rows = self._rows(session, partitions, counts, persist=self.persist)
        stochastic = self.solver in STOCHASTIC_SOLVERS
        watched = None if validation is None else self._watched_rows(session, validation, counts)
        if not stochastic:
            return functools.partial(self._minimise_on, all_rows)
        return functools.partial(self._train_on, all_rows, watched, first_pass)

    def _rows(
        self, session: Session, partitions: Partitions, counts: NDArray[np.int64] | None, *, persist: bool
    ) -> AllRows:
        """Return the checked rows of collections, at least one of which counts."""
        rows = AllRows.of_partitions(
            session,
            partitions,
            make_estimator_part,
            session.constant(self._template(counts)),
            session.constant(Blueprint(self._network)),
            persist=persist,
            has_weights=partitions.has_weights or (counts is not None and self.class_weight is not None),
        )
        rows.require_rows()
        return rows

    def _template(self, counts: NDArray[np.int64] | None) -> BaseMLP:
        """Return a local estimator that knows how rows are checked and encoded; `counts` of the classes weigh them."""
        template: Any = self.to_local()
        if counts is None and hasattr(template, "class_weight"):
            template.class_weight = None
        elif getattr(template, "class_weight", None) == "balanced":
            assert counts is not None
            weights = counts.sum() / (len(counts) * counts)
            template.class_weight = dict(zip(self.classes_.tolist(), weights.tolist(), strict=True))
        return cast(BaseMLP, template)

    def _minimise_on(self, rows: AllRows) -> None:
        """Fit with 'lbfgs' or 'lm'."""
        objective = self._objective()
        cost = Cost(self._network, rows, objective)
        if self.solver == "lm":
            rule = squares.rule_of(self)
            equations = SummedEquations(
                self._network,
                rows,
                is_mixed=sums_in_float32(rule, self._network),
                l2_penalty=objective.l2 / rows.total_weight,
            )
            minimum = squares.minimise_by(cast(Any, equations), cost.cost, self._network, objective, self, None)
            self.n_iter_, self.loss_curve_, self.loss_ = len(minimum.losses), minimum.losses, minimum.loss
            if minimum.shortfall is not None:
                warn(minimum.shortfall, ConvergenceWarning)
            return
        found = lbfgs.minimise(self._network.params, cast(Any, cost), self, None)
        self.n_iter_, self.loss_ = found.n_iter, found.loss
        if found.shortfall is not None:
            warn(found.shortfall, ConvergenceWarning)
        self._network.params[...] = found.params

    def _train_on(self, rows: AllRows, watched: AllRows | None, first_pass: bool) -> None:
        """Fit with 'adam' or 'sgd'."""
        net, rng, has_losses = self._network, self._random_state, watched is not None
        initialise_record(self, first_pass, has_losses=has_losses)
        self._optimizer = state = optimizer_for(self, net, getattr(self, "_optimizer", None), False)
        if self.early_stopping and watched is None:
            rows, watched = self._split_rows(rows, int(rng.randint(1 << 31)))
        n_rows = len(rows)
        batch_rows = batch_rows_of(self, n_rows)
        if self.batch_size != "auto" and self.batch_size > n_rows:
            warn("Got `batch_size` less than 1 or larger than sample size. It is going to be clipped")
        objective, steps = self._objective(), cast(Any, None)
        if batch_rows == n_rows:
            if np.any(self.dropout) or self.average_every is not None:
                name = "dropout" if np.any(self.dropout) else "average_every"
                raise ValueError(
                    f"`{name}` must be {0 if name == 'dropout' else None} where each step looks at all {n_rows} rows; "
                    f"got {getattr(self, name)!r}. Pass a smaller `batch_size`."
                )
            steps = ExactEpochs(net, rows, state, objective, self.clip_norm or 0.0)
        else:
            seeds = rng.randint(1 << 31, size=2)
            rounds = Rounds(
                net,
                rows,
                state,
                batch_rows,
                self.average_every,
                mean_weight=rows.mean_weight if self._weighs_by_all_rows else 0.0,
                clip_norm=self.clip_norm or 0.0,
                seed=int(seeds[0]) if self.shuffle else None,
                dropout_seed=int(seeds[1]),
                objective=objective,
            )
            steps = AveragedEpochs(rounds)
        held_out = None if watched is None else self._held_out_on(watched, has_losses=has_losses)
        PartitionedFit(self, net, state, steps, held_out, n_rows).run(lambda epoch, begins: False, False)

    def _split_rows(self, rows: AllRows, seed: int) -> tuple[AllRows, AllRows]:
        """Return the rows to train on, and those that early stopping looks at."""
        both = [rows.some(choose, self.validation_fraction, seed) for choose in (without, aside)]
        if len(both[1]) < 2 or not both[0].total_weight or not both[1].total_weight:
            raise ValueError(
                "The validation set is too small. Increase 'validation_fraction' or the size of your dataset."
            )
        return both[0], both[1]

    def _watched_rows(self, session: Session, validation: Given, counts: NDArray[np.int64] | None) -> AllRows:
        """Return the user's validation rows, on the cluster or sent there."""
        members = [validation.X, validation.y, validation.sample_weight]
        if any(is_collection(member) for member in members):
            partitions = partitions_of(*members, names=("X", "y"))
        else:
            partitions = Partitions([cast(Any, tuple(members))], None)
        try:
            rows = self._rows(session, partitions, counts, persist=True)
        except (TypeError, ValueError) as error:
            kind = TypeError if isinstance(error, TypeError) else ValueError
            raise kind(f"In {validation.argument}: {error}") from error
        return rows

    def _held_out_on(self, rows: AllRows, *, has_losses: bool) -> HeldOut:
        """Return rows as early stopping and the user look at them."""
        watched, net = self._watched(), self._network
        by_loss = isinstance(watched, str) and watched == "loss"
        cost = Cost(net, rows, without_penalties(self._objective())) if has_losses or by_loss else None
        score = None if by_loss else functools.partial(self._score_on, rows)
        return HeldOut(net.params, cast(Any, cost), score, has_losses=has_losses)

    def _score_on(self, rows: AllRows) -> float:
        """Return accuracy or coefficient of determination of rows on the cluster."""
        params = self._network.params
        if self._labels:
            return float(rows.sum_of(scores.right, params)[0] / rows.total_weight)
        return scores.r2_of(rows.sum_of(scores.moments, params)[0])

    # --- afterwards ---------------------------------------------------------------------------------------------------

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the accuracy, or the coefficient of determination, of predictions.

        Parameters
        ----------
        X : array or data frame of Dask, shape (n_samples, n_features)
            Inputs.
        y : array, data frame or series of Dask, shape (n_samples,) or (n_samples, n_outputs)
            The right targets.
        sample_weight : array or series of Dask, shape (n_samples,), optional
            Weights of the rows.

        Returns
        -------
        float
            The score, as the local class has it; only sums over partitions come to this process.
        """
        self._linked()
        partitions = partitions_of(X, y, sample_weight, names=("X", "y"))
        with session_on(self.client) as session:
            return self._score_on(self._rows(session, partitions, None, persist=False))

    def _lazily(self, method: str, X: Any, n_columns: int | None, dtype: Any) -> Any:
        """Return what a method of the local class predicts for each partition, as a Dask array."""
        local = self.to_local()
        local.n_threads = 1  # as many partitions as a worker has threads are predicted at once
        return lazily(local, method, X, n_columns, dtype)
