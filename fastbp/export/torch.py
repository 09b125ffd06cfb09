"""Parameters as torch names them, there and back."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp import validation
from fastbp.engine import parameters
from fastbp.model.definition import require_network
from fastbp.model.model import Model

__all__ = ["load_torch_state_dict", "torch_params", "torch_state_dict"]

_NUMBER = re.compile(r"[0-9]+")


def torch_state_dict(net: Model) -> dict[str, NDArray[Any]]:
    """Return the parameters as torch names them: `Network.torch_state_dict`, which says more."""
    require_network(net)
    state: dict[str, NDArray[Any]] = {}
    for layer, (W, b) in enumerate(zip(net.weights, net.biases, strict=True)):
        state[f"{2 * layer}.weight"] = W.T.copy()
        state[f"{2 * layer}.bias"] = b.copy()
    return state


def load_torch_state_dict(net: Model, state: Mapping[str, Any]) -> None:
    """Give a network the parameters of a torch model: `Network.load_torch_state_dict`, which says more."""
    require_network(net)
    params, sizes = torch_params(state)
    if sizes != list(net.sizes):
        raise ValueError(f"`state` must have layers of the sizes {list(net.sizes)}, as the network; it has {sizes}.")
    net.params = params


def torch_params(state: Any) -> tuple[NDArray[Any], list[int]]:
    """Return the flat parameters and the layer sizes of a state dict."""
    if not isinstance(state, Mapping) or not all(isinstance(key, str) for key in state):
        raise TypeError(
            f"`state` must be a mapping of names to arrays, a torch state_dict(); got {type(state).__name__}."
        )
    layers: dict[str, dict[str, NDArray[Any]]] = {}
    for key, value in state.items():
        name, _, part = key.rpartition(".")
        if part not in ("weight", "bias"):
            raise ValueError(f"`state` must be that of Linear layers, with a weight and a bias each; got {key!r}.")
        layers.setdefault(name, {})[part] = _array(key, value)
    for name, parts in layers.items():
        W, b = parts.get("weight"), parts.get("bias")
        if W is None or b is None or W.ndim != 2 or b.shape != W.shape[:1] or not W.size:
            shapes = {part: array.shape for part, array in parts.items()}
            raise ValueError(
                "`state` must have for each Linear layer a weight of shape (fan_out, fan_in) and a bias of shape "
                f"(fan_out,); layer {name!r} has {shapes}."
            )
    names = [".".join(parts) for parts in _in_order([name.split(".") for name in layers])]
    return _joined([(layers[name]["weight"], layers[name]["bias"]) for name in names])


def _in_order(names: list[list[str]]) -> list[list[str]]:
    """Return layers' names, split at their dots; those that differ in one number are sorted by that number.

    This is done level by level, since only members of the same module may change places; names without a number stay
    where they are.
    """
    runs = [list(run) for _, run in groupby(names, key=lambda parts: parts[:1])]
    families: dict[str, list[list[list[str]]]] = {}
    for run in runs:
        families.setdefault(_family(run), []).append(run)
    followers = {family: iter(sorted(members, key=_numbers)) for family, members in families.items()}
    ordered = []
    for run in (next(followers[_family(run)]) for run in runs):
        tails = [parts[1:] for parts in run]
        ordered += [[*run[0][:1], *tail] for tail in (_in_order(tails) if len(run) > 1 else tails)]
    return ordered


def _family(run: list[list[str]]) -> str:
    """Return the first part of names without its numbers: the same for all that differ in their numbers only."""
    return _NUMBER.sub("#", ".".join(run[0][:1]))


def _numbers(run: list[list[str]]) -> list[tuple[int, str]]:
    """Return the numbers in the first part of names, as keys to sort by, of any length."""
    digits = (number.lstrip("0") for number in _NUMBER.findall(".".join(run[0][:1])))
    return [(len(number), number) for number in digits]


def _array(key: str, value: Any) -> NDArray[Any]:
    """Return a finite array of float32 or float64 from a tensor or an array."""
    try:
        array = np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)
    except (TypeError, ValueError, RuntimeError) as error:  # torch: a dtype that NumPy does not have, for instance
        raise TypeError(f"`state[{key!r}]` must be a tensor or an array of numbers; {error}.") from error
    if array.dtype not in map(np.dtype, validation.DTYPES):
        raise TypeError(f"`state[{key!r}]` must have dtype float32 or float64; got {array.dtype}.")
    validation.require_finite(array, f"state[{key!r}]")
    return array


def _joined(layers: Sequence[tuple[NDArray[Any], NDArray[Any]]]) -> tuple[NDArray[Any], list[int]]:
    """Return the flat parameters and the layer sizes of layers that follow each other."""
    if not layers:
        raise ValueError("`state` must have at least one Linear layer; it is empty.")
    dtypes = {array.dtype for layer in layers for array in layer}
    if len(dtypes) > 1:
        raise TypeError(f"`state` must have one dtype; it has {', '.join(sorted(map(str, dtypes)))}.")
    sizes = [layers[0][0].shape[1], *(W.shape[0] for W, _ in layers)]
    if any(W.shape[1] != fan_in for (W, _), fan_in in zip(layers, sizes, strict=False)):
        shapes = [W.shape for W, _ in layers]
        raise ValueError(f"`state` must have layers that fit each other, in order; its weights have shapes {shapes}.")
    params = np.empty(parameters.count_params(sizes), dtypes.pop())
    for (W, b), weights, biases in zip(layers, *parameters.views(params, sizes), strict=True):
        weights[...], biases[...] = W.T, b
    return params, sizes
