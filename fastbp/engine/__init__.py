"""Calls of the compiled kernels: their tables and buffers, their threads, how work is cut, how a call ends early."""
