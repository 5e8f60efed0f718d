"""The kernels in plain NumPy, in files of their kernels' names: slow, readable, tested against."""
