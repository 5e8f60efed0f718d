"""Where runs are tracked, and where data sets lie."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from cce_ray.doctor.check import Check, broken

if TYPE_CHECKING:
    from cce_ray.tracking import Location

SETS = {
    "mnist": ("MNIST/raw/train-images-idx3-ubyte", "MNIST/raw/t10k-images-idx3-ubyte"),
    "cifar10": ("cifar-10-batches-py/data_batch_1", "cifar-10-batches-py/test_batch"),
    "cifar100_20": ("cifar-100-python/train", "cifar-100-python/test"),
    "stl10": ("stl10_binary/train_X.bin", "stl10_binary/test_X.bin"),
}
"""Files of torchvision's layout by which a set is known to be there."""


def mlflow_store(uri: str | None) -> Check:
    """Where runs are tracked, and whether that works. What the trial makes is removed again."""
    from cce_ray.tracking import locate

    name, given = "mlflow store", uri or os.environ.get("MLFLOW_TRACKING_URI")
    output = Path("cce_output").absolute()
    try:
        location = locate(uri, output / ".doctor")
        _try_out(location)
    except ValueError as error:
        if given:
            return broken(name, str(error).removeprefix("tracking.uri: "))
        remedy = "work in a folder that you can write, or add --set output_dir=FOLDER"
        return Check(name, False, f"{output} cannot be written", remedy)
    if not given:
        return Check(name, True, f"mlflow.db in every run's own folder, below {output}")
    if location.database and not Path(given.removeprefix("sqlite:///")).expanduser().is_absolute():
        remedy = f"write {location.uri}, or every folder has a store of its own"
        return Check(name, None, f"{given}: relative, {location.database} here", remedy)
    return Check(name, True, f"runs go to {location.shown}")


def _try_out(location: Location) -> None:
    """`check` without a trace: an empty database and folders that were not there before go again."""
    from cce_ray.tracking import check

    file = location.database
    new = [path for path in (file, *file.parents) if not path.exists()] if file else []
    try:
        check(location)
    finally:
        with suppress(OSError):
            if file in new and file.stat().st_size == 0:
                file.unlink()
            for folder in new[1:]:
                folder.rmdir()


def data_sets(root: Path | None) -> Check:
    """Which of torchvision's sets are there, by the names of their files."""
    from cce_ray.data import data_root

    name, folder = "data sets", (root or data_root()).absolute()
    fetch = "add --set data.download=true, or let CCE_DATA name the folder that holds them"
    if not folder.is_dir():
        if root or os.environ.get("CCE_DATA"):
            source = "data.root" if root else "CCE_DATA"
            return Check(
                name, False, f"{source}: no folder {folder}", f"correct {source}, or make the folder"
            )
        return Check(name, None, "none, and digits and your own files need none", fetch)
    there = [key for key, files in SETS.items() if all((folder / file).is_file() for file in files)]
    if not there:
        return Check(name, None, f"none of {', '.join(SETS)} in {folder}", fetch)
    return Check(name, True, f"{', '.join(there)} in {folder}")
