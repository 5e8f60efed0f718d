"""Samples where they are kept: in memory, in files of arrays, Parquet, shards or image files."""
