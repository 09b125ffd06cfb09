"""`WeightHistory`: every parameter, or a sample of them, after each epoch."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp import validation
from fastbp.engine import parameters
from fastbp.model.definition import require_network
from fastbp.model.model import Model


class WeightHistory:
    """A callback that records a network's parameters: once at the start, then after every epoch.

    Parameters
    ----------
    net : Network
        The network that will be trained.
    sample : int, optional
        Record this many parameters, drawn at random, instead of all: a large network's history fills the memory, with
        ``n_params`` numbers for each epoch.
    seed : int
        Seed of the sample.

    Attributes
    ----------
    indices : ndarray of int64, shape (n_recorded,)
        Which of `Network.params` are recorded.
    names : list of str
        Their names, ``"W1[0, 2]"`` or ``"b2[1]"``: layers are counted from 1 as in ``[W1 b1 W2 b2 ...]``, the indices
        are those of ``net.weights`` and ``net.biases``.

    Raises
    ------
    ValueError
        If there are fewer parameters than `sample`, or if a network of another size is recorded.

    Examples
    --------
    >>> import fastbp as bp
    >>> net = bp.Network([1, 2, 1], activation="tanh", seed=0)
    >>> weights = bp.WeightHistory(net)
    >>> history = net.fit([[0.0], [1.0]], [[0.0], [1.0]], epochs=5, seed=0, callbacks=[weights])
    >>> weights.values.shape
    (6, 7)
    >>> weights.names
    ['W1[0, 0]', 'W1[0, 1]', 'b1[0]', 'b1[1]', 'W2[0, 0]', 'W2[1, 0]', 'b2[0]']
    """

    def __init__(self, net: Model, *, sample: int | None = None, seed: int = 0) -> None:
        require_network(net)
        self._n_params = net.n_params
        self.indices = parameter_sample(net.n_params, sample, seed)
        self.names = parameter_names(net, self.indices)
        self._records = [net.params[self.indices]]

    @property
    def values(self) -> NDArray[Any]:
        """What was recorded (n_epochs + 1, n_recorded): row 0 is the start, row k the end of epoch k."""
        return np.array(self._records)

    def __len__(self) -> int:
        return len(self._records)

    def __repr__(self) -> str:
        return f"<WeightHistory of {len(self.indices)} of {self._n_params} parameters, {len(self) - 1} epochs>"

    def __call__(self, net: Model, history: object) -> None:
        """Record the parameters; `fit` calls this after each epoch."""
        if net.n_params != self._n_params:
            raise ValueError(
                f"`net` must have the {self._n_params} parameters of the network that this WeightHistory was made for; "
                f"got {net.n_params}. Make one for each network."
            )
        self._records.append(net.params[self.indices])


def parameter_sample(n_params: int, sample: int | None, seed: int = 0) -> NDArray[np.int64]:
    """Return all indices, or a random sample of them in ascending order."""
    if sample is None:
        return np.arange(n_params)
    count = validation.positive_integer(sample, "sample")
    if count > n_params:
        raise ValueError(f"`sample` must be at most the number of parameters, {n_params}; got {count}.")
    return np.sort(np.random.default_rng(validation.seed(seed)).choice(n_params, count, replace=False))


def parameter_names(net: Model, indices: NDArray[np.int64]) -> list[str]:
    """Return names such as ``W1[0, 2]`` and ``b1[2]`` of some of `Network.params`."""
    places = parameters.views(np.arange(net.n_params), net.sizes)
    starts = np.array([view.flat[0] for pair in zip(*places, strict=True) for view in pair])
    names = []
    for index in indices:
        block = int(np.searchsorted(starts, index, side="right")) - 1
        layer, is_bias = divmod(block, 2)
        place = int(index - starts[block])
        fan_out = net.sizes[layer + 1]
        names.append(f"b{layer + 1}[{place}]" if is_bias else f"W{layer + 1}[{place // fan_out}, {place % fan_out}]")
    return names
