"""Places in what describes a network to its evaluator: int64 numbers, which C code may read as a struct of them.

The first eight are for everybody; what follows may change with VERSION.
"""

VERSION = 0  # of this layout and of what the evaluator does
FUNCTION = 1  # address of the evaluator
N_INPUTS = 2
N_OUTPUTS = 3
N_PARAMS = 4
ITEMSIZE = 5  # bytes of a number: 4 for float32, 8 for float64
TAKES_LABELS = 6  # 1: targets may be labels
HAS_OPTIMIZER = 7  # 1: it can take steps
LAYERS = 8  # addresses of tables and vectors, see `fastbp.kernels.roots.entry`
SEGMENTS = 9
PLAN = 10
SCALARS = 11
PARAMS = 12
GRAD = 13  # room for a gradient, where steps are taken
STATE = 14
WORK_SIZE = 15  # elements that a call needs to work in
SLOTS = 16  # address of memory for N_SLOTS calls, where they are too many for the stack
N_SLOTS = 17
CLAIMS = 18  # address of a cache line for each slot, whose first word is not 0 while a call has it; the step's is last
PITCH = 19  # elements from one row of a layer to the next in a pass forward
LENGTH = 20

ABI = 1  # what VERSION holds

# tasks
OUTPUTS = 0
COST = 1
VALUE_AND_GRAD = 2
INPUT_GRADIENT = 3
JACOBIAN = 4
STEP = 5
LABELS = 16  # added to a task: y points to int64 labels
