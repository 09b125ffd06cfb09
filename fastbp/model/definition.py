"""`Definition`: everything that a network is, but its parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from fastbp import validation
from fastbp.engine import parameters
from fastbp.engine.problem import Problem
from fastbp.functions.activations import activation_entry, facts_of_activation
from fastbp.functions.losses import PARAMETERS, facts_of_loss, loss_entry, second_derivative_of_loss
from fastbp.functions.names import ActivationName, InitializerName, LossName, OutputName
from fastbp.functions.own import Activation, Loss
from fastbp.functions.segments import Segment

__all__ = [
    "ActivationSpec",
    "Definition",
    "OutputSpec",
    "checked_network",
    "has_own_functions",
    "problem_of",
    "require_network",
    "require_networks",
    "settings_of",
]

_Runs = Sequence[validation.Run]
ActivationSpec = ActivationName | Activation | Sequence[ActivationName | Activation | _Runs]
OutputSpec = OutputName | Activation | _Runs

_Network = TypeVar("_Network", bound="Definition")


class Definition:
    """Sizes, activations, loss, penalties and dropout of a network, and what follows from them."""

    feature_names: tuple[str, ...] | None = None  # of the last data frame that it was fitted on

    @property
    def feature_names_in_(self) -> NDArray[np.object_]:
        """`feature_names` as scikit-learn's estimators have them, (n_features,); only of a network that has them."""
        if self.feature_names is None:
            raise AttributeError(
                f"this {type(self).__name__} has no `feature_names_in_`; it was fitted on no data frame with names"
            )
        return np.array(self.feature_names, object)

    def _define(
        self,
        sizes: Sequence[int],
        dtype: np.dtype,
        activation: ActivationSpec,
        output: OutputSpec,
        loss: LossName | Loss,
        initializer: InitializerName,
        l2_penalty: float,
        l1_penalty: float,
        dropout: float | Sequence[float],
        loss_parameter: float | None = None,
    ) -> None:
        """Check and keep everything but the parameters."""
        self._sizes, self._dtype, self._initializer = validation.layer_sizes(sizes), dtype, initializer
        self._runs = validation.activation_runs(activation, output, self._sizes)
        self._loss = validation.loss_for_output(loss, self._runs[-1])
        self._loss_parameter = _checked_parameter(loss_parameter, self._loss)
        self._l2_penalty = validation.real_number(l2_penalty, "l2_penalty", 0.0)
        self._l1_penalty = validation.real_number(l1_penalty, "l1_penalty", 0.0)
        self._dropout = validation.dropout_rates(dropout, len(self._sizes) - 2)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Layer sizes, inputs first."""
        return self._sizes

    @property
    def dtype(self) -> np.dtype:
        """Type of parameters, inputs and outputs: float32 or float64."""
        return self._dtype

    @property
    def n_params(self) -> int:
        """Number of weights and biases."""
        return parameters.count_params(self._sizes)

    @property
    def loss(self) -> LossName | Loss:
        """The loss."""
        return self._loss

    @property
    def loss_parameter(self) -> float | None:
        """The loss's parameter; None where it has none."""
        return self._loss_parameter

    @property
    def activations(self) -> tuple[tuple[validation.Run, ...], ...]:
        """For each layer the runs (activation, number of neurons)."""
        return tuple(tuple(runs) for runs in self._runs)

    @property
    def initializer(self) -> InitializerName:
        """Name of the distribution of the initial parameters."""
        return self._initializer

    @property
    def penalties(self) -> tuple[float, float]:
        """`l2_penalty` and `l1_penalty`."""
        return self._l2_penalty, self._l1_penalty

    @property
    def dropout(self) -> tuple[float, ...]:
        """Each hidden layer's dropout rate."""
        return tuple(self._dropout)

    @property
    def has_softmax(self) -> bool:
        """Whether the output layer is a softmax."""
        return facts_of_activation(self._runs[-1][0][0]).whole_layer


def settings_of(net: Definition) -> dict[str, Any]:
    """Return the arguments of `Network` that define a network, all but sizes and dtype."""
    *hidden, output = net._runs
    l2_penalty, l1_penalty = net.penalties
    return {
        "activation": hidden,
        "output": output[0][0] if net.has_softmax else output,
        "loss": net.loss,
        "initializer": net.initializer,
        "l2_penalty": l2_penalty,
        "l1_penalty": l1_penalty,
        "dropout": net._dropout,
        "loss_parameter": net.loss_parameter,
    }


def problem_of(net: Definition, dtype: np.dtype | None = None) -> Problem:
    """Return what the kernels are told of a network, in another dtype if so wanted; custom functions are compiled."""
    dtype, layers, all_runs = dtype or net.dtype, [], net.activations
    for layer, runs in enumerate(all_runs):
        segments, begin, is_output = [], 0, layer == len(all_runs) - 1
        for activation, count in runs:
            segments.append(Segment(begin, begin + count, *activation_entry(activation, is_output, dtype)))
            begin += count
        layers.append(tuple(segments))
    return Problem(
        sizes=net.sizes,
        dtype=dtype,
        segments=tuple(layers),
        loss=loss_entry(net.loss, [name for name, _ in all_runs[-1]], dtype),
        loss_second=second_derivative_of_loss(net.loss, dtype),
        loss_parameter=net.loss_parameter or 0.0,
        penalties=net.penalties,
        dropout=net.dropout,
        own=_own_functions(all_runs, net.loss),
    )


def _own_functions(all_runs: Sequence[_Runs], loss: LossName | Loss) -> tuple[Activation | Loss, ...]:
    """Return the activations and the loss that are the user's, each of them once."""
    functions = [activation for runs in all_runs for activation, _ in runs] + [loss]
    return tuple({id(each): each for each in functions if isinstance(each, Activation | Loss)}.values())


def has_own_functions(net: Definition) -> bool:
    """Whether an activation or the loss is the user's own."""
    runs = net._runs
    return isinstance(net.loss, Loss) or any(isinstance(name, Activation) for layer in runs for name, _ in layer)


def require_network(net: object) -> None:
    """Raise unless it is a network."""
    if not isinstance(net, Definition):
        raise TypeError(f"`net` must be a bp.Network; got {type(net).__name__}.")


def require_networks(networks: Any) -> list[Any]:
    """Return a list of networks, or raise."""
    if isinstance(networks, Definition) or not isinstance(networks, Sequence):
        raise TypeError(f"`networks` must be a list of bp.Network; got {type(networks).__name__}.")
    for i, net in enumerate(networks):
        if not isinstance(net, Definition):
            raise TypeError(f"`networks` must be a list of bp.Network; networks[{i}] is {type(net).__name__}.")
    return list(networks)


def checked_network(net: _Network) -> _Network:
    """Return the network that a picture is to be made of, or say that it is none."""
    if not isinstance(net, Definition):
        raise TypeError(f"`net` must be a fastbp.Network; got {net!r}. An estimator goes to `from_estimator`.")
    return net


def _checked_parameter(value: Any, loss: LossName | Loss) -> float | None:
    """Return the parameter of a known loss; None where it has none."""
    bounds = facts_of_loss(loss).parameter
    if bounds is None:
        if value is None:
            return None
        raise ValueError(
            f"`loss_parameter` must be None, except for the losses {' and '.join(map(repr, PARAMETERS))}; got "
            f"{value!r}."
        )
    default, low, high = bounds
    number = default if value is None else validation.real_number(value, "loss_parameter", low, open_low=True)
    if number >= high:
        raise ValueError(
            f"`loss_parameter` must be above {low:g} and below {high:g} for `loss={loss!r}`; got {value!r}."
        )
    return number
