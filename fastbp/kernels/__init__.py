"""The compiled kernels: roots, which Python calls, and leaves, which roots call."""
