"""
SciPy and physics
=================

For those who fit curves and solve equations with SciPy.  Afterwards you can minimise a network's cost with SciPy or
with fastbp's own second-order methods, put error bars on a fitted curve, let a network obey a differential equation,
and integrate one that a network has learned.

Networks are float64 unless told otherwise, as all of SciPy.
"""

# %%
# A cost to minimise
# ------------------
# :meth:`fastbp.Network.value_and_grad` has the form that ``scipy.optimize.minimize`` wants with ``jac=True``.

import time

import matplotlib.pyplot as plt
import numba
import numpy as np
import scipy.integrate
import scipy.linalg
import scipy.optimize
import threadpoolctl

import fastbp as bp

x = np.linspace(-1, 1, 100)[:, None]
y = np.sin(3 * x)
net = bp.Network([1, 10, 1], activation="tanh", seed=0)
start = net.params.copy()
costs = []


def note(intermediate_result):
    """Remember the cost after an iteration."""
    costs.append(intermediate_result.fun)


result = scipy.optimize.minimize(
    lambda params: net.value_and_grad(x, y, params),
    start,
    jac=True,
    method="L-BFGS-B",
    options={"maxiter": 500},
    callback=note,
)
print(f"SciPy's L-BFGS-B: cost {result.fun:.2e}, {result.nit} iterations")

# %%
# :class:`fastbp.LBFGS` does the same without leaving compiled code, and with a :class:`fastbp.History`.

net.params = start
lbfgs = net.fit(x, y, epochs=500, optimizer=bp.LBFGS())
print("fastbp.LBFGS:", lbfgs)
assert result.fun < 1e-3
assert lbfgs.loss[-1] < 1e-3

# %%
# Least squares
# -------------
# A quadratic cost has more to it than a gradient.  :class:`fastbp.LevenbergMarquardt` uses the Jacobian of all
# residuals and gets some digits further.  Up to some hundred parameters it is mostly the quickest.

net.params = start
squares = net.fit(x, y, epochs=200, optimizer=bp.LevenbergMarquardt())
print("fastbp.LevenbergMarquardt:", squares)
assert squares.loss[-1] < 0.01 * min(result.fun, lbfgs.loss[-1])

# %%
# ``scipy.optimize.least_squares`` takes residuals and their Jacobian, :meth:`fastbp.Network.jacobian`, whose shape is
# (rows, outputs, parameters).  Here there is one output.


def residuals(params):
    """Return the error of each row."""
    net.params = params
    return (net.predict(x) - y)[:, 0]


by_scipy = scipy.optimize.least_squares(
    residuals,
    start,
    jac=lambda params: net.jacobian(x, params=params)[:, 0],
    method="lm",
    max_nfev=400,
)
mean_cost = by_scipy.cost / len(x)  # SciPy's is a sum over the rows
print(f"SciPy's least_squares: cost {mean_cost:.2e}")
assert mean_cost < 0.01 * result.fun

fig, ax = plt.subplots(figsize=(6, 3.5), layout="constrained")
ax.semilogy(costs, color="0.6", label="SciPy's L-BFGS-B")
ax.semilogy(lbfgs.loss, "k:", label="LBFGS")
ax.semilogy(squares.loss, "k", label="LevenbergMarquardt")
ax.set(xlabel="iteration", ylabel="cost (half the mean squared error)")
legend = ax.legend(frameon=False)

# %%
# Curve fitting with error bars
# -----------------------------
# With noise in the data the question is how far to go.  :class:`fastbp.BayesianRegularization` weighs the errors
# against the size of the parameters, and finds both weights from the data.  Here are 60 points whose noise has the
# standard deviation 0.1, and a network with as many parameters.


def truth(x):
    """Return what the points are scattered around."""
    return np.sin(4 * x) * np.exp(-x)


rng = np.random.default_rng(0)
x_noisy = np.sort(rng.uniform(-1, 1, (60, 1)), axis=0)
y_noisy = truth(x_noisy) + 0.1 * rng.standard_normal(x_noisy.shape)
net = bp.Network([1, 20, 1], activation="tanh", seed=0)
fitted = net.fit(
    x_noisy, y_noisy, epochs=500, optimizer=bp.BayesianRegularization()
)
gamma, alpha, beta = fitted.gamma[-1], fitted.alpha[-1], fitted.beta[-1]
noise = np.sqrt(1 / (2 * beta))
print(
    f"of {net.n_params} parameters the data determine {gamma:.1f}; noise {noise:.3f}"
)
assert 8 < gamma < 12
assert abs(noise - 0.1) < 0.02

# %%
# What was minimised is ``beta`` times the squared errors plus ``alpha`` times the squared parameters.  Its curvature
# says how far the parameters may move, and the Jacobian what that does to the curve: its standard deviation.  For a
# new measurement the noise is added.

grid = np.linspace(-1.3, 1.3, 200)[:, None]
J = net.jacobian(x_noisy)[:, 0]
curvature = 2 * beta * J.T @ J + 2 * alpha * np.eye(net.n_params)
J_grid = net.jacobian(grid)[:, 0]
moved = scipy.linalg.solve(curvature, J_grid.T, assume_a="pos")
deviation = np.sqrt(np.sum(J_grid.T * moved, axis=0))

curve = net.predict(grid)[:, 0]
fig, ax = plt.subplots(figsize=(6, 4), layout="constrained")
ax.fill_between(
    grid[:, 0],
    curve - 2 * deviation,
    curve + 2 * deviation,
    color="0.85",
    label="two standard deviations",
)
ax.plot(x_noisy, y_noisy, "k.", markersize=4, label="points")
ax.plot(grid, curve, "k", label="network")
ax.plot(grid, truth(grid), "k:", label="truth")
ax.set(xlabel="x (no unit)", ylabel="y (no unit)", ylim=(-2.2, 4.2))
legend = ax.legend(frameon=False)

inside = np.abs(curve - truth(grid[:, 0])) < 2 * deviation
print(f"the truth is within them at {inside.mean():.0%} of the places")
assert inside.mean() > 0.9
assert deviation[0] > 3 * deviation[100]  # less certain far from the points

# %%
# Threads: SciPy's beside ours
# ----------------------------
# fastbp has threads of its own, and no more of them than the work is worth: a small network has one.
# :func:`fastbp.num_threads` limits them in a block of code, with the same results to the bit. SciPy's optimizers call
# BLAS, whose threads wait in a loop for work.  For vectors as short as these that costs far more than it gains, most
# of all on a busy machine.  ``threadpoolctl``, which comes with scikit-learn, holds BLAS at one thread.


def seconds(limits):
    """Return the time of the first fit of this page, within a context manager."""
    tried = bp.Network([1, 10, 1], activation="tanh", seed=0)
    with limits:
        began = time.perf_counter()
        scipy.optimize.minimize(
            lambda params: tried.value_and_grad(x, y, params),
            tried.params,
            jac=True,
            method="L-BFGS-B",
        )
        return time.perf_counter() - began


free = seconds(threadpoolctl.threadpool_limits(None))
held = seconds(threadpoolctl.threadpool_limits(1, "blas"))
print(
    f"{1e3 * free:.0f} ms as it is, {1e3 * held:.0f} ms with one thread of BLAS"
)

_, grad = net.value_and_grad(x, y)
with bp.num_threads(1):
    assert bp.get_num_threads() == 1
    assert np.array_equal(net.value_and_grad(x, y)[1], grad)

# %%
# A network that obeys an equation
# --------------------------------
# A pendulum swings by u'' = -sin u, from u(0) = 1, u'(0) = 0.  A network u(t) is told nothing but that.  Its cost is
# the mean squared residual of the equation at some times, and the same of both conditions at t = 0.
# :meth:`fastbp.Network.residual_value_and_grad` takes a function of u, du and the Laplacian, here u'', that returns
# the cost of each row and its derivatives by these three.

t = np.linspace(0, 6, 100)[:, None]


def equation(t, u, du, lap):
    """Return the squared residual, and its derivatives by u, du and lap."""
    r = lap + np.sin(u)
    return (r**2)[:, 0], 2 * r * np.cos(u), None, 2 * r


def at_rest(t, u, du, lap):
    """Return the squared slope, and its derivatives."""
    return du[:, 0, 0] ** 2, None, 2 * du, None


pendulum = bp.Network([1, 20, 1], activation="tanh", seed=0)
# each neuron changes at a time of its own
pendulum.biases[0][...] = -np.linspace(0, 6, 20) * pendulum.weights[0][0]


def physics_cost(params):
    """Return the cost of the equation and of both conditions, and its gradient."""
    parts = (
        pendulum.residual_value_and_grad(t, equation, params),
        pendulum.value_and_grad(t[:1], [[1.0]], params),
        pendulum.residual_value_and_grad(t[:1], at_rest, params),
    )
    weights = 1, 10, 10
    values, grads = zip(*parts, strict=True)
    return np.dot(weights, values), np.dot(weights, grads)


with threadpoolctl.threadpool_limits(1, "blas"):
    options = {"maxiter": 600, "maxcor": 20, "ftol": 0, "gtol": 1e-8}
    solved = scipy.optimize.minimize(
        physics_cost,
        pendulum.params,
        jac=True,
        method="L-BFGS-B",
        options=options,
    )
pendulum.params = solved.x

# %%
# ``solve_ivp`` integrates the same equation, to compare with.

exact = scipy.integrate.solve_ivp(
    lambda t, u: [u[1], -np.sin(u[0])],
    (0, 6),
    [1, 0],
    t_eval=t[:, 0],
    rtol=1e-9,
    atol=1e-9,
)
error = np.abs(pendulum.predict(t)[:, 0] - exact.y[0]).max()
print(f"cost {solved.fun:.1e}; the angle is off by {error:.1e} at most")
assert error < 0.01

# %%
# :ref:`sphx_glr_auto_examples_16_poisson_equation.py` solves Poisson's equation in the plane that way, and
# :doc:`/derivatives` lists all derivatives with what they cost.
#
# A network within solve_ivp
# --------------------------
# Now the other way round: the equation is not known, only measured.  A network learns the acceleration of a damped
# pendulum from 400 noisy measurements, and then is the right-hand side.  :meth:`fastbp.Network.compiled` makes it an
# argument of functions that Numba compiles.

rng = np.random.default_rng(0)
states = rng.uniform(-2.5, 2.5, (400, 2))
accelerations = (
    -np.sin(states[:, :1])
    - 0.2 * states[:, 1:]
    + 0.01 * rng.standard_normal((400, 1))
)
learned = bp.Network([2, 12, 1], activation="tanh", seed=0)
learned.fit(
    states, accelerations, epochs=200, optimizer=bp.LevenbergMarquardt()
)


@numba.njit
def motion(t, state, network):
    """Return the derivatives of angle and speed."""
    acceleration = np.empty(1)
    network.predict(state, acceleration)
    return np.array([state[1], acceleration[0]])


times = np.linspace(0, 20, 400)
how = {
    "t_span": (0, 20),
    "y0": [2.0, 0.0],
    "t_eval": times,
    "rtol": 1e-8,
    "atol": 1e-8,
}
path = scipy.integrate.solve_ivp(motion, args=(learned.compiled(),), **how).y[0]
true_path = scipy.integrate.solve_ivp(
    lambda t, u: [u[1], -np.sin(u[0]) - 0.2 * u[1]], **how
).y[0]
off = np.abs(path - true_path).max()
print(f"in 20 units of time the angle is off by {off:.3f} at most")
assert off < 0.02

fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
left.plot(t, exact.y[0], color="0.7", linewidth=5, label="solve_ivp")
left.plot(t, pendulum.predict(t), "k--", label="network")
left.set(
    title="told the equation", xlabel="time (no unit)", ylabel="angle (rad)"
)
left.legend(frameon=False)
right.plot(times, true_path, color="0.7", linewidth=5, label="true equation")
right.plot(times, path, "k--", label="learned equation")
right.set(
    title="told measurements", xlabel="time (no unit)", ylabel="angle (rad)"
)
legend = right.legend(frameon=False)

# %%
# ``compiled().low_level_callable()`` is what ``quad`` integrates without Python in between, for a network with one
# output.  :doc:`/compiled` says what else compiled code may do with a network, learning included, and
# :ref:`sphx_glr_auto_examples_18_learned_dynamics.py` follows many paths at once.

integral, _ = scipy.integrate.quad(
    pendulum.compiled().low_level_callable(), 0, 6
)
by_sums = scipy.integrate.simpson(
    pendulum.predict(np.linspace(0, 6, 1001)[:, None])[:, 0], dx=0.006
)
print(f"mean angle over the first 6 units of time: {integral / 6:.6f}")
assert np.isclose(integral, by_sums, atol=1e-9)
