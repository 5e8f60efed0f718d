"""A Parquet file of features, in the columns that `data=arrays` looks for."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from cce_ray.data import Dataset
from cce_ray.files import replacing
from cce_ray.runs.encoders import Encoder
from cce_ray.runs.id_columns import id_columns, id_fields
from cce_ray.version import __version__

_WHOLE_NUMBER = re.compile("0|[1-9][0-9]*")
GROUP_BYTES = 32 * 2**20
"""Rows are collected until their features are so large, and then written as one row group."""


def write_features(
    blocks: Iterable[tuple[np.ndarray, np.ndarray]], dataset: Dataset, encoder: Encoder, output: Path
) -> None:
    """Write the rows of `blocks` in order: (sample indices (B,), features (B, D) float32) each.

    Columns: `id` (the sample's place in its source, or the user's own id), `file` (of images and shards),
    `labels` (names of the classes, or numbers where all names are such; only where there are labels),
    `features` (a list of D float32). Backbone, weights, image size and version are in the metadata of the
    schema. The file appears whole or not at all.
    """
    labels = _label_values(dataset)
    columns = schema(dataset, labels, encoder)
    repeated = [name for name in columns.names if name in ("file", "labels")]
    rows = max(1, GROUP_BYTES // (4 * encoder.num_features))
    with (
        replacing(output) as temporary,
        pyarrow.parquet.ParquetWriter(str(temporary), columns, use_dictionary=repeated) as writer,
    ):
        waiting: list[pa.Table] = []
        for indices, features in blocks:
            waiting.append(table(indices, features, dataset, labels, columns))
            if sum(len(part) for part in waiting) >= rows:
                writer.write_table(pa.concat_tables(waiting))
                waiting.clear()
        if waiting:
            writer.write_table(pa.concat_tables(waiting))


def schema(dataset: Dataset, labels: np.ndarray | None, encoder: Encoder) -> pa.Schema:
    """The columns of the file, and what must be known of its origin."""
    classes = [] if labels is None else [("labels", pa.string() if labels.dtype == object else pa.int64())]
    features = ("features", pa.list_(pa.float32(), encoder.num_features))
    origin = {
        "cce_ray.backbone": encoder.name,
        "cce_ray.weights": encoder.weights,
        "cce_ray.image_size": "" if encoder.image_size is None else str(encoder.image_size),
        "cce_ray.version": __version__,
    }
    return pa.schema([*id_fields(dataset.ids), *classes, features], metadata=origin)


def table(
    indices: np.ndarray,
    features: np.ndarray,
    dataset: Dataset,
    labels: np.ndarray | None,
    columns: pa.Schema,
) -> pa.Table:
    """One block of rows."""
    values = id_columns(dataset.ids, indices)
    if labels is not None:
        values["labels"] = labels[indices]
    width = features.shape[1]
    values["features"] = pa.FixedSizeListArray.from_arrays(
        pa.array(np.ascontiguousarray(features).reshape(-1)), width
    )
    return pa.table({name: values[name] for name in columns.names}, schema=columns)


def _label_values(dataset: Dataset) -> np.ndarray | None:
    """(N,) names of the samples' classes, as int64 where all are whole numbers; None without labels."""
    if dataset.labels is None or dataset.class_names is None:
        return dataset.labels
    names = np.array(dataset.class_names, dtype=object)
    if all(_WHOLE_NUMBER.fullmatch(name) and int(name) < 2**63 for name in dataset.class_names):
        names = names.astype(np.int64)  # as text 10 would sort before 9
    return names[dataset.labels]
