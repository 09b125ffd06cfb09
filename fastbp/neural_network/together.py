"""Fits of many estimators side by side: Python prepares and records some while the kernels train others.

A call of the kernels takes several epochs of each of a batch of fits, one thread for each fit.  It is made by a thread
of its own, so that meanwhile this one checks the data of later fits, draws their initial parameters, records what
earlier ones have learned, and scores them.  Every fit has the bits that it has alone: it shares no numbers with others.
"""

from __future__ import annotations

import time
import weakref
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from fastbp.engine.calls import make_ready
from fastbp.engine.cutting import inputs_of, is_shared
from fastbp.engine.many import Controls, Member, Memory, train_together
from fastbp.engine.rows import Data
from fastbp.functions.own import Activation, Loss
from fastbp.kernels.roots import many as kernel
from fastbp.neural_network.base import BaseMLP
from fastbp.neural_network.classifier import MLPClassifier
from fastbp.neural_network.parameters import STOCHASTIC_SOLVERS
from fastbp.neural_network.regressor import MLPRegressor
from fastbp.neural_network.stochastic import StochasticFit, batch_rows_of, needs_python
from fastbp.validation.data import Targets
from fastbp.validation.sparse_rows import SparseRows

# A call is to be long beside the 0.1 ms that Python takes to begin and to end a fit's part of it, and short beside the
# whole, since the threads end it at different times and the first one comes after its fits were prepared.
_FITS_PER_THREAD = 8
_FIRST_FITS_PER_THREAD = 2
_SECONDS_PER_CALL = 0.3
_MOST_LOOKS = 4  # at a data set that are kept: each may be a copy of it
_MOST_FOLDS = 50  # of which it is known whether they have all classes
_CALLS_AHEAD = 2  # one that runs, and one that begins when it is over


@dataclass
class _Call:
    """Some epochs of some fits of one dtype, begun together."""

    fits: list[tuple[int, StochasticFit]]
    controls: Controls
    future: Future[float] = field(default_factory=Future)  # the seconds that it took


class SideBySide:
    """Many fits, asked for one after the other, and trained side by side.

    Parameters
    ----------
    n_fits : int
        How many there are.
    prepare : callable
        Returns a fit by its number, in their order; None for one that can only be made alone.
    n_threads : int
        Threads that train.

    Attributes
    ----------
    seconds : ndarray of float64, shape (n_fits,)
        How long threads have trained each of them, about: fits of one call share its time as was estimated.
    """

    def __init__(self, n_fits: int, prepare: Callable[[int], StochasticFit | None], n_threads: int) -> None:
        self._n_fits, self._prepare, self._n_threads = n_fits, prepare, n_threads
        self.seconds = np.zeros(n_fits)
        self._next = 0
        self._begun = deque[tuple[int, StochasticFit]]()  # whose next epochs nobody takes yet
        self._calls = deque[_Call]()
        self._ends: dict[int, Exception | bool] = {}  # of fits that nobody has asked for yet
        self._batch = _FIRST_FITS_PER_THREAD * n_threads
        self._pool = ThreadPoolExecutor(1, "fastbp-side-by-side")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """End what is running: after an exception nobody will ask for it."""
        for call in self._calls:
            call.controls.abandon()
        self._pool.shutdown(cancel_futures=True)

    def train(self, number: int) -> bool:
        """Wait until a fit is over; False if it must be made alone.  Raises the error of a fit that failed."""
        while number not in self._ends:
            self._go_on(number)
        end = self._ends.pop(number)
        if isinstance(end, Exception):
            raise end
        return end

    def _go_on(self, wanted: int) -> None:
        """Begin a call, if there is something to train, or else wait for the end of one."""
        if len(self._calls) < _CALLS_AHEAD:
            self._fill(wanted)
            if self._begun:
                self._start()
                return
        if self._calls:
            self._finish(self._calls.popleft())
        elif wanted not in self._ends:
            raise KeyError(wanted)  # it was asked for before

    def _fill(self, wanted: int) -> None:
        """Prepare as many fits as a call takes, but not many more than were asked for: their networks take memory."""
        most = wanted + 4 * _FITS_PER_THREAD * self._n_threads
        while self._next < min(self._n_fits, most) and len(self._begun) < self._batch:
            number = self._next
            self._next += 1
            try:
                fit = self._prepare(number)
            except MemoryError:  # with fewer beside it there may be enough
                self._ends[number] = False
            except Exception as error:  # of this fit only
                self._ends[number] = error
            else:
                if fit is None:
                    self._ends[number] = False
                else:
                    self._begun.append((number, fit))

    def _start(self) -> None:
        """Have the kernels take the next epochs of a batch of fits."""
        n = min(self._batch, len(self._begun))
        self._batch = min(2 * self._batch, _FITS_PER_THREAD * self._n_threads)
        fits = [self._begun.popleft() for _ in range(n)]
        dtype = fits[0][1].dtype
        self._begun.extend(pair for pair in fits if pair[1].dtype != dtype)
        fits = [pair for pair in fits if pair[1].dtype == dtype]
        fits.sort(key=lambda pair: -pair[1].seconds)  # the longest first, so that the threads end together
        members = [fit.begin(_SECONDS_PER_CALL * self._n_threads / n) for _, fit in fits]
        make_ready(dtype, kernel)  # here, where it can be interrupted
        call, seconds = _Call(fits, Controls(self._n_threads)), sum(fit.seconds for _, fit in fits)
        self._calls.append(call)  # before it begins, so that an interruption ends it
        call.future = self._submit(members, self._n_threads, call.controls, seconds)

    def _submit(self, *call: Any) -> Future[float]:
        """Have a call made by another thread, or here if there is to be only one or the system refuses another."""
        if self._n_threads > 1:
            try:
                return self._pool.submit(_timed_call, *call)
            except RuntimeError:  # the call is in the pool's queue, and a thread that came later would make it again
                self._pool.shutdown(wait=False, cancel_futures=True)
        done: Future[float] = Future()
        try:
            done.set_result(_timed_call(*call))
        except Exception as error:
            done.set_exception(error)
        return done

    def _finish(self, call: _Call) -> None:
        """Record the epochs of a call when it is over."""
        try:
            seconds = call.future.result() * min(self._n_threads, len(call.fits))
        except MemoryError:  # one network at a time takes less
            self._ends |= dict.fromkeys((number for number, _ in call.fits), False)
            return
        except Exception as error:  # which no fit can be blamed for
            self._ends |= {number: error for number, _ in call.fits}
            return
        estimated = sum(fit.seconds for _, fit in call.fits)
        for number, fit in call.fits:
            self.seconds[number] += seconds * fit.seconds / estimated
            try:
                is_over = fit.finish()
            except Exception as error:
                self._ends[number] = error
            else:
                if is_over:
                    self._ends[number] = True
                else:
                    self._begun.append((number, fit))


def _timed_call(members: list[Member], n_threads: int, controls: Controls, seconds: float) -> float:
    """Train, in a call that is estimated to take so many seconds for each epoch, and return how many it took."""
    memory = Memory([member.frame for member in members], n_threads)
    began = time.perf_counter()
    train_together(members, memory, seconds, controls=controls)
    return time.perf_counter() - began


# --- What fits of one data set share ----------------------------------------------------------------------------------

# Parameters at which the checks of data do not look: estimators that differ in these alone share what was checked.
_ABOUT_TRAINING = frozenset(
    {
        *("hidden_layer_sizes", "activation", "alpha", "batch_size", "learning_rate", "learning_rate_init", "power_t"),
        *("max_iter", "shuffle", "random_state", "tol", "verbose", "momentum", "nesterovs_momentum", "early_stopping"),
        *(
            "validation_fraction",
            "beta_1",
            "beta_2",
            "epsilon",
            "n_iter_no_change",
            "max_fun",
            "initializer",
            "dropout",
        ),
        *(
            "l1_penalty",
            "clip_norm",
            "scoring",
            "warm_start_optimizer",
            "weight_normalization",
            "n_threads",
            "progress",
        ),
        *("solver", "output_activation", "quantile", "huber_slope"),  # of 'sgd' and 'adam'
    }
)


@dataclass
class _Look:
    """A data set as estimators with some parameters see it."""

    parameters: dict[str, Any]
    data: Data
    learned: dict[str, Any]  # attributes
    _parts: weakref.WeakValueDictionary[int, Data] = field(default_factory=weakref.WeakValueDictionary)

    def part(self, rows: NDArray[np.int64]) -> Data:
        """Return a copy of some rows, the one that other fits have if there is one; the caller keeps `rows`."""
        part = self._parts.get(id(rows))
        if part is None:
            part = self._parts[id(rows)] = self.data.rows(rows)
        return part


class Lessons:
    """A data set, which is checked and converted once for all fits that look at it in the same way.

    Parameters
    ----------
    X, y : array-like
        The data, as a user passes them to `fit`.
    sample_weight : array-like or None
        Weights of the rows.
    n_fits, n_threads : int
        How many fits there will be, and threads for them.
    """

    def __init__(self, X: Any, y: Any, sample_weight: Any, *, n_fits: int, n_threads: int) -> None:
        self._raw = X, y, sample_weight
        self._threads_are_left = n_threads > n_fits
        self._known = deque[_Look](maxlen=_MOST_LOOKS)
        self._alike = deque[tuple[NDArray[np.int64], Targets, bool]](maxlen=_MOST_FOLDS)

    def fit_of(self, estimator: BaseMLP, rows: NDArray[np.int64] | None = None) -> StochasticFit | None:
        """Return a fit on some of the rows; None, with nothing drawn at random, if it can only be made alone.

        The estimator's parameters were checked, and it was never fitted; the rows are indices into the data.
        """
        if not _is_plain(estimator):
            return None
        try:
            hidden, look = estimator._hidden_sizes(), self._look_of(estimator)
        except (TypeError, ValueError):  # which may come of rows that it is not to be fitted to
            return None
        data = look.data
        if needs_python(estimator, data) or not self._are_alike(estimator, data, rows):
            return None
        if self._threads_are_left:
            sizes = [data.X.shape[1], *hidden, estimator._count_outputs(data.targets)]
            if is_shared(sizes, batch_rows_of(estimator, len(data) if rows is None else len(rows)), inputs_of(data.X)):
                return None
        if rows is not None and (isinstance(data.X, SparseRows) or not estimator.shuffle):
            # how sparse they are decides how they are multiplied; rows in a row have their weights summed otherwise
            data, rows = look.part(rows), None
        estimator._begin(hidden, data, True)
        return estimator._stochastic_fit(data, None, False, True, rows, together=True)

    def _are_alike(self, estimator: BaseMLP, data: Data, rows: NDArray[np.int64] | None) -> bool:
        """Whether some of the rows are encoded and weighted as they are among all."""
        weights = data.sample_weight
        if rows is None:
            return True
        if weights is not None and not weights[rows].any():
            return False
        if isinstance(estimator, MLPRegressor):
            return True
        if isinstance(estimator.class_weight, str):
            return False
        for known, labels, answer in self._alike:
            if known is rows and labels is data.targets:
                return answer
        answer = _has_all_classes(estimator, data.targets, rows)
        self._alike.append((rows, data.targets, answer))
        return answer

    def _look_of(self, estimator: BaseMLP) -> _Look:
        """Return the data, and let the estimator know what the checks have learned of them."""
        own = {name: value for name, value in vars(estimator).items() if name not in _ABOUT_TRAINING}
        for look in self._known:
            if look.parameters == own:
                estimator.__dict__.update(look.learned)
                return look
        before = set(vars(estimator))
        X, y, sample_weight = self._raw
        X, y = estimator._checked(X, y, reset=True)
        data = estimator._data_of(X, y, sample_weight, False, True)
        learned = {name: value for name, value in vars(estimator).items() if name not in before}
        self._known.append(_Look(own, data, learned))
        return self._known[-1]


def _is_plain(estimator: BaseMLP) -> bool:
    """Whether its fit is the one that is known here, with epochs and nothing that needs Python between them."""
    values = vars(estimator)
    activations = values["activation"] if isinstance(values["activation"], list | tuple) else [values["activation"]]
    functions = *activations, values.get("loss"), values.get("output_activation")
    return not (
        type(estimator) not in (MLPClassifier, MLPRegressor)
        or values["solver"] not in STOCHASTIC_SOLVERS
        or values["progress"]
        or any(isinstance(function, Activation | Loss) for function in functions)
        or values.get("_skl_callbacks")
        or "_parent_callback_ctx" in values
    )


def _has_all_classes(estimator: Any, targets: Targets, rows: NDArray[np.int64]) -> bool:
    """Whether each class is among some of the rows, so that they are encoded in the same way."""
    known = targets.array if targets.labels is None else targets.labels
    if known is None or estimator._label_binarizer.y_type_.startswith("multilabel"):
        return False
    return len(np.unique(known[rows])) == len(estimator.classes_)
