"""Places in the plan, one vector: how a problem is laid out and cut."""

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
LOSS_SECOND = 28  # address of a user's compiled second derivative of the loss
EXTRA = 29  # offset of what a root keeps in a slot besides all this
PLAN_LENGTH = 30

# modes
BY_ROWS = 0  # each piece takes some rows through the whole network and has a gradient of its own
BY_NEURONS = 1  # each layer's matrices are cut into pieces; all pieces write one gradient
BY_FEATURES = 2  # the same for the first layer alone, which is cut along its inputs; the small rest goes by rows
