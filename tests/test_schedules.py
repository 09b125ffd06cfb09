"""Learning rate schedules against hand-worked values, their formulas, torch, and their messages."""

import dataclasses
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastbp.training.schedules import Constant, Cosine, InverseScaling, OneCycle, Schedule, Step

SCHEDULES = [
    Constant(0.1),
    InverseScaling(0.1),
    Step(0.1, step_size=3),
    Cosine(0.1),
    Cosine(0.1, final=0.01, n_steps=7, warmup_steps=2),
    OneCycle(0.1),
    OneCycle(0.1, n_steps=7),
]
schedules = pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)


# ---- Values --------------------------------------------------------------------------------------------


def test_constant_is_constant():
    assert Constant(0.3)([0, 1, 1000], horizon=2).tolist() == [0.3, 0.3, 0.3]


def test_constant_given_an_int_returns_floats():
    assert Constant(1)([0, 1], horizon=2).dtype == np.float64


def test_inverse_scaling_by_hand():
    rates = InverseScaling(0.8, power=2)([0, 1, 3], horizon=4)
    np.testing.assert_allclose(rates, [0.8, 0.2, 0.05], rtol=1e-15)


def test_inverse_scaling_with_power_zero_is_constant():
    assert InverseScaling(0.8, power=0)([0, 5], horizon=4).tolist() == [0.8, 0.8]


def test_step_by_hand():
    rates = Step(0.8, step_size=3, gamma=0.5)(np.arange(10), horizon=10)
    assert rates.tolist() == [0.8] * 3 + [0.4] * 3 + [0.2] * 3 + [0.1]


def test_cosine_by_hand():
    # cos(pi/3) = 1/2 and cos(2 pi/3) = -1/2.
    rates = Cosine(0.9, final=0.1)(np.arange(4), horizon=3)
    np.testing.assert_allclose(rates, [0.9, 0.7, 0.3, 0.1], rtol=1e-14)


def test_cosine_warm_up_by_hand():
    rates = Cosine(0.8, warmup_steps=2)(np.arange(6), horizon=4)
    np.testing.assert_allclose(rates, [0.4, 0.8, 0.8, 0.4, 0.0, 0.0], atol=1e-16)


def test_cosine_prefers_its_own_n_steps_to_the_horizon():
    steps = np.arange(20)
    assert np.array_equal(Cosine(0.5, n_steps=8)(steps, horizon=100), Cosine(0.5)(steps, horizon=8))


@pytest.mark.parametrize("horizon", [1, 4, 5])
def test_cosine_ends_within_its_warm_up_when_the_fit_is_short(horizon):
    rates = Cosine(1.0, final=0.25, warmup_steps=5)(np.arange(8), horizon=horizon)
    np.testing.assert_allclose(rates, [0.2, 0.4, 0.6, 0.8, 1.0][:horizon] + [0.25] * (8 - horizon))


def test_one_cycle_by_hand():
    # 10 steps, the peak at 0.5 * 10 - 1 = 4; halfway up at 2; down over the 5 steps from 4 to 9.
    rates = OneCycle(1.0, start_fraction=0.5, div_factor=4, final_div_factor=100)([0, 2, 4, 9], horizon=10)
    np.testing.assert_allclose(rates, [0.25, 0.625, 1.0, 0.0025], rtol=1e-13)


def test_one_cycle_of_one_step_is_at_its_final_value():
    np.testing.assert_allclose(OneCycle(1.0)([0, 1], horizon=1), [4e-6, 4e-6], rtol=1e-9)


def test_one_cycle_with_its_peak_at_step_zero():
    rates = OneCycle(1.0, start_fraction=0.5)([0, 1], horizon=2)
    np.testing.assert_allclose(rates, [1.0, 4e-6], rtol=1e-9)


@pytest.mark.parametrize("n_steps", [1, 3, 10, 250])
@pytest.mark.parametrize("start_fraction", [0.01, 0.3, 0.77])
def test_one_cycle_equals_torch(n_steps, start_fraction):
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    theirs = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        max_lr=0.7,
        total_steps=n_steps,
        pct_start=start_fraction,
        div_factor=20.0,
        final_div_factor=500.0,
        cycle_momentum=False,
    )
    expected = [theirs.get_last_lr()[0]]
    for _ in range(n_steps - 1):
        optimizer.step()
        theirs.step()
        expected.append(theirs.get_last_lr()[0])
    ours = OneCycle(0.7, n_steps, start_fraction, div_factor=20, final_div_factor=500)
    np.testing.assert_allclose(ours(np.arange(n_steps), horizon=1), expected, rtol=1e-12, atol=1e-17)


# ---- Laws ----------------------------------------------------------------------------------------------


@schedules
def test_pieces_agree_with_the_whole(schedule):
    whole = schedule(np.arange(30), 25)
    pieces = [schedule(np.arange(first, first + 10), 25) for first in (0, 10, 20)]
    assert np.array_equal(whole, np.concatenate(pieces))


@schedules
def test_returns_float64_of_the_same_length_and_leaves_the_steps_alone(schedule):
    steps = np.arange(5)
    rates = schedule(steps, 5)
    assert rates.dtype == np.float64
    assert rates.shape == (5,)
    assert np.array_equal(steps, np.arange(5))
    assert schedule(np.arange(0), 5).shape == (0,)


@pytest.mark.parametrize("schedule", [Cosine(0.1, final=0.01), OneCycle(0.1), Cosine(0.1, warmup_steps=4)])
def test_stays_at_its_final_value_past_the_horizon(schedule):
    rates = schedule([20, 21, 1000], horizon=20)
    assert rates[0] == rates[1] == rates[2]
    assert rates[0] <= schedule([19], horizon=20)[0]


@given(
    horizon=st.integers(1, 200),
    warmup_steps=st.integers(0, 50),
    start_fraction=st.floats(0.001, 0.999),
)
def test_stays_within_its_bounds(horizon, warmup_steps, start_fraction):
    steps = np.arange(horizon + 5)
    for schedule in (Cosine(0.1, warmup_steps=warmup_steps), OneCycle(0.1, start_fraction=start_fraction)):
        rates = schedule(steps, horizon)
        assert np.isfinite(rates).all()
        assert rates.min() >= 0.0
        assert rates.max() <= 0.1 * (1 + 1e-15)


@schedules
def test_is_frozen_equal_by_value_and_survives_pickle(schedule):
    assert pickle.loads(pickle.dumps(schedule)) == schedule
    assert hash(schedule) == hash(pickle.loads(pickle.dumps(schedule)))
    with pytest.raises(AttributeError, match="cannot assign to field"):
        setattr(schedule, dataclasses.fields(schedule)[0].name, 1.0)
    assert not hasattr(schedule, "__dict__")


def test_numbers_are_stored_as_plain_python_numbers():
    schedule = Step(np.float32(0.5), step_size=np.int64(3), gamma=1)
    assert [type(schedule.learning_rate), type(schedule.step_size), type(schedule.gamma)] == [
        float,
        int,
        float,
    ]
    assert repr(schedule) == "Step(learning_rate=0.5, step_size=3, gamma=1.0)"


def test_the_base_class_cannot_be_used_by_itself():
    with pytest.raises(TypeError, match="abstract"):
        Schedule()


# ---- Messages ------------------------------------------------------------------------------------------

RATE = "`learning_rate` must be a finite number above 0; got"
STAIR = "It is the number of steps at one learning rate."
SPAN = "Leave it out (None) to span the whole fit."
VALUE_ERRORS = [
    (lambda: Constant(0), f"{RATE} 0. Try 0.01."),
    (lambda: Constant(float("nan")), f"{RATE} nan. Try 0.01."),
    (lambda: Constant(float("inf")), f"{RATE} inf. Try 0.01."),
    (lambda: InverseScaling(-1.0), f"{RATE} -1.0. Try 0.1."),
    (lambda: InverseScaling(1.0, -1), "`power` must be a finite number, 0 or above; got -1. Try 0.5."),
    (lambda: Step(0.0, 1), f"{RATE} 0.0. Try 0.1."),
    (
        lambda: Step(0.1, 0),
        f"`step_size` must be a whole number above 0; got 0. {STAIR}",
    ),
    (lambda: Step(0.1, 1, 1.5), "`gamma` must be a number in (0, 1]; got 1.5. Try 0.1."),
    (lambda: Cosine(0.0), f"{RATE} 0.0. Try 0.1."),
    (lambda: Cosine(0.1, -0.1), "`final` must be a finite number, 0 or above; got -0.1. Try 0.0."),
    (lambda: Cosine(0.1, n_steps=0), f"`n_steps` must be a whole number above 0; got 0. {SPAN}"),
    (
        lambda: Cosine(0.1, warmup_steps=-1),
        "`warmup_steps` must be a whole number, 0 or above; got -1. Use 0 for no warm-up.",
    ),
    (
        lambda: Cosine(0.1, n_steps=5, warmup_steps=5),
        "`warmup_steps` must be less than `n_steps`, which counts the warm-up too; got 5 and 5. "
        "Shorten the warm-up or raise `n_steps`.",
    ),
    (
        lambda: OneCycle(-1),
        "`max_learning_rate` must be a finite number above 0; got -1. Try 0.1.",
    ),
    (lambda: OneCycle(0.1, -2), f"`n_steps` must be a whole number above 0; got -2. {SPAN}"),
    (
        lambda: OneCycle(0.1, start_fraction=1.0),
        "`start_fraction` must be a number in (0, 1); got 1.0. Try 0.3.",
    ),
    (
        lambda: OneCycle(0.1, div_factor=0.5),
        "`div_factor` must be a finite number, 1 or above; got 0.5. Try 25.",
    ),
    (
        lambda: OneCycle(0.1, final_div_factor=0),
        "`final_div_factor` must be a finite number above 0; got 0. Try 1e4.",
    ),
]
TYPE_ERRORS = [
    (lambda: Constant("fast"), f"{RATE} 'fast'. Try 0.01."),
    (lambda: Constant(True), f"{RATE} True. Try 0.01."),
    (lambda: Constant(None), f"{RATE} None. Try 0.01."),
    (
        lambda: Step(0.1, 2.5),
        f"`step_size` must be a whole number above 0; got 2.5. {STAIR}",
    ),
    (lambda: Cosine(0.1, n_steps=1e3), f"`n_steps` must be a whole number above 0; got 1000.0. {SPAN}"),
]


@pytest.mark.parametrize(("make", "message"), VALUE_ERRORS, ids=[message for _, message in VALUE_ERRORS])
def test_a_wrong_value_is_refused(make, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 -- the whole text is compared below
        make()
    assert str(caught.value) == message


@pytest.mark.parametrize(("make", "message"), TYPE_ERRORS, ids=[message for _, message in TYPE_ERRORS])
def test_a_wrong_type_is_refused(make, message):
    with pytest.raises(TypeError) as caught:
        make()
    assert str(caught.value) == message


def test_steps_that_no_counter_reaches_are_refused():
    with pytest.raises(ValueError, match="`step_size` must be at most 2"):
        Step(0.1, step_size=2**63)
    assert Step(0.1, step_size=2**53)([0, 5], 10).tolist() == [0.1, 0.1]


def test_one_cycle_whose_last_rate_overflows_is_refused():
    with pytest.raises(ValueError, match="`final_div_factor` must be so large that the last learning rate is finite"):
        OneCycle(0.1, final_div_factor=5e-324)


def test_a_warm_up_to_the_largest_number_is_refused_where_it_overflows():
    with pytest.raises(ValueError, match="`learning_rate` must be finite times `warmup_steps`"):
        Cosine(1e308, warmup_steps=3)
    assert Cosine(1e308, warmup_steps=1)([0, 9], 10)[0] == 1e308
