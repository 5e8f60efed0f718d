"""Features of samples, a row each, in a file that `data=arrays` reads: the way to cluster photographs."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cce_ray.config import Overrides, load_config
from cce_ray.data import Batches, Dataset, load_dataset
from cce_ray.runs.encoders import Encoder, open_encoder
from cce_ray.runs.feature_file import write_features
from cce_ray.runs.listener import Listener
from cce_ray.runs.new_data import (
    check_inputs,
    check_kind,
    check_output,
    checked_overrides,
    data_settings,
    names_unknown,
    place_of,
    source_name,
    training_values,
)

MEMORY_GIB = 0.25
"""Images up to this size are kept once they are decoded, unless data.memory_limit_gib says otherwise."""
_NOTE_SECONDS = 10.0


def embed_file(
    data: str,
    output: Path,
    *,
    backbone: str = "resnet50",
    weights: str = "default",
    image_size: int | None = None,
    batch_size: int = 64,
    overrides: Overrides = (),
    device: str = "auto",
    listener: Listener | None = None,
) -> dict[str, Any]:
    """Write the features of `data` (a folder, an array file or a data set's name) into a .parquet file.

    `backbone` is a network of torchvision, for whose `weights` and `image_size` see `load_pretrained`; or a
    model of this package (a file, a run's folder, an MLflow URI), whose features are what its head sees.
    `overrides` are `data.*` settings. The file's columns: see `write_features`. Memory does not grow with the
    number of samples. Returns counts and the time taken. Raises ValueError for what cannot be used; an
    existing output is replaced only by a complete one.
    """
    listener = listener or Listener()
    check_output(output, (".parquet",), [data, backbone, weights])
    changes = checked_overrides(overrides, "embed")
    target = load_config(None, {"runtime.device": device})[0].runtime.torch_device()
    source_name(data)  # a mistyped name should not wait for a download
    encoder = open_encoder(backbone, weights, image_size, target, listener)
    dataset = _load_samples(data, encoder, changes, output)
    for note in (*dataset.notes, names_unknown(encoder.metadata, dataset) if encoder.metadata else None):
        if note:
            listener.warn(note)
    encoder.check(data, dataset)
    started = time.perf_counter()
    try:
        write_features(features(encoder, dataset, batch_size, target, listener), dataset, encoder, output)
    except torch.OutOfMemoryError as error:
        raise ValueError(f"--batch-size: {batch_size} samples fill the device's memory; lower it") from error
    seconds = time.perf_counter() - started
    return {
        "samples": len(dataset.samples),
        "features": encoder.num_features,
        "labelled": dataset.labels is not None,
        "backbone": encoder.name,
        "weights": encoder.weights,
        "image_size": encoder.image_size,
        "seconds": seconds,
        "samples_per_second": len(dataset.samples) / seconds,
        "output": str(output),
    }


def _load_samples(data: str, encoder: Encoder, changes: Mapping[str, Any], output: Path) -> Dataset:
    """The data to embed, images of folders in the encoder's size.

    Raises ValueError for a split (a file has none), and for data of which `output` is a part.
    """
    name = source_name(data, encoder.input_shape)
    values: dict[str, Any] = {
        **place_of(data, name),
        "num_clusters": 2,
        "memory_limit_gib": MEMORY_GIB,
    }  # no clusters here: any number
    if encoder.input_shape is not None:
        check_kind(data, name, encoder.input_shape)
        values |= training_values(data, name, encoder.input_shape, encoder.metadata)
    elif name == "folder":
        values["image_size"] = encoder.image_size
    settings = data_settings(name, values, changes)
    check_inputs(output, settings)
    if settings.split != "same":
        raise ValueError(
            f"data.split: {settings.split}, but a file of features has no parts; leave it out, and set it in "
            "training (or write one file with data.part=train and one with data.part=test)"
        )
    return load_dataset(settings)


def features(
    encoder: Encoder, dataset: Dataset, batch_size: int, device: torch.device, listener: Listener
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(sample indices (B,), features (B, D) float32) of all samples, in order.

    Raises ValueError for features that are not finite.
    """
    count, told = len(dataset.samples), time.monotonic()
    batches = Batches(
        dataset.samples,
        np.arange(count),
        batch_size=min(batch_size, count),
        device=device,
        resident=False,
    )
    for indices, inputs in batches.sequential():
        with torch.inference_mode():
            block = encoder.run(inputs).float().cpu().numpy()
        wrong = ~np.isfinite(block).all(axis=1)
        if wrong.any():
            sample = dataset.ids[int(indices[int(np.argmax(wrong))])]
            raise ValueError(
                f"--backbone: {encoder.name} gives features that are not finite for sample {sample}; its "
                "weights may be damaged"
            )
        yield indices.numpy(), block
        if time.monotonic() - told > _NOTE_SECONDS:
            told = time.monotonic()
            listener.note(f"{int(indices[-1]) + 1:,} of {count:,} samples")
