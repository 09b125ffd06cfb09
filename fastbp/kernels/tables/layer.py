"""Columns of the table of layers: one row a layer; offsets count elements."""

FAN_IN = 0
FAN_OUT = 1
WEIGHTS = 2  # offset of W in params; b follows at WEIGHTS + FAN_IN * FAN_OUT
Z = 3  # offset of z in a slot of the workspace; equal to A where z is not kept
A = 4  # offset of a
DELTA = 5  # offset of delta
FIRST_SEGMENT = 6  # rows [FIRST_SEGMENT, END_SEGMENT) of the table of segments are this layer's
END_SEGMENT = 7
PITCH = 8  # of a narrow network (see `fastbp.kernels.layers.narrow`): rows of W are 2^PITCH elements apart when packed
PACKED = 9  # offset of the packed W; b follows behind its last whole vector
STRIDE = 10  # elements from one row of z, a and delta to the next: FAN_OUT, or some more
LAYER_COLUMNS = 11
