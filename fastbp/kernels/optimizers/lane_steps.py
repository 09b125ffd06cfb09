"""Adam's step for many networks at once, a network in each lane, with numbers of its own: its learning rate above all.

The instructions are those of `fastbp.kernels.optimizers.adam_step`, and so are the bits of each lane.
"""

from typing import Any

import numba
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastbp.kernels.machine.vector_writer import Vectors, call_operation, loop
from fastbp.kernels.optimizers.adam_step import adam_vector, is_in_vectors
from fastbp.kernels.optimizers.updates import ADAM

N_NUMBERS = 6  # rate, beta_1, gain_1, beta_2, gain_2 and epsilon, a vector of each


def may_differ(optimizer: int, itemsize: int) -> bool:
    """Return whether networks whose steps have different numbers take them at once, on numbers of so many bytes."""
    return optimizer == ADAM and is_in_vectors(types.float32 if itemsize == 4 else types.float64)


def _adam(builder: ir.IRBuilder, real: Any, arguments: list[Any]) -> None:
    n, numbers, *pointers = arguments
    v = Vectors(builder, real)
    constants = [v.load(numbers, i * v.lanes) for i in range(N_NUMBERS)]

    def column(j: Any) -> list[Any]:
        adam_vector(v, constants, [builder.gep(p, [j]) for p in pointers], None)
        return []

    loop(builder, n, v.lanes, [], column)


if numba.config.DISABLE_JIT:

    def lane_adam_step(*arguments: Any) -> None:
        """Never called: see `fastbp.kernels.optimizers.adam_step.has_adam_step`."""
        raise NotImplementedError

else:

    @intrinsic
    def lane_adam_step(typingctx, n, numbers, g, w, m, v):
        """m = beta_1 m + gain_1 g; v = beta_2 v + gain_2 g^2; w -= rate m / (sqrt(v) + epsilon), for n whole vectors.

        n counts elements; `numbers` are the N_NUMBERS vectors.
        """
        real = w.dtype
        signature = types.void(types.int64, numbers, g, w, m, v)

        def codegen(context, builder, signature, args):
            if is_in_vectors(real):  # elsewhere never called
                call_operation("lane_adam", _adam, builder, context.get_value_type(real), list(args))
            return context.get_dummy_value()

        return signature, codegen
