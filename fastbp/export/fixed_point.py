"""Networks of integers: points and weights chosen from ranges, and the outputs that the C file computes, bit for bit.

An activation a is the integer a 2**point, a weight w the integer w 2**weight_point; each layer has one point for its
outputs and one for its weights.  (A point for each neuron would make the weights of neurons with small weights finer
than those beside them, while the next layer adds the errors of all of them up: little is gained.)  The sum of a layer's
products is exact, so that its order and its parts do not matter; it is rounded once, halves up, where it becomes z.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp.export.fixed_functions import (
    INTEGER_FUNCTIONS,
    LEAKY_DIVISOR,
    TABLE_OF,
    Z_REACH,
    Format,
    Integers,
    shifted,
)
from fastbp.export.fixed_ranges import OF_UNIT, POSITIVE, Ranges
from fastbp.export.real_functions import SLOPES, Reals
from fastbp.model.model import Model

__all__ = ["FixedLayer", "FixedNetwork", "fixed_network"]

FEWEST_BITS = 6  # of the largest weight and of each input: FANN calls a decimal point below 6 bad
_LEAST_POINT = -13  # numbers in steps of 8192: data that want scaling, and sums that stay below 2**31
_MOST_EXTRA = 15  # places more than `Format.places` that small numbers get
_MOST_SHIFT = 30  # of a layer's sum to its z
_MOST_OUTPUTS = 65_535  # of a softmax of q15, whose sum of exponentials has 32 bits
_PARTS = (8, 4, 2)  # more than 8 save little, as they are written out one by one
_STEEP_FAR_OUT = ("sine", "softmax")  # within -1 to 1, but other numbers where z is cut off


@dataclass(frozen=True, eq=False)
class FixedLayer:
    """A layer of integers.

    Attributes
    ----------
    weights : ndarray of int64, shape (fan_in, fan_out)
    biases : ndarray of int64, shape (fan_out,)
        With `in_point` + `weight_point` binary places, as the sum; 32 bits times 2**`bias_shift`.
    in_point, weight_point, out_point : int
        Binary places of the inputs, weights and outputs.
    runs : tuple of (str, int)
        Activations and their numbers of neurons.
    sum_bits : int
        Bits that the sum of all products and the bias may need: 32 or 64.
    part : int
        How many products of q15 are added up in 32 bits at a time, where all of them need 64.
    """

    weights: Integers
    biases: Integers
    bias_shift: int
    in_point: int
    weight_point: int
    out_point: int
    runs: tuple[tuple[str, int], ...]
    sum_bits: int
    part: int

    def shift(self, name: str, form: Format) -> int:
        """Places by which the sum of a neuron is shortened, before the activation or to the output at once."""
        return self.in_point + self.weight_point - (form.bits if name in TABLE_OF else self.out_point)

    def outputs(self, a: Integers, form: Format) -> tuple[Integers, int]:
        """Return the outputs for rows of inputs, and how many numbers were cut off."""
        sums, columns, begin, cut = _exact_product(a, self.weights) + self.biases, [], 0, 0
        for name, count in self.runs:
            z = _scaled(sums[:, begin : begin + count], self.shift(name, form), form)
            found = _activated(name, z, self.out_point, form)
            if name in _STEEP_FAR_OUT:
                cut += int((abs(z) == 1 << (form.bits + Z_REACH)).sum())
            elif name not in OF_UNIT:
                cut += int((abs(found) == form.limit).sum())
            columns.append(found)
            begin += count
        return np.hstack(columns), cut


def _exact_product(a: Integers, weights: Integers) -> Integers:
    """Return ``a @ weights``; by floats, which BLAS multiplies, where all sums are integers that they hold."""
    if float(abs(a).max(initial=0)) * float(abs(weights).sum(axis=0).max()) < 2.0**53:
        return (a.astype(np.float64) @ weights.astype(np.float64)).astype(np.int64)
    return a @ weights


def _scaled(sums: Integers, places: int, form: Format) -> Integers:
    """Return sums with fewer places, cut off at 2**`Z_REACH` if they have `form.bits` of them then."""
    most = 1 << (form.bits + Z_REACH)
    if places < 0:
        sums = sums.clip(-(most >> -places), most >> -places)
    scaled: Integers = shifted(sums, places)
    return scaled.clip(-most, most)


def _activated(name: str, z: Integers, point: int, form: Format) -> Integers:
    """Return an activation's outputs; z has the outputs' point where there is no table."""
    if name in INTEGER_FUNCTIONS:
        return INTEGER_FUNCTIONS[name](z, point, form)
    if name == "relu":
        z = np.maximum(z, 0)
    if name == "leaky_relu":
        most = LEAKY_DIVISOR * form.limit
        z = np.where(z < 0, (z.clip(-most) + LEAKY_DIVISOR // 2) // LEAKY_DIVISOR, z)
    return z.clip(-form.limit, form.limit)


@dataclass(frozen=True, eq=False)
class FixedNetwork:
    """A network of integers, whose outputs are those of the C file in every bit.

    Attributes
    ----------
    form : Format
    layers : tuple of FixedLayer
    ranges : Ranges
    """

    form: Format
    layers: tuple[FixedLayer, ...]
    ranges: Ranges

    @property
    def points(self) -> tuple[int, ...]:
        """Binary places of the inputs and of each layer's outputs."""
        return self.layers[0].in_point, *(layer.out_point for layer in self.layers)

    def integers(self, X: NDArray[Any]) -> Integers:
        """Return real inputs as integers: rounded, halves up, and cut off."""
        limit = self.form.limit
        scaled = np.ldexp(X.astype(np.float64), self.points[0]).clip(-limit, limit)
        whole = np.floor(scaled)
        integers: Integers = (whole + (scaled - whole >= 0.5)).astype(np.int64)  # scaled + 0.5 could be rounded up
        return integers

    def reals(self, Y: Integers) -> Reals:
        """Return integers of the outputs as real numbers."""
        return np.ldexp(Y.astype(np.float64), -self.points[-1])

    def outputs(self, X: Integers) -> tuple[Integers, tuple[int, ...]]:
        """Return the outputs for rows of integers, and how many numbers each layer cut off."""
        a, cuts = X, []
        for layer in self.layers:
            a, cut = layer.outputs(a, self.form)
            cuts.append(cut)
        return a, tuple(cuts)

    def error_bound(self, net: Model) -> Reals:
        """Return for each output what its error cannot exceed, for inputs in their range and if nothing is cut off.

        Of z it is ``|W|.T e + |Wq - W|.T A + |bq - b|`` for errors e and bounds A of the inputs, of a at most the
        largest slope times that and the error of the integer activation; the float network has roundings of its own.
        """
        unit, eps = 2.0 ** -self.points[0], float(np.finfo(net.dtype).eps)
        e, A = np.full(net.sizes[0], unit), np.full(net.sizes[0], 2.0**self.form.places * unit)
        for layer, W, b in zip(self.layers, net.weights, net.biases, strict=True):
            W, b = W.astype(np.float64), b.astype(np.float64)
            wrong_weights = abs(np.ldexp(layer.weights.astype(np.float64), -layer.weight_point) - W)
            wrong_biases = abs(np.ldexp(layer.biases.astype(np.float64), -layer.in_point - layer.weight_point) - b)
            e = abs(W).T @ e + wrong_weights.T @ A + wrong_biases
            e += (len(W) + 4) * eps * (abs(W).T @ A + abs(b))
            e = self._error_of_activations(layer, e, eps)
            A = np.full(len(b), 2.0 ** (self.form.places - layer.out_point))
        return e

    def _error_of_activations(self, layer: FixedLayer, e: Reals, eps: float) -> Reals:
        """Return the largest error of a layer's outputs, given that of its z."""
        unit, begin, errors = 2.0**-layer.out_point, 0, []
        most = 2.0**self.form.places * unit
        for name, count in layer.runs:
            of_z, own = e[begin : begin + count], unit
            if name in TABLE_OF:
                of_z, own = of_z + 2.0**-self.form.bits, self.form.error * max(unit, 2.0**-self.form.places)
            if name == "softmax":  # of the sum of all exponentials, each is rounded
                of_z, own = of_z.max(keepdims=True), own + count * unit
            spread = most * np.expm1(of_z) if name == "exp" else SLOPES.get(name, 1.0) * of_z
            errors.append(np.broadcast_to(spread + own + 8 * eps * most, (count,)))
            begin += count
        return np.concatenate(errors)


# --- how it is made ---------------------------------------------------------------------------------------------------


def fixed_network(net: Model, ranges: Ranges, form: Format) -> FixedNetwork:
    """Return a network of integers.

    Parameters
    ----------
    net : Network
        A network with built-in activations.
    ranges : Ranges
        How large inputs and activations become.
    form : Format
        The format of weights, inputs and activations.

    Raises
    ------
    ValueError
        If the format leaves too few bits to a number.
    """
    point = _point(ranges.inputs, form, "the inputs", form.places + _MOST_EXTRA)
    _require_bits_of_inputs(ranges, point, form)
    layers: list[FixedLayer] = []
    positive = False
    for index, (W, b, runs) in enumerate(zip(net.weights, net.biases, net.activations, strict=True)):
        names = tuple((str(name), count) for name, count in runs)
        layer = _fixed_layer(W.astype(np.float64), b.astype(np.float64), names, (point, positive), ranges, index, form)
        layers.append(layer)
        point, positive = layer.out_point, all(name in POSITIVE for name, _ in names)
    return FixedNetwork(form, tuple(layers), ranges)


def _fixed_layer(
    W: Reals,
    b: Reals,
    runs: tuple[tuple[str, int], ...],
    inputs: tuple[int, bool],
    ranges: Ranges,
    index: int,
    form: Format,
) -> FixedLayer:
    """Return the layer whose points are the largest that its ranges and sums allow."""
    in_point, positive = inputs
    place, tabled = f"layer {index + 1}", any(name in TABLE_OF for name, _ in runs)
    if runs[0][0] == "softmax" and len(b) > _MOST_OUTPUTS:
        raise ValueError(f"`format` must be None for a softmax of more than {_MOST_OUTPUTS} outputs; got {len(b)}.")
    if tabled and not ranges.z[index] <= 2.0**Z_REACH:
        raise ValueError(
            f"`net` must have weighted inputs up to {1 << Z_REACH} to be written as integers; those of {place} reach "
            f"{ranges.z[index]:.4g}. Scale the inputs to about -1 to 1 and train again."
        )
    out_point = _point(ranges.outputs[index], form, place, form.places + (0 if tabled else _MOST_EXTRA))
    largest = form.bits + _MOST_SHIFT if tabled else out_point + _MOST_SHIFT
    weight_point = min(_point(float(abs(W).max()), form, f"the weights of {place}", 99), largest - in_point)
    if in_point + weight_point < 0:
        raise _too_few_bits(form, f"the weights of {place} and their inputs", float(abs(W).max()))
    while True:
        weights, biases, bias_shift = _rounded(W, weight_point), *_rounded_biases(b, in_point + weight_point)
        out = out_point if tabled else min(out_point, in_point + weight_point)  # more places would be zeros
        half = 1 << max(0, in_point + weight_point - min(out, form.bits))
        reach = _largest_sum(weights, 1 << form.places, positive) + int(abs(biases).max()) + half
        fits = abs(weights).max() <= form.limit and abs(biases).max() < 1 << 2 * form.places
        if fits and reach < 1 << 63:
            break
        weight_point -= 1
    _require_bits_of_weights(W, weight_point, place, form)
    sum_bits = 32 if form.bits == 16 and reach < 1 << 31 else 64
    part = _largest_part(weights, 1 << form.places, positive)
    return FixedLayer(weights, biases, bias_shift, in_point, weight_point, out, runs, sum_bits, part)


def _rounded_biases(b: Reals, point: int) -> tuple[Any, int]:
    """Return biases of the given places, and by how many places numbers of 32 bits are shifted to be them."""
    whole = _rounded(b, point)
    bits = int(abs(whole).max()).bit_length()
    if bits > 62:  # what does not fit must not be shifted: it would come back as another number
        return whole, 0
    shift = bits - 30 if bits > 31 else 0
    return _rounded(b, point - shift) << shift, shift


def _rounded(values: Reals, point: int) -> Any:
    """Return integers; 2**62 instead of all of them where they may be too large for 64 bits."""
    scaled = np.floor(np.ldexp(values, point) + 0.5)
    return scaled.astype(np.int64) if float(abs(scaled).max()) < 2.0**62 else np.full(scaled.shape, 1 << 62)


def _largest_sum(weights: Integers, most: int, positive: bool) -> int:
    """Return what no sum of a part of a neuron's products can exceed, for inputs of absolute values up to `most`."""
    up, down = weights.clip(0).sum(axis=0), -weights.clip(None, 0).sum(axis=0)
    largest = np.maximum(up, down) if positive else up + down
    return int(largest.max()) * most


def _largest_part(weights: Integers, most: int, positive: bool) -> int:
    """Return of how many products, counted from the first input on, the sums certainly fit into 32 bits.

    Two always do: with the smallest input, -32768, a product is at most 32767 * 32768, less than half of it.
    """
    for part in _PARTS:
        starts = range(0, len(weights) - part + 1, part)
        if starts and all(_largest_sum(weights[k : k + part], most, positive) < 1 << 31 for k in starts):
            return part
    return _PARTS[-1]


def _point(largest: float, form: Format, what: str, most: int) -> int:
    """Return the most binary places, up to `most`, with which numbers up to `largest` fit."""
    if largest == 0:
        return min(most, form.places)
    if not math.isfinite(largest):
        raise _too_few_bits(form, what, largest)
    mantissa, exponent = math.frexp(largest)
    point = form.places - exponent + (mantissa == 0.5)  # 1.0 is cut off to the number before it
    if point < _LEAST_POINT:
        raise _too_few_bits(form, what, largest)
    return min(point, most)


def _too_few_bits(form: Format, what: str, largest: float) -> ValueError:
    return ValueError(
        f"`format={form.name!r}` has too few bits for {what}, which reach {largest:.4g}. Scale the data to about -1 to "
        "1, with scikit-learn's StandardScaler for instance, and train again."
    )


def _require_bits_of_inputs(ranges: Ranges, point: int, form: Format) -> None:
    """Refuse inputs of which little more than zero would be left."""
    bits = np.ldexp(ranges.of_inputs, point)
    weak = np.flatnonzero((ranges.of_inputs > 0) & (bits < 1 << FEWEST_BITS))
    if len(weak):
        name, largest = ranges.names[weak[0]], float(ranges.of_inputs[weak[0]])
        raise ValueError(
            f"`format={form.name!r}` leaves fewer than {FEWEST_BITS} bits to the input {name!r}: it reaches "
            f"{largest:.4g} where others reach {ranges.inputs:.4g}, and all have one point. Scale the inputs to like "
            "sizes and train again, drop it if it is constant, or use format='q31'."
        )


def _require_bits_of_weights(W: Reals, point: int, place: str, form: Format) -> None:
    """Refuse weights of which little more than zero would be left."""
    largest = float(abs(W).max())
    if largest > 0 and math.ldexp(largest, point) < 1 << FEWEST_BITS:
        raise ValueError(
            f"`format={form.name!r}` leaves fewer than {FEWEST_BITS} bits to the weights of {place}: they reach "
            f"{largest:.4g} beside much larger biases. Scale inputs and targets to about -1 to 1 and train again, or "
            "use format='q31'."
        )
