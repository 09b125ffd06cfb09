"""The tables that drive the parametrised tests: tolerances, activations, losses, networks, optimizers.

A new activation or loss gets every test by one row in `ACTIVATIONS` or `LOSSES` here, beside its formula in
`tests.reference_formulas`. Nothing here imports fastbp: ``bp.Network(case.sizes, **case.keywords)`` is the
network that the functions of `tests.reference` describe when they are given the case itself.
"""

from dataclasses import dataclass
from math import inf

from tests import reference

DTYPES = ("float32", "float64")

# ---- Tolerances, all for `reference.relative_error`: largest difference over largest value ---------------

# Same formulas, another order of summation: some ten roundings of eps in each of a few layers.
VALUE_RTOL = {"float32": 1e-5, "float64": 1e-12}
# As above, once more through the layers; a derivative may also amplify the rounding of its z.
GRADIENT_RTOL = {"float32": 1e-4, "float64": 1e-11}
# Ten or so steps: optimizers that divide by the gradient's size amplify the rounding of small gradients.
TRAJECTORY_RTOL = {"float32": 1e-3, "float64": 1e-9}
# Two exact methods in double precision: rounding only.
COMPLEX_STEP_RTOL = 1e-12
# Rounding of C over the step (1e-13 to 1e-12) and the fifth derivative times step**4 (1e-12), with a margin.
FOURTH_ORDER_RTOL = 1e-9
# eps**(2/3), the error of the central difference at its best step, times a margin for curvature.
CENTRAL_DIFFERENCE_RTOL = 1e-7
# eps**(1/2), the error of the forward difference at its best step, times a margin for curvature.
FORWARD_DIFFERENCE_RTOL = 1e-5

# No kink of a problem used for differences may lie nearer: 2 steps times an input of 5.
KINK_MARGIN = 10 * reference.FOURTH_ORDER_STEP


def agrees_with_print(value, printed):
    """Whether value, rounded to the decimals of a number in print such as "0.0066", is that number."""
    return f"{value:.{len(printed.partition('.')[2])}f}" == printed


# ---- Activations, losses and what fits what ------------------------------------------------------------


@dataclass(frozen=True)
class ActivationRow:
    """What the tests must know of an activation; its formula is `reference_formulas.ACTIVATIONS[name]`."""

    name: str
    low: float  # infimum and supremum of f
    high: float
    kinks: tuple[float, ...] = ()  # the z where f is not infinitely often differentiable
    stackable: bool = True  # False: f of f of f overflows, so at most one layer, at random only the output

    def __str__(self):
        """Return the name, pytest's id of the row."""
        return self.name


@dataclass(frozen=True)
class LossRow:
    """What the tests must know of a loss; its formula is `reference_formulas.LOSSES[name]`.

    One that has a parameter also has `reference_formulas.WITH_PARAMETER[name]`, and parameters other than the default
    with which everything is tested too.
    """

    name: str
    outputs: tuple[str, ...]  # activations the output neurons may have; "softmax" for the whole layer
    targets: str  # "real", "probability" (softmax: rows sum to 1) or "count"
    kinks: tuple[float, ...] = ()  # the a - y where it is not infinitely often differentiable
    default: float | None = None  # its parameter, and others
    parameters: tuple[float, ...] = ()
    kinks_scale: bool = False  # whether the kinks are those times the parameter

    def __str__(self):
        """Return the name, pytest's id of the row."""
        return self.name

    def kinks_with(self, parameter):
        """The kinks with a parameter, None for the default."""
        if not self.kinks_scale:
            return self.kinks
        return tuple(kink * (self.default if parameter is None else parameter) for kink in self.kinks)


ACTIVATIONS = (
    ActivationRow("identity", -inf, inf),
    ActivationRow("sigmoid", 0, 1),
    ActivationRow("tanh", -1, 1),
    ActivationRow("relu", 0, inf, kinks=(0,)),
    ActivationRow("leaky_relu", -inf, inf, kinks=(0,)),
    ActivationRow("elu", -1, inf, kinks=(0,)),
    ActivationRow("softplus", 0, inf),
    ActivationRow("gelu", -0.17, inf),  # the minima of gelu and silu, rounded down
    ActivationRow("silu", -0.2785, inf),
    ActivationRow("sine", -1, 1),
    ActivationRow("exp", 0, inf, stackable=False),
)
ACTIVATION_NAMES = tuple(row.name for row in ACTIVATIONS)
ACTIVATION_KINKS = {row.name: row.kinks for row in ACTIVATIONS}

_ANY_OUTPUT = (*ACTIVATION_NAMES, "softmax")
LOSSES = (
    LossRow("quadratic", _ANY_OUTPUT, "real"),
    LossRow("cross_entropy", ("sigmoid", "softmax"), "probability"),
    LossRow("absolute", _ANY_OUTPUT, "real", kinks=(0,)),
    LossRow("huber", _ANY_OUTPUT, "real", kinks=(-1, 1), default=1.0, parameters=(0.3, 2.5), kinks_scale=True),
    LossRow("log_cosh", _ANY_OUTPUT, "real"),
    LossRow("poisson", ("sigmoid", "softplus", "exp", "softmax"), "count"),
    LossRow("quantile", _ANY_OUTPUT, "real", kinks=(0,), default=0.5, parameters=(0.1, 0.9)),
)
LOSS_NAMES = tuple(row.name for row in LOSSES)
LOSS_BY_NAME = {row.name: row for row in LOSSES}

# Every output with every loss it fits, and every pair that must be refused.
LEGAL_OUTPUTS = tuple((output, loss.name) for loss in LOSSES for output in loss.outputs)
ILLEGAL_OUTPUTS = tuple((output, loss.name) for loss in LOSSES for output in _ANY_OUTPUT if output not in loss.outputs)


# ---- Cases: a network without numbers --------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Case:
    """A network's definition, in the words of fastbp's constructor.

    Attributes
    ----------
    name : str
        pytest's id.
    sizes : list of int
        Neurons per layer, inputs first.
    activation : str or list
        A name, or one entry per hidden layer: a name or a list of (name, count).
    output : str or list of (str, int)
        The same for the output layer; also "softmax".
    loss : str
    l2_penalty, l1_penalty : float
    loss_parameter : float or None
        None is the loss's default.
    """

    name: str
    sizes: list
    activation: str | list = "tanh"
    output: str | list = "identity"
    loss: str = "quadratic"
    l2_penalty: float = 0.0
    l1_penalty: float = 0.0
    loss_parameter: float | None = None

    def __str__(self):
        """Return the name, pytest's id of the case."""
        return self.name

    @property
    def keywords(self):
        """Everything ``bp.Network`` takes beside sizes, dtype and seed."""
        keys = ("activation", "output", "loss", "l2_penalty", "l1_penalty", "loss_parameter")
        return {key: getattr(self, key) for key in keys}

    @property
    def loss_kinks(self):
        """The a - y where the loss is not infinitely often differentiable."""
        return LOSS_BY_NAME[self.loss].kinks_with(self.loss_parameter)

    @property
    def n_params(self):
        """Number of weights and biases."""
        return reference.count_parameters(self.sizes)

    @property
    def neuron_activations(self):
        """One entry per layer for the reference: "softmax" or a list of fan_out names."""
        n_hidden = len(self.sizes) - 2
        hidden = [self.activation] * n_hidden if isinstance(self.activation, str) else self.activation
        assert len(hidden) == n_hidden, f"{self.name}: {n_hidden} hidden layers, {len(hidden)} activations"
        return [expand(entry, n) for entry, n in zip([*hidden, self.output], self.sizes[1:], strict=True)]

    @property
    def smooth(self):
        """Whether the cost is infinitely often differentiable in the parameters."""
        names = {name for layer in self.neuron_activations if layer != "softmax" for name in layer}
        kinked = any(ACTIVATION_KINKS[name] for name in names)
        return not (kinked or self.loss_kinks or self.l1_penalty)


def expand(entry, fan_out):
    """One layer's entry for the reference: [("sigmoid", 1), ("tanh", 2)] -> ["sigmoid", "tanh", "tanh"]."""
    if entry == "softmax":
        return entry
    names = [entry] * fan_out if isinstance(entry, str) else [name for name, n in entry for _ in range(n)]
    assert len(names) == fan_out, f"{entry} does not cover {fan_out} neurons"
    return names


_PENALTIES = {"l2_penalty": 0.1, "l1_penalty": 0.03}

NETWORK_CASES = (
    Case("1-1", [1, 1]),
    Case("1-1-1", [1, 1, 1], "sigmoid", "sigmoid", "cross_entropy"),
    Case("2-1-1", [2, 1, 1], "tanh", "sigmoid"),
    Case("3-5-2", [3, 5, 2], "softplus", "identity"),
    Case("3-5-2-l2", [3, 5, 2], "gelu", "softmax", "cross_entropy", l2_penalty=0.1),
    Case("3-5-2-l1", [3, 5, 2], "tanh", "identity", "log_cosh", l1_penalty=0.05),
    Case("4-7-6-3", [4, 7, 6, 3], ["relu", "tanh"], "softmax", "cross_entropy"),
    Case("4-7-6-3-both-penalties", [4, 7, 6, 3], ["silu", "elu"], "exp", "poisson", **_PENALTIES),
    Case("deep", [3, 5, 5, 5, 5, 5, 2], ["tanh", "softplus", "sine", "sigmoid", "gelu"], "sigmoid",
         "cross_entropy"),
    Case("deep-relu", [3, 5, 5, 5, 5, 5, 2], "relu", "identity", "huber"),
    Case("wide", [17, 33, 9], "sigmoid", "softmax", "cross_entropy"),
    Case("wide-relu", [17, 33, 9], "relu", "identity"),
    Case("mixed-hidden", [4, 5, 6, 2], [[("sigmoid", 1), ("tanh", 4)], "silu"]),
    Case("mixed-output", [3, 4, 3], "tanh", [("identity", 1), ("softplus", 2)]),
    Case("mixed-everywhere", [3, 5, 4, 3],
         [[("relu", 2), ("sine", 3)], [("elu", 1), ("gelu", 2), ("tanh", 1)]],
         [("exp", 1), ("softplus", 1), ("sigmoid", 1)], "poisson"),
)  # fmt: skip

# Every activation in two hidden layers, so that its derivative is also passed on.
ACTIVATION_CASES = tuple(
    Case(f"hidden-{row}", [4, 6, 5, 3], row.name if row.stackable else ["tanh", row.name]) for row in ACTIVATIONS
)

# Every output with every loss it fits.
LOSS_CASES = tuple(Case(f"{output}-{loss}", [3, 5, 4], "tanh", output, loss) for output, loss in LEGAL_OUTPUTS)
# Other parameters than the defaults, with an output by itself and one that all z make.
PARAMETER_CASES = tuple(
    Case(f"{output}-{loss}-{parameter}", [3, 5, 4], "tanh", output, loss.name, loss_parameter=parameter)
    for loss in LOSSES for parameter in loss.parameters for output in ("identity", "softmax")
)  # fmt: skip

ALL_CASES = NETWORK_CASES + ACTIVATION_CASES + LOSS_CASES + PARAMETER_CASES
SMOOTH_CASES = tuple(case for case in ALL_CASES if case.smooth)
KINKED_CASES = tuple(case for case in ALL_CASES if not case.smooth)
# Few enough paths from a weight to the cost to visit each one.
TINY_CASES = tuple(case for case in ALL_CASES if case.n_params < 80 and len(case.sizes) < 6)


@dataclass(frozen=True, eq=False)
class OptimizerCase:
    """``getattr(bp, kind)(**hyper_parameters)``, with gradients clipped to clip_norm."""

    name: str
    kind: str
    hyper_parameters: dict
    clip_norm: float | None = None

    def __str__(self):
        """Return the name, pytest's id of the case."""
        return self.name


OPTIMIZER_CASES = (
    OptimizerCase("sgd", "SGD", {"learning_rate": 0.1}),
    OptimizerCase("momentum", "SGD", {"learning_rate": 0.05, "momentum": 0.9}),
    OptimizerCase("nesterov", "SGD", {"learning_rate": 0.05, "momentum": 0.8, "nesterov": True}),
    OptimizerCase("sgd-clipped", "SGD", {"learning_rate": 0.1, "momentum": 0.5}, clip_norm=0.3),
    OptimizerCase("adam", "Adam", {"learning_rate": 0.01}),
    OptimizerCase("adam-settings", "Adam", {"learning_rate": 0.02, "beta_1": 0.8, "beta_2": 0.95, "epsilon": 1e-4}),
    OptimizerCase("adam-clipped", "Adam", {"learning_rate": 0.01}, clip_norm=0.3),
    OptimizerCase("adamw", "AdamW", {"learning_rate": 0.01}),
    OptimizerCase("adamw-settings", "AdamW", {"learning_rate": 0.02, "weight_decay": 0.2, "beta_2": 0.99}),
    OptimizerCase("rmsprop", "RMSprop", {"learning_rate": 0.01}),
    OptimizerCase("rmsprop-momentum", "RMSprop", {"learning_rate": 0.01, "rho": 0.8, "momentum": 0.7}),
)
