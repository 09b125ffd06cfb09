"""Places in the vector of scalars, float64: the leading thread writes it, all threads read it."""

CONSTANTS = 0  # five constants of the optimizer
L2_PENALTY = 5
L1_PENALTY = 6
CLIP_NORM = 7  # 0 for no clipping
TOLERANCE = 8  # training stops at a gradient norm not above this; negative for never
STEP = 9  # number of the step, from 1
POWER_1 = 10  # beta_1^t and beta_2^t of Adam
POWER_2 = 11
LEARNING_RATE = 12  # of this step
WEIGHT_FACTOR = 13  # what the sum over a mini-batch's samples is multiplied by
COST_SUM = 14  # results: sum over steps of the mini-batch's cost, penalties included, times what it counts for
WEIGHT_SUM = 15  # sum over steps of what they count for
GRADIENT_NORM = 16  # of the last step, where it was needed
STATUS = 17
BATCH_L2 = 18  # penalties of a mini-batch as a whole, where PER_BATCH is set
BATCH_L1 = 19
COST_FACTOR = 20  # what the reported cost of the data is multiplied by; the gradient is not
LOSS_PARAMETER = 21  # of the Huber and quantile loss and the clipped cross-entropies
MEAN_WEIGHT = 22  # of the whole data set's samples; 0: a mini-batch is divided by the sum of its own weights
EPOCHS = 23  # how many of EPOCH_SUMS are written
DROPOUT = 24  # from here on one rate a layer, 0 for none
SCALARS_LENGTH = 24  # plus one for each layer

# status
FINISHED = 0
CONVERGED = 1  # the gradient norm is not above the tolerance; the step was not taken
DIVERGED = 2  # the cost is not finite; the step was not taken
INTERRUPTED = 3  # the caller asked for an early return; all steps up to STEP are whole
UNKNOWN = 4  # what a root returns where the tables have a code that the kernels do not know: nothing was done
