"""Elementary functions of one float that a loop in a kernel can be vectorised around.

A loop that calls `numpy.exp` or `math.exp` calls the C library for every element, about 15 ns each. The functions
here are inlined into the loop and have no calls, tables or branches, so that LLVM turns them into packed
instructions: 1 to 4 ns an element. Compiled kernels call them as ``vm.exp(z[i])``:

    exp  expm1  logistic  tanh  log  log1p  softplus  log_cosh  normal_cdf  normal_pdf  sin  cos  sin_limit

* float32 in, float32 out, computed in float32; likewise float64. Other types do not compile.
* NaN in, NaN out; infinities give the limits.
* The errors stated in the docstrings are for processors with a fused multiply-add (x86-64 since 2013, 64-bit ARM).
  In float32 they were measured over every float of |z| from 1e-6 to where the result is constant, not normal or
  beyond the range of the function (softplus, log_cosh: to 200), in float64 on millions of random and neighbouring
  floats (normal_cdf: 200,000). Without that instruction they are at most 0.4 ulp more, except for the normal
  distribution far out (relative error z**2 / 2 times the rounding unit) and sin and cos near their zeros, where only
  the absolute error is small; and tanh may fall by an ulp.
* They keep their own floating-point flags in a kernel that is compiled with more.
* Called from Python, and with ``NUMBA_DISABLE_JIT=1``, they are NumPy's functions or made of these.
"""

from fastbp.kernels.vectors.exponential import exp, expm1, logistic, tanh
from fastbp.kernels.vectors.logarithm import log, log1p, log_cosh, softplus
from fastbp.kernels.vectors.normal import normal_cdf, normal_pdf
from fastbp.kernels.vectors.trigonometric import SIN_LIMIT_32, SIN_LIMIT_64, cos, sin, sin_limit

__all__ = [
    "SIN_LIMIT_32",
    "SIN_LIMIT_64",
    "cos",
    "exp",
    "expm1",
    "log",
    "log1p",
    "log_cosh",
    "logistic",
    "normal_cdf",
    "normal_pdf",
    "sin",
    "sin_limit",
    "softplus",
    "tanh",
]
