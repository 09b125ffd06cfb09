"""The integer tables that describe a network and its data to the kernels, column by column.

A network is three small int64 tables, so that no kernel's type depends on depth, width, activation or loss.
`fastbp.layout` fills them in; the kernels only read them.
"""

# --- layers: one row a layer; offsets count elements -----------------------------------------------------------------
FAN_IN = 0
FAN_OUT = 1
WEIGHTS = 2  # offset of W in params; b follows at WEIGHTS + FAN_IN * FAN_OUT
Z = 3  # offset of z in a slot of the workspace; equal to A where z is not kept
A = 4  # offset of a
DELTA = 5  # offset of delta
FIRST_SEGMENT = 6  # rows [FIRST_SEGMENT, END_SEGMENT) of the table of segments are this layer's
END_SEGMENT = 7
PITCH = 8  # of a narrow network (see `fastbp.kernels.narrow`): rows of W are 2^PITCH elements apart when packed
PACKED = 9  # offset of the packed W; b follows behind its last whole vector
STRIDE = 10  # elements from one row of z, a and delta to the next: FAN_OUT, or some more
LAYER_COLUMNS = 11

# --- segments: neighbouring neurons of one layer with one activation -------------------------------------------------
BEGIN = 0  # neurons [BEGIN, END) of the layer
END = 1
CODE = 2  # an activation's code
FORWARD = 3  # addresses of a user's compiled activation, 0 for the built-in ones
BACKWARD = 4
SEGMENT_COLUMNS = 5

# --- plan: one vector ------------------------------------------------------------------------------------------------
N_LAYERS = 0
LOSS = 1  # a loss's code
LOSS_VALUE = 2  # addresses of a user's compiled loss
LOSS_DERIVATIVE = 3
BLOCK_ROWS = 4  # rows of one pass through the network: what the workspace has room for
SLOT_SIZE = 5  # elements of the workspace for one thread
INPUT = 6  # offsets in a slot: gathered X, gathered Y, row scales, row costs
TARGET = 7
SCALE = 8
COST = 9
MODE = 10  # how a mini-batch is cut into pieces
N_PIECES = 11  # into how many pieces of rows, in mode BY_ROWS, or of features, in mode BY_FEATURES
N_PARAMS = 12
UPDATE_PIECES = 13  # into how many pieces the parameters are cut where they are updated on their own
DROPOUT_SEED = 14
OPTIMIZER = 15  # an optimizer's code
BATCH_SIZE = 16
N_STATE_VECTORS = 17
HAS_DROPOUT = 18
FORWARD_PIECES = 19  # into how many pieces the data set's blocks are cut for a forward pass
SUMS = 20  # offset of two sums for each row of the output layer
PER_BATCH = 21  # 1: each mini-batch divides BATCH_L2 and BATCH_L1 as its samples' sum; its cost counts by its rows
PARTS = 22  # offset of the first layer's sums over parts of the features, in mode BY_FEATURES
NARROW = 23  # offset of what training a narrow network keeps in a slot; 0: there is no room for it
PACKED_SIZE = 24  # elements of the packed parameters
EPOCH_SUMS = 25  # address of the sums of cost and weight of each epoch, float64 (n_epochs, 2); 0 within one epoch
BEFORE = 26  # address of the parameters from before the epoch at hand, where there are EPOCH_SUMS
SHUFFLES = 27  # 1: each of these epochs takes the rows in a new random order
PLAN_LENGTH = 28

# modes
BY_ROWS = 0  # each piece takes some rows through the whole network and has a gradient of its own
BY_NEURONS = 1  # each layer's matrices are cut into pieces; all pieces write one gradient
BY_FEATURES = 2  # the same for the first layer alone, which is cut along its inputs; the small rest goes by rows

# --- data: addresses and strides (in elements) of the caller's arrays, 0 where there is none -------------------------
X = 0
X_ROW = 1
X_COLUMN = 2
Y = 3
Y_ROW = 4
Y_COLUMN = 5
LABELS = 6  # int64 (n,)
SAMPLE_WEIGHT = 7  # (n,), the network's dtype
ORDER = 8  # int64: the rows in the order in which they are used
N_ROWS = 9
NEXT_UINT32 = 10  # addresses of a NumPy bit generator's function and of its state, where rows are shuffled
RANDOM_STATE = 11
FORM = 12  # of X, see below; of sparse rows X holds the numbers, and has no strides
INDPTR = 13  # int64: where each row's numbers begin, and where the last one's end
INDICES = 14  # int32: the columns of the numbers, rising within a row
DATA_LENGTH = 15

# forms of X
DENSE = 0
NUMBERS = 1  # sparse rows, the first layer's products run over their numbers
SCATTERED = 2  # sparse rows, made dense block by block

# --- scalars: one float64 vector; the leading thread writes it, all threads read it ----------------------------------
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
# Losses that need one output activation, and give dC/dz = a - y at once.
SOFTMAX_LOSSES = (SOFTMAX_CROSS_ENTROPY, CLIPPED_SOFTMAX_CROSS_ENTROPY)  # these make the softmax themselves, from z
SIGMOID_LOSSES = (SIGMOID_CROSS_ENTROPY, CLIPPED_SIGMOID_CROSS_ENTROPY)
LOSSES_FROM_LOGITS = (*SOFTMAX_LOSSES, *SIGMOID_LOSSES, POISSON_DEVIANCE)
