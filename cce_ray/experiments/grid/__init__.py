"""Grids of runs: the cells of a table, their runs, and the page that shows them."""
