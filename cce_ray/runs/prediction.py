"""Label data with a trained model: a row a sample, written in pieces, so that the data may exceed memory."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from cce_ray.config import Overrides, load_config
from cce_ray.data import Batches, Dataset, SampleIds, load_dataset
from cce_ray.files import replacing
from cce_ray.metrics import cluster_sizes, used_clusters
from cce_ray.models import Classifier, Labels, Model, load_classifier
from cce_ray.runs.id_columns import id_columns, id_fields
from cce_ray.runs.listener import Listener
from cce_ray.runs.new_data import (
    check_apart,
    check_inputs,
    check_kind,
    check_output,
    check_shape,
    checked_overrides,
    data_settings,
    names_unknown,
    place_of,
    source_name,
    training_values,
)
from cce_ray.training import predict_batches


class Writer(Protocol):
    """pyarrow's CSV and Parquet writers."""

    def write_table(self, table: pa.Table) -> None:
        """Append rows."""


def predict_file(
    model: str | Path,
    data: str,
    output: Path,
    *,
    overrides: Overrides = (),
    device: str = "auto",
    listener: Listener | None = None,
) -> dict[str, Any]:
    """Label `data` (a folder, an array file or a data set's name) into a .csv or .parquet file.

    Columns: `id` (the sample's place in its source, or the user's own id), `file` (of images and shards),
    `cluster`, `confidence`, `p0` ... `p{K-1}`. `overrides` are `data.*` settings such as data.key=x.
    Returns counts and the time taken. Raises ValueError for a model or data that cannot be used; an existing
    output is replaced only by a complete one.
    """
    check_output(output, (".csv", ".parquet"), [data, model])
    changes = checked_overrides(overrides, "predict")
    file = model_file(model)
    check_apart(output, file)
    trained = load_model(file, device=device)
    dataset, batches = _open_unlabelled(trained, data, changes, listener or Listener(), output)
    count = len(dataset.evaluation_indices)
    started = time.perf_counter()
    clusters = write_predictions(trained.classifier, batches, dataset.ids, output)
    seconds = time.perf_counter() - started
    return {
        "samples": count,
        "clusters_used": used_clusters(cluster_sizes(clusters, trained.num_clusters)),
        "seconds": seconds,
        "samples_per_second": count / seconds,
        "output": str(output),
    }


def predict_data(
    model: Model, data: str, *, overrides: Overrides = (), listener: Listener | None = None
) -> Labels:
    """Label `data`, as `predict_file` does, in memory.

    Raises:
        ValueError: one line, for data that cannot be used or that the model does not take.
    """
    changes = checked_overrides(overrides, "predict")
    dataset, batches = _open_unlabelled(model, data, changes, listener or Listener())
    rows, probabilities = zip(*predict_batches(model.classifier, batches), strict=True)
    ids = dataset.ids.names(np.concatenate(rows))
    whole = np.concatenate(probabilities)
    return Labels(ids, whole.argmax(1).astype(np.int64), whole)


def load_model(where: str | Path, *, device: str = "auto") -> Model:
    """The trained model of a run's output folder, of a model file, or of an MLflow URI (models:/NAME/1).

    Args:
        where: the folder, the file or the URI.
        device: auto, cpu or cuda.

    Returns:
        Model: with `predict(samples) -> Labels`, `num_clusters`, `input_shape` and `metadata`.

    Raises:
        ValueError: one line, if there is no such model, it is damaged or of a newer version, or the device is
            not there.
    """
    target = load_config(None, {"runtime.device": device})[0].runtime.torch_device()
    return Model(*load_classifier(model_file(where), device=target))


def model_file(model: str | Path) -> Path:
    """The model file of a path, of a run's output folder, or of an MLflow URI."""
    if "://" in str(model) or str(model).startswith(("models:/", "runs:/")):
        from cce_ray.tracking import download_model

        return download_model(str(model))
    path = Path(model).expanduser()
    return path / "model.pt" if path.is_dir() else path


def _open_unlabelled(
    model: Model, data: str, changes: Mapping[str, Any], listener: Listener, output: Path | None = None
) -> tuple[Dataset, Batches]:
    """The data to label, read as the model's training data were (image size, channels, columns, depth).

    Raises ValueError for data that cannot be used, or of which `output` is a part.
    """
    shape = model.input_shape
    name = source_name(data, shape)
    check_kind(data, name, shape)
    values = place_of(data, name) | training_values(data, name, shape, model.metadata)
    values["num_clusters"] = model.num_clusters
    if name in ("folder", "arrays"):
        values["labels"] = "none"
    settings = data_settings(name, values, changes)
    if output:
        check_inputs(output, settings)
    dataset = load_dataset(settings)
    for note in (*dataset.notes, names_unknown(model.metadata, dataset)):
        if note:
            listener.warn(note)
    check_shape(data, dataset, shape)
    indices = dataset.evaluation_indices
    device = model.classifier.shift.device
    size = min(1024, len(indices))
    return dataset, Batches(dataset.samples, indices, batch_size=size, device=device, resident=False)


def write_predictions(model: Classifier, batches: Batches, ids: SampleIds, output: Path) -> np.ndarray:
    """Write one row for each sample of `batches`, in order; returns their clusters (n,) int64."""
    clusters = []
    columns = schema(model.num_clusters, ids)
    with opened(output, columns) as writer:
        for indices, probs in predict_batches(model, batches):
            best = probs.argmax(1)
            values = {
                **id_columns(ids, np.asarray(indices)),
                "cluster": best,
                "confidence": probs[np.arange(len(best)), best],
                **{f"p{k}": probs[:, k] for k in range(probs.shape[1])},
            }
            writer.write_table(pa.table(values, schema=columns))
            clusters.append(best)
    return np.concatenate(clusters)


def schema(num_clusters: int, ids: SampleIds) -> pa.Schema:
    """The columns of a predictions file."""
    probs = [(f"p{k}", pa.float32()) for k in range(num_clusters)]
    return pa.schema([*id_fields(ids), ("cluster", pa.int64()), ("confidence", pa.float32()), *probs])


@contextmanager
def opened(output: Path, columns: pa.Schema) -> Iterator[Writer]:
    """A writer into a temporary file that takes the output's place when all rows are written."""
    make = pyarrow.csv.CSVWriter if output.suffix == ".csv" else pyarrow.parquet.ParquetWriter
    with replacing(output) as temporary, make(str(temporary), columns) as writer:
        yield writer
