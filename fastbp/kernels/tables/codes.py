"""Codes of activations and losses in the tables; a code is never given to another function later."""

# --- activation codes ------------------------------------------------------------------------------------------------
IDENTITY = 0
SIGMOID = 1
TANH = 2
RELU = 3
LEAKY_RELU = 4
ELU = 5
SOFTPLUS = 6
GELU = 7
SILU = 8
SINE = 9
EXP = 10
SOFTMAX = 11
CUSTOM_ACTIVATION = 12

# --- loss codes ------------------------------------------------------------------------------------------------------
QUADRATIC = 0
SIGMOID_CROSS_ENTROPY = 1
SOFTMAX_CROSS_ENTROPY = 2
ABSOLUTE = 3
HUBER = 4
LOG_COSH = 5
POISSON = 6
CUSTOM_LOSS = 7
QUANTILE = 8
CLIPPED_SOFTMAX_CROSS_ENTROPY = 9  # the cost from probabilities clipped to [LOSS_PARAMETER, 1 - LOSS_PARAMETER]
CLIPPED_SIGMOID_CROSS_ENTROPY = 10
POISSON_DEVIANCE = 11  # half of it, for the output activation exp
POISSON_OF_LOGITS = 12  # where each output is one of POISSON_OUTPUTS, so that log a is known where a is 0
# Losses that need certain output activations, and give dC/dz at once.
SOFTMAX_LOSSES = (SOFTMAX_CROSS_ENTROPY, CLIPPED_SOFTMAX_CROSS_ENTROPY)  # these make the softmax themselves, from z
SIGMOID_LOSSES = (SIGMOID_CROSS_ENTROPY, CLIPPED_SIGMOID_CROSS_ENTROPY)
POISSON_OUTPUTS = (EXP, SOFTPLUS, SIGMOID, SOFTMAX)
LOSSES_FROM_LOGITS = (*SOFTMAX_LOSSES, *SIGMOID_LOSSES, POISSON_DEVIANCE, POISSON_OF_LOGITS)
