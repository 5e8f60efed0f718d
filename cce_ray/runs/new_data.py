"""Data that a command is given by a path or a name, and what of it the command cannot use."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cce_ray.config import load_config
from cce_ray.data import DATASETS, Dataset, DataSettings

ARRAY_SUFFIXES = (".npy", ".npz", ".parquet")


def check_output(output: Path, suffixes: Sequence[str]) -> None:
    """ValueError if the output can never be written."""
    if output.suffix not in suffixes:
        raise ValueError(f"--output: {output} must end in {' or '.join(suffixes)}")
    if output.is_dir():
        raise ValueError(f"--output: {output} is a folder; give the name of a file")
    if not output.absolute().parent.is_dir():
        raise ValueError(f"--output: the folder {output.absolute().parent} does not exist; make it first")


def checked_overrides(overrides: Iterable[str], verb: str) -> list[str]:
    """The overrides; ValueError for one that is not of the data, since nothing else is read here."""
    checked = list(overrides)
    for text in checked:
        if not text.strip().startswith("data."):
            raise ValueError(f"--set {text}: cce {verb} takes settings of the data only, e.g. data.key=NAME")
    return checked


def source_name(data: str) -> str:
    """Which data set `data` is: a folder of images, an array file or a name. ValueError if it is neither."""
    path = Path(data).expanduser()
    if path.is_dir():
        return "folder"
    if path.suffix in ARRAY_SUFFIXES or path.exists():
        return "arrays"
    if data in DATASETS:
        return data
    raise ValueError(f"{data}: no such file or folder, nor a data set ({', '.join(DATASETS)})")


def data_settings(data: str, values: Mapping[str, Any], overrides: Iterable[str]) -> DataSettings:
    """The settings of the data set that `data` is: `values`, then `overrides` such as data.key=x."""
    name = source_name(data)
    place = {"path": data} if name in ("folder", "arrays") else {}
    # As JSON, which is YAML: a folder called 2024 stays a text.
    settings = [
        f"data.{key}={json.dumps(value, ensure_ascii=False)}" for key, value in (place | dict(values)).items()
    ]
    return load_config(None, [f"data={name}", *settings, *overrides])[0].data


def training_values(name: str, input_shape: Sequence[int], metadata: Mapping[str, Any]) -> dict[str, Any]:
    """How data called `name` are read as a model's training data were: image size, channels, array key."""
    trained = metadata.get("config", {}).get("data", {})
    values: dict[str, Any] = {}
    if name == "folder":
        values["channels"] = "grey" if input_shape[0] == 1 else "rgb"
        if input_shape[-1] == input_shape[-2]:  # others cannot be resized to: they must have the model's size
            values["image_size"] = input_shape[-1]
    kept = ("root", "key", "channels") if trained.get("name") == name else ()
    return values | {key: trained[key] for key in kept if trained.get(key) is not None}


def check_shape(data: str, dataset: Dataset, input_shape: Sequence[int]) -> None:
    """ValueError if the samples are none of those that a model takes."""
    if tuple(dataset.samples.shape) != tuple(input_shape):
        raise ValueError(
            f"{data}: samples of shape {tuple(dataset.samples.shape)}, but the model takes "
            f"{tuple(input_shape)}; give data like those it was trained on"
        )
