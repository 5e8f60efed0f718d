"""One model, one file: everything needed to label new data, readable without trusting the file."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch

from cce_ray.files import read_tensors, write_tensors
from cce_ray.models.classifier import Classifier
from cce_ray.models.model_settings import ModelSettings
from cce_ray.models.registry import MODELS

FORMAT = "cce_ray.model"
_VERSION = 1


def save_classifier(
    path: str | os.PathLike[str], classifier: Classifier, *, settings: ModelSettings, metadata: dict[str, Any]
) -> None:
    """Write ``classifier`` for ``load_classifier``; a killed process leaves the old file intact.

    Args:
        path: the file; its folder exists.
        classifier: built by ``settings.build``.
        settings: the model section of the configuration.
        metadata: JSON-able facts to travel along (class names, data set, score, ...).

    Raises:
        TypeError: ``metadata`` holds what JSON cannot.
        OSError: the disk is full or the folder cannot be written.
    """
    content = {
        "format": FORMAT,
        "version": _VERSION,
        # Not where its first weights came from: the file need not be there any more.
        "settings": json.dumps(settings.model_dump(mode="json", exclude={"weights"})),
        "metadata": json.dumps(metadata),
        "input_shape": list(classifier.input_shape),
        "num_clusters": classifier.num_clusters,
        "state": {
            name: tensor.detach().cpu()
            for name, tensor in classifier.state_dict().items()
            if not name.startswith("extra_head.")
        },
    }
    write_tensors(Path(path), content)


def load_classifier(
    path: str | os.PathLike[str], device: str | torch.device = "cpu"
) -> tuple[Classifier, dict[str, Any]]:
    """The classifier of ``save_classifier``, in evaluation mode on ``device``, and its metadata.

    Raises:
        ValueError: no such file, a file of another kind, a damaged one or one of a newer version.
    """
    content = _read(Path(path))
    try:
        settings, metadata = json.loads(content["settings"]), json.loads(content["metadata"])
        name = settings["name"]
        if name in MODELS:
            assert isinstance(metadata, dict)
            return _rebuild(settings, content).to(device).eval(), metadata
    except Exception as error:  # sound tensors and texts that another program wrote may hold anything
        raise ValueError(
            f"model: '{path}' is damaged or not a model of cce_ray (its parts do not fit together); "
            "train again"
        ) from error
    raise ValueError(f"model: '{path}' holds a model {name!r}, unknown here; known: {', '.join(MODELS)}")


def _rebuild(settings: dict[str, Any], content: dict[str, Any]) -> Classifier:
    """The classifier of a file's content, which must fit together; raises anything where it does not."""
    state = content["state"]
    own = MODELS[settings["name"]](**{key: value for key, value in settings.items() if key != "weights"})

    def build() -> Classifier:
        shape, num_clusters = content["input_shape"], content["num_clusters"]
        return own.build(shape, num_clusters, shift=state["shift"], scale=state["scale"])

    with torch.device("meta"):  # takes no memory, whatever the file claims
        shapes = {key: tensor.shape for key, tensor in build().state_dict().items()}
    if shapes != {key: tensor.shape for key, tensor in state.items()}:
        raise ValueError("the settings are those of other weights")
    classifier = build()
    classifier.load_state_dict(state)
    return classifier


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ValueError(f"model: '{path}' is not a file; give the model file that 'cce train' wrote")
    try:
        content = read_tensors(path)
    except ValueError as error:
        raise ValueError(
            f"model: '{path}' is damaged or not a model of cce_ray ({error}); train again"
        ) from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError(
            f"model: '{path}' is not a model of cce_ray; give the model file that 'cce train' wrote"
        )
    version = content.get("version")
    if not isinstance(version, int):
        raise ValueError(f"model: '{path}' is damaged (it has no version); train again")
    if version > _VERSION:
        raise ValueError(
            f"model: '{path}' was written by a newer cce_ray; upgrade with 'pip install -U cce_ray'"
        )
    return content
