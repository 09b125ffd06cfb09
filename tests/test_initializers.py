"""Initializers: layout, statistics against the named distributions, seeds, dtypes and messages."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from fastbp.model import initializers
from fastbp.model.initializers import initialize

DTYPES = ["float32", "float64"]
ALL = [
    "glorot_uniform",
    "glorot_normal",
    "he_uniform",
    "he_normal",
    "standard_normal",
    "scaled_normal",
    "zeros",
]
# Different fan_in and fan_out, and enough weights in each layer for the statistics.
SIZES = [50, 120, 40]

# One row an initializer: name, distribution of one weight given fan_in and fan_out.
DISTRIBUTIONS = [
    ("glorot_uniform", lambda fan_in, fan_out: uniform(math.sqrt(6 / (fan_in + fan_out)))),
    ("glorot_normal", lambda fan_in, fan_out: stats.norm(0, math.sqrt(2 / (fan_in + fan_out)))),
    ("he_uniform", lambda fan_in, fan_out: uniform(math.sqrt(6 / fan_in))),
    ("he_normal", lambda fan_in, fan_out: stats.norm(0, math.sqrt(2 / fan_in))),
    ("standard_normal", lambda fan_in, fan_out: stats.norm(0, 1)),
    ("scaled_normal", lambda fan_in, fan_out: stats.norm(0, 1 / math.sqrt(fan_in))),
]


def uniform(limit):
    return stats.uniform(-limit, 2 * limit)


def draw(name, sizes, seed=0, dtype="float64"):
    return initialize(name, sizes, np.random.default_rng(seed), dtype)


def layers(params, sizes):
    """The weights and biases of each layer, taken from the flat parameters by their definition."""
    start = 0
    for fan_in, fan_out in itertools.pairwise(sizes):
        W = params[start : start + fan_in * fan_out].reshape(fan_in, fan_out)
        start += fan_in * fan_out
        b = params[start : start + fan_out]
        start += fan_out
        yield W, b
    assert start == params.size


def test_names():
    assert initializers.names() == tuple(ALL)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ALL)
def test_shape_and_dtype(name, dtype):
    params = draw(name, [3, 5, 4, 2], dtype=dtype)
    assert params.shape == (3 * 5 + 5 + 5 * 4 + 4 + 4 * 2 + 2,)
    assert params.dtype == dtype
    assert params.flags.c_contiguous
    assert params.flags.writeable


@pytest.mark.parametrize(("name", "distribution"), DISTRIBUTIONS, ids=[row[0] for row in DISTRIBUTIONS])
def test_weights_follow_the_named_distribution(name, distribution):
    params = draw(name, SIZES)
    for W, _ in layers(params, SIZES):
        expected = distribution(*W.shape)
        # Kolmogorov and Smirnov's test sees a spread that is wrong by 5 % in 5000 numbers; the seed is fixed.
        assert stats.kstest(W.ravel(), expected.cdf).pvalue > 0.01
        assert abs(W.std() / expected.std() - 1) < 0.03


@pytest.mark.parametrize("name", ["glorot_uniform", "he_uniform"])
def test_uniform_weights_stay_within_their_limit_and_reach_it_nearly(name):
    distribution = dict(DISTRIBUTIONS)[name]
    for W, _ in layers(draw(name, SIZES), SIZES):
        limit = distribution(*W.shape).support()[1]
        assert 0.99 * limit < np.abs(W).max() <= limit


@pytest.mark.parametrize("name", [name for name in ALL if name != "standard_normal"])
def test_biases_are_zero(name):
    for _, b in layers(draw(name, SIZES), SIZES):
        assert not b.any()


def test_standard_normal_biases_are_standard_normal():
    sizes = [1, 4000]
    ((_, b),) = layers(draw("standard_normal", sizes), sizes)
    assert stats.kstest(b, stats.norm.cdf).pvalue > 0.01


def test_zeros():
    assert not draw("zeros", SIZES).any()


@pytest.mark.parametrize("name", ALL[:-1])
def test_the_seed_decides(name):
    assert np.array_equal(draw(name, SIZES, seed=1), draw(name, SIZES, seed=1))
    assert not np.array_equal(draw(name, SIZES, seed=1), draw(name, SIZES, seed=2))


@pytest.mark.parametrize("name", ALL)
def test_float32_is_float64_rounded(name):
    expected = draw(name, SIZES, dtype="float64").astype("float32")
    assert np.array_equal(draw(name, SIZES, dtype="float32"), expected)


@pytest.mark.parametrize("name", ALL)
def test_a_network_begins_like_its_shorter_part(name):
    part = draw(name, SIZES[:2])
    assert np.array_equal(draw(name, SIZES)[: part.size], part)


def test_the_generator_advances():
    rng = np.random.default_rng(0)
    first, second = (initialize("he_normal", [3, 2], rng, "float64") for _ in range(2))
    assert not np.array_equal(first, second)


def test_weights_are_drawn_row_by_row():
    rng = np.random.default_rng(3)
    assert np.array_equal(draw("standard_normal", [2, 3, 1], seed=3), rng.standard_normal(13))


def test_an_unknown_name_is_refused():
    with pytest.raises(ValueError) as caught:  # noqa: PT011 -- the whole text is compared below
        draw("xavier", [2, 1])
    assert str(caught.value) == (
        "`initializer` must be the name of an initializer; got 'xavier'. Did you mean 'glorot_uniform' or "
        "'glorot_normal'? Known names: glorot_uniform, glorot_normal, he_uniform, he_normal, standard_normal, "
        "scaled_normal, zeros."
    )
