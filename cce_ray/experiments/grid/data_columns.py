"""The columns of the paper's tables: its four data sets, as images or as features of a fixed network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cce_ray.experiments.experiment import Options
from cce_ray.experiments.grid.grid import Column

_TITLES = {
    "stl10": "STL10",
    "cifar10": "CIFAR10",
    "cifar100_20": "CIFAR100-20",
    "mnist": "MNIST",
    "digits": "digits",
}
FILES = {
    "stl10": "stl10_binary/train_X.bin",
    "cifar10": "cifar-10-batches-py/data_batch_1",
    "cifar100_20": "cifar-100-python/train",
    "mnist": "MNIST/raw/train-images-idx3-ubyte",
}
"""By which a set is known to be there, in torchvision's layout; digits come with scikit-learn."""


def features(*names: str) -> dict[str, Column]:
    """{set: column} of ResNet-50 features, NAME_test_resnet50.npz in the data folder."""
    return {name: _features(name) for name in names}


def images(*names: str) -> dict[str, Column]:
    """{set: column} of the images themselves."""
    return {name: _images(name) for name in names}


def _features(name: str) -> Column:
    file = f"{name}_test_resnet50.npz"

    def changes(options: Options) -> Mapping[str, Any]:
        return {"data": "arrays", "data.path": str(options.data / file)}

    return Column(_TITLES[name], changes, [file])


def _images(name: str) -> Column:
    def changes(options: Options) -> Mapping[str, Any]:
        root = {"data.root": str(options.data)} if name in FILES else {}
        return {"data": name, **root}

    return Column(_TITLES[name], changes, [FILES[name]] if name in FILES else [])
