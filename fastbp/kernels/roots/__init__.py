"""The kernels that Python calls."""
