"""Resolve a command's DATA argument (a path or a data set's name), and validate what it reads and writes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cce_ray.config import Overrides, assignments_of, load_config
from cce_ray.data import DATASETS, Dataset, DataSettings, is_shard, list_images, names_in
from cce_ray.runs.folder import is_run

_ARRAY_SUFFIXES = (".npy", ".npz", ".parquet")
_EARLIER_DEPTHS = {"depth_16_bit": 16, "depth_32_bit": 16, "depth_16_bit_colour": 16}
"""How models that do not remember depths read pictures of more than 8 bits: by their upper byte."""


def check_output(output: Path, suffixes: Sequence[str], inputs: Iterable[str | Path]) -> None:
    """ValueError if the output can never be written, or is one of the files that are read.

    Args:
        output: the file to write.
        suffixes: those it may have.
        inputs: what the command reads; names and addresses among them do not matter.
    """
    if output.suffix not in suffixes:
        raise ValueError(f"--output: {output} must end in {' or '.join(suffixes)}")
    if output.is_dir():
        raise ValueError(f"--output: {output} is a folder; give the name of a file")
    if output.exists() and not output.is_file():
        raise ValueError(f"--output: {output} is not a regular file; give the name of a file")
    if not output.absolute().parent.is_dir():
        raise ValueError(f"--output: the folder {output.absolute().parent} does not exist; make it first")
    for given in inputs:
        check_apart(output, Path(given).expanduser())


def check_apart(output: Path, source: Path) -> None:
    """ValueError if writing the output would replace something that is read, or become part of it.

    Args:
        output: the file to write.
        source: a file, a folder of images, of shards or of a run; or nothing that exists.
    """
    read = f"--output: {output} is read by this command; give another name"
    if _is_same(output, source):
        raise ValueError(read)
    if not source.is_dir():
        return
    if output.is_symlink() and output.resolve().is_relative_to(source.resolve()):
        raise ValueError(read)
    shards = [path for path in source.iterdir() if is_shard(path)]
    if any(_is_same(output, path) for path in shards):
        raise ValueError(read)
    if shards and output.suffix in _ARRAY_SUFFIXES and _is_same(output.parent, source):
        raise ValueError(
            f"--output: {output} would become one of the shards of {source}; give a name outside that folder"
        )
    if is_run(source) and output.exists() and _is_same(output.parent, source):
        raise ValueError(f"--output: {output} is a result of the run itself; give another name")


def check_inputs(output: Path, settings: DataSettings) -> None:
    """`check_apart` for the files that a data set reads."""
    for key in ("path", "labels_path"):
        if (path := getattr(settings, key, None)) is not None:
            check_apart(output, path)


def _is_same(one: Path, other: Path) -> bool:
    """Whether two paths lead to the same file or folder, over links too, whether or not it is there yet."""
    if one.exists() and other.exists():
        return one.samefile(other)
    return one.resolve() == other.resolve()


def _holds_shards(folder: Path) -> bool:
    """Whether arrays or tables are directly in a folder."""
    return any(is_shard(path) for path in folder.iterdir())


def checked_overrides(overrides: Overrides, verb: str) -> dict[str, Any]:
    """Overrides as {dotted key: value}; ValueError for one that is not of the data: no other is read here."""
    changes = assignments_of(overrides)
    for key in changes:
        if not key.startswith("data."):
            raise ValueError(f"--set {key}: cce {verb} takes settings of the data only, e.g. data.key=NAME")
    return changes


def source_name(data: str, input_shape: Sequence[int] | None = None) -> str:
    """Which data set `data` is: a folder of images, an array file, a folder of shards, or a name.

    Args:
        data: what the user gave.
        input_shape: of one sample of the model that will read it, which decides where a folder holds both
            images and arrays; None: images.

    Raises:
        ValueError: none of these.
    """
    path = Path(data).expanduser()
    if path.is_dir():
        if not _holds_shards(path):
            return "folder"
        takes_embeddings = input_shape is not None and len(input_shape) == 1
        return "arrays" if takes_embeddings or not _holds_images(path) else "folder"
    if path.suffix.lower() in _ARRAY_SUFFIXES or path.exists():
        return "arrays"
    if data in DATASETS:
        return data
    raise ValueError(f"{data}: no such file or folder, nor a data set ({', '.join(DATASETS)})")


def _holds_images(folder: Path) -> bool:
    """Whether any image is in a folder or below it."""
    try:
        return bool(list_images(folder).files)
    except ValueError:
        return False


def data_settings(name: str, values: Mapping[str, Any], changes: Mapping[str, Any]) -> DataSettings:
    """The settings of the data set called `name`: `values` by key, then `changes` by dotted key."""
    fixed = {"data": name, **{f"data.{key}": value for key, value in values.items()}}
    return load_config(None, {**fixed, **changes})[0].data


def place_of(data: str, name: str) -> dict[str, Any]:
    """The setting by which a data set called `name` knows where `data` is."""
    return {"path": data} if name in ("folder", "arrays") else {}


def training_values(
    data: str, name: str, input_shape: Sequence[int], metadata: Mapping[str, Any]
) -> dict[str, Any]:
    """How new data are read as a model's training data were: image size, channels, names of columns, depth.

    Args:
        data: what the user gave.
        name: the data set that it is.
        input_shape: of one sample of the model.
        metadata: what the model says of its training.
    """
    trained = metadata.get("config", {}).get("data", {})
    remembered = metadata.get("reading") or {}
    values: dict[str, Any] = {}
    if name == "folder":
        values["channels"] = "grey" if input_shape[0] == 1 else "rgb"
        if input_shape[-1] == input_shape[-2]:  # others cannot be resized to: they must have the model's size
            values["image_size"] = input_shape[-1]
    if trained.get("name") != name:
        return values
    if name == "folder" and "reading" not in metadata:
        values |= _EARLIER_DEPTHS
    kept = {key: trained.get(key) for key in ("root", "key", "channels", "columns", "label_key")}
    kept |= dict(remembered)
    if name == "arrays":
        path = Path(data).expanduser()
        if not _is_table(path):
            kept["columns"] = None  # arrays have no names
        if (own := trained.get("id_key")) in names_in(path):  # new data need not have the ids
            kept["id_key"] = own
    return values | {key: value for key, value in kept.items() if value is not None}


def names_unknown(metadata: Mapping[str, Any], dataset: Dataset) -> str | None:
    """The note on columns that are taken by position; None where the model knows their names, or there are
    none to know."""
    remembered = metadata.get("reading") or {}
    columns = dataset.reading.get("columns")
    if columns and "columns" not in remembered:
        known = ", ".join(columns)[:80]
        return f"the model does not know the names of its columns: {known} are taken by position"
    if "columns" in remembered and not columns:
        known = ", ".join(remembered["columns"])[:80]
        return f"the data have no names of columns: they are taken by position, as {known}"
    return None


def check_kind(data: str, name: str, input_shape: Sequence[int]) -> None:
    """ValueError, before anything is decoded, if images are given to a model of embeddings."""
    if name == "folder" and len(input_shape) == 1:
        raise ValueError(
            f"{data}: a folder of images, but the model takes embeddings of {input_shape[0]} numbers; embed "
            f"them as its training data were: cce embed {data} --backbone NETWORK -o features.parquet"
        )


def _is_table(path: Path) -> bool:
    """Whether a file, or every shard in a folder, is a Parquet table."""
    if path.is_dir():
        return all(shard.suffix.lower() == ".parquet" for shard in path.iterdir() if is_shard(shard))
    return path.suffix.lower() == ".parquet"


def check_shape(data: str, dataset: Dataset, input_shape: Sequence[int]) -> None:
    """ValueError if the samples are none of those that a model takes."""
    if tuple(dataset.samples.shape) != tuple(input_shape):
        columns = ", ".join(dataset.reading.get("columns", ()))[:80]
        remedy = f"set data.columns to its features (now {columns})" if columns else ""
        raise ValueError(
            f"{data}: samples of shape {tuple(dataset.samples.shape)}, but the model takes "
            f"{tuple(input_shape)}; {remedy or 'give data like those it was trained on'}"
        )
