"""Label data with a trained model: a row a sample, written in pieces, so that the data may exceed memory."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from cce_ray.atomic import replacing
from cce_ray.config import load_config
from cce_ray.data import DATASETS, Batches, Dataset
from cce_ray.metrics import cluster_sizes, used_clusters
from cce_ray.models import Classifier, load_model
from cce_ray.runs.listener import Listener
from cce_ray.training import predict_batches

ARRAY_SUFFIXES = (".npy", ".npz", ".parquet")


class Writer(Protocol):
    """pyarrow's CSV and Parquet writers."""

    def write_table(self, table: pa.Table) -> None:
        """Append rows."""


def predict_file(
    model: str | Path,
    data: str,
    output: Path,
    *,
    overrides: Iterable[str] = (),
    device: str = "auto",
    listener: Listener | None = None,
) -> dict[str, Any]:
    """Label `data` (a folder, an array file or a data set's name) into a .csv or .parquet file.

    Columns: `id` (row number), `file` (for folders), `cluster`, `confidence`, `p0` ... `p{K-1}`. `overrides`
    are `data.*` settings such as data.key=x. Returns counts and the time taken. Raises ValueError for a model
    or data that cannot be used; an existing output is replaced only by a complete one.
    """
    listener = listener or Listener()
    check_output(output)
    overrides = checked_overrides(overrides)
    target = load_config(None, [f"runtime.device={json.dumps(device)}"])[0].runtime.torch_device()
    classifier, metadata = load_model(model_file(model), device=target)
    dataset = load_unlabelled(data, classifier, metadata, overrides)
    for note in dataset.notes:
        listener.warn(note)
    if tuple(dataset.samples.shape) != tuple(classifier.input_shape):
        raise ValueError(
            f"{data}: samples of shape {tuple(dataset.samples.shape)}, but the model takes "
            f"{tuple(classifier.input_shape)}; give data like those it was trained on"
        )
    count = len(dataset.evaluation_indices)
    batches = Batches(
        dataset.samples,
        dataset.evaluation_indices,
        batch_size=min(1024, count),
        device=target,
        resident=False,
    )
    started = time.perf_counter()
    clusters = write_predictions(classifier, batches, dataset.ids, output, files=dataset.name == "folder")
    seconds = time.perf_counter() - started
    return {
        "samples": count,
        "clusters_used": used_clusters(cluster_sizes(clusters, classifier.num_clusters)),
        "seconds": seconds,
        "samples_per_second": count / seconds,
        "output": str(output),
    }


def check_output(output: Path) -> None:
    """ValueError if the output can never be written."""
    if output.suffix not in (".csv", ".parquet"):
        raise ValueError(f"--output: {output} must end in .csv or .parquet")
    if output.is_dir():
        raise ValueError(f"--output: {output} is a folder; give the name of a file")
    if not output.absolute().parent.is_dir():
        raise ValueError(f"--output: the folder {output.absolute().parent} does not exist; make it first")


def checked_overrides(overrides: Iterable[str]) -> list[str]:
    """The overrides; ValueError for one that is not of the data, since nothing else is read here."""
    checked = list(overrides)
    for text in checked:
        if not text.strip().startswith("data."):
            raise ValueError(f"--set {text}: cce predict takes settings of the data only, e.g. data.key=NAME")
    return checked


def model_file(model: str | Path) -> Path:
    """The model file of a path, of a run's output folder, or of an MLflow URI."""
    if "://" in str(model) or str(model).startswith(("models:/", "runs:/")):
        from cce_ray.tracking.mlflow_loading import download_model

        return download_model(str(model))
    path = Path(model).expanduser()
    return path / "model.pt" if path.is_dir() else path


def load_unlabelled(
    data: str, classifier: Classifier, metadata: dict[str, Any], overrides: Iterable[str]
) -> Dataset:
    """The data to label, read as the model's training data were (image size, channels, array key)."""
    trained = metadata.get("config", {}).get("data", {})
    shape = classifier.input_shape
    values: dict[str, Any]
    path = Path(data).expanduser()
    if path.is_dir():
        values = {"name": "folder", "path": data, "labels": "none"}
        values["channels"] = "grey" if shape[0] == 1 else "rgb"
        if shape[-1] == shape[-2]:  # others cannot be resized to: they must have the model's size
            values["image_size"] = shape[-1]
    elif path.suffix in ARRAY_SUFFIXES or path.exists():
        values = {"name": "arrays", "path": data}
    elif data in DATASETS:
        values = {"name": data}
    else:
        raise ValueError(f"{data}: no such file or folder, nor a data set ({', '.join(DATASETS)})")
    kept = ("root", "key", "channels") if trained.get("name") == values["name"] else ()
    values |= {key: trained[key] for key in kept if trained.get(key) is not None}
    values["num_clusters"] = classifier.num_clusters
    # As JSON, which is YAML: a folder called 2024 stays a text.
    settings = [
        f"data.{key}={json.dumps(value, ensure_ascii=False)}"
        for key, value in values.items()
        if key != "name"
    ]
    config, _ = load_config(None, [f"data={values['name']}", *settings, *overrides])
    return config.data.load()


def write_predictions(
    model: Classifier, batches: Batches, ids: Sequence[str], output: Path, *, files: bool
) -> np.ndarray:
    """Write one row for each sample of `batches`, in order; returns their clusters (n,) int64."""
    clusters = []
    with opened(output, model.num_clusters, files) as writer:
        for indices, probs in predict_batches(model, batches):
            best = probs.argmax(1)
            names = {"file": [ids[int(index)] for index in indices]} if files else {}
            columns = {
                "id": indices,
                **names,
                "cluster": best,
                "confidence": probs[np.arange(len(best)), best],
                **{f"p{k}": probs[:, k] for k in range(probs.shape[1])},
            }
            writer.write_table(pa.table(columns, schema=schema(model.num_clusters, files)))
            clusters.append(best)
    return np.concatenate(clusters)


def schema(num_clusters: int, files: bool) -> pa.Schema:
    """The columns of a predictions file."""
    names = [("file", pa.string())] if files else []
    probs = [(f"p{k}", pa.float32()) for k in range(num_clusters)]
    return pa.schema(
        [("id", pa.int64()), *names, ("cluster", pa.int64()), ("confidence", pa.float32()), *probs]
    )


@contextmanager
def opened(output: Path, num_clusters: int, files: bool) -> Iterator[Writer]:
    """A writer into a temporary file that takes the output's place when all rows are written."""
    make = pyarrow.csv.CSVWriter if output.suffix == ".csv" else pyarrow.parquet.ParquetWriter
    with replacing(output) as temporary, make(str(temporary), schema(num_clusters, files)) as writer:
        yield writer
