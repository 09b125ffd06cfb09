"""Places in the vector of the caller's arrays: addresses and strides (in elements), 0 where there is none."""

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
ROWS = 15  # int64 (N_ROWS,): the rows that are shuffled, where they are not all of them; 0 for 0, 1, ...
DATA_LENGTH = 16

# forms of X
DENSE = 0
NUMBERS = 1  # sparse rows, the first layer's products run over their numbers
SCATTERED = 2  # sparse rows, made dense block by block
