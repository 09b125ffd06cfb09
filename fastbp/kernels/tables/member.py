"""Columns of the table of many networks: one row a network, int64; what is to be done with it is the same for all."""

ADDRESSES = 0  # address of the network's own addresses, see `fastbp.kernels.roots.entry`
STATUS = 1  # written: FINISHED, UNKNOWN, or WAITING where the call ended before its turn
FIRST_STEP = 2  # of an epoch, see `fastbp.kernels.roots.entry`
N_STEPS = 3
RATES = 4  # address of the learning rates, float64 (N_STEPS,)
VALIDATION = 5  # address of the addresses of the same network with its validation data; 0: there are none
VAL_LOSSES = 6  # address of the cost of those after each epoch, float64
N_VALIDATED = 7  # written: how many of them
STOPPING = 8  # address of what early stopping goes by, float64, see below; 0: it does not stop early
BEST = 9  # address of room for the parameters of the best epoch; 0: they are not kept
MEMBER_COLUMNS = 10

# places in the vector of early stopping; see `fastbp.training.early_stopping`
LOWEST = 0  # validation loss of all epochs
COUNTED = 1  # at the last improvement that counted
WAITED = 2  # epochs since then
MIN_DELTA = 3
PATIENCE = 4
IMPROVED = 5  # written: 1 if a lowest loss was found, and BEST written

# columns of the table of pieces: one row for each piece of the work
FIRST_MEMBER = 0
N_MEMBERS = 1  # more than one are trained side by side in the lanes of the vectors: their tables must be the same
PIECE_COLUMNS = 2

# columns of the table of threads: one row a thread, addresses of memory that is its own
WORK = 0
GRADS = 1
COSTS = 2
LANES = 3  # where networks are trained side by side
CONTROL = 4
THREAD_COLUMNS = 5
