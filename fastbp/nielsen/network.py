"""`Network`: both forms of the text's class, columns in and columns out."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from numbers import Real
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastbp import validation
from fastbp.functions.names import LossName
from fastbp.model.model import passes_of
from fastbp.network import Network as RowNetwork
from fastbp.nielsen import columns
from fastbp.nielsen.costs import (
    COMPILED_LOSSES,
    QuadraticCost,
    as_class,
    name_in_files,
    sigmoid,
    sigmoid_prime,
)
from fastbp.nielsen.epochs import CompiledEpochs, Monitor, Monitoring, PlainEpochs, Watched, row_network
from fastbp.nielsen.files import read_document, write_document
from fastbp.system.alone import alone
from fastbp.validation.numbers import FloatDType

__all__ = ["Network", "load"]

Lists = tuple[list[NDArray[Any]], list[NDArray[Any]]]


class Network:
    """A network of sigmoid neurons with the interface of Nielsen's text; columns in, columns out.

    Parameters
    ----------
    sizes : list of int
        Layer sizes, inputs first.
    cost : class, optional
        `QuadraticCost`, `CrossEntropyCost` or a class of your own with static methods ``fn(a, y)`` and
        ``delta(z, a, y)``.  With it the network has the improved form: initial weights divided by ``sqrt(n_{l-1})``,
        and `SGD` as `network2` has it.  Without it the network has the first form and the quadratic cost.
    dtype : {'float64', 'float32'}
        Type of weights and biases; data are converted to it.

    Attributes
    ----------
    num_layers : int
        Number of layers, inputs included.
    sizes : list of int
        As given.
    weights : list of ndarray
        Arrays (n_l, n_{l-1}).  They may be written into or replaced; training replaces them by new arrays.
    biases : list of ndarray
        Arrays (n_l, 1), likewise.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or value.

    Notes
    -----
    Training and evaluation run on whole mini-batches in compiled kernels.  A subclass that overrides
    `update_mini_batch`, `backprop` or `cost_derivative`, and a `cost` of your own, are obeyed: then the steps go sample
    by sample in NumPy, at the published code's speed, and so does the evaluation where `feedforward` is overridden.

    Examples
    --------
    >>> import random, numpy as np, fastbp.nielsen as network
    >>> random.seed(0); np.random.seed(0)
    >>> x, y = np.array([[0.0], [1.0]]), np.array([[1.0], [0.0]])
    >>> net = network.Network([2, 3, 2])
    >>> net.SGD([(x, y), (1 - x, 1 - y)], 2, 1, 3.0, test_data=[(x, 0), (1 - x, 1)])
    Epoch 0: 1 / 2
    Epoch 1: 1 / 2
    """

    cost: Any = None  # of a network of the first form
    dtype: np.dtype = np.dtype(np.float64)
    weights: list[NDArray[Any]]
    biases: list[NDArray[Any]]
    _rows: RowNetwork | None = None  # the network whose kernels do the work; see _row_network

    def __init__(self, sizes: Sequence[int], cost: Any = None, *, dtype: FloatDType = "float64") -> None:
        self.num_layers = len(validation.layer_sizes(sizes))
        self.sizes = sizes
        self.dtype = validation.network_dtype(dtype)
        if cost is None:
            self.large_weight_initializer()
            return
        if not (callable(getattr(cost, "fn", None)) and callable(getattr(cost, "delta", None))):
            raise TypeError(
                "`cost` must be QuadraticCost, CrossEntropyCost or a class with static methods fn(a, y) and "
                f"delta(z, a, y); got {cost!r}."
            )
        self.default_weight_initializer()
        self.cost = cost

    def default_weight_initializer(self) -> None:
        """Draw weights from a normal distribution of variance ``1 / n_{l-1}``, biases from the standard one."""
        self.large_weight_initializer()
        self.weights = [(w / np.sqrt(w.shape[1])).astype(self.dtype) for w in self.weights]

    def large_weight_initializer(self) -> None:
        """Draw all weights and biases from the standard normal distribution, by `numpy.random.randn`."""
        self.biases = [np.random.randn(n, 1).astype(self.dtype) for n in self.sizes[1:]]
        self.weights = [
            np.random.randn(n, n_before).astype(self.dtype)
            for n_before, n in zip(self.sizes[:-1], self.sizes[1:], strict=True)
        ]

    # --- one sample ---------------------------------------------------------------------------------------------------

    def feedforward(self, a: ArrayLike) -> NDArray[Any]:
        """Return the outputs (n_outputs, 1) for the inputs `a` (n_inputs, 1); several columns are several samples."""
        activation = columns.column(a, "a", self.sizes[0]).astype(self.dtype, copy=False)
        for b, w in zip(self.biases, self.weights, strict=True):
            activation = sigmoid(np.dot(w, activation) + b)
        return activation

    def backprop(self, x: ArrayLike, y: ArrayLike) -> Lists:
        """Return the gradient of one sample's cost.

        Parameters
        ----------
        x, y : array_like, shapes (n_inputs, 1) and (n_outputs, 1)
            Inputs and targets.

        Returns
        -------
        nabla_b, nabla_w : list of ndarray
            One array for each layer, with the shapes of `biases` and `weights`.
        """
        activations, zs = [columns.column(x, "x", self.sizes[0]).astype(self.dtype, copy=False)], []
        target = columns.column(y, "y", self.sizes[-1]).astype(self.dtype, copy=False)
        for b, w in zip(self.biases, self.weights, strict=True):
            zs.append(np.dot(w, activations[-1]) + b)
            activations.append(sigmoid(zs[-1]))
        if self.cost is None:
            delta = self.cost_derivative(activations[-1], target) * sigmoid_prime(zs[-1])
        else:
            delta = self.cost.delta(zs[-1], activations[-1], target)
        nabla_b, nabla_w = [delta], [np.dot(delta, activations[-2].T)]
        for layer in range(2, self.num_layers):
            delta = np.dot(self.weights[1 - layer].T, delta) * sigmoid_prime(zs[-layer])
            nabla_b.insert(0, delta)
            nabla_w.insert(0, np.dot(delta, activations[-layer - 1].T))
        return nabla_b, nabla_w

    def cost_derivative(self, output_activations: NDArray[Any], y: NDArray[Any]) -> NDArray[Any]:
        """Return dC/da of the output layer, ``a - y``; a network with a `cost` asks that instead."""
        derivative: NDArray[Any] = output_activations - y
        return derivative

    # --- training -----------------------------------------------------------------------------------------------------

    def SGD(
        self,
        training_data: Any,
        epochs: int,
        mini_batch_size: int,
        eta: float,
        lmbda: Any = 0.0,
        evaluation_data: Any = None,
        monitor_evaluation_cost: bool = False,
        monitor_evaluation_accuracy: bool = False,
        monitor_training_cost: bool = False,
        monitor_training_accuracy: bool = False,
        early_stopping_n: int = 0,
        *,
        test_data: Any = None,
    ) -> tuple[list[float], list[int], list[float], list[int]] | None:
        """Train by stochastic gradient descent, printing a line or more after each epoch.

        Parameters
        ----------
        training_data : list of (x, y)
            Columns x (n_inputs, 1) and y (n_outputs, 1).  A list is shuffled in place before each epoch.
        epochs : int
            Passes over the data.
        mini_batch_size : int
            Samples of a step; the last one of an epoch may have fewer.
        eta : float
            Learning rate: a step is this times the mean gradient of the mini-batch.
        lmbda : float
            L2 penalty: the cost has ``lmbda / (2 n)`` times the sum of squared weights, n the training samples.  As in
            the first form, `test_data` may stand in this place.
        evaluation_data : list of (x, label), optional
            What the next two arguments look at after each epoch.
        monitor_evaluation_cost, monitor_evaluation_accuracy : bool
            Whether to record and print the cost of `evaluation_data`, and how many are classified correctly.
        monitor_training_cost, monitor_training_accuracy : bool
            The same of `training_data`.
        early_stopping_n : int
            Stop when the accuracy has not risen for this many epochs, that of `evaluation_data` if there are any; 0
            never stops.
        test_data : list of (x, label), optional
            First form only: classified and counted after each epoch.

        Returns
        -------
        evaluation_cost, evaluation_accuracy, training_cost, training_accuracy : list
            What was monitored, epoch by epoch; of a network of the first form None, if no argument of the improved form
            was given.

        Raises
        ------
        TypeError, ValueError
            For a wrong argument, before anything is shuffled or trained.
        TrainingDivergedError
            If the cost becomes NaN or infinite.
        RuntimeError
            If another `SGD` of this network is running.
        """
        if lmbda is None or not isinstance(lmbda, Real):
            if test_data is not None:
                raise TypeError("`test_data` was given twice: as the fifth argument, and by name.")
            lmbda, test_data = 0.0, lmbda
        test_data, evaluation_data = columns.or_none(test_data), columns.or_none(evaluation_data)
        wanted = Monitoring(
            evaluation_cost=bool(monitor_evaluation_cost),
            evaluation_accuracy=bool(monitor_evaluation_accuracy),
            training_cost=bool(monitor_training_cost),
            training_accuracy=bool(monitor_training_accuracy),
            early_stopping_n=validation.positive_integer(early_stopping_n, "early_stopping_n", 0),
        )
        is_first_form = self.cost is None and lmbda == 0 and evaluation_data is None and wanted == Monitoring()
        if test_data is not None and not is_first_form:
            raise TypeError(
                "`test_data` is an argument of the first form of SGD only. With a `cost`, or with another argument of "
                "the improved form, write evaluation_data=test_data, monitor_evaluation_accuracy=True."
            )
        n_epochs = validation.positive_integer(epochs, "epochs", 0)
        how = n_epochs, mini_batch_size, eta, lmbda
        watched = None if is_first_form else wanted
        train = functools.partial(self._train, training_data, how, watched, evaluation_data, test_data)
        return alone(self, "SGD", train)

    def _train(
        self,
        training_data: Any,
        how: tuple[int, int, float, float],
        wanted: Monitoring | None,
        evaluation_data: Any,
        test_data: Any,
    ) -> tuple[list[float], list[int], list[float], list[int]] | None:
        """Train; `how` are epochs, mini-batch size, eta and lmbda, and nothing is wanted in the first form."""
        n_epochs, mini_batch_size, eta, lmbda = how
        training = Watched(self, training_data, "training_data", has_vectors=True)
        take_epoch = self._epochs(training, mini_batch_size, eta, lmbda, wanted is None)
        if wanted is None:
            self._train_first_form(take_epoch, n_epochs, test_data)
            return None
        monitor = Monitor(self, wanted, training, evaluation_data, lmbda)
        for epoch in range(n_epochs):
            take_epoch(epoch)
            for line in monitor.lines(epoch):
                print(line)
            if monitor.should_stop():
                break
        return monitor.records

    def _train_first_form(self, take_epoch: Callable[[int], None], n_epochs: int, test_data: Any) -> None:
        test = None if test_data is None else Watched(self, test_data, "test_data", has_vectors=False)
        for epoch in range(n_epochs):
            take_epoch(epoch)
            if test is None:
                print(f"Epoch {epoch} complete")
            else:
                n_right = self.evaluate(test.samples) if self._overrides("evaluate") else test.accuracy()
                print(f"Epoch {epoch}: {n_right} / {len(test.samples)}")

    def _epochs(
        self, training: Watched, mini_batch_size: int, eta: float, lmbda: float, is_first_form: bool
    ) -> Callable[[int], None]:
        """Return the function that trains one epoch: compiled, or by the methods that a subclass has of its own."""
        rows = validation.positive_integer(mini_batch_size, "mini_batch_size")
        rate = validation.real_number(eta, "eta", 0.0, open_low=True)
        penalty = validation.real_number(lmbda, "lmbda", 0.0)
        if self._has_own_gradient() or self._overrides("update_mini_batch"):
            arguments = (rate,) if is_first_form else (rate, penalty, len(training.samples))
            return PlainEpochs(self, training, rows, *arguments).take
        return CompiledEpochs(self, training, rows, rate, penalty).take

    def update_mini_batch(
        self, mini_batch: Sequence[tuple[Any, Any]], eta: float, lmbda: float = 0.0, n: int | None = None
    ) -> None:
        """Take one step on a list of (x, y); `lmbda` and `n`, the size of the training set, are for the L2 penalty."""
        rate = validation.real_number(eta, "eta", 0.0, open_low=True)
        shrink = 1.0
        if lmbda != 0:
            shrink -= rate * validation.real_number(lmbda, "lmbda", 0.0) / validation.positive_integer(n, "n")
        nabla_b, nabla_w = self._mean_gradient(mini_batch)
        pairs_w, pairs_b = zip(self.weights, nabla_w, strict=True), zip(self.biases, nabla_b, strict=True)
        weights = [np.asarray(shrink * w - rate * nw, self.dtype) for w, nw in pairs_w]
        self.weights, self.biases = weights, [np.asarray(b - rate * nb, self.dtype) for b, nb in pairs_b]

    def _mean_gradient(self, mini_batch: Any) -> Lists:
        """Return the mean of the samples' gradients, as lists of nabla_b and nabla_w."""
        if self._has_own_gradient():
            samples = columns.pairs(mini_batch, "mini_batch")
            all_b, all_w = zip(*(self.backprop(x, y) for x, y in samples), strict=True)
            return columns.means(all_b), columns.means(all_w)
        batch = Watched(self, mini_batch, "mini_batch", has_vectors=True)
        rows = self._row_network()
        _, grad = passes_of(rows).value_and_grad(batch.X, batch.targets, None, params=rows.params, n_threads=None)
        nabla_w, nabla_b = columns.as_lists(grad, rows.sizes)
        return nabla_b, nabla_w

    # --- evaluation ---------------------------------------------------------------------------------------------------

    def evaluate(self, test_data: Any) -> int:
        """Return for how many of a list of (x, label) the largest output is at the label."""
        return Watched(self, test_data, "test_data", has_vectors=False).accuracy()

    def accuracy(self, data: Any, convert: bool = False) -> int:
        """Return how many samples are classified correctly: of a list of (x, label), with `convert` of (x, y)."""
        return Watched(self, data, "data", has_vectors=bool(convert)).accuracy()

    def total_cost(self, data: Any, lmbda: float, convert: bool = False) -> float:
        """Return the mean cost of a list of (x, y), with `convert` of (x, label), with the L2 penalty `lmbda`."""
        return Watched(self, data, "data", has_vectors=not convert).cost(lmbda)

    def save(self, filename: str | PathLike[str]) -> None:
        """Write sizes, weights, biases and the cost's name into a JSON file, whole or not at all; `load` reads it.

        Raises
        ------
        TypeError
            If the cost is a class of your own.
        ValueError
            If a weight or bias is NaN or infinite.
        OSError
            If the file cannot be written; one that was there before is whole.
        """
        document = {
            "sizes": [int(size) for size in self.sizes],
            "weights": [np.asarray(w).tolist() for w in self.weights],
            "biases": [np.asarray(b).tolist() for b in self.biases],
            "cost": name_in_files(self.cost or QuadraticCost),
        }
        if self.dtype != Network.dtype:  # else the file is as the published code writes it
            document["dtype"] = self.dtype.name
        write_document(document, filename)

    # --- what the kernels need ----------------------------------------------------------------------------------------

    def _overrides(self, name: str) -> bool:
        """Whether a method is not this class's own."""
        return name in vars(self) or getattr(type(self), name) is not getattr(Network, name)

    def _has_own_gradient(self) -> bool:
        """Whether the gradient is another one than the kernels'."""
        own_derivative = self.cost is None and self._overrides("cost_derivative")
        return self._compiled_loss() is None or own_derivative or self._overrides("backprop")

    def _compiled_loss(self) -> LossName | None:
        """Return the kernels' name of the cost, or None for a cost of the user's own."""
        return "quadratic" if self.cost is None else COMPILED_LOSSES.get(as_class(self.cost))

    def _row_network(self) -> RowNetwork:
        """Return a network of rows with the present weights and biases, made again where the sizes or cost changed."""
        sizes, loss = validation.layer_sizes(self.sizes), self._compiled_loss() or "quadratic"
        rows = self._rows
        if rows is None or (rows.sizes, rows.loss, rows.dtype) != (sizes, loss, self.dtype):
            rows = self._rows = row_network(sizes, loss, self.dtype)
        columns.read_parameters(self.weights, self.biases, sizes, rows.params)
        return rows


def load(filename: str | PathLike[str], network_class: type[Network] = Network) -> Network:
    """Return the network that `Network.save` wrote, in its improved form.

    Raises
    ------
    OSError
        If the file cannot be read.
    FileError
        If it is damaged, or not a file of this kind.  It is a ValueError that names the file and the reason.
    """
    document = read_document(filename, {cost.__name__ for cost in COMPILED_LOSSES})
    cost = next(cost for cost in COMPILED_LOSSES if cost.__name__ == document.cost)
    net = network_class(document.sizes, cost=cost, dtype=document.dtype)
    net.weights, net.biases = document.weights, document.biases
    return net
