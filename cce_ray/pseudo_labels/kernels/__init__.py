"""The Numba kernels of the solvers, in files of their solvers' names."""
