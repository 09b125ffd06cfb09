"""Sizes, activations, loss and dropout of a network, checked."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastbp.functions.activations import ACTIVATION_NAMES, OF_LAYERS, facts_of_activation
from fastbp.functions.losses import LOSS_NAMES, facts_of_loss
from fastbp.functions.names import LossName, OutputName, nearest
from fastbp.functions.own import Activation, Loss
from fastbp.validation.numbers import positive_integer, real_number

MOST_BLAS = (1 << 31) - 1  # what SciPy's BLAS takes as a size or as the distance of two rows


Run = tuple[OutputName | Activation, int]  # an activation and the number of neighbouring neurons that have it


def layer_sizes(sizes: Any) -> tuple[int, ...]:
    """Return the layer sizes as ints: at least an input and an output, each of at least 1."""
    if isinstance(sizes, str) or not isinstance(sizes, Sequence | np.ndarray) or getattr(sizes, "ndim", 1) != 1:
        raise TypeError(f"`sizes` must be a sequence of layer sizes such as [784, 30, 10]; got {sizes!r}.")
    if len(sizes) < 2:
        raise ValueError(f"`sizes` must have at least two entries, the inputs and the outputs; got {list(sizes)}.")
    checked = tuple(positive_integer(size, f"sizes[{i}]") for i, size in enumerate(sizes))
    for i, size in enumerate(checked):
        if size > MOST_BLAS:
            raise ValueError(
                f"`sizes[{i}]` must be at most {MOST_BLAS}, because matrix products count in 32 bits; got {size}."
            )
    return checked


def activation_runs(activation: Any, output: Any, sizes: Sequence[int]) -> list[list[Run]]:
    """Return each layer's runs of neurons with one activation, from the arguments of `Network`."""
    n_hidden = len(sizes) - 2
    if isinstance(activation, str | Activation):
        entries = [_activation_name(activation, "activation", softmax=False)] * n_hidden  # also where none is hidden
    elif isinstance(activation, Sequence):
        entries = list(activation)
        if len(entries) != n_hidden:
            raise ValueError(
                f"`activation` must be one name, or a list with one entry for each of the {n_hidden} hidden layers; "
                f"got {len(entries)} entries. The output layer's activation is `output`."
            )
    else:
        raise TypeError(
            f"`activation` must be a name, a bp.Activation, or a list of them; got {type(activation).__name__}."
        )
    runs = [
        _layer_runs(entry, size, f"activation[{i}]" if n_hidden > 1 else "activation", softmax=False)
        for i, (entry, size) in enumerate(zip(entries, sizes[1:-1], strict=True))
    ]
    return [*runs, _layer_runs(output, sizes[-1], "output", softmax=True)]


def _layer_runs(entry: Any, size: int, argument: str, *, softmax: bool) -> list[Run]:
    """Return one layer's runs; they must cover its neurons, and softmax must be alone."""
    if isinstance(entry, str | Activation):
        return [(_activation_name(entry, argument, softmax=softmax), size)]
    if not isinstance(entry, Sequence) or not all(isinstance(run, Sequence) and len(run) == 2 for run in entry):
        raise TypeError(
            f"`{argument}` must be a name, a bp.Activation, or a list of (name, count) that covers the layer's {size} "
            f"neurons; got {entry!r}."
        )
    runs = [
        (
            _activation_name(name, argument, softmax=False),
            positive_integer(count, f"count of {name!r} in {argument}"),
        )
        for name, count in entry
    ]
    total = sum(count for _, count in runs)
    if total != size:
        raise ValueError(f"`{argument}` must cover the layer's {size} neurons; its counts add up to {total}.")
    return runs


def _activation_name(name: Any, argument: str, *, softmax: bool) -> OutputName | Activation:
    """Return a known activation."""
    if isinstance(name, Activation):
        return name
    if not isinstance(name, str) or name not in ACTIVATION_NAMES:
        raise ValueError(
            f"`{argument}` must be the name of an activation; got {name!r}. {nearest(name, ACTIVATION_NAMES)}"
        )
    if name in OF_LAYERS and not softmax:
        raise ValueError(
            f"`{argument}` cannot be 'softmax': softmax normalises a whole output layer, so it is allowed as "
            "`output='softmax'` only. Use 'sigmoid' or 'tanh' in a hidden layer."
        )
    return name


def loss_for_output(loss: Any, output: list[Run]) -> LossName | Loss:
    """Return a known loss that fits the activations of the output layer."""
    if isinstance(loss, Loss):
        return loss
    if not isinstance(loss, str) or loss not in LOSS_NAMES:
        raise ValueError(f"`loss` must be the name of a loss or a bp.Loss; got {loss!r}. {nearest(loss, LOSS_NAMES)}")
    names = [name.name if isinstance(name, Activation) else name for name, _ in output]
    facts = facts_of_loss(loss)
    if facts.only_matching and not any(all(name == match for name, _ in output) for match in facts.matching):
        raise ValueError(
            f"`loss={loss!r}` needs outputs that are probabilities: `output='softmax'` for classes of which one "
            f"is true, 'sigmoid' for independent ones; got output {_described(names)}."
        )
    if facts.positive_outputs and not all(facts_of_activation(name).positive for name, _ in output):
        raise ValueError(
            f"`loss={loss!r}` needs outputs that are positive: 'exp', 'softplus', 'sigmoid' or 'softmax'; got output "
            f"{_described(names)}."
        )
    return loss


def _described(names: list[str]) -> str:
    return repr(names[0]) if len(names) == 1 else repr(names)


def dropout_rates(dropout: Any, n_hidden: int) -> list[float]:
    """Return one dropout rate for each hidden layer, each in [0, 1)."""
    if isinstance(dropout, Sequence) and not isinstance(dropout, str):
        if len(dropout) != n_hidden:
            raise ValueError(
                f"`dropout` must be one rate, or one for each of the {n_hidden} hidden layers; got {len(dropout)}."
            )
        rates = [real_number(rate, f"dropout[{i}]", 0.0) for i, rate in enumerate(dropout)]
    else:
        rates = [real_number(dropout, "dropout", 0.0)] * n_hidden
    if any(rate >= 1 for rate in rates):
        raise ValueError(f"`dropout` must be below 1, the share of neurons that is dropped; got {max(rates)}.")
    return rates
