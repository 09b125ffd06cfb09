"""What `DaskMLPClassifier` and `DaskMLPRegressor` have in common: the local classes, fitted on Dask's collections."""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable
from typing import Any, Self, cast

import numpy as np
from dask.array import Array
from distributed import Client, get_client
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted, validate_data

from fastbp.dask import scores
from fastbp.dask.estimator_fit import AveragedEpochs, ExactEpochs, PartitionedFit, without_penalties
from fastbp.dask.estimator_gradients import GradientsInMemory
from fastbp.dask.estimator_rows import (
    Seen,
    aside,
    balanced,
    chain,
    counts_aside,
    examples,
    make_estimator_part,
    pieces_of,
    seen_in,
    without,
)
from fastbp.dask.exact import Cost
from fastbp.dask.partitions import Partitions, is_collection, partitions_of, require_collection
from fastbp.dask.parts import Blueprint
from fastbp.dask.prediction import lazily
from fastbp.dask.rows import AllRows
from fastbp.dask.session import Session, session_on
from fastbp.dask.squares import SummedEquations
from fastbp.dask.walks import Rounds
from fastbp.engine.rows import Data
from fastbp.neural_network import lbfgs, squares
from fastbp.neural_network.base import BaseMLP
from fastbp.neural_network.errors import warn
from fastbp.neural_network.held_out import Given, HeldOut
from fastbp.neural_network.learner import initialise_record, optimizer_for
from fastbp.neural_network.parameters import STOCHASTIC_SOLVERS
from fastbp.neural_network.stochastic import batch_rows_of
from fastbp.storage.streams import Destination
from fastbp.system.alone import alone
from fastbp.training.levenberg_marquardt import sums_in_float32
from fastbp.validation.numbers import flag, positive_integer

_OWN = ("client", "average_every", "persist")  # parameters that the local classes have not


class OnDask(GradientsInMemory, BaseMLP):
    """What the two have in common; see `DaskMLPClassifier`."""

    client: Client | None
    average_every: int | None
    persist: bool
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
        if self.client is not None:
            return self.client
        try:
            return get_client()
        except ValueError:
            raise AttributeError(
                "`client_` is there while the parameter `client` is set, or there is a current client; got neither. "
                "Make one: distributed.Client()."
            ) from None

    @property
    def partial_fit(self) -> Any:
        """What this class has not, and `hasattr` says so."""
        raise AttributeError(
            f"{type(self).__name__} has no partial_fit. Use warm_start=True and max_iter=1, or "
            "to_local().partial_fit on rows in memory."
        )

    def save(self, path: Destination) -> None:
        """Write the fitted estimator to a file, which `fastbp.load` reads as an ordinary one.

        Parameters
        ----------
        path : str, os.PathLike or binary file object
            The file.
        """
        check_is_fitted(self)
        self.to_local().save(path)

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
        twin = copy.copy(self)  # without the client, which cannot be copied
        copied = cast(Self, super(OnDask, twin).__sklearn_clone__())
        copied.client = self.client
        return copied

    # --- fit ----------------------------------------------------------------------------------------------------------

    def _check_own(self) -> None:
        """Refuse parameters that cannot be followed on a cluster."""
        if self.average_every is not None:
            positive_integer(self.average_every, "average_every")
            if self.solver not in STOCHASTIC_SOLVERS:
                raise ValueError(
                    f"`average_every` must be None for solver={self.solver!r}, whose steps look at all rows; got "
                    f"{self.average_every}."
                )
        flag(self.persist, "persist")
        if getattr(self, "_skl_callbacks", []):
            raise ValueError(
                "Callbacks of scikit-learn's must not be set, because they are given all rows. Call set_callbacks(), "
                "and use `eval_set`."
            )
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
        partitions = self._partitions_of(X, y, sample_weight)
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
        self._begin(hidden, self._data_of_examples(seen, first_pass), first_pass)
        rows = self._rows_of(session, partitions, seen, persist=self.persist)
        watched = None if validation is None else self._watched_rows(session, validation)
        if self.solver not in STOCHASTIC_SOLVERS:
            return functools.partial(self._minimise_on, rows)
        has_losses = watched is not None
        if self.early_stopping and watched is None:
            rows, watched = self._split_rows(rows, int(self._random_state.randint(1 << 31)))
        self._require_mini_batches(len(rows))
        return functools.partial(self._train_on, rows, watched, first_pass, has_losses)

    def _data_of_examples(self, seen: list[Seen], first_pass: bool) -> Data:
        """Learn from examples what the features and the targets are."""
        rows, targets, _ = examples(seen)
        try:
            rows, targets = self._checked(rows, targets, reset=first_pass)
        except ValueError as error:
            if str(error).startswith("Input "):  # what is wrong with numbers: the rows are of one partition
                raise ValueError(f"In partition {seen[0].index}: {error}") from None
            raise
        weight = self.__dict__.get("class_weight")
        if isinstance(weight, str):  # of these examples nothing follows
            self.__dict__["class_weight"] = None
        try:
            return self._data_of(rows, targets, None, False, first_pass)
        finally:
            if weight is not None:
                self.__dict__["class_weight"] = weight

    def _rows_of(self, session: Session, partitions: Partitions, seen: list[Seen] | None, *, persist: bool) -> AllRows:
        """Return the checked rows of partitions."""
        template: Any = self.to_local()
        weight = getattr(template, "class_weight", None)
        if isinstance(weight, str):
            template.class_weight = balanced(
                seen_in(session, partitions, with_labels=self._labels) if seen is None else seen
            )
        rows = AllRows.of_partitions(
            session,
            partitions,
            make_estimator_part,
            session.constant(template),
            session.constant(Blueprint(self._network)),
            persist=persist,
            has_weights=partitions.has_weights or weight is not None,
        )
        rows.require_rows()
        return rows

    def _partitions_of(self, X: Any, y: Any, sample_weight: Any) -> Partitions:
        return partitions_of(
            X, y, sample_weight, names=("X", "y"), in_memory=f"use fastbp.neural_network.{self._local.__name__} for"
        )

    def _require_mini_batches(self, n_rows: int) -> None:
        """Refuse parameters that mean nothing where each step looks at all rows."""
        if batch_rows_of(self, n_rows) < n_rows:
            return
        for name, is_given, allowed in (
            ("dropout", np.any(self.dropout), 0),
            ("average_every", self.average_every is not None, None),
        ):
            if is_given:
                raise ValueError(
                    f"`{name}` must be {allowed} where each step looks at all {n_rows} rows; got "
                    f"{getattr(self, name)!r}. Pass a smaller `batch_size`."
                )

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

    def _train_on(self, rows: AllRows, watched: AllRows | None, first_pass: bool, has_losses: bool) -> None:
        """Fit with 'adam' or 'sgd'."""
        net, rng = self._network, self._random_state
        initialise_record(self, first_pass, has_losses=has_losses)
        self._optimizer = state = optimizer_for(self, net, getattr(self, "_optimizer", None), False)
        n_rows = len(rows)
        batch_rows = batch_rows_of(self, n_rows)
        if self.batch_size != "auto" and self.batch_size > n_rows:
            warn("Got `batch_size` less than 1 or larger than sample size. It is going to be clipped")
        objective, steps = self._objective(), cast(Any, None)
        if batch_rows == n_rows:
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
        counts = counts_aside(rows.n_rows, self.validation_fraction)
        both = [rows.some(choose, counts, seed) for choose in (without, aside)]
        if len(both[1]) < 2 or not both[0].total_weight or not both[1].total_weight:
            raise ValueError(
                "The validation set is too small. Increase 'validation_fraction' or the size of your dataset."
            )
        return both[0], both[1]

    def _watched_rows(self, session: Session, validation: Given) -> AllRows:
        """Return the user's validation rows, on the cluster or sent there."""
        members = validation.X, validation.y, validation.sample_weight
        try:
            is_on_cluster = any(map(is_collection, members))
            partitions = self._partitions_of(*members) if is_on_cluster else pieces_of(session, *members)
            return self._rows_of(session, partitions, None, persist=True)
        except (TypeError, ValueError) as error:
            kind = TypeError if isinstance(error, TypeError) else ValueError
            raise kind(f"In {validation.argument}: {error}") from error

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
        check_is_fitted(self)
        partitions = self._partitions_of(X, y, sample_weight)
        with session_on(self.client) as session:
            shared = session.constant(self._predictor())
            tasks = [session.task(scores.scored, i, shared, *source) for i, source in enumerate(partitions.sources)]
            return scores.score_of(session.result(session.task(chain, tasks)))

    def _predictor(self) -> Any:
        """Return what predicts on the workers, where as many partitions as there are threads are in work at once."""
        local = self.to_local()
        local.n_threads = 1
        return local

    def _lazily(self, method: str, X: Any, n_columns: int | None, dtype: Any) -> Array:
        """Return what a method of the local class predicts for each partition; `dtype` is None for that of outputs."""
        require_collection(X, "X", f"use fastbp.neural_network.{self._local.__name__} for")
        meta, local = X._meta, self._predictor()
        columns = getattr(meta, "columns", None)
        row: Any = np.zeros((1, *X.shape[1:]))
        validate_data(local, row if columns is None else type(meta)(row, columns=columns), reset=False)
        if dtype is None:
            net, kind = self._linked(), np.asarray(meta[:0]).dtype if columns is not None else X.dtype
            in_own = self.dtype is not None
            dtype = net.dtype if in_own else np.result_type(np.float64 if kind.kind == "O" else kind, net.dtype)
        return lazily(local, method, X, n_columns, dtype)
