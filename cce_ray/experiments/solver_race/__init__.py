"""The benchmark of the pseudo-label solvers: contenders, race, tables and picture."""
