"""What the C file of a network of integers is put together from: shifts, sums, tables and activations.

`string.Template` fills in: $P the name that all begin with, $T the type of weights and activations, $W the one of twice
the bits, $bits and $places those of $T, $limit its largest number.  No step can overflow, whatever the inputs are: z is
at most 2**($bits + 14), a table's differences and the sums of products were looked at when the file was written.
"""

from __future__ import annotations

import math
from string import Template
from typing import Any

from fastbp.export.c_source import CFile
from fastbp.export.fixed_functions import (
    EXP_REACH,
    GUARD,
    LEAKY_DIVISOR,
    TABLE_OF,
    TURN_PLACES,
    Z_REACH,
    Format,
    table,
)

__all__ = ["IntegerC"]

_DOWN = """\
/* x / 2**n, rounded down.  What >> does to negative numbers is the compiler's choice; the first test is a constant. */
static int${b}_t ${P}_down$b(int${b}_t x, int n)
{
    return (-1 >> 1) == -1 ? x >> n : x < 0 ? ~(~x >> n) : x >> n;
}"""
_SCALED = """\
/* A sum with fewer places, rounded to the nearest, halves up; cut off at 2**$reach. */
static $W ${P}_scaled$b(int${b}_t sum, int places)
{
    const int${b}_t most = (int${b}_t)1 << $reach;
    if (places > 0) sum = ${P}_down$b(sum + ((int${b}_t)1 << (places - 1)), places);
    if (sum > most) sum = most;
    if (sum < -most) sum = -most;
    return ($W)sum;
}"""
_RAISED = """\
/* A sum with more places, cut off at 2**$reach. */
static $W ${P}_raised$b(int${b}_t sum, int places)
{
    const int${b}_t most = (int${b}_t)1 << ($reach - places);
    if (sum > most) sum = most;
    if (sum < -most) sum = -most;
    return ($W)(sum * ((int${b}_t)1 << places));
}"""
_SUM = """\
/* The sum of n products; it fits, whatever the inputs are. */
static int${b}_t ${P}_sum$b(const $T *w, const $T *a, size_t n)
{
    size_t i;
    int${b}_t sum = 0;
    for (i = 0; i < n; i++) sum += (int${b}_t)$READ(w + i) * a[i];
    return sum;
}"""
_SUM_OF_PARTS = """\
/* The sum of n products; $part of them, one after the other, fit into 32 bits, whatever the inputs are. */
static int64_t ${P}_sum_by_$part(const int16_t *w, const int16_t *a, size_t n)
{
    int64_t sum = 0;
    for (; n >= $part; n -= $part, w += $part, a += $part) {
        sum += $products;
    }
    for (; n > 0; n--, w++, a++) sum += (int32_t)$READ(w) * *a;
    return sum;
}"""
_CUT = """\
static $T ${P}_cut($W x)
{
    return ($T)(x > $limit ? $limit : x < -$limit ? -$limit : x);
}"""
_ROUNDED = """\
/* x / 2**places, rounded to the nearest, halves up. */
static $W ${P}_rounded($W x, int places)
{
    return places > 0 ? ${P}_down$wide(x + (($W)1 << (places - 1)), places) : x;
}"""
_READ = """\
/* The function of a table at u >= 0, by Bessel's interpolation between four of its values; constant behind its end. */
static $W ${P}_read(const $T *values, int step, $W n, $W u)
{
    const int places = $bits - step;
    $W t, before, left, right, after, q, change;
    if (u > n * (($W)1 << places) - 1) u = n * (($W)1 << places) - 1;
    values += (size_t)(u >> places);
    t = u & ((($W)1 << places) - 1);
    before = $READ(values), left = $READ(values + 1);
    right = $READ(values + 2), after = $READ(values + 3);
    q = (t * ((($W)1 << places) - t)) >> places;
    change = t * (right - left) - ${P}_down$wide(q * (after - right - left + before), 2);
$third    return left + ${P}_rounded(change, places);
}"""
_THIRD = """\
    q = ${P}_down$wide(q * (2 * t - (($W)1 << places)), places);
    change -= ${P}_down$wide(q * (after - 3 * (right - left) - before) * 5461, 16);
"""
_POWER = """\
/* exp(z) is the result times 2**(*power - $places). */
static $W ${P}_power($W z, int *power)
{
    const $W most = ($W)1 << $exp_most, ln2 = $ln2;
    $W n, rest;
    if (z > most) z = most;
    if (z < -most) z = -most;
    n = ${P}_down$wide(${P}_down$wide(z, $bits - 8) * 369, 16);
    rest = z * (($W)1 << $guard) - n * ln2;
    if (rest < 0) n--, rest += ln2;
    if (rest >= ln2) n++, rest -= ln2;
    *power = (int)n;
    return 3 * (($W)1 << ($places - 1)) + ${P}_read($table_exp, rest >> $guard);
}"""
_LOWERED = """\
static $W ${P}_lowered($W x, int places)
{
    return ${P}_rounded(x, places > $bits + 2 ? $bits + 2 : places);
}"""
_ACTIVATIONS = {
    "identity": """\
static $T ${P}_identity($W z)
{
    return ${P}_cut(z);
}""",
    "relu": """\
static $T ${P}_relu($W z)
{
    return ${P}_cut(z < 0 ? 0 : z);
}""",
    "leaky_relu": """\
static $T ${P}_leaky_relu($W z)
{
    if (z < -($W)$divisor * $limit) z = -($W)$divisor * $limit;
    return ${P}_cut(z < 0 ? -(($half_divisor - 1 - z) / $divisor) : z);
}""",
    "tanh": """\
static $T ${P}_tanh($W z, int point)
{
    const $W a = ${P}_read($table_tanh, z < 0 ? -z : z);
    return ${P}_cut(${P}_rounded(z < 0 ? -a : a, $places - point));
}""",
    "sigmoid": """\
/* (1 + tanh(z / 2)) / 2 */
static $T ${P}_sigmoid($W z, int point)
{
    const $W a = ${P}_read($table_tanh, (z < 0 ? -z : z) >> 1);
    return ${P}_cut(${P}_rounded(${P}_rounded((($W)1 << $places) + (z < 0 ? -a : a), 1), $places - point));
}""",
    "elu": """\
static $T ${P}_elu($W z, int point)
{
    return ${P}_cut(${P}_rounded(z < 0 ? -2 * ${P}_read($table_elu, -z) : z, $bits - point));
}""",
    "sine": """\
/* Of z = 2 pi n + r; both by steps of 64 bits. */
static $T ${P}_sine($W z, int point)
{
    const int64_t turn = $turn;
    const int64_t n = ${P}_down64(${P}_down64((int64_t)z, $bits - 6) * 10430, 22);
    int64_t rest = z * ((int64_t)1 << $turn_places) - n * turn;
    int negative;
    $W a;
    if (rest < 0) rest += turn;
    if (rest >= turn) rest -= turn;
    negative = rest >= turn / 2;
    if (negative) rest -= turn / 2;
    if (rest > turn / 4) rest = turn / 2 - rest;
    a = ${P}_read($table_sine, rest < 0 ? 0 : ($W)(rest >> $turn_places));
    return ${P}_cut(${P}_rounded(negative ? -a : a, $places - point));
}""",
    "exp": """\
static $T ${P}_exp($W z, int point)
{
    int power, left;
    const $W m = ${P}_power(z, &power);
    left = power + point - $places;
    if (left < 0) return ${P}_cut(${P}_lowered(m, -left));
    if (left > $places || m > ($limit >> left)) return $limit;
    return ($T)(m << left);
}""",
    "softmax": """\
static void ${P}_softmax($W *z, $T *y, size_t n)
{
    size_t i;
    $W most = z[0];
    u$W total = 0;
    for (i = 1; i < n; i++) most = z[i] > most ? z[i] : most;
    for (i = 0; i < n; i++) {
        int power;
        const $W m = ${P}_power(z[i] - most, &power);
        z[i] = ${P}_lowered(m, -power);
        total += (u$W)z[i];
    }
    for (i = 0; i < n; i++) {
        const u$W share = (((u$W)z[i] << $places) + (total >> 1)) / total;
        y[i] = ($T)(share > $limit ? $limit : share);
    }
}""",
}
_LINE_AND_REST = """\
static $T ${P}_$name($W z, int point)
{
    return ${P}_cut(${P}_rounded((z < 0 ? 0 : z) + 2 * ${P}_read($table_$name, z < 0 ? -z : z), $bits - point));
}"""
_IN_TABLES = {
    "tanh": "tanh(u)",
    "elu": "1 - exp(-u)",
    "softplus": "log(1 + exp(-u))",
    "gelu": "gelu(-u)",
    "silu": "silu(-u)",
    "sine": "sin(u)",
    "exp": "exp(u) - 1.5",
}
for _name in ("softplus", "gelu", "silu"):
    _ACTIVATIONS[_name] = _LINE_AND_REST.replace("$name", _name)


class IntegerC:
    """Adds to a C file what a network of integers needs, each part once.

    Parameters
    ----------
    file : CFile
    form : Format

    Attributes
    ----------
    type, wide : str
        The types of activations and weights, and of z.
    """

    def __init__(self, file: CFile, form: Format) -> None:
        self.file, self.form = file, form
        self.type, self.wide = f"int{form.bits}_t", f"int{2 * form.bits}_t"
        constant = f"INT{2 * form.bits}_C"
        guard = GUARD[form.places]
        self._words: dict[str, Any] = {
            "P": file.name,
            "T": self.type,
            "W": self.wide,
            "wide": 2 * form.bits,
            "bits": form.bits,
            "places": form.places,
            "limit": form.limit,
            "reach": form.bits + Z_REACH,
            "divisor": LEAKY_DIVISOR,
            "half_divisor": LEAKY_DIVISOR // 2,
            "exp_most": form.bits + EXP_REACH[form.places],
            "guard": guard,
            "ln2": f"{constant}({round(math.log(2) * 2 ** (form.bits + guard))})",
            "turn": f"INT64_C({round(2 * math.pi * 2 ** (form.bits + TURN_PLACES))})",
            "turn_places": TURN_PLACES,
        }

    def read(self, c_type: str, address: str) -> str:
        """Return what reads a constant."""
        return f"{self.file.reader(c_type)}({address})"

    def sum(self, sum_bits: int, part: int, n: int, a: str) -> str:
        """Return the sum of the products of n inputs and the weights from `w` on."""
        if (self.form.bits, sum_bits) == (16, 64):
            one = f"(int32_t){self.read(self.type, 'w + {}')} * a[{{}}]"
            products = "\n            + ".join(one.format(i, i) for i in range(part))
            self._add(_SUM_OF_PARTS, part=part, products=products)
            return f"{self.file.name}_sum_by_{part}(w, {a}, {n})"
        self._add(_SUM, b=sum_bits)
        return f"{self.file.name}_sum{sum_bits}(w, {a}, {n})"

    def scaled(self, sum_bits: int, places: int, total: str) -> str:
        """Return z of a sum."""
        if places < 0:
            self._add(_RAISED, b=sum_bits)
            return f"{self.file.name}_raised{sum_bits}({total}, {-places})"
        self._add(_DOWN, b=sum_bits)
        self._add(_SCALED, b=sum_bits)
        return f"{self.file.name}_scaled{sum_bits}({total}, {places})"

    def activation(self, name: str) -> str:
        """Return the name of an activation's function."""
        if name != "softmax":
            self._add(_CUT)
        if name in TABLE_OF:
            self._add(_DOWN, b=2 * self.form.bits)
            self._add(_ROUNDED)
            self._add(_READ, third=Template(_THIRD).substitute(self._words) if self.form.order == 3 else "")
            self._table(TABLE_OF[name])
        if name in ("exp", "softmax"):
            self._add(_POWER)
            self._add(_LOWERED)
        if name == "sine":
            self._add(_DOWN, b=64)
        self._add(_ACTIVATIONS[name])
        return f"{self.file.name}_{name}"

    def _table(self, name: str) -> None:
        """Add a table; `$table_<name>` in a text stands for it and its size."""
        values, step, n_intervals = table(name, self.form)
        if f"table_{name}" not in self._words:
            comment = f"{len(values)} values of {_IN_TABLES[name]} for u = -1/{1 << step}, 0, 1/{1 << step}, ..."
            self.file.array(self.type, f"table_{name}", values, comment)
        self._words[f"table_{name}"] = f"{self.file.name}_table_{name}, {step}, {n_intervals}"

    def _add(self, text: str, **words: Any) -> None:
        """Add a part to the file."""
        self.file.add(Template(text).substitute(self._words, READ=self.file.reader(self.type), **words))
