"""The integer tables that describe a network and its data to the kernels, column by column, a module for each table.

A network is three small int64 tables, so that no kernel's type depends on depth, width, activation or loss.
`fastbp.engine` fills them in; the kernels only read them.  Where a module is used, its name says what its numbers are
places in: ``plan[in_plan.MODE]``, ``layers[l, in_layer.FAN_IN]``.
"""
