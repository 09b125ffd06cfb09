"""Optimizers: their codes and constants, which the compiled steps rely on, learning rates and messages."""

import pickle

import numpy as np
import pytest

from fastbp.training.optimizers import SGD, Adam, AdamW, Optimizer, RMSprop
from fastbp.training.schedules import Constant, Cosine, Schedule, Step

# One row an optimizer: object, code, state vectors, constants in the order of the docstrings.
TABLE = [
    (SGD(0.1), 0, 0, [0, 0, 0, 0, 0]),
    (SGD(0.1, momentum=0.9), 0, 1, [0.9, 0, 0, 0, 0]),
    (SGD(0.1, momentum=0.9, nesterov=True), 0, 1, [0.9, 1, 0, 0, 0]),
    (SGD(0.1, nesterov=True), 0, 0, [0, 1, 0, 0, 0]),
    (Adam(), 1, 2, [0.9, 0.999, 1e-8, 0, 0]),
    (Adam(0.1, 0.5, 0.75, 1e-3), 1, 2, [0.5, 0.75, 1e-3, 0, 0]),
    (AdamW(), 2, 2, [0.9, 0.999, 1e-8, 0.01, 0]),
    (AdamW(0.1, 0.5, 0.75, 1e-3, 0.2), 2, 2, [0.5, 0.75, 1e-3, 0.2, 0]),
    (RMSprop(), 3, 1, [0.9, 1e-8, 0, 0, 0]),
    (RMSprop(0.1, 0.5, 1e-3, 0.25), 3, 2, [0.5, 1e-3, 0.25, 0, 0]),
]
optimizers = pytest.mark.parametrize("optimizer", [row[0] for row in TABLE], ids=repr)


@pytest.mark.parametrize(("optimizer", "code", "n_state_vectors", "constants"), TABLE)
def test_what_the_compiled_step_is_given(optimizer, code, n_state_vectors, constants):
    assert optimizer.code == code
    assert type(optimizer.code) is int  # an IntEnum would compile the kernels a second time
    assert optimizer.n_state_vectors == n_state_vectors
    given = optimizer.kernel_constants()
    assert given.dtype == np.float64
    assert given.tolist() == constants


@pytest.mark.parametrize("kind", [Adam, AdamW, RMSprop])
def test_the_default_learning_rate(kind):
    assert kind().learning_rate == 1e-3


def test_sgd_has_no_default_learning_rate():
    with pytest.raises(TypeError, match="learning_rate"):
        SGD()


def test_the_base_class_cannot_be_used_by_itself():
    with pytest.raises(TypeError, match="abstract"):
        Optimizer(0.1)


@optimizers
def test_is_frozen_equal_by_value_and_survives_pickle(optimizer):
    twin = pickle.loads(pickle.dumps(optimizer))
    assert twin == optimizer
    assert hash(twin) == hash(optimizer)
    with pytest.raises(AttributeError, match="cannot assign to field"):
        optimizer.learning_rate = 1.0
    assert not hasattr(optimizer, "__dict__")


def test_adam_without_decay_is_not_equal_to_adamw():
    assert AdamW(weight_decay=0.0) != Adam()


def test_numbers_are_stored_as_plain_python_numbers():
    optimizer = SGD(np.float32(0.5), momentum=0, nesterov=np.True_)
    assert repr(optimizer) == "SGD(learning_rate=0.5, momentum=0.0, nesterov=True)"


# ---- Learning rates ------------------------------------------------------------------------------------


class FromFunction(Schedule):
    """A user's schedule."""

    def __init__(self, function):
        self.function = function

    def __call__(self, steps, horizon):
        return self.function(steps, horizon)

    def __repr__(self):
        return "FromFunction()"


@optimizers
def test_a_plain_learning_rate_is_the_same_at_every_step(optimizer):
    rates = optimizer.learning_rates(first_step=5, n_steps=3, horizon=100)
    assert rates.dtype == np.float64
    assert rates.tolist() == [optimizer.learning_rate] * 3


@pytest.mark.parametrize("kind", [SGD, Adam, AdamW, RMSprop])
def test_a_schedule_is_asked_for_the_steps(kind):
    optimizer = kind(Step(0.8, step_size=2, gamma=0.5))
    assert optimizer.learning_rates(first_step=3, n_steps=4, horizon=100).tolist() == [0.4, 0.2, 0.2, 0.1]


def test_a_schedule_is_told_the_horizon():
    np.testing.assert_allclose(SGD(Cosine(0.9)).learning_rates(1, 2, horizon=3), [0.675, 0.225])


def test_no_steps_need_no_learning_rates():
    assert SGD(0.1).learning_rates(0, 0, 10).shape == (0,)
    assert SGD(Constant(0.1)).learning_rates(0, 0, 10).shape == (0,)


def test_a_schedule_of_the_users_own():
    optimizer = Adam(FromFunction(lambda steps, horizon: 1 - steps / horizon))
    assert optimizer.learning_rates(first_step=2, n_steps=2, horizon=4).tolist() == [0.5, 0.25]


def test_the_result_is_a_new_array_that_may_be_written_to():
    kept = np.array([1, 2, 3], dtype=np.float64)
    rates = Adam(FromFunction(lambda steps, horizon: kept)).learning_rates(0, 3, 3)
    rates[:] = 0.0
    assert kept.tolist() == [1, 2, 3]


def test_a_schedule_that_returns_one_number_for_all_steps_is_refused():
    with pytest.raises(ValueError) as caught:  # noqa: PT011 -- the whole text is compared below
        SGD(FromFunction(lambda steps, horizon: 0.1)).learning_rates(0, 3, 3)
    assert str(caught.value) == (
        "`learning_rate` must be a schedule that returns one number a step, shape (3,); "
        "FromFunction() returned shape (). Compute with the array of steps that it is given."
    )


@pytest.mark.parametrize("wrong", [-0.5, float("nan"), float("inf")])
def test_a_schedule_that_returns_a_wrong_number_is_refused(wrong):
    schedule = FromFunction(lambda steps, horizon: np.where(steps == 7, wrong, 0.1))
    with pytest.raises(ValueError) as caught:  # noqa: PT011 -- the whole text is compared below
        SGD(schedule).learning_rates(5, 4, 10)
    assert str(caught.value) == (
        "`learning_rate` must be a schedule that returns finite numbers, 0 or above; "
        f"FromFunction() returned {wrong} for step 7. Check its formula there."
    )


# ---- Messages ------------------------------------------------------------------------------------------

RATE = "`learning_rate` must be a finite number above 0; got"
RATE_CURE = "Try 0.01, or pass a schedule such as bp.Cosine(0.01)."
UNIT = "must be a number in [0, 1); got"
MOMENTUM_CURE = "Try 0.9, or 0.0 for no momentum."
EPSILON = "`epsilon` must be a finite number above 0; got"
VALUE_ERRORS = [
    (lambda: SGD(0.0), f"{RATE} 0.0. {RATE_CURE}"),
    (lambda: Adam(-1), f"{RATE} -1. {RATE_CURE}"),
    (lambda: AdamW(float("nan")), f"{RATE} nan. {RATE_CURE}"),
    (lambda: RMSprop(float("inf")), f"{RATE} inf. {RATE_CURE}"),
    (lambda: SGD(0.1, 1.0), f"`momentum` {UNIT} 1.0. {MOMENTUM_CURE}"),
    (lambda: RMSprop(momentum=-0.1), f"`momentum` {UNIT} -0.1. {MOMENTUM_CURE}"),
    (lambda: Adam(beta_1=1), f"`beta_1` {UNIT} 1. Try 0.9."),
    (lambda: Adam(beta_2=1.5), f"`beta_2` {UNIT} 1.5. Try 0.999."),
    (lambda: AdamW(beta_2=1.5), f"`beta_2` {UNIT} 1.5. Try 0.999."),
    (lambda: RMSprop(rho=1.0), f"`rho` {UNIT} 1.0. Try 0.9."),
    (lambda: Adam(epsilon=0.0), f"{EPSILON} 0.0. Try 1e-8."),
    (lambda: RMSprop(epsilon=-1e-8), f"{EPSILON} -1e-08. Try 1e-8."),
    (
        lambda: AdamW(weight_decay=-0.1),
        "`weight_decay` must be a finite number, 0 or above; got -0.1. Try 0.01, or Adam for no decay.",
    ),
]
TYPE_ERRORS = [
    (lambda: SGD("fast"), f"{RATE} 'fast'. {RATE_CURE}"),
    (lambda: Adam(None), f"{RATE} None. {RATE_CURE}"),
    (lambda: SGD(True), f"{RATE} True. {RATE_CURE}"),
    (lambda: SGD(0.1, "0.9"), f"`momentum` {UNIT} '0.9'. {MOMENTUM_CURE}"),
    (
        lambda: SGD(0.1, nesterov=0.9),
        "`nesterov` must be True or False; got 0.9. The strength of the momentum is `momentum`.",
    ),
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
