"""How kernels are compiled and kept on disk: the only place with Numba's options."""
