"""Columns of the table of segments: neighbouring neurons of one layer with one activation."""

BEGIN = 0  # neurons [BEGIN, END) of the layer
END = 1
CODE = 2  # an activation's code
FORWARD = 3  # addresses of a user's compiled activation, 0 for the built-in ones
BACKWARD = 4
SECOND = 5  # of its second and third derivative, 0 where there is none
THIRD = 6
SEGMENT_COLUMNS = 7
