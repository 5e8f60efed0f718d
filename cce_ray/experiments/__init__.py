"""Tables and figures of the paper, and the benchmarks that users run: one file per table or figure."""
