"""What stands behind `fastbp.nielsen`: whole epochs, and data sets that are looked at after each of them."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fastbp import validation
from fastbp.engine.calls import DIVERGED
from fastbp.engine.rows import Data
from fastbp.functions.names import LossName
from fastbp.model.model import passes_of
from fastbp.network import Network as RowNetwork
from fastbp.nielsen import columns
from fastbp.nielsen.costs import QuadraticCost
from fastbp.nielsen.shuffling import shuffle
from fastbp.training import optimizers
from fastbp.training.epochs import give_up
from fastbp.training.state import fresh_state
from fastbp.training.steps import Steps


class Network(Protocol):
    """What is used here of a `fastbp.nielsen.Network`, some of whose methods a subclass may override."""

    sizes: Sequence[int]
    dtype: np.dtype
    weights: list[NDArray[Any]]
    biases: list[NDArray[Any]]
    cost: Any

    def feedforward(self, a: Any) -> NDArray[Any]:
        """Return the outputs for one column of inputs."""

    def update_mini_batch(self, mini_batch: Any, eta: Any, lmbda: Any = ..., n: Any = ...) -> None:
        """Take one step."""

    def accuracy(self, data: Any, convert: bool = False) -> int:
        """Return how many samples have their largest output at their label."""

    def total_cost(self, data: Any, lmbda: float, convert: bool = False) -> float:
        """Return the mean cost with the penalty."""

    def _compiled_loss(self) -> LossName | None: ...

    def _row_network(self) -> RowNetwork: ...

    def _overrides(self, name: str) -> bool: ...


def row_network(sizes: Any, loss: LossName, dtype: np.dtype, l2_penalty: float = 0.0) -> RowNetwork:
    """Return a network of sigmoid neurons whose parameters are still to be written."""
    sizes = validation.layer_sizes(sizes)
    return RowNetwork(sizes, "sigmoid", "sigmoid", loss, "zeros", dtype, l2_penalty=l2_penalty)


class Watched:
    """A data set whose accuracy and cost are asked for, its matrices made once.

    Parameters
    ----------
    net : nielsen.Network
        The network.
    data : iterable
        Pairs (x, y) of columns, or (x, label).
    argument : str
        What the data are called in messages.
    has_vectors : bool
        Whether the targets are columns y, or labels.
    """

    def __init__(self, net: Network, data: Any, argument: str, *, has_vectors: bool) -> None:
        self._net, self._argument, self._has_vectors = net, argument, has_vectors
        self.samples = columns.pairs(data, argument)
        read = columns.vectors if has_vectors else columns.labelled
        self.X, self._targets = read(self.samples, argument, net.sizes, net.dtype)

    @cached_property
    def labels(self) -> NDArray[Any]:
        """The labels (n,); the label of a column is the place of its largest entry."""
        return self._targets.argmax(axis=1) if self._has_vectors else self._targets

    @cached_property
    def vectors(self) -> NDArray[Any]:
        """The target vectors (n, n_outputs)."""
        if self._has_vectors:
            return self._targets
        return columns.one_hot(self._targets, self._argument, self._net.sizes[-1], self._net.dtype)

    @cached_property
    def targets(self) -> validation.Targets:
        """The target vectors as the kernels take them."""
        net = self._net
        loss = net._compiled_loss() or "quadratic"  # which allows all targets; a user's own cost checks them itself
        name = f"y of {self._argument}"
        return validation.targets(
            self.vectors, len(self.X), net.sizes[-1], net.dtype, loss, softmax=False, argument=name
        )

    def accuracy(self) -> int:
        """Return how many samples have their largest output at their label."""
        return int((self._outputs().argmax(axis=1) == self.labels).sum())

    def cost(self, lmbda: float) -> float:
        """Return the mean cost, with the L2 penalty ``lmbda / (2 n)`` times the sum of squared weights."""
        net, n = self._net, len(self.X)
        if net._compiled_loss() is not None and not net._overrides("feedforward"):
            mean = passes_of(net._row_network()).cost(self.X, self.targets, None, n_threads=None)
        else:
            cost, ends = net.cost or QuadraticCost, zip(self._outputs(), self.vectors, strict=True)
            mean = sum(float(cost.fn(a.reshape(-1, 1), y.reshape(-1, 1))) for a, y in ends) / n
        squares = sum(float(np.sum(np.square(w, dtype=np.float64))) for w in net.weights)
        return mean + 0.5 * (lmbda / n) * squares

    def _outputs(self) -> NDArray[Any]:
        net = self._net
        if net._overrides("feedforward"):
            return np.hstack([net.feedforward(x.reshape(-1, 1)) for x in self.X]).T
        return passes_of(net._row_network()).outputs(self.X, None)


class CompiledEpochs:
    """Epochs of mini-batches, each of them one call of the kernels."""

    def __init__(self, net: Network, training: Watched, mini_batch_size: int, eta: float, lmbda: float) -> None:
        n = len(training.X)
        self._net, self._training = net, training.samples
        self._samples, self._places = list(training.samples), list(range(n))
        loss = net._compiled_loss()
        assert loss is not None  # without one there are no compiled epochs
        self._rows = row_network(net.sizes, loss, net.dtype, l2_penalty=lmbda / n)
        columns.read_parameters(
            net.weights, net.biases, self._rows.sizes, self._rows.params
        )  # raises, before anything else is done
        state = fresh_state(self._rows, optimizers.SGD(eta), np.random.default_rng(0))
        batch_rows = min(mini_batch_size, n)
        self._steps = Steps(self._rows, Data(training.X, training.targets), state, batch_rows)
        self._rates = np.full(self._steps.per_epoch, float(eta))

    def take(self, epoch: int) -> None:
        """Shuffle the caller's list as `random.shuffle` would, and take the steps of an epoch in that order."""
        net, rows = self._net, self._rows
        shuffle(self._places)  # uses the random numbers that shuffling the samples themselves would use
        self._training[:] = [self._samples[place] for place in self._places]
        columns.read_parameters(net.weights, net.biases, rows.sizes, rows.params)
        try:
            order = np.array(self._places, np.int64)
            if self._steps.epoch(self._rates, order)[1] == DIVERGED:
                give_up(self._steps, epoch, float(self._rates[0]))
        finally:  # also after Ctrl-C: the steps that were taken count
            self._steps.end_epoch()
            net.weights, net.biases = columns.as_lists(rows.params, rows.sizes)


class PlainEpochs:
    """Epochs of a network whose steps the user has written: `update_mini_batch` with these arguments for each slice."""

    def __init__(self, net: Network, training: Watched, mini_batch_size: int, *arguments: Any) -> None:
        self._net, self._training = net, training.samples
        self._mini_batch_size, self._arguments = mini_batch_size, arguments

    def take(self, epoch: int) -> None:
        """Shuffle the caller's list, and hand its slices to `update_mini_batch`."""
        random.shuffle(self._training)
        for start in range(0, len(self._training), self._mini_batch_size):
            mini_batch = self._training[start : start + self._mini_batch_size]
            self._net.update_mini_batch(mini_batch, *self._arguments)


@dataclass(frozen=True)
class Monitoring:
    """What the improved form of SGD is asked to look at after each epoch."""

    evaluation_cost: bool = False
    evaluation_accuracy: bool = False
    training_cost: bool = False
    training_accuracy: bool = False
    early_stopping_n: int = 0


class Monitor:
    """What the improved form of SGD records, prints and stops by."""

    def __init__(self, net: Network, wanted: Monitoring, training: Watched, evaluation_data: Any, lmbda: float) -> None:
        self._net, self._wanted, self._training, self._lmbda = net, wanted, training, lmbda
        if evaluation_data is None and (wanted.evaluation_cost or wanted.evaluation_accuracy):
            raise ValueError(
                "`monitor_evaluation_cost` and `monitor_evaluation_accuracy` need `evaluation_data`, a list of "
                "(x, label); got none."
            )
        if evaluation_data is None and wanted.early_stopping_n and not wanted.training_accuracy:
            raise ValueError(
                "`early_stopping_n` needs an accuracy to watch: give `evaluation_data`, a list of (x, label), or "
                "monitor_training_accuracy=True."
            )
        self._evaluation = (
            None if evaluation_data is None else Watched(net, evaluation_data, "evaluation_data", has_vectors=False)
        )
        if self._evaluation is not None and wanted.evaluation_cost:
            _ = self._evaluation.vectors  # made now, so that labels without an output are an error before the training
        self.records: tuple[list[float], list[int], list[float], list[int]] = [], [], [], []
        self._best = self._waited = 0

    def lines(self, epoch: int) -> Iterator[str]:
        """Look at the data sets after an epoch, and give the lines to print as they are known."""
        wanted = self._wanted
        evaluation_costs, evaluation_accuracies, training_costs, training_accuracies = self.records
        yield f"Epoch {epoch} training complete"
        if wanted.training_cost:
            training_costs.append(self._cost(self._training))
            yield f"Cost on training data: {training_costs[-1]}"
        if wanted.training_accuracy:
            training_accuracies.append(self._count(self._training))
            yield f"Accuracy on training data: {training_accuracies[-1]} / {len(self._training.X)}"
        if self._evaluation is not None:
            if wanted.evaluation_cost:
                evaluation_costs.append(self._cost(self._evaluation))
                yield f"Cost on evaluation data: {evaluation_costs[-1]}"
            if wanted.evaluation_accuracy:
                evaluation_accuracies.append(self._count(self._evaluation))
                yield f"Accuracy on evaluation data: {evaluation_accuracies[-1]} / {len(self._evaluation.X)}"
        yield ""

    def should_stop(self) -> bool:
        """Note the accuracy, and return whether it has not risen for as many epochs as allowed."""
        wanted, (_, evaluation_accuracies, _, training_accuracies) = self._wanted, self.records
        if not wanted.early_stopping_n:
            return False
        if wanted.evaluation_accuracy:
            accuracy = evaluation_accuracies[-1]
        else:
            accuracy = training_accuracies[-1] if self._evaluation is None else self._count(self._evaluation)
        self._best, self._waited = (accuracy, 0) if accuracy > self._best else (self._best, self._waited + 1)
        return self._waited == wanted.early_stopping_n

    def _cost(self, watched: Watched) -> float:
        net, is_evaluation = self._net, watched is self._evaluation
        if net._overrides("total_cost"):
            return net.total_cost(watched.samples, self._lmbda, convert=is_evaluation)
        return watched.cost(self._lmbda)

    def _count(self, watched: Watched) -> int:
        net, is_evaluation = self._net, watched is self._evaluation
        if net._overrides("accuracy"):
            return net.accuracy(watched.samples, convert=not is_evaluation)
        return watched.accuracy()
