"""The machine: vector instructions, pointers, threads that wait for each other, calls of C functions."""
